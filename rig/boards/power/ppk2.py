"""Power by Nordic's Power Profiler Kit II as a supply (source meter), which can also sag for brown-out tests.

Example for rig.toml::

    [[board]]
    name = "c3-devkit"
    kind = "serial"
    chip = "esp32c3"
    serial_number = "0001"
    power = { driver = "ppk2", port = "/dev/serial/by-id/usb-Nordic_Semiconductor_PPK2_C0FFEE-if01", millivolts = 3300 }

Needs the package `ppk2-api` (https://github.com/IRNAS/ppk2-api-python). The kit supplies 800 to 5000 mV
(pc-nrfconnect-ppk, src/device/serialDevice.ts, vddRange) from VOUT; the board's USB must not supply it as well, so its
console needs a bridge with a supply of its own, and no 5 V wire to the board.

The kit answers nothing but a question for its calibration data, which is therefore asked after every command: a kit
that is gone is a bench fault. That it has switched it cannot say; `rig doctor` sees it by the chip. It keeps its output
as it is when a program that used it ends (ppk2-api resets nothing, pull request 40), and the port belongs to this
process from the first `on` or `off` until `close` or the process's end.
"""

from __future__ import annotations

import contextlib
import termios
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from pydantic import Field, model_validator
from serial.tools.list_ports import comports

from rig.boards.power import PowerKeys
from rig.boards.power._devices import BUSY, BUSY_S, once_free, optional_package
from rig.boards.serial_ports import wanted_port
from rig.errors import BenchFault, UserError

INSTALL = "ppk2-api"
LOWEST_MV, HIGHEST_MV = 800, 5000
TIMEOUT_S = 1.0
"""Of a read or write; the kit answers within milliseconds."""
QUESTIONS = 3
"""ppk2-api takes an answer for none that comes in two pieces, or after measurements (PPK2_API._read_metadata)."""
LONGEST_SAG_S = 60.0


class Keys(PowerKeys):
    """Which kit, and what it supplies."""

    SAGS: ClassVar[bool] = True

    port: str | None = Field(default=None, min_length=1, description="device path, best one of /dev/serial/by-id")
    serial_number: str | None = Field(default=None, min_length=1, description="of the kit, instead of `port`")
    millivolts: int = Field(ge=LOWEST_MV, le=HIGHEST_MV, description="of the supply")

    @model_validator(mode="after")
    def kit_is_named_once(self) -> Keys:
        if (self.port is None) == (self.serial_number is None):
            raise ValueError("name the kit by exactly one of: port, serial_number")
        return self

    def open(self, board: str) -> Ppk2Power:
        return Ppk2Power(board, self)

    def check(self, board: str, environ: Mapping[str, str]) -> str:
        """That the package and the kit's port are there."""
        optional_package(board, "ppk2_api.ppk2_api", INSTALL)
        return f"PPK2 at {kit_port(board, self)}, {self.millivolts} mV (not switched)"


def kit_port(board: str, keys: Keys) -> str:
    """The device of the kit now. A kit of newer firmware has two ports, the first of which takes commands (ppk2-api
    README and pc-nrfconnect-ppk take the first as well). BenchFault if there is none."""
    if keys.port is not None:
        return wanted_port(board, keys.port, None, None).find()
    number = str(keys.serial_number).casefold()
    found = [port for port in comports() if (port.serial_number or "").casefold() == number]
    if not found:
        raise BenchFault(
            f"there is no PPK2 with the serial number {keys.serial_number}",
            board=board,
            hint="is it plugged in and switched on? ls /dev/serial/by-id shows serial numbers",
        )
    return str(min(found, key=lambda port: (port.location or "", port.device)).device)


class Ppk2Power:
    """One kit, whose port this process holds from its first use on; `patience_s`: how long it may be busy first."""

    def __init__(self, board: str, keys: Keys, patience_s: float = BUSY_S) -> None:
        self.board = board
        self._keys = keys
        self._patience_s = patience_s
        self._kit: Any = None

    def on(self) -> None:
        self._command(self._give_power, self._tries)

    def off(self) -> None:
        self._command(lambda kit: kit.toggle_DUT_power("OFF"), self._tries)

    def sag(self, millivolts: int, seconds: float) -> None:
        """Supply `millivolts` for `seconds`, then the usual voltage again, whatever happens; power must be on.

        How long the steps themselves take (USB, the kit's regulator) is not known.
        """
        if not LOWEST_MV <= millivolts <= HIGHEST_MV or not 0 <= seconds <= LONGEST_SAG_S:
            raise UserError(
                f"a PPK2 cannot sag to {millivolts} mV for {seconds:g} s",
                board=self.board,
                hint=f"{LOWEST_MV} to {HIGHEST_MV} mV, up to {LONGEST_SAG_S:g} s; below that it can only be off",
            )
        # Once: a kit that was away meanwhile supplies nothing that could sag.
        self._command(lambda kit: self._sag(kit, millivolts, seconds), 1)

    def close(self) -> None:
        """Let go of the kit, which goes on supplying as it does."""
        if self._kit is not None:
            self._kit.ser.close()
            self._kit = None

    def _give_power(self, kit: Any) -> None:
        # The voltage each time: whoever had the kit before may have been killed in the middle of a sag.
        kit.set_source_voltage(self._keys.millivolts)
        kit.toggle_DUT_power("ON")

    def _sag(self, kit: Any, millivolts: int, seconds: float) -> None:
        try:
            kit.set_source_voltage(millivolts)
            kit.ser.flush()
            time.sleep(seconds)
        finally:
            kit.set_source_voltage(self._keys.millivolts)

    @property
    def _tries(self) -> int:
        """A kit that we know may have been plugged in anew."""
        return 1 if self._kit is None else 2

    def _command(self, command: Callable[[Any], None], tries: int) -> None:
        """Send a command and make sure that the kit is there afterwards; ppk2-api itself hides errors of writing."""
        try:
            if any(self._obeyed(command) for _ in range(tries)):
                return
        except OSError as error:
            self.close()
            raise self._fault(error) from error
        raise BenchFault(
            "the PPK2 does not answer, so power may not be switched",
            board=self.board,
            evidence=f"{self._keys.port or self._keys.serial_number}: no calibration data came",
            hint="pull its USB plug and put it back; of two ports it is the other one; close nRF Connect",
        )

    def _obeyed(self, command: Callable[[Any], None]) -> bool:
        """Whether the kit answers after the command; if not it is let go, and found anew at the next one."""
        try:
            if self._kit is None:
                self._kit = once_free(self._opened, self._patience_s)
                if not _answers(self._kit):
                    self.close()
                    return False
                self._kit.use_source_meter()
            command(self._kit)
            if _answers(self._kit):
                return True
        except (OSError, termios.error) as error:
            # termios.error: pyserial, when it flushes a port that has just gone.
            if self._kit is None:
                raise OSError(*error.args) from error
        self.close()
        return False

    def _opened(self) -> Any:
        api = optional_package(self.board, "ppk2_api.ppk2_api", INSTALL)
        kit = api.PPK2_API(kit_port(self.board, self._keys), timeout=TIMEOUT_S, write_timeout=TIMEOUT_S, exclusive=True)
        # Somebody may have left it measuring, and measurements are no answers.
        kit.stop_measuring()
        time.sleep(0.02)
        kit.ser.reset_input_buffer()
        return kit

    def _fault(self, error: OSError) -> BenchFault:
        where = self._keys.port or f"with the serial number {self._keys.serial_number}"
        if error.errno in BUSY:
            what, hint = f"the PPK2 {where} is in use", "close nRF Connect, or the program that measures with it"
        else:
            what, hint = f"the PPK2 {where} cannot be opened", "is it plugged in, and may this user open it (dialout)?"
        return BenchFault(what, board=self.board, evidence=str(error), hint=hint)


def _answers(kit: Any) -> bool:
    """Whether calibration data comes when it is asked for."""
    for _ in range(QUESTIONS):
        # Measurements that were still under way are no text.
        with contextlib.suppress(UnicodeDecodeError):
            if kit.get_modifiers():
                return True
    return False
