"""Flash images booted one after another on QEMU: unmodified firmware, a process for every reset, what it read known.

Only what firmware did counts as an outcome. Where the emulator may have been at fault the image is booted again, on a
processor of another speed, so that interrupts fall elsewhere.
"""

from __future__ import annotations

import atexit
import itertools
import re
from dataclasses import replace
from typing import NamedTuple

from rig.boards.image_boots import BootSeen, End, PowerUp, is_over, seen_in
from rig.boards.inventory import QemuBoardSection
from rig.emulator.efuse import blank_efuses
from rig.emulator.faults import PENDING, restart_announced
from rig.emulator.find import Qemu
from rig.emulator.image_boot import Boot, EmulatorFault, ImageLaunch, boot_image
from rig.emulator.image_disk import Access, Looked
from rig.emulator.process import EFUSE_FILE
from rig.emulator.scratch import ScratchFolder
from rig.errors import BenchFault, UserError
from rig.idf.memory import FlashImage
from rig.idf.partitions import PartitionTable
from rig.idf.watched import WatchedFlash
from rig.protocol import Line, parse_line

SHIFTS = (5, 4, 3, 6)
"""Speeds of the processor (`ImageLaunch.shift`), one for each time an image is booted until the bench gives up."""
QUIET_S = 2.0
"""Processor seconds without a word after which an app without the agent has come up; a waiting guest's time leaps."""
LAST_WORDS = 600

_LOADED = re.compile(rb"boot: Loaded app from partition at offset 0x")
_GIVEN_UP = re.compile(
    rb"boot: (No bootable (app|test) partition|load partition table error|Test firmware is not found)"
    rb"|boot: ota_info partition size \d+ is too small|invalid header: 0x"
)
"""What a bootloader says before it resets because there is nothing to boot (ESP-IDF bootloader_utility.c,
bootloader_start.c, all as errors), and the ROM when it finds no bootloader."""


class QemuBooter:
    """Implements `ImageBooter`; `repeated` counts the power-ups that were done again."""

    def __init__(
        self, board: str, flash_size: int, launch: ImageLaunch, scratch: ScratchFolder, table: PartitionTable
    ) -> None:
        self.repeated = 0
        self._board = board
        self._flash_size = flash_size
        self._launch = launch
        self._scratch = scratch
        self._table = table
        self._numbers = itertools.count(1)

    def boot(self, flash: WatchedFlash) -> PowerUp:
        """An image shorter than flash is followed by erased flash; UserError for a longer one."""
        if len(flash) > self._flash_size:
            raise UserError(
                f"an image of {len(flash)} bytes does not fit into flash of {self._flash_size} bytes",
                board=self._board,
                hint="set `flash_size` of the board in rig.toml",
            )
        hung = False
        for shift in SHIFTS:
            try:
                done = self._power_up(self._flash_of(flash), replace(self._launch, shift=shift))
            except EmulatorFault as fault:
                self.repeated += 1
                last = fault
                continue
            if done.power_up.boots[-1].end == "hangs" and not done.asked_to_hang and not hung:
                self.repeated += 1
                hung = True
                last = EmulatorFault("an app hung once and not again")
                continue
            for access in done.accesses:
                if isinstance(access, Looked):
                    flash.note(*access)
                else:
                    flash.apply(access)
            return done.power_up
        raise BenchFault(
            f"a flash image could not be booted in {len(SHIFTS)} attempts",
            board=self._board,
            evidence=str(last),
            hint="it is a fault of this QEMU, or of an app that crashes unasked: boot the image on hardware",
        )

    def close(self) -> None:
        atexit.unregister(self.close)
        self._scratch.remove()

    def _flash_of(self, flash: WatchedFlash) -> FlashImage:
        # From a copy, which does not note what is read of it.
        return FlashImage(flash.copy().read(0, self._flash_size), flash.secure_version)

    def _power_up(self, image: FlashImage, launch: ImageLaunch) -> _Done:
        boots: list[BootSeen] = []
        accesses: list[Access] = []
        log = bytearray()
        while True:
            boot = boot_image(launch, next(self._numbers), image, Sight().over)
            sight = Sight()
            sight.over(boot.log + b"\n", 0.0)
            end = _end(boot, sight)
            log += boot.log
            accesses += boot.accesses
            mutations = tuple(access for access in boot.accesses if not isinstance(access, Looked))
            boots.append(BootSeen(*seen_in(boot.log, self._table), end, mutations))
            if is_over(boots):
                return _Done(PowerUp(tuple(boots), bytes(log)), tuple(accesses), sight.asked_to_hang)


class _Done(NamedTuple):
    """A power-up, and how flash was used in it."""

    power_up: PowerUp
    accesses: tuple[Access, ...]
    asked_to_hang: bool


class Sight:
    """What the console of one boot has shown so far."""

    def __init__(self) -> None:
        self._rest = b""
        self.loaded = False
        self.given_up = False
        self.said: list[Line] = []

    def over(self, new: bytes, quiet_s: float) -> bool:
        """`Over` of `boot_image`: the app has come up, and its diagnostics are at an end."""
        *lines, self._rest = (self._rest + new).split(b"\n")
        for raw in lines:
            self.loaded = self.loaded or _LOADED.search(raw) is not None
            self.given_up = self.given_up or _GIVEN_UP.search(raw) is not None
            if line := parse_line(raw.rstrip(b"\r")):
                self.said.append(line)
        if self.speaks:
            return self._ready
        return self.loaded and quiet_s >= QUIET_S

    @property
    def speaks(self) -> bool:
        """Whether an app with the agent has started."""
        return bool(self.said)

    @property
    def asked_to_hang(self) -> bool:
        return self._probation == "hang"

    @property
    def _ready(self) -> bool:
        words = {line.word for line in self.said}
        return "ready" in words and (self._probation != "delay" or "diag" in words)

    @property
    def _probation(self) -> str | None:
        """The outcome of the diagnostics that it was started with; None if there are none to come."""
        for line in self.said:
            if line.word == "start" and line.fields.get("state") == PENDING:
                return line.fields.get("diag")
        return None


def _end(boot: Boot, sight: Sight) -> End:
    """EmulatorFault if it is none that firmware of itself comes to."""
    if boot.ended == "over":
        return "runs"
    if boot.ended == "stuck":
        # An app without the agent that goes on printing is at work, as far as can be told.
        return "runs" if sight.loaded and not sight.speaks else "hangs"
    if sight.loaded or sight.speaks:
        if restart_announced(sight.said):
            return "restarts"
        raise EmulatorFault("an app restarted unannounced and without being asked to crash" + _last_words(boot))
    if sight.given_up:
        return "nothing bootable"
    raise EmulatorFault("the chip reset itself before an app was loaded, for no reason given" + _last_words(boot))


def _last_words(boot: Boot) -> str:
    return "\n" + boot.log[-LAST_WORDS:].decode(errors="replace").strip()


def open_booter(section: QemuBoardSection, flash_size: int, qemu: Qemu, table: PartitionTable) -> QemuBooter:
    """A booter with a chip of its own, like the board of `section`, for images with the partition table `table`."""
    scratch = ScratchFolder.make()
    (scratch.path / EFUSE_FILE).write_bytes(blank_efuses(section.chip))
    launch = ImageLaunch(qemu.program, section.chip, section.clock, scratch.path)
    booter = QemuBooter(section.name, flash_size, launch, scratch, table)
    atexit.register(booter.close)
    return booter
