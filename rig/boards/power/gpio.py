"""Power by a GPIO of this machine (a Raspberry Pi, a USB GPIO adapter) that drives a relay, transistor or load switch.

Example for rig.toml::

    [[board]]
    name = "c3-devkit"
    kind = "serial"
    chip = "esp32c3"
    serial_number = "0001"
    power = { driver = "gpio", chip = "/dev/gpiochip0", line = 17 }

`gpioinfo` lists chips and lines. Needs the package `gpiod` 2 (libgpiod's own: https://libgpiod.readthedocs.io), and
the right to open the chip, often by the group `gpio`.

**Wire it so that a line nobody drives means power**: the relay's normally closed contact, or a pull resistor. On the
usual relay card, which pulls in at the low level, that is the normally closed contact, and no `active_low`. A line is
held from the first `on` or `off` until `close`, or until this process is over, however it ends. What the pin does then
is up to the chip's driver (gpioset(1): it "reverts to default", which is not to be relied on): drivers of the Linux
kernel for the Raspberry Pi make it an input, the Raspberry Pi's own kernel keeps the level (raspberrypi/linux pull
requests 6117 and 6150). With such wiring the first gives the board of a killed run its power at once; in the second the
guardian of its lease does, by a fresh `on`, which stays.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from pydantic import Field

from rig.boards.power import PowerKeys
from rig.boards.power._devices import BUSY, BUSY_S, once_free, optional_package
from rig.errors import BenchFault, UserError

INSTALL = "gpiod>=2"
MISSING_LINE = "gpioinfo lists the chips and their lines"


class Keys(PowerKeys):
    """Which line, and which level of it is power."""

    chip: str = Field(default="/dev/gpiochip0", min_length=1, description="the chip's device")
    line: int | str = Field(description="offset on the chip, or the line's name")
    active_low: bool = Field(default=False, description="whether the low level gives power")

    def open(self, board: str) -> GpioPower:
        return GpioPower(board, self)

    def check(self, board: str, environ: Mapping[str, str]) -> str:
        """That the package is there and the chip has this line."""
        return f"{GpioPower(board, self).describe()} (not switched)"


class GpioPower:
    """One line, which this process holds from its first use on; `patience_s`: how long it may be busy first."""

    def __init__(self, board: str, keys: Keys, patience_s: float = BUSY_S) -> None:
        self.board = board
        self._keys = keys
        self._patience_s = patience_s
        self._request: Any = None

    def on(self) -> None:
        self._switch("ACTIVE")

    def off(self) -> None:
        self._switch("INACTIVE")

    def close(self) -> None:
        """Let go of the line; what it does then is up to the chip's driver."""
        if self._request is not None:
            self._request.release()
            self._request = None

    def describe(self) -> str:
        """The line as the kernel knows it. UserError or BenchFault if there is no package, chip or line."""
        gpiod = self._gpiod()
        try:
            with gpiod.Chip(self._keys.chip) as chip:
                info = chip.get_line_info(self._keys.line)
        except (OSError, ValueError) as error:
            raise self._fault(error) from error
        used = f", in use by {info.consumer}" if info.used else ""
        return f"line {info.offset} ({info.name or 'no name'}) of {self._keys.chip}{used}"

    def _switch(self, value: str) -> None:
        gpiod = self._gpiod()
        wanted = getattr(gpiod.line.Value, value)
        try:
            if self._request is None:
                self._request = once_free(lambda: self._requested(gpiod, wanted), self._patience_s)
            else:
                self._request.set_value(self._keys.line, wanted)
        except (OSError, ValueError) as error:
            self.close()
            raise self._fault(error) from error

    def _requested(self, gpiod: ModuleType, value: Any) -> Any:
        """The line as an output that has this value from the first moment."""
        settings = gpiod.LineSettings(
            direction=gpiod.line.Direction.OUTPUT, active_low=self._keys.active_low, output_value=value
        )
        return gpiod.request_lines(self._keys.chip, consumer=f"rig {self.board}", config={self._keys.line: settings})

    def _gpiod(self) -> ModuleType:
        gpiod = optional_package(self.board, "gpiod", INSTALL)
        if not hasattr(gpiod, "request_lines"):
            raise UserError(
                "the Python package gpiod is version 1, or another package of that name",
                board=self.board,
                hint=f"pip install '{INSTALL}', or remove python3-libgpiod of version 1",
            )
        return gpiod

    def _fault(self, error: Exception) -> BenchFault:
        chip, line = self._keys.chip, self._keys.line
        number = error.errno if isinstance(error, OSError) else None
        if isinstance(error, PermissionError):
            what, hint = f"{chip} may not be opened", "join the group gpio, or add a udev rule"
        elif not os.path.exists(chip):
            what, hint = f"there is no GPIO chip {chip}", MISSING_LINE
        elif number in BUSY:
            what, hint = f"line {line} of {chip} is in use", "gpioinfo says by whom; one line switches one board"
        else:
            what, hint = f"line {line} of {chip} cannot be driven", MISSING_LINE
        return BenchFault(what, board=self.board, evidence=str(error), hint=hint)
