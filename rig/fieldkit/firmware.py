"""The firmware of a scenario for one board: builds of its variant, with whatever of it is to be otherwise."""

from __future__ import annotations

import shutil
from functools import lru_cache
from pathlib import Path

from rig.boards.firmware import FirmwareBuild
from rig.boards.inventory import BenchConfig, BoardSection
from rig.boards.shelf import FirmwareShelf, shelf_for, signed
from rig.errors import NotApplicable
from rig.fieldkit.scenario import Firmware, Scenario
from rig.fieldkit.steps import Image
from rig.idf.config import BootConfig
from rig.idf.errors import FormatError
from rig.idf.partitions import PartitionTable
from rig.virtual.builds import APP_SIZE, FIRMWARE, make_build

_CSV = "partitions/scenario.csv"


def firmware_for(
    scenario: Scenario, section: BoardSection, bench: BenchConfig, config: Path, scratch: Path, idf_version: str
) -> FirmwareShelf:
    """Where the builds come from. NotApplicable for a scenario about another chip.

    `config` is the path of rig.toml; `idf_version` counts for boards whose firmware is synthesised.
    """
    wanted = scenario.firmware
    if wanted.chip is not None and wanted.chip != section.chip:
        raise NotApplicable(f"the scenario is about {wanted.chip}, this board is an {section.chip}", board=section.name)
    if section.firmware == "synthesised":
        return MadeToMeasure(wanted, section.chip, idf_version, scratch)
    return MustFit(shelf_for(section, bench.firmware, config, scratch), scenario)


def version_for(scenario: Scenario, bench: BenchConfig) -> str:
    """The ESP-IDF that synthesised firmware follows: that of the bench, if the scenario is about it."""
    usual = bench.firmware.idf_version
    return usual if usual in scenario.idf_versions else scenario.idf_versions[0]


class MadeToMeasure:
    """Builds without ESP-IDF: the variants of firmware_under_test with the scenario's own settings laid over them."""

    def __init__(self, wanted: Firmware, chip: str, idf_version: str, scratch: Path, app_size: int = APP_SIZE) -> None:
        self._app_size = app_size
        self._wanted = wanted
        self._chip = chip
        self._idf_version = idf_version
        self._scratch = scratch
        self._make = lru_cache(maxsize=None)(self._build)
        self._read = lru_cache(maxsize=None)(Path.read_bytes)

    def build(self, variant: str, version: str) -> FirmwareBuild:
        return self._make(self._chip, variant, version)

    def app(self, variant: str, version: str) -> bytes:
        return self._read(self.build(variant, version).app_path)

    def app_for_another_chip(self, version: str) -> bytes:
        other = "esp32s3" if self._chip != "esp32s3" else "esp32c3"
        return self._read(self._make(other, "rollback", version).app_path)

    def _build(self, chip: str, variant: str, version: str) -> FirmwareBuild:
        source = FIRMWARE if _plain(self._wanted) else self._overlaid()
        folder = self._scratch / f"{chip}-{self._idf_version}-{variant}-{version}"
        make_build(
            folder, variant=variant, chip=chip, version=version, idf_version=self._idf_version, firmware=source,
            app_size=self._app_size,
        )  # fmt: skip
        return signed(FirmwareBuild.load(folder), self._scratch)

    def _overlaid(self) -> Path:
        """A copy of the variants in which every one has the scenario's settings."""
        folder = self._scratch / "firmware"
        if folder.is_dir():
            return folder
        shutil.copytree(FIRMWARE / "partitions", folder / "partitions")
        settings = _settings(self._wanted)
        if self._wanted.partitions is not None:
            (folder / _CSV).write_text(self._wanted.partitions, encoding="utf-8")
        for path in FIRMWARE.glob("sdkconfig.*"):
            text = path.read_text(encoding="utf-8")
            (folder / path.name).write_text(f"{text}\n{settings}" if ".ci." in path.name else text, encoding="utf-8")
        return folder


def _plain(wanted: Firmware) -> bool:
    return not _settings(wanted)


def _settings(wanted: Firmware) -> str:
    """The overrides as lines of an sdkconfig."""
    lines = []
    for name, value in (
        ("BOOTLOADER_APP_ROLLBACK_ENABLE", wanted.rollback),
        ("BOOTLOADER_APP_ANTI_ROLLBACK", wanted.anti_rollback),
    ):
        if value is not None:
            lines.append(f"CONFIG_{name}=y" if value else f"# CONFIG_{name} is not set")
    if wanted.log_level is not None:
        lines.append(f"CONFIG_BOOTLOADER_LOG_LEVEL_{wanted.log_level}=y")
    if wanted.partitions is not None:
        lines.append(f'CONFIG_PARTITION_TABLE_CUSTOM_FILENAME="{_CSV}"')
    return "\n".join(lines)


class MustFit:
    """Builds of ESP-IDF as they are: they must be what the scenario is about."""

    def __init__(self, shelf: FirmwareShelf, scenario: Scenario) -> None:
        self._shelf = shelf
        self._scenario = scenario

    def build(self, variant: str, version: str) -> FirmwareBuild:
        """NotApplicable for a build that is otherwise than the scenario wants."""
        build = self._shelf.build(variant, version)
        wanted, rules = self._scenario.firmware, build.boot_config
        if rules.idf_version not in self._scenario.idf_versions:
            about = ", ".join(self._scenario.idf_versions)
            raise NotApplicable(f"built with ESP-IDF {build.idf_version}, the scenario is about {about}")
        for name, want, have in _compared(wanted, rules):
            if want is not None and want != have:
                raise NotApplicable(f"variant {variant} is built with {name} {have}, the scenario wants {want}")
        if wanted.partitions is not None and _table(wanted.partitions) != build.table.entries:
            raise NotApplicable(f"variant {variant} is built with another partition table than the scenario's")
        return build

    def app(self, variant: str, version: str) -> bytes:
        return self.build(variant, version).app_path.read_bytes()

    def app_for_another_chip(self, version: str) -> bytes:
        return self._shelf.app_for_another_chip(version)


def _compared(wanted: Firmware, rules: BootConfig) -> tuple[tuple[str, object, object], ...]:
    return (
        ("app rollback", wanted.rollback, rules.rollback),
        ("anti-rollback", wanted.anti_rollback, rules.anti_rollback),
        ("bootloader log level", wanted.log_level, rules.log_level),
    )


def _table(csv: str) -> object:
    try:
        return PartitionTable.from_csv(csv).entries
    except FormatError:
        return None


def image_bytes(shelf: FirmwareShelf, variant: str, image: Image) -> bytes:
    """The bytes of an image of a scenario. NotApplicable for what the shelf does not have."""
    if image.chip == "other":
        data = bytearray(shelf.app_for_another_chip(image.version))
    else:
        data = bytearray(shelf.app(image.variant or variant, image.version))
    for offset in image.flip:
        data[offset % len(data)] ^= 0xFF
    return bytes(data[: int(len(data) * image.keep)])
