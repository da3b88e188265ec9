"""Where a step's `where` is in flash, and what a seeded corruption does to it. Pure."""

from __future__ import annotations

import random
import re

from rig.errors import UserError
from rig.idf.effects import SECTOR_SIZE
from rig.idf.otadata import ENTRY_SIZE
from rig.idf.partitions import Partition, PartitionTable

_ENTRY = re.compile(r"otadata\[([01])\]")


def place_of(table: PartitionTable, where: str) -> tuple[Partition, int, int]:
    """Partition, flash offset and size in bytes: of a slot, of a label, or of one otadata entry's sector.

    UserError lists what the partition table has.
    """
    entry = _ENTRY.fullmatch(where)
    for part in table.entries:
        if entry and part.is_otadata:
            return part, part.offset + int(entry[1]) * SECTOR_SIZE, SECTOR_SIZE
        if where in (part.slot, part.label) or (where == "otadata" and part.is_otadata):
            return part, part.offset, part.size
    known = ", ".join(part.slot or part.label for part in table.entries)
    raise UserError(f"this partition table has no {where!r}", hint=f"one of: {known}")


def erased_regions(table: PartitionTable, where: str) -> dict[int, bytes]:
    """What flash must hold for that place to be erased, by flash offset."""
    _, offset, size = place_of(table, where)
    return {offset: b"\xff" * size}


def corrupted(data: bytes, bits: int, chance: random.Random) -> bytes:
    """`data` with that many bits inverted, among those bytes that are in use."""
    used = len(data.rstrip(b"\xff")) or ENTRY_SIZE
    changed = bytearray(data)
    for _ in range(bits):
        changed[chance.randrange(used)] ^= 1 << chance.randrange(8)
    return bytes(changed)
