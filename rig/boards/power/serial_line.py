"""Power by DTR or RTS of a second USB bridge, which drives a relay, transistor or load switch.

Example for rig.toml::

    [[board]]
    name = "c3-devkit"
    kind = "serial"
    chip = "esp32c3"
    serial_number = "0001"
    power = { driver = "serial_line", port = "/dev/serial/by-id/usb-FTDI_0002-if00-port0", line = "rts" }

One bridge switches one board. `active` says which state of the line is power. Linux raises both lines whenever a port
is opened (drivers/tty/tty_port.c, tty_port_block_til_ready) and lowers them when the last process that had it open is
over, if the port's flag HUPCL is set (tty_port_shutdown). Hence:

* `active = "on"`: nothing that opens the port takes power away. HUPCL is cleared, so the line stays as it is when we
  end or are killed; the board of a killed run gets its power back by the guardian of its lease, with a fresh `on`. A
  bridge that is plugged in anew gives no power until then.
* `active = "off"`: HUPCL is set, so power is back as soon as we end, however that is; but every opening of the port, by
  any program, cuts power for a moment. What lines do behind an RFC2217 server whose client left is up to that server;
  for one that lowers them, as `rig serve` does, this is the one to choose.

On most bridges a line that is "on" is at the low level of its pin.
"""

from __future__ import annotations

import termios
from collections.abc import Mapping
from typing import Literal

import serial
from pydantic import Field, field_validator

from rig.boards.power import PowerKeys
from rig.boards.power._devices import BUSY, BUSY_S, once_free
from rig.boards.quiet_ports import NO_LINES, QuietSerial, open_quietly
from rig.boards.serial_ports import wanted_port
from rig.errors import BenchFault


class Keys(PowerKeys):
    """Which line of which port, and which state of it is power."""

    port: str = Field(min_length=1, description="device path, best one of /dev/serial/by-id, or rfc2217://HOST:PORT")
    line: Literal["dtr", "rts"]
    active: Literal["on", "off"] = Field(default="on", description="the line's state while the board has power")

    @field_validator("port")
    @classmethod
    def port_has_lines(cls, port: str) -> str:
        if port.startswith("socket://"):
            raise ValueError("a raw TCP socket carries no DTR and RTS: serve the port by RFC2217 (rfc2217://HOST:PORT)")
        return port

    def open(self, board: str) -> SerialLinePower:
        wanted_port(board, self.port, None, None)
        return SerialLinePower(board, self)

    def check(self, board: str, environ: Mapping[str, str]) -> str:
        """That the port is there; it is not opened, since that moves its lines."""
        where = wanted_port(board, self.port, None, None).find()
        return f"{self.line.upper()} of {where}, {self.active} is power (not switched)"


class SerialLinePower:
    """One line of a port that this process holds from its first use on; `patience_s`: how long it may be busy first."""

    def __init__(self, board: str, keys: Keys, patience_s: float = BUSY_S) -> None:
        self.board = board
        self._keys = keys
        self._patience_s = patience_s
        self._port: serial.SerialBase | None = None

    def on(self) -> None:
        self._switch(self._keys.active == "on")

    def off(self) -> None:
        self._switch(self._keys.active != "on")

    def close(self) -> None:
        """Let go of the port; what its lines do then, see above."""
        if self._port is not None:
            self._port.close()
            self._port = None

    def _switch(self, level: bool) -> None:
        try:
            self._set(level)
        except (OSError, AttributeError) as error:
            # A bridge that was pulled out and came back, or a server started anew; AttributeError: network ports.
            was_open = self._port is not None
            self.close()
            if not was_open or getattr(error, "errno", None) in NO_LINES:
                raise self._fault(error) from error
            try:
                self._set(level)
            except (OSError, AttributeError) as again:
                self.close()
                raise self._fault(again) from again

    def _set(self, level: bool) -> None:
        if self._port is None:
            self._port = once_free(lambda: self._opened(level), self._patience_s)
        setattr(self._port, self._keys.line, level)

    def _opened(self, level: bool) -> serial.SerialBase:
        """The port with the line as it shall be from the first moment, as far as the kernel lets us."""
        where = wanted_port(self.board, self._keys.port, None, None).find()
        lines = {self._keys.line: level}
        port = open_quietly(where, exclusive=None if "://" in where else True, **lines)
        if isinstance(port, QuietSerial):
            try:
                self._decide_how_it_ends(port)
            except termios.error as error:
                port.close()
                raise OSError(*error.args) from error
        return port

    def _decide_how_it_ends(self, port: QuietSerial) -> None:
        attributes = termios.tcgetattr(port.fd)
        if self._keys.active == "on":
            attributes[2] &= ~termios.HUPCL
        else:
            attributes[2] |= termios.HUPCL
        termios.tcsetattr(port.fd, termios.TCSANOW, attributes)

    def _fault(self, error: Exception) -> BenchFault:
        name, number = self._keys.line.upper(), getattr(error, "errno", None)
        if number in NO_LINES:
            what, hint = f"{self._keys.port} has no line {name}", "a pseudo terminal has none; is it the right port?"
        elif number in BUSY:
            what, hint = f"{self._keys.port} is in use", "end the other program; one bridge switches one board"
        else:
            what, hint = f"{name} of {self._keys.port} cannot be moved", "is the bridge plugged in, or its server up?"
        return BenchFault(f"{what}, so power cannot be switched", board=self.board, evidence=str(error), hint=hint)
