"""What shows in a flash dump before anybody knows where it lies: images, partition tables, select entries. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from rig.idf.chips import CHIPS, Chip, chip_by_id
from rig.idf.effects import SECTOR_SIZE
from rig.idf.errors import FormatError
from rig.idf.image_check import DESC_AT, DESC_MAGIC, HEADER, MAGIC, MAX_SEGMENTS
from rig.idf.otadata import ENTRY_SIZE, ERASED_SEQ, parse
from rig.idf.partitions import MAX_LENGTH, OTADATA_SIZE, ROW_SIZE, Partition, PartitionTable

NOISE_BITS = 7.8
"""Bits a byte from which on content is taken for noise; code has 6 to 7."""
_ERASED = b"\xff"
_DESC_MAGIC = DESC_MAGIC.to_bytes(4, "little")
_CHIP_IDS = {entry.chip_id for entry in CHIPS.values()}
_ROW_MAGIC, _MD5_ROW = b"\xaa\x50", b"\xeb\xeb"
LONE_SIZES = (2 * ENTRY_SIZE, SECTOR_SIZE, OTADATA_SIZE)
"""Files that are otadata alone: both entries one behind the other, one sector, both sectors."""


@dataclass(frozen=True)
class Dump:
    """A stretch of flash: `data` begins at flash offset `base`.

    `gap`: somewhere in flash [start, end) the file leaves out a sector; `data` is filled up there.
    """

    data: bytes
    base: int
    gap: tuple[int, int] | None = None

    @property
    def end(self) -> int:
        """Flash offset of the first byte behind it."""
        return self.base + len(self.data)

    def has(self, offset: int, size: int) -> bool:
        """Whether all of that is in the file."""
        if self.gap and offset < self.gap[1] and offset + size > self.gap[0]:
            return False
        return self.base <= offset and offset + size <= self.end

    def part(self, offset: int, size: int) -> bytes:
        """As much of it as the file has from `offset` on."""
        if offset < self.base:
            return b""
        return self.data[offset - self.base : offset - self.base + size]


class Header(NamedTuple):
    """An image header at a file offset. `app`: the app descriptor's magic follows it."""

    at: int
    chip: Chip
    app: bool


class FoundTable(NamedTuple):
    """A partition table at a file offset; `fault`: why it is not whole."""

    at: int
    table: PartitionTable
    fault: str | None


def looks_like_flash(sample: bytes) -> bool:
    """Whether the beginning of a file is flash content and no text; noise, as encrypted flash is, counts."""
    if not sample:
        return False
    if len(sample) in LONE_SIZES and (entry_like(sample[:ENTRY_SIZE]) or entry_like(sample[-ENTRY_SIZE:])):
        return True
    if next(headers(sample), None) is not None or next(tables(sample), None) is not None:
        return True
    counts = Counter(sample[:0x10000])
    total = sum(counts.values())
    if total >= SECTOR_SIZE and max(counts[0xFF], counts[0x00]) > total * 9 // 10:
        return True
    # text, UTF-16 too, has few bytes from 0x80 up; noise and code have many
    odd = sum(number for byte, number in counts.items() if byte >= 0x80 or (byte < 32 and byte not in b"\0\t\n\r\x1b"))
    return total >= 256 and odd > total * 0.4


def headers(data: bytes) -> Iterator[Header]:
    """Image headers of known chips at sector boundaries, in order."""
    for at in range(0, len(data) - DESC_AT - len(_DESC_MAGIC) + 1, SECTOR_SIZE):
        if data[at] != MAGIC or not 1 <= data[at + 1] <= MAX_SEGMENTS:
            continue
        chip_id = int.from_bytes(data[at + 12 : at + 14], "little")
        if chip_id in _CHIP_IDS and data[at + HEADER.size - 1] <= 1:
            yield Header(at, chip_by_id(chip_id), data[at + DESC_AT : at + DESC_AT + 4] == _DESC_MAGIC)


def tables(data: bytes) -> Iterator[FoundTable]:
    """Partition tables at sector boundaries, whole ones and damaged ones of which at least one row can be read."""
    for at in range(0, len(data), SECTOR_SIZE):
        if data[at : at + 2] != _ROW_MAGIC:
            continue
        sector = data[at : at + MAX_LENGTH]
        try:
            found = FoundTable(at, PartitionTable.from_binary(sector), None)
        except FormatError as error:
            found = FoundTable(at, PartitionTable(tuple(_rows(sector))), str(error))
        if found.table.entries:
            yield found


def _rows(sector: bytes) -> Iterator[Partition]:
    for start in range(0, len(sector) - ROW_SIZE + 1, ROW_SIZE):
        row = sector[start : start + ROW_SIZE]
        if row[:2] == _MD5_ROW:
            continue
        if row[:2] != _ROW_MAGIC:
            return
        try:
            yield from PartitionTable.from_binary(row + _ERASED * ROW_SIZE).entries
        except FormatError:
            return


def entry_like(raw: bytes) -> bool:
    """32 bytes that are erased, or carry the CRC of their sequence number."""
    return len(raw) == ENTRY_SIZE and (not raw.strip(_ERASED) or parse(raw).crc_ok)


def written_entries(data: bytes) -> list[int]:
    """File offsets of sectors that hold a select entry with a good CRC and nothing else."""
    found = []
    for at in range(0, len(data) - ENTRY_SIZE + 1, SECTOR_SIZE):
        if data[at + 28 : at + 32] == _ERASED * 4:
            continue
        entry = parse(data[at : at + ENTRY_SIZE])
        if entry.crc_ok and entry.seq != ERASED_SEQ and not data[at + ENTRY_SIZE : at + SECTOR_SIZE].strip(_ERASED):
            found.append(at)
    return found


def entropy(data: bytes) -> float:
    """Bits a byte: near 8 for noise and ciphertext (from a few KiB on)."""
    total = len(data)
    return -sum(count / total * math.log2(count / total) for count in Counter(data).values())
