"""A firmware build directory as `idf.py build` leaves it, read once and checked whole before anything is flashed."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from rig.boards.flasher_args import (
    BUILD,
    FlasherArgs,
    FlashSection,
    FlashSettings,
    check_sections,
    read_flasher_args,
    read_json,
)
from rig.errors import UserError
from rig.idf.config import BootConfig
from rig.idf.errors import FormatError
from rig.idf.image import AppImage, parse
from rig.idf.partitions import Partition, PartitionTable


@dataclass(frozen=True)
class FirmwareBuild:
    """One build. Offsets are flash offsets and sizes, both in bytes; files are absolute or relative as `path` was.

    `flash_files`: everything `idf.py flash` writes, by offset, ascending. `boot_config` is what the bootloader was
    built with; `app` is the parsed app image, whose descriptor is always there.
    """

    path: Path
    chip: str
    project: str
    version: str
    idf_version: str
    secure_version: int
    flash_files: Mapping[int, Path]
    flash_size: int
    flash_settings: FlashSettings
    bootloader_path: Path
    bootloader_offset: int
    app_path: Path
    app_offset: int
    app: AppImage
    table: PartitionTable
    otadata_path: Path
    otadata_offset: int
    sdkconfig: Mapping[str, Any]
    boot_config: BootConfig

    @property
    def speaks_protocol(self) -> bool:
        """Whether the app has the component `rig_agent` (its Kconfig symbols), so that it can be asked things."""
        return any(name.startswith("RIG_AGENT") for name in self.sdkconfig)

    @property
    def app_slot(self) -> Partition:
        """The partition that flashing puts the app into."""
        return next(entry for entry in self.table.app_slots if entry.offset == self.app_offset)

    @property
    def initial_otadata(self) -> bytes:
        """What flashing writes to otadata."""
        return self.otadata_path.read_bytes()

    @property
    def identity(self) -> dict[str, str]:
        """What tells the build from others in a `TestResult`: 16 hex digits of its app's ELF and of its bootloader."""
        assert self.app.desc is not None
        return {
            "app_elf": self.app.desc.elf_sha.hex()[:16],
            "bootloader": hashlib.sha256(self.bootloader_path.read_bytes()).hexdigest()[:16],
        }

    @classmethod
    def load(cls, path: Path | str) -> FirmwareBuild:
        """Read and check the build in `path`. Raises UserError saying which file is wrong and what to do."""
        folder = Path(path)
        args = read_flasher_args(folder)
        chip = args.extra_esptool_args.chip
        files = {offset: _file(folder, name) for offset, name in sorted(args.flash_files.items())}
        sdkconfig = read_json(folder / "config" / "sdkconfig.json")
        if sdkconfig.get("IDF_TARGET", chip) != chip:
            raise UserError(
                f"config/sdkconfig.json is for {sdkconfig['IDF_TARGET']}, flasher_args.json for {chip}",
                evidence=folder,
                hint="remove the build directory and build again",
            )
        bootloader_path = _file(folder, args.bootloader.file)
        bootloader = _image(bootloader_path, chip)
        app_path = _file(folder, args.app.file)
        app = _image(app_path, chip)
        if app.desc is None:
            raise UserError(f"{args.app.file} has no app descriptor", evidence=app_path, hint=BUILD)
        # before v5.2 bootloaders do not say their version
        said = bootloader.bootloader_desc.idf_ver if bootloader.bootloader_desc else app.desc.idf_ver
        builder = _idf_version(folder, said, str(sdkconfig.get("IDF_INIT_VERSION", "")))
        flash_size = _flash_size(args, sdkconfig, folder)
        boot_config = _boot_config(folder, sdkconfig, builder, chip)
        table = _table(_file(folder, args.partition_table.file), args, flash_size, builder)
        slot = _check_app_slot(table, args, app_path)
        otadata = _otadata(folder, args, table)
        check_sections(args, folder)
        _check_layout(files, flash_size, folder)
        if args.bootloader.offset + bootloader.length > args.partition_table.offset:
            raise UserError(
                f"the bootloader ({bootloader.length} bytes at {args.bootloader.offset:#x}) reaches into the partition "
                f"table at {args.partition_table.offset:#x}",
                evidence=bootloader_path,
                hint="move the table with CONFIG_PARTITION_TABLE_OFFSET",
            )
        return cls(
            path=folder,
            chip=chip,
            project=app.desc.project,
            version=app.desc.version,
            idf_version=app.desc.idf_ver,
            secure_version=app.desc.secure_version,
            flash_files=files,
            flash_size=flash_size,
            flash_settings=args.flash_settings,
            bootloader_path=bootloader_path,
            bootloader_offset=args.bootloader.offset,
            app_path=app_path,
            app_offset=slot.offset,
            app=app,
            table=table,
            otadata_path=_file(folder, otadata.file),
            otadata_offset=otadata.offset,
            sdkconfig=sdkconfig,
            boot_config=boot_config,
        )


def _file(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise UserError(f"{name} is named in flasher_args.json but missing", evidence=path, hint=BUILD)
    return path


def _image(path: Path, chip: str) -> AppImage:
    try:
        image = parse(path.read_bytes())
        built_for = image.chip.name
    except OSError as error:
        raise UserError(f"{path.name} cannot be read: {error.strerror}", evidence=path) from error
    except FormatError as error:
        raise UserError(f"{path.name}: {error}", evidence=path, hint=BUILD) from error
    if built_for != chip:
        raise UserError(
            f"{path.name} is for {built_for}, flasher_args.json for {chip}",
            evidence=path,
            hint="remove the build directory and build again",
        )
    return image


def _idf_version(folder: Path, *said: str) -> str:
    """The first that is a version. Images built from an untagged checkout say a commit or nothing; then the sdkconfig
    says in its first lines which version wrote it, also in v5.1, which has no IDF_INIT_VERSION.
    """
    for version in said:
        if re.match(r"v?\d+\.\d+", version):
            return version
    for source in (folder / "sdkconfig", _described(folder, "config_file")):
        with contextlib.suppress(OSError), source.open(encoding="utf-8", errors="replace") as stream:
            if match := re.search(r"\(ESP-IDF\) (\d+\.\d+\.\d+)", stream.read(400)):
                return match[1]
    raise UserError(
        f"nothing says which ESP-IDF built this; its bootloader or app says {said[0]!r}",
        evidence=folder,
        hint="write the version of ESP-IDF into $IDF_PATH/version.txt and build again",
    )


def _described(folder: Path, key: str) -> Path:
    """A path that project_description.json names, if it does."""
    source = folder / "project_description.json"
    return folder / str(read_json(source).get(key, "")) if source.is_file() else folder


def _boot_config(folder: Path, sdkconfig: Mapping[str, Any], builder: str, chip: str) -> BootConfig:
    try:
        return BootConfig.from_sdkconfig(sdkconfig, builder, chip)
    except FormatError as error:
        raise UserError(f"sdkconfig.json: {error}", evidence=folder / "config" / "sdkconfig.json") from error


def _flash_size(args: FlasherArgs, sdkconfig: Mapping[str, Any], folder: Path) -> int:
    """Bytes. `detect` and `keep` are esptool's to fill in, so then the configured size counts."""
    for text in (args.flash_settings.flash_size, str(sdkconfig.get("ESPTOOLPY_FLASHSIZE", ""))):
        match = re.fullmatch(r"(\d{1,3})MB", text)
        if match is not None:
            return int(match[1]) * 0x100000
    raise UserError(
        f"flash_settings.flash_size is {args.flash_settings.flash_size!r}; allowed: 1MB to 128MB, detect, keep",
        evidence=folder / "flasher_args.json",
        hint="set the flash size in menuconfig (Serial flasher config)",
    )


def _table(path: Path, args: FlasherArgs, flash_size: int, builder: str) -> PartitionTable:
    try:
        table = PartitionTable.from_binary(path.read_bytes())
        table.verify(flash_size, table_offset=args.partition_table.offset, idf_version=builder)
    except FormatError as error:
        raise UserError(f"{path.name}: {error}", evidence=path, hint="correct the partition CSV and build") from error
    if table.otadata_for_app is None:
        raise UserError(
            "the partition table has no otadata partition, so no update can ever be booted",
            evidence=path,
            hint="add a line `otadata, data, ota, , 0x2000`",
        )
    if not table.ota_count_app:
        raise UserError("the partition table has no OTA slot", evidence=path, hint="add ota_0 and ota_1")
    return table


def _check_app_slot(table: PartitionTable, args: FlasherArgs, app: Path) -> Partition:
    slot = next((entry for entry in table.app_slots if entry.offset == args.app.offset), None)
    if slot is None:
        raise UserError(f"{app.name} goes to {args.app.offset:#x}, where no app partition starts", evidence=app)
    size = app.stat().st_size
    smallest = min((entry for entry in table.app_slots if entry.slot), key=lambda entry: entry.size)
    for entry in (slot, smallest):
        if size > entry.size:
            raise UserError(
                f"{app.name} has {size} bytes and does not fit {entry.label} of {entry.size} bytes",
                evidence=app,
                hint="make the slots larger or the app smaller",
            )
    return slot


def _otadata(folder: Path, args: FlasherArgs, table: PartitionTable) -> FlashSection:
    partition = table.otadata_for_app
    section = args.otadata
    if section is None:
        raise UserError("flasher_args.json has no otadata section", evidence=folder / "flasher_args.json", hint=BUILD)
    if partition is not None and section.offset != partition.offset:
        raise UserError(
            f"otadata goes to {section.offset:#x}, but its partition is at {partition.offset:#x}",
            evidence=folder / "flasher_args.json",
            hint=BUILD,
        )
    return section


def _check_layout(files: Mapping[int, Path], flash_size: int, folder: Path) -> None:
    ends = [(offset, offset + path.stat().st_size, path) for offset, path in files.items()]
    for (_, end, path), (offset, _, following) in pairwise(ends):
        if end > offset:
            raise UserError(
                f"{path.name} ends at {end:#x} and overlaps {following.name} at {offset:#x}", evidence=folder
            )
    _, end, path = ends[-1]
    if end > flash_size:
        raise UserError(f"{path.name} ends at {end:#x}, behind the flash's end at {flash_size:#x}", evidence=folder)
