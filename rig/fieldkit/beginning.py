"""Flash and eFuses at the beginning of a scenario, for whatever it is played on."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from rig.boards.firmware import FirmwareBuild
from rig.boards.install import end_of, flash_content
from rig.boards.shelf import FirmwareShelf
from rig.errors import UserError
from rig.fieldkit.entries import entry_bytes
from rig.fieldkit.firmware import image_bytes
from rig.fieldkit.scenario import Scenario, Start
from rig.idf.errors import FormatError
from rig.idf.partitions import MAX_LENGTH, PartitionTable
from rig.virtual.builds import embedded_config

_GZIP = b"\x1f\x8b"


class Beginning(NamedTuple):
    """`content`: flash from offset 0 to the end of the last partition; `secure_version`: bits burnt, None: no matter.

    `build`: what it consists of, but for the table of a dump.
    """

    build: FirmwareBuild
    content: bytes
    secure_version: int | None


def beginning(scenario: Scenario, shelf: FirmwareShelf) -> Beginning:
    """What to install. NotApplicable for a build that there is not, UserError for a dump that is not there."""
    start, wanted = scenario.start, scenario.firmware
    build = shelf.build(wanted.variant, start.version)
    burnt = start.secure_version if build.boot_config.anti_rollback else None
    if start.dump is not None:
        return _from_dump(start, Path(start.dump), build, burnt)
    bootloader = shelf.build(wanted.bootloader or wanted.variant, start.version)
    first, second = map(entry_bytes, start.otadata)
    images = {name: image_bytes(shelf, wanted.variant, image) for name, image in start.slots.items()}
    return Beginning(build, flash_content(build, bootloader, (first, second), images), burnt)


def _from_dump(start: Start, path: Path, build: FirmwareBuild, burnt: int | None) -> Beginning:
    content = bytearray(dump_bytes(path, start.dump_sha256))
    try:
        table = _table(content, build.boot_config.partition_table_offset)
    except FormatError as error:
        raise UserError(
            f"{path}: no partition table at {build.boot_config.partition_table_offset:#x}: {error}"
        ) from error
    otadata = table.otadata_for_app
    if otadata is None:
        raise UserError(f"{path}: its partition table has no otadata")
    content += b"\xff" * (end_of(table) - len(content))
    build = replace(build, table=table, otadata_offset=otadata.offset)
    if needs_bootloader(content, build):
        # no chip here runs a device's own code: one with the scenario's rules stands in for it
        data = build.bootloader_path.read_bytes()
        content[build.bootloader_offset : build.bootloader_offset + len(data)] = data
    return Beginning(build, bytes(content[: end_of(table)]), burnt)


def dump_bytes(path: Path, sha256: str | None) -> bytes:
    """The flash content in a file, gzip or plain. UserError if it is not there, or is not the one that was meant."""
    try:
        raw = path.read_bytes()
        data = gzip.decompress(raw) if raw.startswith(_GZIP) else raw
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: the dump cannot be read: {error}", hint="it belongs beside the scenario") from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(f"{path}: this is not the dump that the scenario begins from", hint="dump_sha256 names it")
    return data


def needs_bootloader(content: bytes | bytearray, build: FirmwareBuild) -> bool:
    """Whether a synthesised build's rules must take the place of the dump's bootloader, which is a device's own."""
    try:
        if embedded_config(build.bootloader_path.read_bytes()) is None:
            return False
        return (
            embedded_config(bytes(content[build.bootloader_offset : build.boot_config.partition_table_offset])) is None
        )
    except FormatError:
        return True


def _table(content: bytearray, offset: int) -> PartitionTable:
    return PartitionTable.from_binary(bytes(content[offset : offset + MAX_LENGTH]))
