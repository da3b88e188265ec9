"""The kind `virtual`: a simulated chip in this process. Nothing to install, nothing to plug in.

Example for rig.toml::

    [[board]]
    name = "virtual-c3"
    kind = "virtual"
    chip = "esp32c3"
"""

from __future__ import annotations

from collections.abc import Mapping

from rig.boards.board import Board, Capability, Cut, EfuseState, NetworkAccess
from rig.boards.console import Console, open_quietly
from rig.boards.efuses import LoaderEfuse
from rig.boards.image_boots import ImageBooter
from rig.boards.inventory import VirtualBoardSection
from rig.boards.loader import LoaderFlash, RtsResetLine
from rig.boards.virtual_images import VirtualBooter
from rig.idf.chips import chip as idf_chip
from rig.idf.config import BootConfig
from rig.idf.effects import Mutation
from rig.idf.partitions import PartitionTable
from rig.virtual import port, tap
from rig.virtual.chip import VirtualChip, build_chip
from rig.virtual.efuse_keys import burn_flash_key
from rig.virtual.firmware import VirtualFirmware
from rig.virtual.wrong_bootloaders import WRONG

FLASHING = "esptool, through the modelled ROM loader"
MISSING: Mapping[str, str] = {
    Capability.WIFI: "the virtual board models no radio",
    Capability.INTERRUPT_LATENCY: "the virtual board models no instruction timing, so no interrupt latency",
    Capability.BROWNOUT: "the virtual board models no supply voltage, only power on and off",
}

NETWORK = NetworkAccess(host="127.0.0.1", bind="127.0.0.1")
"""Its sockets are this process's own."""


def open_board(section: VirtualBoardSection) -> Board:
    """A new chip with erased flash, plugged in but without power."""
    chip = build_virtual_chip(section)
    url = port.plug(chip)
    console = Console(section.name, lambda: open_quietly(url))
    flash = LoaderFlash(console, section.chip)
    return Board(
        name=section.name,
        kind=section.kind,
        chip=section.chip,
        console=console,
        flash=flash,
        reset_line=RtsResetLine(console),
        power=VirtualPower(chip),
        tap=VirtualTap(chip),
        efuse=VirtualEfuse(chip, flash),
        network=NETWORK,
        missing=missing(section),
        clock_rate=section.time_scale,
    )


def build_virtual_chip(section: VirtualBoardSection) -> VirtualChip:
    """The chip of a section of rig.toml, without power."""
    return build_chip(section.name, section.chip, virtual_firmware(section), time_scale=section.time_scale)


def image_booter(section: VirtualBoardSection, table: PartitionTable) -> ImageBooter:
    """The same firmware for crash images, without port and without waiting."""
    return VirtualBooter(virtual_firmware(section), table)


def virtual_firmware(section: VirtualBoardSection) -> VirtualFirmware:
    """What its chip runs, the wrong bootloader of its section included."""
    default = BootConfig(chip=section.chip, chip_revision=idf_chip(section.chip).revision)
    wrong = section.wrong_bootloader
    return VirtualFirmware(default, bootloader=None if wrong is None else WRONG[wrong])


def missing(section: VirtualBoardSection) -> Mapping[str, str]:
    """What this kind cannot show, and why."""
    return dict(MISSING)


class VirtualPower:
    """The chip's supply."""

    def __init__(self, chip: VirtualChip) -> None:
        self._chip = chip

    def on(self) -> None:
        self._chip.power_on()

    def off(self) -> None:
        self._chip.power_off()


class VirtualEfuse(LoaderEfuse):
    """Every test gets a new chip; what became of it is read through the loader, as on hardware."""

    def __init__(self, chip: VirtualChip, flash: LoaderFlash) -> None:
        super().__init__(flash)
        self._chip = chip

    def prepare(self, wanted: EfuseState) -> None:
        """A chip from the factory with `wanted` burnt. NotApplicable if its field is too narrow."""
        version = wanted.secure_version or 0
        self.demand_fits(version)
        self._chip.efuse.renew()
        self._chip.efuse.burn_field("SECURE_VERSION", (1 << version) - 1)
        if wanted.encryption_key is not None:
            burn_flash_key(self._chip.efuse, wanted.encryption_key)


class VirtualTap:
    """Cuts the chip's supply at one flash mutation."""

    def __init__(self, chip: VirtualChip) -> None:
        self._tap = chip.tap

    def arm(self, cut: Cut) -> None:
        self._tap.arm(tap.Cut(kind=cut.kind, start=cut.start, end=cut.end, nth=cut.nth, phase=cut.phase, keep=cut.keep))

    def disarm(self) -> None:
        self._tap.disarm()

    def start_recording(self) -> None:
        self._tap.start_recording()

    def stop_recording(self) -> tuple[Mutation, ...]:
        return tuple(record.mutation for record in self._tap.stop_recording())

    @property
    def recorded(self) -> int:
        return len(self._tap.records)

    def wait_fired(self, timeout: float) -> bool:
        return self._tap.wait_fired(timeout)
