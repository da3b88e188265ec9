"""The virtual chip as a subject for scenarios, without port, esptool or waiting: for fuzzing and for making them short.

Bootloader, app and agent are the code that a virtual board runs.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping

from rig.boards.board import Cut
from rig.boards.channel import PowerLost
from rig.boards.image_boots import MOST_BOOTS, BootSeen, End, is_over, seen_in
from rig.boards.shelf import FirmwareShelf
from rig.errors import Inconclusive
from rig.fieldkit.beginning import Beginning
from rig.fieldkit.stepped import SteppedSubject
from rig.idf.memory import FlashImage
from rig.idf.partitions import Partition, PartitionTable
from rig.updates.agent import Agent
from rig.virtual import tap
from rig.virtual.at_once import ChipAtOnce
from rig.virtual.bootrom import announced
from rig.virtual.chips import chip_spec
from rig.virtual.cpu import Firmware, ResetReason

_ENDS: Mapping[str, End] = {"waits": "runs", "restarts": "restarts", "gave up": "nothing bootable", "stuck": "hangs"}


def at_once_subject(firmware: Firmware, shelf: FirmwareShelf, name: str = "virtual chip") -> SteppedSubject:
    """A new chip that runs `firmware` on builds of `shelf`."""
    return SteppedSubject(AtOnceHands(firmware, name), shelf)


class AtOnceHands:
    """Implements `Hands`."""

    def __init__(self, firmware: Firmware, name: str) -> None:
        self.name = name
        self._firmware = firmware
        self._chip = ChipAtOnce(firmware, FlashImage.erased(0))
        self._uart = _Uart(self._chip)
        self._told = True
        self.agent = Agent(self._uart, board=name, first_id=1)

    # --- Hands

    def install(self, begin: Beginning) -> None:
        self.stop()
        firmware = announced(chip_spec(begin.build.chip), self._firmware)
        self._chip = ChipAtOnce(firmware, FlashImage(begin.content, begin.secure_version or 0))
        self._uart.connect(self._chip)
        self._told = True

    def install_but(self, begin: Beginning, kept: Partition) -> None:
        before = self._chip.image.read(kept.offset, kept.size)
        self.install(begin)
        self._chip.image.load(kept.offset, before)

    def demand_harmless(self, image: bytes) -> None:
        """A chip that is thrown away may burn what it likes."""

    def start(self) -> None:
        self._begin(ResetReason.POWERON)

    def pulse(self) -> None:
        self._begin(ResetReason.EN_PIN)

    def power_cycle(self) -> None:
        self._begin(ResetReason.POWERON)

    def watch(self, table: PartitionTable) -> tuple[BootSeen, ...]:
        chip, boots = self._chip, list[BootSeen]()
        if self._told:
            self._restart()
        while not chip.power_lost:
            self._let_diagnostics_end()
            boots.append(BootSeen(*seen_in(bytes(chip.output[self._uart.began :]), table), _ENDS[chip.phase], ()))
            if is_over(boots) or not chip.asks_for_reset:
                break
            self._restart()
        self._told = True
        self._uart.skip()
        return tuple(boots)

    def stop(self) -> None:
        self._chip.stop()

    def read(self, offset: int, size: int) -> bytes:
        self.stop()
        return self._chip.image.read(offset, size)

    def write(self, regions: Mapping[int, bytes]) -> None:
        self.stop()
        for offset, data in regions.items():
            self._chip.image.load(offset, data)

    def secure_version(self) -> int | None:
        return self._chip.image.secure_version

    def cut(self, cut: Cut, what: str) -> contextlib.AbstractContextManager[object]:
        armed = tap.Cut(kind=cut.kind, start=cut.start, end=cut.end, nth=cut.nth, phase=cut.phase, keep=cut.keep)
        return self._losing_power(lambda: self._chip.arm(armed), what)

    def cut_at_line(self, line: re.Pattern[bytes]) -> contextlib.AbstractContextManager[object]:
        return self._losing_power(lambda: self._chip.arm_line(line), f"a line with {line.pattern!r}")

    def wait(self, seconds: float) -> None:
        self._chip.pass_time(seconds)

    def console(self) -> bytes:
        return bytes(self._chip.output)

    # --- underneath

    def _begin(self, reason: ResetReason) -> None:
        self._uart.skip()
        self._told = False
        self._chip.start(reason)

    def _restart(self) -> None:
        """What the firmware has asked for; nothing comes up if it has not."""
        if not self._chip.asks_for_reset:
            raise Inconclusive("the app was to restart and did not", board=self.name)
        self._uart.skip()
        self._told = False
        self._chip.restart()

    def _let_diagnostics_end(self) -> None:
        """Diagnostics that take their time end before anybody asks for anything."""
        chip = self._chip
        while chip.phase == "waits" and chip.seconds_to_wait is not None:
            chip.pass_time(3600.0)

    @contextlib.contextmanager
    def _losing_power(self, arm: Callable[[], None], what: str) -> Iterator[None]:
        chip = self._chip
        arm()
        try:
            with contextlib.suppress(PowerLost):
                yield
            for _ in range(MOST_BOOTS):
                self._let_diagnostics_end()
                if not chip.asks_for_reset:
                    break
                self._restart()
            if not chip.power_lost:
                raise Inconclusive(f"{what} never came, so power was not cut there", board=self.name)
        finally:
            chip.disarm()


class _Uart:
    """Implements `LineChannel`: an answer is there as soon as the request is sent, or never."""

    def __init__(self, chip: ChipAtOnce) -> None:
        self._chip = chip
        self._heard = 0
        self.began = 0
        """Where the output of this life begins."""

    def connect(self, chip: ChipAtOnce) -> None:
        self._chip = chip
        self._heard = self.began = 0

    def skip(self) -> None:
        """What was printed before is not listened to any more."""
        self._heard = self.began = len(self._chip.output)

    def write(self, data: bytes) -> None:
        if self._chip.power_lost:
            raise PowerLost
        self._chip.send(data)

    def expect_line(self, accept: Callable[[bytes], bool], timeout: float) -> bytes:
        chip, output = self._chip, self._chip.output
        while True:
            while (end := output.find(b"\n", self._heard)) >= 0:
                line = bytes(output[self._heard : end]).rstrip(b"\r")
                self._heard = end + 1
                if accept(line):
                    return line
            if chip.power_lost:
                raise PowerLost
            if chip.phase != "waits" or (wanted := chip.seconds_to_wait) is None or wanted > timeout:
                raise TimeoutError
            # the host waits, so the chip's clock runs
            chip.pass_time(wanted)
            timeout -= wanted
