"""What flash must hold so that a board starts a test from a known state. Pure: builds in, bytes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rig.boards.firmware import FirmwareBuild
from rig.errors import UserError
from rig.idf.effects import SECTOR_SIZE
from rig.idf.partitions import Partition, PartitionTable

TABLE_SECTORS = 1


def flash_content(
    build: FirmwareBuild,
    bootloader: FirmwareBuild,
    otadata: tuple[bytes, bytes],
    slots: Mapping[str, bytes],
) -> bytes:
    """Flash from offset 0 to the end of the last partition.

    Everything that `build` flashes, with the bootloader of another build, these select entries (empty: erased) and the
    content of further slots. What nothing is said of is erased.
    """
    content = bytearray(b"\xff" * end_of(build.table))
    parts = {offset: path.read_bytes() for offset, path in build.flash_files.items()}
    parts[bootloader.bootloader_offset] = bootloader.bootloader_path.read_bytes()
    for index, entry in enumerate(otadata):
        parts[build.otadata_offset + index * SECTOR_SIZE] = entry.ljust(SECTOR_SIZE, b"\xff")
    for name, data in slots.items():
        slot = slot_of(build.table, name)
        if len(data) > slot.size:
            raise UserError(f"{len(data)} bytes do not fit into {name} of {slot.size} bytes")
        parts[slot.offset] = data.ljust(slot.size, b"\xff")
    # In ascending order of size, so that a slot's new content covers the app that the build flashes there.
    for offset, data in sorted(parts.items(), key=lambda item: len(item[1])):
        content[offset : offset + len(data)] = data
    return bytes(content)


def with_table_of(build: FirmwareBuild, other: FirmwareBuild) -> FirmwareBuild:
    """`build` with the partition table of `other`, as in a product whose app and table do not belong together."""
    table_at = build.boot_config.partition_table_offset
    files = {**build.flash_files, table_at: other.flash_files[other.boot_config.partition_table_offset]}
    return replace(build, table=other.table, flash_files=files)


def regions_without(content: bytes, kept: Partition | None) -> dict[int, bytes]:
    """`content` by flash offset, leaving out one partition whose present content is to stay."""
    if kept is None:
        return {0: content}
    return {0: content[: kept.offset], kept.end: content[kept.end :]}


def end_of(table: PartitionTable) -> int:
    """Flash offset behind the last partition."""
    return max(entry.end for entry in table.entries)


def slot_of(table: PartitionTable, name: str) -> Partition:
    """The app partition of that slot name; UserError lists the slots there are."""
    for entry in table.app_slots:
        if entry.slot == name:
            return entry
    names = ", ".join(entry.slot or "?" for entry in table.app_slots)
    raise UserError(f"this partition table has no slot {name!r}", hint=f"one of: {names}")
