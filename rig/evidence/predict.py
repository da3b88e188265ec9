"""What the reference model says of one boot: the third witness. Runs on a copy; the memory given is only read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from rig.errors import Inconclusive
from rig.idf.bootloader import NONE, BootResult, Pins, run
from rig.idf.config import BootConfig
from rig.idf.effects import SECTOR_SIZE, BurnSecureVersion, Effect, Erase, Log, Memory, Mutation, Program
from rig.idf.errors import FormatError
from rig.idf.otadata import ENTRY_SIZE
from rig.idf.partitions import PartitionTable

TABLE_SIZE = 0xC00

Entries = tuple[bytes, bytes]


class Overlay:
    """A `Memory` over another one: sectors that are written are kept here, the rest is read through."""

    def __init__(self, base: Memory) -> None:
        self._base = base
        self._sectors: dict[int, bytearray] = {}
        self._secure_version: int | None = None

    @property
    def secure_version(self) -> int:
        return self._base.secure_version if self._secure_version is None else self._secure_version

    def read(self, offset: int, size: int) -> bytes:
        end = offset + size
        starts = range(offset - offset % SECTOR_SIZE, end, SECTOR_SIZE)
        if not any(start in self._sectors for start in starts):
            return self._base.read(offset, size)
        parts = []
        for start in starts:
            low, high = max(start, offset), min(start + SECTOR_SIZE, end)
            kept = self._sectors.get(start)
            # The base may not know what was written over.
            parts.append(self._base.read(low, high - low) if kept is None else bytes(kept[low - start : high - start]))
        return b"".join(parts)

    def apply(self, effect: Mutation) -> None:
        """Do a mutation: erase sets a sector to 0xFF, program clears bits."""
        if isinstance(effect, BurnSecureVersion):
            self._secure_version = effect.after
        elif isinstance(effect, Erase):
            self._sectors[effect.offset] = bytearray(b"\xff" * SECTOR_SIZE)
        else:
            old = self.read(effect.offset, len(effect.data))
            self.put(effect.offset, bytes(a & b for a, b in zip(old, effect.data, strict=True)))

    def put(self, offset: int, data: bytes) -> None:
        """Bytes that flash is known to hold."""
        for start in range(offset - offset % SECTOR_SIZE, offset + len(data), SECTOR_SIZE):
            sector = self._sectors.setdefault(start, self._sector(start))
            low, high = max(start, offset), min(start + SECTOR_SIZE, offset + len(data))
            sector[low - start : high - start] = data[low - offset : high - offset]

    def _sector(self, start: int) -> bytearray:
        try:
            return bytearray(self._base.read(start, SECTOR_SIZE))
        except Inconclusive:
            return bytearray(b"\xff" * SECTOR_SIZE)


class Prediction(NamedTuple):
    """`states`: both otadata entries after 0, 1, 2 … of the mutations; None without an otadata partition."""

    result: BootResult
    effects: tuple[Effect, ...]
    states: tuple[Entries, ...] | None
    secure_version: int

    @property
    def logs(self) -> tuple[Log, ...]:
        return tuple(effect for effect in self.effects if isinstance(effect, Log))

    @property
    def mutations(self) -> tuple[Mutation, ...]:
        return tuple(effect for effect in self.effects if not isinstance(effect, Log))

    @property
    def otadata(self) -> Entries | None:
        """Both entries at the end."""
        return self.states[-1] if self.states else None


def read_table(memory: Memory, config: BootConfig) -> PartitionTable | None:
    """The partition table in flash; None if it cannot be parsed."""
    try:
        return PartitionTable.from_binary(memory.read(config.partition_table_offset, TABLE_SIZE))
    except FormatError:
        return None


def otadata_offset(table: PartitionTable | None) -> int | None:
    """Flash offset of the otadata that the bootloader uses."""
    partition = table.otadata_for_bootloader if table else None
    return partition.offset if partition else None


def predict(
    memory: Memory,
    config: BootConfig,
    table: PartitionTable | None,
    otadata: Entries | None = None,
    pins: Pins = NONE,
) -> Prediction:
    """One boot of the model from `memory`, with `otadata` in place of what `memory` holds there.

    Raises Inconclusive where the memory does not know what the bootloader would read.
    """
    copy = Overlay(memory)
    offset = otadata_offset(table)
    if offset is not None and otadata is not None:
        for number, data in enumerate(otadata):
            copy.put(offset + number * SECTOR_SIZE, data)
    steps = run(copy, config, pins)
    effects: list[Effect] = []
    states = [] if offset is None else [entries_at(copy, offset)]
    while True:
        try:
            effect = next(steps)
        except StopIteration as stop:
            return Prediction(
                stop.value, tuple(effects), tuple(states) if offset is not None else None, copy.secure_version
            )
        effects.append(effect)
        if not isinstance(effect, Log):
            copy.apply(effect)
            if offset is not None:
                states.append(entries_at(copy, offset))


def entries_at(memory: Memory, offset: int) -> Entries:
    """Both select entries of the otadata partition at flash `offset`."""
    return memory.read(offset, ENTRY_SIZE), memory.read(offset + SECTOR_SIZE, ENTRY_SIZE)


Trust = Literal["whole", "torn", "no"]


def left_by_cut(prediction: Prediction, seen: Entries, offset: int) -> Trust:
    """Whether a power cut somewhere in the predicted boot could leave these entries.

    `whole`: after some mutation, or with one done for its first bytes only; `torn`: only with single bits left behind,
    which flash may do, but which explains much.
    """
    states = prediction.states or ()
    steps = list(zip(states, prediction.mutations, strict=False))
    if seen in states or any(_cut_short(before, mutation, seen, offset) for before, mutation in steps):
        return "whole"
    return "torn" if any(_torn(before, mutation, seen, offset) for before, mutation in steps) else "no"


def _cut_short(before: Entries, mutation: Mutation, seen: Entries, offset: int) -> bool:
    """Of the entry that `mutation` touches the first bytes are new, the rest is old."""
    if isinstance(mutation, BurnSecureVersion):
        return False
    number = (mutation.offset - offset) // SECTOR_SIZE
    if number not in (0, 1) or seen[1 - number] != before[1 - number]:
        return False
    old = before[number]
    if isinstance(mutation, Erase):
        new = b"\xff" * ENTRY_SIZE
    else:
        data = mutation.data[:ENTRY_SIZE].ljust(ENTRY_SIZE, b"\xff")
        new = bytes(a & b for a, b in zip(old, data, strict=True))
    return any(seen[number] == new[:done] + old[done:] for done in range(ENTRY_SIZE + 1))


def _torn(before: Entries, mutation: Mutation, seen: Entries, offset: int) -> bool:
    if isinstance(mutation, BurnSecureVersion):
        return False
    number = (mutation.offset - offset) // SECTOR_SIZE
    if number not in (0, 1) or seen[1 - number] != before[1 - number]:
        return False
    old, now = before[number], seen[number]
    if isinstance(mutation, Erase):
        return all(was & bits == was for was, bits in zip(old, now, strict=True))
    return _torn_program(old, now, mutation)


def _torn_program(old: bytes, now: bytes, mutation: Program) -> bool:
    """Programming only clears bits, and only those that the data has clear."""
    wanted: Sequence[int] = mutation.data[:ENTRY_SIZE].ljust(ENTRY_SIZE, b"\xff")
    return all(
        bits & was == bits and bits & (was & data) == was & data
        for was, bits, data in zip(old, now, wanted, strict=True)
    )
