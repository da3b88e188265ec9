"""The simulated chip on its board: power, reset and boot lines, UART, and a thread that is its CPU while powered."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Self

from rig.virtual.bootrom import Strap, run_rom
from rig.virtual.chips import ChipSpec, chip_spec
from rig.virtual.clock import DEFAULT_TIME_SCALE, Clock
from rig.virtual.cpu import ChipHalted, Firmware, ResetReason
from rig.virtual.cut_line import CutLine
from rig.virtual.efuse import Efuses, mac_bytes
from rig.virtual.life import Life
from rig.virtual.loader import Machine
from rig.virtual.nor import NorFlash
from rig.virtual.registers import Registers
from rig.virtual.tap import MutationTap
from rig.virtual.uart import DEFAULT_BAUD, Uart
from rig.virtual.wiring import ResetCircuit

DEFAULT_FLASH_SIZE = 0x400000

_log = logging.getLogger(__name__)


class VirtualChip:
    """One chip. Flash and eFuses keep their content without power; everything else is lost with it.

    Host side: `host_write`, `host_read`, `set_lines`, and the power switch; all may be called from any thread.
    """

    def __init__(
        self, name: str, spec: ChipSpec, flash: NorFlash, efuse: Efuses, firmware: Firmware, clock: Clock
    ) -> None:
        self.name = name
        self.spec = spec
        self.flash = flash
        self.efuse = efuse
        self.firmware = firmware
        self.clock = clock
        self.uart = Uart()
        self.firmware_errors: list[BaseException] = []
        """Exceptions that escaped from the firmware; the chip hangs after one, as after a bug."""
        self.cut_line = CutLine(flash)
        self._circuit = ResetCircuit()
        self._changed = threading.Condition()
        self._powered = False
        self._thread: threading.Thread | None = None
        self._life: Life | None = None
        self._registers: Registers | None = None
        flash.on_power_lost = self._lose_power
        efuse.on_power_lost = self._lose_power
        self.cut_line.on_closed = self.power_on

    # power

    @property
    def tap(self) -> MutationTap:
        """Recorder and cut injector of this chip's mutations."""
        return self.flash.tap

    @property
    def mac(self) -> bytes:
        """Base MAC address, 6 bytes."""
        return self.efuse.mac

    @property
    def lives(self) -> int:
        """Resets since the chip was built; the current boot's number, from 1."""
        return self.tap.life

    @property
    def powered(self) -> bool:
        """Whether the chip has power; false too after a cut that the tap made."""
        return self._powered

    @property
    def registers(self) -> Registers | None:
        """Registers of the current or last life, with its counts of unknown accesses."""
        return self._registers

    def power_on(self) -> None:
        """Give power; nothing happens if it is on. The chip boots at once unless the lines hold it in reset.

        Nor does anything happen while the cut line keeps the supply open: `power_off` closes it.
        """
        self._join()
        with self._changed:
            if self._powered or self.cut_line.is_open:
                return
            self._powered = True
            self._circuit.power_on(time.monotonic())
            self._thread = threading.Thread(target=self._live, name=f"chip {self.name}", daemon=True)
            self._thread.start()

    def power_off(self) -> None:
        """Take power away. When this returns nothing runs on the chip, and no byte will come from it."""
        self.cut_line.close()
        self._lose_power()
        self._join()

    start = power_on
    stop = power_off

    def __enter__(self) -> Self:
        self.power_on()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.power_off()

    def wait_power_lost(self, timeout: float) -> bool:
        """Wait at most `timeout` wall-clock seconds until the chip has no power."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._powered, timeout)

    def _lose_power(self) -> None:
        with self._changed:
            self._powered = False
            self._end_life()
            self._changed.notify_all()

    def _join(self) -> None:
        thread = self._thread
        if thread is not None and thread is not threading.current_thread() and not self._powered:
            thread.join()

    # lines

    @property
    def lines(self) -> tuple[bool, bool]:
        """(DTR, RTS) as last set, True for asserted."""
        return self._circuit.lines

    def set_lines(self, dtr: bool, rts: bool) -> None:
        """Set DTR and RTS (True: asserted) at once; see `rig.virtual.wiring` for what they do."""
        with self._changed:
            self._circuit.set_lines(dtr, rts, time.monotonic())
            if self._circuit.pulled_low:
                self._end_life()
            self._changed.notify_all()

    # UART

    def host_write(self, data: bytes, baud: int = DEFAULT_BAUD) -> None:
        """Send bytes to the chip; lost if it has no power or is held in reset."""
        life = self._life
        if life is not None and not life.over:
            self.uart.to_chip.put(data, baud)

    def host_read(self, timeout: float | None = None, size: int | None = None, baud: int = DEFAULT_BAUD) -> bytes:
        """At least one and at most `size` bytes from the chip; empty after `timeout` wall-clock seconds."""
        self.uart.to_host.wait(timeout, _never)
        return self.uart.to_host.take(size, baud)

    # the CPU's thread

    def _live(self) -> None:
        reason: ResetReason = ResetReason.POWERON
        strap = self._await_reset_release()
        while strap is not None:
            life = self._begin_life(reason)
            if life is not None:
                self._run(life, strap)
            if life is not None and life.next_reset is not None and self._still_running(life):
                # Only EN and power sample the straps again; a restart from inside boots the same way as before,
                # except that the watchdog resets the strapping latch too.
                reason = life.next_reset
                strap = _strap(self._circuit.strap_low) if reason is ResetReason.WATCHDOG else strap
                continue
            reason = ResetReason.EN_PIN
            strap = self._await_reset_release()

    def _run(self, life: Life, strap: Strap) -> None:
        self._registers = Registers(self.spec, self.efuse, self.flash.size, self.uart)
        machine = Machine(life, self.spec, self._registers, self.uart)
        try:
            run_rom(machine, strap, self.firmware)
        except ChipHalted:
            return
        except Exception as error:
            _log.exception("code on the virtual chip %s failed", self.name)
            self.firmware_errors.append(error)
        try:
            life.hang()
        except ChipHalted:
            return

    def _begin_life(self, reason: ResetReason) -> Life | None:
        with self._changed:
            if not self._powered or self._circuit.pulled_low:
                return None
            self.tap.life += 1
            self.uart.to_chip.clear()
            self.uart.baud = DEFAULT_BAUD
            self.cut_line.reset(forgets=reason in (ResetReason.POWERON, ResetReason.EN_PIN))
            self._life = Life(reason, self.flash, self.efuse, self.uart, self.clock)
            self._life.cut_line = self.cut_line
            return self._life

    def _still_running(self, life: Life) -> bool:
        with self._changed:
            return self._powered and self._life is life and not self._circuit.pulled_low

    def _end_life(self) -> None:
        if self._life is not None:
            self._life.finish()
            self._life = None

    def _await_reset_release(self) -> Strap | None:
        """Wait for EN to rise; the strap as it was then, None when power is gone."""
        with self._changed:
            while self._powered:
                now = time.monotonic()
                delay = self._circuit.rises_in(now)
                if delay == 0.0:
                    return _strap(self._circuit.latched_low(now))
                self._changed.wait(delay)
            return None


def build_chip(
    name: str,
    chip: str,
    firmware: Firmware,
    flash_size: int = DEFAULT_FLASH_SIZE,
    mac: str | None = None,
    time_scale: float = DEFAULT_TIME_SCALE,
) -> VirtualChip:
    """A chip of model `chip` with erased flash, without power. `mac` is `aa:bb:cc:dd:ee:ff`, or the model's default."""
    spec = chip_spec(chip)
    clock = Clock(time_scale)
    tap = MutationTap()
    efuse = Efuses(spec, mac_bytes(mac or spec.default_mac), tap)
    return VirtualChip(name, spec, NorFlash(flash_size, clock, tap), efuse, firmware, clock)


def _strap(low: bool) -> Strap:
    return Strap.DOWNLOAD if low else Strap.FLASH


def _never() -> bool:
    return False
