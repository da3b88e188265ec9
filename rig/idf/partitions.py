"""The partition table: binary and CSV form, who finds which partition in it, and every rule it is held to.

Sources: components/partition_table/gen_esp32part.py (what a build accepts), esp_partition_table_verify in
components/bootloader_support/src/flash_partitions.c (what the bootloader accepts),
bootloader_utility_load_partition_table in bootloader_utility.c and esp_ota_get_app_partition_count in esp_ota_ops.c
(what is found in it).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import md5
from typing import NamedTuple

from rig.idf.config import BootConfig
from rig.idf.effects import Log
from rig.idf.errors import FormatError
from rig.idf.partitions_csv import (
    APP,
    BOOTLOADER,
    DATA,
    FLAGS,
    PARTITION_TABLE,
    SUBTYPES,
    TABLE_SIZE,
    TYPES,
    Placement,
    alignment,
    parse_csv,
    size_text,
)

MAX_LENGTH = 0xC00
"""Bytes of the table's sector that hold rows: 96 with the MD5 row and the end marker."""
ROW_SIZE = 32
OTADATA_SIZE = 0x2000

_ROW = struct.Struct("<HBBII16sI")
_MAGIC, _MD5_MAGIC = 0x50AA, 0xEBEB
_END = b"\xff" * ROW_SIZE
_MD5_START = b"\xeb\xeb" + b"\xff" * 14
_OTADATA, _TEE_OTADATA = SUBTYPES[DATA]["ota"], SUBTYPES[DATA]["tee_ota"]
_NVS, _COREDUMP = SUBTYPES[DATA]["nvs"], SUBTYPES[DATA]["coredump"]
_APP_NAMES = {number: name for name, number in SUBTYPES[APP].items() if not name.startswith("tee")}


@dataclass(frozen=True)
class Partition:
    """One row; `offset` and `size` in bytes. `line` is its line in the CSV, 0 if it was not read from one."""

    label: str
    type: int
    subtype: int
    offset: int
    size: int
    flags: int = 0
    line: int = field(default=0, compare=False)

    @property
    def end(self) -> int:
        """Flash offset of the first byte behind it."""
        return self.offset + self.size

    @cached_property
    def slot(self) -> str | None:
        """`factory`, `ota_0` … `ota_15` or `test`; None for anything that no app boots from."""
        return _APP_NAMES.get(self.subtype) if self.type == APP else None

    @property
    def is_otadata(self) -> bool:
        return self.type == DATA and self.subtype == _OTADATA

    @property
    def readonly(self) -> bool:
        return bool(self.flags & FLAGS["readonly"])

    @property
    def encrypted(self) -> bool:
        return bool(self.flags & FLAGS["encrypted"])

    @property
    def type_name(self) -> str:
        """As the CSV would name it; the number in hex if it has no name."""
        return _name_of(self.type, TYPES)

    @property
    def subtype_name(self) -> str:
        return _name_of(self.subtype, SUBTYPES.get(self.type, {}))

    def to_binary(self) -> bytes:
        """esp_partition_info_t, 32 bytes."""
        label = self.label.encode()
        return _ROW.pack(_MAGIC, self.type, self.subtype, self.offset, self.size, label, self.flags)

    def __str__(self) -> str:
        at = f"line {self.line}: " if self.line else ""
        return f"{at}partition {self.label!r}"


@dataclass(frozen=True)
class PartitionTable:
    """Partitions in table order. Building one checks nothing: `verify` does, and `check_table` like the bootloader."""

    entries: tuple[Partition, ...]

    @classmethod
    def from_csv(
        cls,
        text: str,
        *,
        table_offset: int = 0x8000,
        bootloader_offset: int | None = None,
        recovery_offset: int | None = None,
        extra_subtypes: Mapping[int, Mapping[str, int]] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> PartitionTable:
        """Read a CSV; offsets are flash offsets in bytes. `variables` replace `$NAME` as the environment does.

        Automatic offsets follow the rules of v5.0 and later; labels longer than 16 bytes are cut, as in flash.
        Raises FormatError naming line and partition.
        """
        placement = Placement(table_offset, bootloader_offset, recovery_offset)
        rows = parse_csv(text, placement, extra_subtypes or {}, variables or {})
        return cls(
            tuple(
                Partition(_stored_label(row.label), row.type, row.subtype, offset, row.size, row.flags, row.line)
                for row, offset in rows
            )
        )

    @classmethod
    def from_binary(cls, data: bytes) -> PartitionTable:
        """Read the table's sector (or its first 0xC00 bytes).

        Raises FormatError for a bad magic number, a wrong or second MD5 row, a torn row and a missing end marker.
        """
        entries: list[Partition] = []
        md5_seen = False
        for start in range(0, min(len(data), MAX_LENGTH), ROW_SIZE):
            row = data[start : start + ROW_SIZE]
            number = start // ROW_SIZE
            if len(row) != ROW_SIZE:
                raise FormatError(f"partition table ends inside row {number}: {len(row)} of {ROW_SIZE} bytes")
            if row == _END:
                return cls(tuple(entries))
            if row[:2] == _MD5_START[:2]:
                if md5_seen:
                    raise FormatError(f"row {number}: a second MD5 row; only one is allowed")
                _check_md5(row, data[:start], number)
                md5_seen = True
                continue
            entries.append(_from_row(row, number))
        raise FormatError("partition table has no end marker (32 bytes of 0xFF)")

    def to_binary(self) -> bytes:
        """0xC00 bytes: rows, MD5 row, 0xFF. Raises FormatError for more than 94 partitions."""
        rows = b"".join(entry.to_binary() for entry in self.entries)
        rows += _MD5_START + md5(rows, usedforsecurity=False).digest()
        if len(rows) >= MAX_LENGTH:
            allowed = MAX_LENGTH // ROW_SIZE - 2
            raise FormatError(f"{len(self.entries)} partitions do not fit; allowed: {allowed}")
        return rows.ljust(MAX_LENGTH, b"\xff")

    def to_csv(self) -> str:
        """Text that `from_csv` reads back to the same table."""
        lines = ["# Name, Type, SubType, Offset, Size, Flags"]
        for entry in self.entries:
            flags = ":".join(name for name, bit in FLAGS.items() if entry.flags & bit)
            names = f"{entry.label},{entry.type_name},{entry.subtype_name}"
            lines.append(f"{names},{entry.offset:#x},{size_text(entry.size)},{flags}")
        return "\n".join(lines) + "\n"

    @cached_property
    def _slots(self) -> dict[str, Partition]:
        return {entry.slot: entry for entry in self.entries if entry.slot}

    def slot(self, name: str) -> Partition | None:
        """The app partition of that slot as the bootloader finds it: of two with one subtype the last."""
        return self._slots.get(name)

    def slot_for_app(self, name: str) -> Partition | None:
        """As the app finds it (esp_partition_find_first): of two with one subtype the first."""
        return next((entry for entry in self.entries if entry.slot == name), None)

    def by_label(self, label: str) -> Partition | None:
        """The first partition with this label."""
        return next((entry for entry in self.entries if entry.label == label), None)

    def slot_at(self, offset: int) -> str | None:
        """Name of the app slot that starts at flash `offset`."""
        return next((entry.slot for entry in self.entries if entry.slot and entry.offset == offset), None)

    @cached_property
    def app_slots(self) -> tuple[Partition, ...]:
        """App partitions in table order."""
        return tuple(entry for entry in self.entries if entry.slot)

    @cached_property
    def otadata_for_bootloader(self) -> Partition | None:
        """The last otadata partition: the bootloader overwrites what it found before."""
        return next((entry for entry in reversed(self.entries) if entry.is_otadata), None)

    @cached_property
    def otadata_for_app(self) -> Partition | None:
        """The first otadata partition."""
        return next((entry for entry in self.entries if entry.is_otadata), None)

    @cached_property
    def ota_count_bootloader(self) -> int:
        """OTA rows, a repeated subtype counted each time."""
        return sum(entry.type == APP and entry.subtype & ~0x0F == 0x10 for entry in self.entries)

    @cached_property
    def ota_count_app(self) -> int:
        """Consecutive OTA subtypes from ota_0."""
        count = 0
        while f"ota_{count}" in self._slots:
            count += 1
        return count

    def verify(
        self,
        flash_size: int | None = None,
        *,
        table_offset: int = 0x8000,
        idf_version: str = "v6.1",
        app_size_unit: int | None = None,
    ) -> None:
        """Hold the table to the rules of gen_esp32part.py of that release; `flash_size` and `table_offset` in bytes.

        `app_size_unit`: what app sizes must be a multiple of, if not the release's own rule (0x10000: secure boot v1).
        Raises FormatError naming the partition, its line if known, and what is allowed.
        """
        match = re.match(r"v?(\d+)\.(\d+)", idf_version)
        if match is None:
            raise FormatError(f"{idf_version!r} is no ESP-IDF version")
        idf = (int(match[1]), int(match[2]))
        unit = app_size_unit or (0x1000 if idf >= (5, 3) else 1)
        for entry in self.entries:
            _verify_entry(entry, idf, unit)
        _verify_unique_labels(self.entries)
        _verify_no_overlap(self.entries, table_offset)
        _verify_otadata(self.entries, _OTADATA, "otadata")
        _verify_otadata(self.entries, _TEE_OTADATA, "TEE otadata")
        if flash_size is not None:
            for entry in self.entries:
                if entry.end > flash_size:
                    raise FormatError(f"{entry} ends at {entry.end:#x}, behind the flash's end at {flash_size:#x}")

    def warnings(self) -> tuple[str, ...]:
        """What a build accepts although it is hardly meant: OTA slots that cannot be reached, misleading names."""
        found = []
        if self.ota_count_bootloader and self.otadata_for_bootloader is None:
            found.append("OTA slots without an otadata partition: only factory can boot")
        if self.ota_count_bootloader == 1 and self.slot("factory") is None:
            found.append("one OTA slot and no factory: an update has nowhere to go")
        if self.ota_count_app != self.ota_count_bootloader:
            found.append("OTA slots are not numbered ota_0, ota_1, … without gap: some are never booted")
        for entry in self.entries:
            subtypes = [number for names in SUBTYPES.values() for name, number in names.items() if name == entry.label]
            if TYPES.get(entry.label, entry.type) != entry.type:
                found.append(f"{entry} is named like a type but has type {entry.type_name}")
            elif subtypes and SUBTYPES.get(entry.type, {}).get(entry.label) != entry.subtype:
                found.append(f"{entry} is named like a subtype but is {entry.type_name}, {entry.subtype_name}")
            if entry.flags & ~sum(FLAGS.values()):
                found.append(f"{entry} has unknown flags {entry.flags:#x}")
        return tuple(found)


class TableCheck(NamedTuple):
    """What the bootloader makes of the table in flash; `table` is None when it refuses it."""

    ok: bool
    logs: tuple[Log, ...]
    table: PartitionTable | None


def check_table(data: bytes, flash_size: int, config: BootConfig) -> TableCheck:
    """`esp_partition_table_verify` on the table's first 0xC00 bytes; `flash_size` in bytes is the bootloader's idea."""
    rows = [data[start : start + ROW_SIZE].ljust(ROW_SIZE, b"\xff") for start in range(0, MAX_LENGTH, ROW_SIZE)]
    md5_rows = 0
    for number, row in enumerate(rows):
        magic, type_, subtype, offset, size, _, _ = _ROW.unpack(row)
        if magic == _MAGIC:
            # before v6.1 the sum is taken modulo 2^32
            end = offset + size if config.idf >= (6, 1) else (offset + size) & 0xFFFFFFFF
            if offset > flash_size or end > flash_size:
                return _refused(
                    f"partition {number} invalid - offset 0x{offset:x} size 0x{size:x} "
                    f"exceeds flash chip size 0x{flash_size:x}"
                )
        elif magic == _MD5_MAGIC:
            if md5_rows:
                return _refused("Only one MD5 checksum is allowed")
            if row[16:] != md5(b"".join(rows[:number]), usedforsecurity=False).digest():
                return _refused("Incorrect MD5 checksum")
            md5_rows = 1
        elif magic == 0xFFFF and type_ == 0xFF and subtype == 0xFF and (number or config.idf < (5, 5)):
            entries = tuple(_loaded(entry) for entry in rows[: number - md5_rows])
            verified = Log("D", "flash_parts", f"partition table verified, {number} entries")
            return TableCheck(True, (verified,), PartitionTable(entries))
        else:
            return _refused(f"partition {number} invalid magic number 0x{magic:x}")
    return _refused("partition table has no terminating entry, not valid")


def _refused(text: str) -> TableCheck:
    return TableCheck(False, (Log("E", "flash_parts", text),), None)


def _loaded(row: bytes) -> Partition:
    _, type_, subtype, offset, size, label, flags = _ROW.unpack(row)
    return Partition(label.split(b"\0")[0].decode(errors="replace"), type_, subtype, offset, size, flags)


def _from_row(row: bytes, number: int) -> Partition:
    magic, type_, subtype, offset, size, label, flags = _ROW.unpack(row)
    if magic != _MAGIC:
        raise FormatError(f"row {number}: magic number {magic:#06x}; expected {_MAGIC:#06x}")
    try:
        text = label.split(b"\0")[0].decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"row {number}: the label is not UTF-8: {label!r}") from error
    return Partition(text, type_, subtype, offset, size, flags)


def _check_md5(row: bytes, before: bytes, number: int) -> None:
    expected = md5(before, usedforsecurity=False).digest()
    if row[16:] != expected:
        raise FormatError(f"row {number}: MD5 is {row[16:].hex()}; the rows before it give {expected.hex()}")


def _stored_label(label: str) -> str:
    return label.encode()[:16].decode(errors="ignore")


def _name_of(number: int, names: Mapping[str, int]) -> str:
    return next((name for name, value in names.items() if value == number), f"{number:#04x}")


def _verify_entry(entry: Partition, idf: tuple[int, int], app_size_unit: int) -> None:
    step = alignment(entry.type)
    if entry.type != APP and idf < (5, 0):
        step = 4
    if entry.offset % step:
        raise FormatError(f"{entry} at {entry.offset:#x} is not aligned; allowed: multiples of {step:#x}")
    if entry.type == APP and entry.size % app_size_unit:
        raise FormatError(f"{entry} has size {entry.size:#x}; allowed: multiples of {app_size_unit:#x}")
    if entry.type != DATA:
        return
    if entry.subtype in (_OTADATA, _COREDUMP) and entry.readonly and idf >= (5, 2):
        raise FormatError(f"{entry} of subtype {entry.subtype_name} is always written; it cannot be readonly")
    if entry.subtype == _NVS and entry.size < 0x3000 and not entry.readonly and idf >= (5, 5):
        raise FormatError(f"{entry} has size {entry.size:#x}; NVS needs 0x3000 or more, or the flag readonly")


def _verify_unique_labels(entries: Iterable[Partition]) -> None:
    seen: dict[str, Partition] = {}
    for entry in entries:
        if entry.label in seen:
            first = seen[entry.label]
            raise FormatError(f"{entry} has the label of the one at {first.offset:#x}; labels must be unique")
        seen[entry.label] = entry


def _verify_no_overlap(entries: Iterable[Partition], table_offset: int) -> None:
    free = table_offset + TABLE_SIZE
    last: Partition | None = None
    for entry in sorted(entries, key=lambda each: each.offset):
        primary = entry.type in (BOOTLOADER, PARTITION_TABLE) and entry.subtype == 0
        if entry.offset < free and not primary:
            raise FormatError(f"{entry} at {entry.offset:#x} is below {free:#x}, the end of the partition table")
        if last is not None and entry.offset < last.end:
            raise FormatError(
                f"{entry} at {entry.offset:#x} overlaps {last.label!r}, which takes {last.offset:#x} to {last.end:#x}"
            )
        last = entry


def _verify_otadata(entries: Iterable[Partition], subtype: int, what: str) -> None:
    found = [entry for entry in entries if entry.type == DATA and entry.subtype == subtype]
    if len(found) > 1:
        raise FormatError(f"{found[1]} is a second {what} partition beside {found[0].label!r}; allowed: one")
    if found and found[0].size != OTADATA_SIZE:
        raise FormatError(f"{found[0]} has size {found[0].size:#x}; {what} must have {OTADATA_SIZE:#x}")
