"""Partition table CSV: names, numbers and automatic offsets, by components/partition_table/gen_esp32part.py.

Rows are plain data here; `rig.idf.partitions` turns them into a table and checks it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from rig.idf.errors import FormatError

TABLE_SIZE = 0x1000
"""The sector that the table takes, in bytes."""

APP, DATA, BOOTLOADER, PARTITION_TABLE = 0x00, 0x01, 0x02, 0x03
TYPES = {"app": APP, "data": DATA, "bootloader": BOOTLOADER, "partition_table": PARTITION_TABLE}
SUBTYPES: dict[int, dict[str, int]] = {
    APP: {
        "factory": 0x00,
        **{f"ota_{index}": 0x10 + index for index in range(16)},
        "test": 0x20,
        "tee_0": 0x30,
        "tee_1": 0x31,
    },
    DATA: {
        "ota": 0x00,
        "phy": 0x01,
        "nvs": 0x02,
        "coredump": 0x03,
        "nvs_keys": 0x04,
        "efuse": 0x05,
        "undefined": 0x06,
        "esphttpd": 0x80,
        "fat": 0x81,
        "spiffs": 0x82,
        "littlefs": 0x83,
        "tee_ota": 0x90,
    },
    BOOTLOADER: {"primary": 0x00, "ota": 0x01, "recovery": 0x02},
    PARTITION_TABLE: {"primary": 0x00, "ota": 0x01},
}
FLAGS = {"encrypted": 1, "readonly": 2}

_MULTIPLIERS = {"k": 1024, "m": 1024 * 1024}
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|([A-Za-z_]\w*))")


@dataclass(frozen=True)
class Placement:
    """Flash offsets the CSV leaves to the build: of the table, of the bootloader and of the recovery bootloader."""

    table: int = 0x8000
    bootloader: int | None = None
    recovery: int | None = None


@dataclass(frozen=True)
class Row:
    """One partition line. `offset` None: follows the one before; negative `size`: up to that flash offset."""

    line: int
    label: str
    type: int
    subtype: int
    offset: int | None
    size: int
    flags: int

    @property
    def fixed(self) -> bool:
        """Primary bootloader and table take no part in the order of offsets."""
        return self.type in (BOOTLOADER, PARTITION_TABLE) and self.subtype == 0


def parse_csv(
    text: str,
    placement: Placement,
    extra_subtypes: Mapping[int, Mapping[str, int]],
    variables: Mapping[str, str],
) -> list[tuple[Row, int]]:
    """Rows of the CSV with their flash offsets, in file order; FormatError names the line."""
    rows = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        try:
            stripped = _expand(line, variables).strip()
            if stripped and not stripped.startswith("#"):
                rows.append(_row(number, stripped, placement, extra_subtypes))
        except FormatError as error:
            raise FormatError(f"line {number}: {error}") from error
    return _place(rows, placement)


def alignment(type_: int) -> int:
    """What a partition's flash offset must be a multiple of, in bytes."""
    return 0x10000 if type_ == APP else 0x1000


def number_of(text: str, names: Mapping[str, int]) -> int:
    """A number as the CSV writes it (decimal, 0x…, 4K, 1M) or one of `names`. Raises FormatError listing them."""
    lowered = text.lower()
    if lowered in names:
        return names[lowered]
    unit = _MULTIPLIERS.get(lowered[-1:], 0)
    try:
        return int(text[:-1], 0) * unit if unit else int(text, 0)
    except ValueError:
        allowed = f"; known names: {', '.join(names)}" if names else "; allowed: 4096, 0x1000, 4K, 1M"
        raise FormatError(f"{text!r} is not valid{allowed}") from None


def size_text(size: int) -> str:
    """The shortest exact form: 1M, 24K, 0x1234."""
    for unit, letter in ((0x100000, "M"), (0x400, "K")):
        if size and size % unit == 0:
            return f"{size // unit}{letter}"
    return hex(size)


def _expand(line: str, variables: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in variables:
            raise FormatError(f"unknown variable {name!r}")
        return variables[name]

    return _VARIABLE.sub(value, line)


def _row(line: int, text: str, placement: Placement, extra: Mapping[int, Mapping[str, int]]) -> Row:
    fields = [field.strip() for field in text.split(",")] + [""] * 6
    label, type_text, subtype_text, offset_text, size_text_, flags_text = fields[:6]
    try:
        if not type_text:
            raise FormatError(f"the type is empty; allowed: {', '.join(TYPES)} or a number up to 0xFE")
        type_ = _byte(number_of(type_text, TYPES), "type")
        subtype = _subtype(type_, subtype_text, extra)
        return Row(
            line,
            label,
            type_,
            subtype,
            _offset(type_, subtype, offset_text, placement),
            _size(type_, size_text_, placement),
            _flags(flags_text),
        )
    except FormatError as error:
        raise FormatError(f"partition {label!r}: {error}") from error


def _subtype(type_: int, text: str, extra: Mapping[int, Mapping[str, int]]) -> int:
    if not text:
        if type_ == APP:
            raise FormatError("an app partition needs a subtype: factory, ota_0 to ota_15, test")
        return SUBTYPES[DATA]["undefined"]
    return _byte(number_of(text, {**SUBTYPES.get(type_, {}), **extra.get(type_, {})}), "subtype")


def _offset(type_: int, subtype: int, text: str, placement: Placement) -> int | None:
    if type_ == BOOTLOADER and subtype == SUBTYPES[BOOTLOADER]["primary"]:
        return _bootloader(placement)
    if type_ == BOOTLOADER and subtype == SUBTYPES[BOOTLOADER]["recovery"]:
        if placement.recovery is None:
            raise FormatError("the recovery bootloader's flash offset is not known; give it")
        return placement.recovery
    if type_ == PARTITION_TABLE and subtype == SUBTYPES[PARTITION_TABLE]["primary"]:
        return placement.table
    return _word(number_of(text, {}), "offset") if text else None


def _size(type_: int, text: str, placement: Placement) -> int:
    if type_ == BOOTLOADER:
        return placement.table - _bootloader(placement)
    if type_ == PARTITION_TABLE:
        return TABLE_SIZE
    if not text:
        raise FormatError("the size is empty; allowed: 4096, 0x1000, 4K, 1M")
    size = number_of(text, {})
    return size if size < 0 else _word(size, "size")


def _bootloader(placement: Placement) -> int:
    if placement.bootloader is None:
        raise FormatError("the primary bootloader's flash offset is not known; give it")
    if placement.bootloader >= placement.table:
        raise FormatError(f"the bootloader at {placement.bootloader:#x} is not below the table at {placement.table:#x}")
    return placement.bootloader


def _flags(text: str) -> int:
    flags = 0
    for name in filter(None, text.split(":")):
        if name not in FLAGS:
            raise FormatError(f"unknown flag {name!r}; known: {', '.join(FLAGS)}, several joined by a colon")
        flags |= FLAGS[name]
    return flags


def _place(rows: list[Row], placement: Placement) -> list[tuple[Row, int]]:
    end = placement.table + TABLE_SIZE
    before = f"the partition table takes {placement.table:#x} to {end:#x}"
    placed = []
    for row in rows:
        if row.fixed:
            placed.append((row, row.offset or 0))
            continue
        offset = row.offset
        if offset is None:
            step = alignment(row.type)
            offset = (end + step - 1) // step * step
        elif offset < end:
            raise FormatError(
                f"line {row.line}: partition {row.label!r} at {offset:#x} overlaps: {before}; "
                f"use {end:#x} or higher, or leave the offset empty"
            )
        size = row.size if row.size >= 0 else -row.size - offset
        if size < 0:
            raise FormatError(f"line {row.line}: partition {row.label!r} at {offset:#x} ends before it begins")
        placed.append((replace(row, size=size), offset))
        end = offset + size
        before = f"partition {row.label!r} ends at {end:#x}"
    return placed


def _byte(value: int, what: str) -> int:
    if not 0 <= value <= 0xFF:
        raise FormatError(f"{what} {value:#x} is out of range; allowed: 0 to 0xff")
    return value


def _word(value: int, what: str) -> int:
    if not 0 <= value <= 0xFFFFFFFF:
        raise FormatError(f"{what} {value:#x} is out of range; allowed: 0 to 0xffffffff")
    return value
