"""Boards of rig.toml beside the model: the virtual one at once, any other as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rig.boards.board import Board
from rig.boards.inventory import BenchConfig, BoardSection, VirtualBoardSection
from rig.boards.shelf import FirmwareShelf
from rig.boards.virtual import virtual_firmware
from rig.fieldkit.at_once import at_once_subject
from rig.fieldkit.firmware import MadeToMeasure, firmware_for
from rig.fieldkit.fuzz import Pair
from rig.fieldkit.on_board import board_subject
from rig.fieldkit.on_model import ModelSubject
from rig.fieldkit.scenario import Firmware, Scenario
from rig.fieldkit.subject import Subject
from rig.idf.chips import chip
from rig.idf.config import BootConfig
from rig.virtual.builds import FIRMWARE, SMALL_APP_SIZE, read_variant
from rig.virtual.firmware import VirtualFirmware

SMALL_SLOT = "64K"
"""Erasing a slot is most of an update's time, as its writing is."""


class Shelves:
    """Builds of scenarios for one board, made once for each kind of firmware."""

    def __init__(
        self, section: BoardSection, bench: BenchConfig, config: Path, scratch: Path, idf_version: str
    ) -> None:
        self._section = section
        self._bench = bench
        self._config = config
        self._scratch = scratch
        self._idf_version = idf_version
        self._made: dict[Firmware, FirmwareShelf] = {}

    def of(self, scenario: Scenario) -> FirmwareShelf:
        """NotApplicable for a scenario about another chip."""
        key = scenario.firmware.model_copy(update={"idf_versions": ()})
        if key not in self._made:
            folder = self._scratch / str(len(self._made))
            self._made[key] = self._make(scenario, folder)
        return self._made[key]

    def _make(self, scenario: Scenario, folder: Path) -> FirmwareShelf:
        section = self._section
        if isinstance(section, VirtualBoardSection):
            return MadeToMeasure(scenario.firmware, section.chip, self._idf_version, folder, SMALL_APP_SIZE)
        return firmware_for(scenario, section, self._bench, self._config, folder, self._idf_version)


def at_once(section: VirtualBoardSection, shelves: Shelves) -> Pair:
    """The chip of a virtual board without its port."""
    firmware = virtual_firmware(section)
    return lambda scenario: _pair(at_once_subject(firmware, shelves.of(scenario), section.name), shelves, scenario)


def stand_in(section: BoardSection, shelves: Shelves) -> Pair:
    """A virtual chip in the place of another board, with the same builds if they are synthesised."""
    default = BootConfig(chip=section.chip, chip_revision=chip(section.chip).revision)
    firmware = VirtualFirmware(default)
    return lambda scenario: _pair(at_once_subject(firmware, shelves.of(scenario), section.name), shelves, scenario)


def on_board(board: Board, shelves: Shelves) -> Pair:
    """A board that is open and powered."""
    return lambda scenario: _pair(board_subject(board, shelves.of(scenario)), shelves, scenario)


def _pair(subject: Subject, shelves: Shelves, scenario: Scenario) -> tuple[Subject, ModelSubject]:
    return subject, ModelSubject(shelves.of(scenario))


def small_partitions(variants: tuple[str, ...]) -> Mapping[str, str]:
    """The partition table of each variant as CSV, with app slots of 64 KiB."""
    return {variant: _small(variant) for variant in variants}


def _small(variant: str) -> str:
    name = str(read_variant(variant)["PARTITION_TABLE_CUSTOM_FILENAME"])
    rows = []
    for line in (FIRMWARE / name).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) >= 5 and not line.lstrip().startswith("#"):
            kept = [cells[3], cells[4]] if cells[1] != "app" else ["", SMALL_SLOT]
            rows.append(", ".join([*cells[:3], *(kept if int(cells[3], 0) < 0x10000 else ["", kept[1]])]))
    return "\n".join(rows) + "\n"
