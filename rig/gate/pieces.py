"""A build directory read piece by piece: what is missing or broken costs only the checks that need it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import ValidationError

from rig.boards.flasher_args import FlashSection, FlashSettings, read_json
from rig.errors import UserError
from rig.gate.release import CannotTell, Malformed
from rig.gate.settings import Settings
from rig.idf.chips import CHIPS, Chip
from rig.idf.config import BootConfig
from rig.idf.errors import FormatError
from rig.idf.image import AppDesc, AppImage, parse
from rig.idf.image_check import DESC_AT, HEADER, MAGIC
from rig.idf.partitions import ROW_SIZE, PartitionTable

T = TypeVar("T")
ARGS, CONFIG, DESCRIPTION = "flasher_args.json", "config/sdkconfig.json", "project_description.json"
BOOTLOADER_CONFIG = "bootloader/config/sdkconfig.json"
"""What the bootloader itself was configured with; `idf.py build` leaves it, a folder of release files rarely has it."""
LONGEST = 0x8000000
"""Bytes: 128 MB, the largest flash that ESP-IDF knows."""
_USUAL = {
    "bootloader": "bootloader/bootloader.bin",
    "partition-table": "partition_table/partition-table.bin",
    "otadata": "ota_data_initial.bin",
}
"""Where `idf.py build` puts them, should flasher_args.json not say."""


@dataclass(frozen=True)
class Piece(Generic[T]):
    """One part of a build, or the trouble with it. `broken`: it is there and cannot be made sense of."""

    held: T | None
    trouble: str = ""
    broken: bool = False

    @property
    def value(self) -> T:
        """CannotTell with the trouble if it is not there."""
        if self.held is None:
            raise CannotTell(self.trouble)
        return self.held

    def read_as(self, read: Callable[[T], Any], name: str) -> Piece[Any]:
        """A part of this one; `read` raises FormatError if it is broken."""
        if self.held is None:
            return Piece(None, self.trouble, self.broken)
        try:
            return Piece(read(self.held))
        except FormatError as error:
            return Piece(None, f"{name}: {error}", broken=True)


class Facts(NamedTuple):
    """The header of an image: revisions are major * 100 + minor."""

    chip_id: int
    min_revision: int
    max_revision: int
    hash_appended: bool


@dataclass(frozen=True)
class Pieces:
    """One build. `*_file` are bytes as they ship; `app_desc` and `*_facts` are read even of an image that is torn."""

    folder: Path
    args: Piece[Mapping[str, Any]]
    settings: Piece[Settings]
    bootloader_settings: Piece[Settings]
    description: Piece[Mapping[str, Any]]
    bootloader_file: Piece[bytes]
    app_file: Piece[bytes]
    table_file: Piece[bytes]
    otadata_file: Piece[bytes]
    bootloader: Piece[AppImage]
    app: Piece[AppImage]
    app_facts: Piece[Facts]
    app_desc: Piece[AppDesc]
    table: Piece[PartitionTable]

    def section(self, name: str) -> FlashSection:
        """`bootloader`, `app`, `partition-table` or `otadata` of flasher_args.json."""
        args = self.args.value
        if name not in args:
            raise CannotTell(f"{ARGS} says nothing of {name}")
        try:
            return FlashSection.model_validate(args[name])
        except ValidationError as error:
            raise Malformed(f"{ARGS}: {name}: {error.errors()[0]['msg']}") from None

    @property
    def flash_settings(self) -> FlashSettings:
        """Of flasher_args.json; Malformed if they make no sense."""
        try:
            return FlashSettings.model_validate(self.args.value.get("flash_settings"))
        except ValidationError as error:
            raise Malformed(f"{ARGS}: flash_settings: {error.errors()[0]['msg']}") from None

    @property
    def flash_files(self) -> Mapping[int, str]:
        """Everything that is flashed, by offset in bytes, ascending."""
        files = self.args.value.get("flash_files")
        try:
            found = {int(offset, 0): str(name) for offset, name in files.items()} if isinstance(files, dict) else {}
        except (TypeError, ValueError):
            raise Malformed(f"{ARGS}: an offset of flash_files is no number") from None
        if not found:
            raise Malformed(f"{ARGS} has no flash_files")
        return dict(sorted(found.items()))

    @property
    def targets(self) -> Mapping[str, str]:
        """The chip by who says so; those that say nothing are left out."""
        found = {}
        if self.args.held is not None:
            esptool = self.args.held.get("extra_esptool_args")
            found[ARGS] = str(esptool["chip"]) if isinstance(esptool, dict) and "chip" in esptool else ""
        if self.settings.held is not None:
            found[CONFIG] = str(self.settings.held.values.get("IDF_TARGET", ""))
        if self.description.held is not None:
            found[DESCRIPTION] = str(self.description.held.get("target", ""))
        return {source: name for source, name in found.items() if name}

    @property
    def chip(self) -> Chip:
        """The first that anything names; CannotTell if nothing does."""
        name = next(iter(self.targets.values()), None)
        if name is None:
            raise CannotTell(f"neither {ARGS} nor {CONFIG} says which chip this is for")
        if name not in CHIPS:
            raise Malformed(f"the chip {name!r} is not known; known: {', '.join(CHIPS)}")
        return CHIPS[name]

    @property
    def flash_size(self) -> int:
        """Bytes. `detect` and `keep` are esptool's to fill in, so then the configured size counts."""
        text = self.flash_settings.flash_size if self.args.held is not None else ""
        if not re.fullmatch(r"\d{1,3}MB", text):
            text = self.settings.value.text("ESPTOOLPY_FLASHSIZE")
        match = re.fullmatch(r"(\d{1,3})MB", text)
        if match is None:
            raise CannotTell(f"neither {ARGS} nor {CONFIG} says how large flash is")
        return int(match[1]) * 0x100000

    @property
    def table_offset(self) -> int:
        """Flash offset in bytes."""
        if self.args.held is not None and "partition-table" in self.args.held:
            return self.section("partition-table").offset
        return self.settings.value.number("PARTITION_TABLE_OFFSET")

    @property
    def bootloader_offset(self) -> int:
        """Flash offset in bytes."""
        if self.args.held is not None and "bootloader" in self.args.held:
            return self.section("bootloader").offset
        return self.chip.bootloader_offset

    @property
    def bootloader_facts(self) -> Facts:
        """FormatError where the file does not start like an image."""
        return _facts(self.bootloader_file.value)

    @property
    def idf_version(self) -> str:
        """The release that built the app, as `v5.5.1`. Empty if the app says only a commit, or nothing."""
        found = re.match(r"v?\d+\.\d+(\.\d+)?", self.app_desc.value.idf_ver)
        return found[0] if found else ""

    @property
    def boot_config(self) -> BootConfig:
        """The rules that sdkconfig gives the bootloader."""
        try:
            return BootConfig.from_sdkconfig(self.settings.value.values, self.idf_version or "v5.5", self.chip.name)
        except FormatError as error:
            raise CannotTell(f"{CONFIG}: {error}") from None


def load_pieces(folder: Path) -> Pieces:
    """Read what there is. UserError if the folder does not exist or holds nothing of a build."""
    try:
        there = folder.is_dir()
    except OSError as error:
        raise UserError(f"build directory {folder} cannot be read: {error.strerror}") from error
    if not there:
        raise UserError(f"build directory {folder} does not exist", hint="name the build folder of `idf.py build`")
    args = _json(folder, ARGS)
    description = _json(folder, DESCRIPTION)
    bootloader = _file(folder, _name(args, "bootloader"))
    app_name = _app_name(args, description)
    app = _file(folder, app_name) if app_name else Piece[bytes](None, f"neither {ARGS} nor {DESCRIPTION} names the app")
    table = _file(folder, _name(args, "partition-table"))
    config = _json(folder, CONFIG)
    if all(each.held is None and not each.broken for each in (args, description, config, bootloader, app, table)):
        raise UserError(f"{folder} holds nothing of an ESP-IDF build", hint="name the build folder of `idf.py build`")
    return Pieces(
        folder=folder,
        args=args,
        settings=config.read_as(lambda values: Settings(values, CONFIG), CONFIG),
        bootloader_settings=_json(folder, BOOTLOADER_CONFIG).read_as(
            lambda values: Settings(values, BOOTLOADER_CONFIG), BOOTLOADER_CONFIG
        ),
        description=description,
        bootloader_file=bootloader,
        app_file=app,
        table_file=table,
        otadata_file=_file(folder, _name(args, "otadata")),
        bootloader=bootloader.read_as(parse, "the bootloader"),
        app=app.read_as(parse, app_name),
        app_facts=app.read_as(_facts, app_name),
        app_desc=app.read_as(_desc, app_name),
        table=table.read_as(PartitionTable.from_binary, "the partition table"),
    )


def has_md5(table: bytes) -> bool:
    """Whether a partition table carries the row with its check-sum."""
    return any(table[start : start + 2] == b"\xeb\xeb" for start in range(0, len(table), ROW_SIZE))


def _unreadable(path: Path, name: str) -> Piece[Any] | None:
    """Why it should not even be opened; OSError where the system does not say. Reading a pipe would wait for ever."""
    if not path.exists():
        return Piece(None, f"{name} is missing")
    if not path.is_file():
        return Piece(None, f"{name} is no file", broken=True)
    if (size := path.stat().st_size) > LONGEST:
        return Piece(None, f"{name} has {size} bytes, more than any flash", broken=True)
    return None


def _json(folder: Path, name: str) -> Piece[Mapping[str, Any]]:
    path = folder / name
    try:
        return _unreadable(path, name) or Piece(read_json(path))
    except OSError as error:
        # `exists` raises for a folder above that may not be entered.
        return Piece(None, f"{name} cannot be read: {error.strerror}", broken=True)
    except UserError as error:
        return Piece(None, error.what, broken=True)


def _file(folder: Path, name: str) -> Piece[bytes]:
    path = folder / name
    try:
        return _unreadable(path, name) or Piece(path.read_bytes())
    except (OSError, ValueError) as error:
        return Piece(None, f"{name} cannot be read: {getattr(error, 'strerror', None) or error}", broken=True)


def _name(args: Piece[Mapping[str, Any]], section: str) -> str:
    said = args.held.get(section) if args.held is not None else None
    name = said.get("file") if isinstance(said, dict) else None
    return name if isinstance(name, str) and name else _USUAL.get(section, "")


def _app_name(args: Piece[Mapping[str, Any]], description: Piece[Mapping[str, Any]]) -> str:
    return _name(args, "app") or str((description.held or {}).get("app_bin") or "")


def _facts(data: bytes) -> Facts:
    if len(data) < HEADER.size or data[0] != MAGIC:
        raise FormatError("it does not start like an image")
    _, _, _, _, _, _, _, chip_id, _, low, high, _, hashed = HEADER.unpack_from(data)
    return Facts(chip_id, low, high, bool(hashed))


def _desc(data: bytes) -> AppDesc:
    desc = AppDesc.find(data[DESC_AT:])
    if desc is None:
        raise FormatError("it has no app descriptor")
    return desc
