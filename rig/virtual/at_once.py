"""The virtual chip without waiting: its firmware runs in a thread of its own, but only while somebody waits for it.

Power, reset, UART and flash are method calls; virtual time passes only when it is told to. So one host thread sees the
same as on `VirtualChip`, in the same order every time, thousands of times faster than over a port.
"""

from __future__ import annotations

import re
import threading
from typing import Literal

from rig.idf.effects import BurnSecureVersion, Erase, Mutation
from rig.idf.memory import FlashImage
from rig.virtual.cpu import ChipHalted, Firmware, ResetReason
from rig.virtual.quick import QuickCpu
from rig.virtual.tap import Cut

Phase = Literal["off", "waits", "restarts", "gave up", "stuck"]
"""How it is: without power, the app waits for input, it is about to reset itself (because its bootloader gave up), or
nothing will happen any more.
"""


class ChipAtOnce:
    """One chip with `image` as flash and eFuse field. Not for several threads at once."""

    def __init__(self, firmware: Firmware, image: FlashImage) -> None:
        self.image = image
        self.output = bytearray()
        self.power_lost = False
        self._firmware = firmware
        self._life: _Life | None = None
        self._cut: Cut | None = None
        self._line: re.Pattern[bytes] | None = None

    def start(self, reason: ResetReason = ResetReason.POWERON) -> None:
        """Reset, and run until the app waits for input or the life is over; see `phase`."""
        self.stop()
        self.power_lost = False
        self._life = _Life(self, reason)
        self._life.begin(self._firmware)

    def restart(self) -> None:
        """The reset that the firmware has asked for."""
        life = self._life
        assert life is not None
        assert life.next_reset is not None
        self.start(life.next_reset)

    def stop(self) -> None:
        """EN low, or no power: what runs ends here."""
        if self._life is not None:
            self._life.end()
            self._life = None

    @property
    def phase(self) -> Phase:
        life = self._life
        if life is None or self.power_lost:
            return "off"
        if not life.over:
            return "waits"
        if life.next_reset is None:
            return "stuck"
        return "gave up" if life.next_reset is ResetReason.BOOTLOADER else "restarts"

    @property
    def asks_for_reset(self) -> bool:
        """Whether the firmware has ended this life itself."""
        return self.phase in ("restarts", "gave up")

    @property
    def seconds_to_wait(self) -> float | None:
        """Virtual seconds after which the app stops waiting for input; None if it does so for ever."""
        life = self._life
        return None if life is None or life.waits_until is None else max(0.0, life.waits_until - life.now())

    def send(self, data: bytes) -> None:
        """Bytes on UART0; runs until the app waits again."""
        if self._life is not None and not self._life.over:
            self._life.send(data)

    def pass_time(self, seconds: float) -> None:
        """Let virtual seconds pass for an app that waits."""
        if self._life is not None:
            self._life.pass_time(seconds)

    def arm(self, cut: Cut) -> None:
        """Lose power at that mutation; counting starts now."""
        self._cut = cut

    def arm_line(self, line: re.Pattern[bytes]) -> None:
        """Lose power behind the next line that has `line`."""
        self._line = line

    def disarm(self) -> None:
        self._cut = self._line = None

    # --- what its life reports -------------------------------------------------------------------------------------

    def _mutate(self, mutation: Mutation) -> None:
        cut = self._cut
        if cut is None or not _concerns(cut, mutation):
            self.image.apply(mutation)
            return
        if cut.nth > 1:
            self._cut = _later(cut)
            self.image.apply(mutation)
            return
        if cut.phase == "after":
            self.image.apply(mutation)
        elif cut.phase == "torn":
            self.image.tear(mutation, cut.keep or 0)
        self._lose_power()

    def _write(self, data: bytes) -> None:
        self.output += data
        if self._line is None or b"\n" not in data:
            return
        start = self.output.rfind(b"\n", 0, len(self.output) - len(data)) + 1
        for line in bytes(self.output[start:]).splitlines():
            if self._line.search(line):
                self._lose_power()

    def _lose_power(self) -> None:
        self.disarm()
        self.power_lost = True
        raise ChipHalted


def _concerns(cut: Cut, mutation: Mutation) -> bool:
    if isinstance(mutation, BurnSecureVersion):
        return cut.kind == "burn"
    kind = "erase" if isinstance(mutation, Erase) else "program"
    end = cut.end if cut.end is not None else 1 << 32
    return cut.kind in (kind, "any") and cut.start <= mutation.offset < end


def _later(cut: Cut) -> Cut:
    return Cut(cut.kind, cut.start, cut.end, cut.nth - 1, cut.phase, cut.keep, cut.seed)


class _Life(QuickCpu):
    """From a reset to the next: `Cpu` whose `read` lets the other thread go on."""

    def __init__(self, chip: ChipAtOnce, reason: ResetReason) -> None:
        super().__init__(chip.image, reason)
        self.over = False
        self.waits_until: float | None = None
        self._chip = chip
        self._input = bytearray()
        self._ended = False
        self._go, self._done = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._done.acquire()

    # --- the host's thread

    def begin(self, firmware: Firmware) -> None:
        threading.Thread(target=self._run, args=(firmware,), name="chip-at-once", daemon=True).start()
        self._done.acquire()

    def send(self, data: bytes) -> None:
        self._input += data
        self._go_on()

    def pass_time(self, seconds: float) -> None:
        target = self._now + seconds
        while not self.over and self.waits_until is not None and self.waits_until <= target:
            self._now = self.waits_until
            self._go_on()
        self._now = max(self._now, target)

    def end(self) -> None:
        if not self.over:
            self._ended = True
            self._go_on()

    def _go_on(self) -> None:
        self._go.release()
        self._done.acquire()

    # --- the chip's thread

    def _run(self, firmware: Firmware) -> None:
        try:
            firmware(self)
        except ChipHalted:
            pass
        finally:
            self.over = True
            self._done.release()

    def read(self, timeout: float | None = None) -> bytes:
        until = None if timeout is None else self._now + timeout
        while not self._input:
            if until is not None and self._now >= until:
                return b""
            self.waits_until = until
            self._done.release()
            self._go.acquire()
            if self._ended:
                raise ChipHalted
        data = bytes(self._input)
        self._input.clear()
        return data

    def sleep(self, seconds: float) -> None:
        self._now += seconds

    def write(self, data: bytes) -> None:
        self._chip._write(data)

    def do(self, mutation: Mutation) -> None:
        self._chip._mutate(mutation)
