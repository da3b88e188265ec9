"""Serial ports that are opened without resetting the board.

On the usual circuit (`rig.virtual.wiring`) DTR off with RTS on holds the chip in reset; every other combination leaves
a running chip alone. Linux raises both lines at once whenever a tty is opened (drivers/tty/tty_port.c,
tty_port_block_til_ready), which no program can prevent. What matters is how they come down: pyserial clears DTR first
and so passes through the one combination that resets. Here both fall at once, or RTS first where only one at a time
can. A board that wires RTS alone to EN is reset by the kernel itself at every opening: hence the console opens once.
Closing lowers both lines again (HUPCL), which changes nothing then, and lets go of a chip if we die while holding it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import queue
import struct
import termios
import time
from typing import Any

import serial
from serial import rfc2217
from serial.serialutil import PortNotOpenError, SerialException

READ_TIMEOUT_S = 0.05
POLL_S = 0.001
"""How often an answer of an RFC2217 server is looked for; pyserial looks every 50 ms."""
NO_LINES = (errno.EINVAL, errno.ENOTTY)


def open_quietly(
    url: str, baudrate: int = 115200, exclusive: bool | None = None, *, dtr: bool = False, rts: bool = False
) -> serial.SerialBase:
    """Open a device, or a pyserial URL, without resetting the board behind it; both lines are off afterwards, unless
    `dtr` or `rts` say otherwise.

    `exclusive` locks a device against other programs (flock and TIOCEXCL). Raises what pyserial raises.
    """
    if url.startswith("rfc2217://"):
        port: serial.SerialBase = QuietRfc2217(baudrate=baudrate, timeout=READ_TIMEOUT_S)
    elif "://" in url:
        port = serial.serial_for_url(url, baudrate=baudrate, timeout=READ_TIMEOUT_S, do_not_open=True)
    else:
        port = QuietSerial(baudrate=baudrate, timeout=READ_TIMEOUT_S, exclusive=exclusive)
    port.dtr = dtr
    port.rts = rts
    port.port = url
    port.open()
    return port


class QuietSerial(serial.Serial):  # type: ignore[misc]
    """A device of this host."""

    _opening = False

    def open(self) -> None:
        self._opening = True
        try:
            super().open()
        finally:
            self._opening = False
        try:
            self._set_both_lines()
            self._keep_input_at_breaks()
            if self.exclusive:
                fcntl.ioctl(self.fd, termios.TIOCEXCL)
        except (OSError, termios.error) as error:
            self.close()
            raise SerialException(f"could not set up port {self._port}: {error}") from error

    def close(self) -> None:
        if self.is_open and self.exclusive:
            # A device that is gone has nobody left to shut out.
            with contextlib.suppress(OSError):
                fcntl.ioctl(self.fd, termios.TIOCNXCL)
        super().close()

    def _set_both_lines(self) -> None:
        """Both lines as they are wanted, each direction in one step."""
        lines = ((self._dtr_state, termios.TIOCM_DTR), (self._rts_state, termios.TIOCM_RTS))
        for request, wanted in ((termios.TIOCMBIS, True), (termios.TIOCMBIC, False)):
            bits = sum(bit for state, bit in lines if bool(state) is wanted)
            try:
                fcntl.ioctl(self.fd, request, struct.pack("I", bits))
            except OSError as error:
                # A pseudo terminal has no lines.
                if error.errno not in NO_LINES:
                    raise

    def _keep_input_at_breaks(self) -> None:
        """A chip that loses power pulls its TX line low, which is a break: it must not flush what came before."""
        attributes = termios.tcgetattr(self.fd)
        attributes[0] &= ~termios.BRKINT
        termios.tcsetattr(self.fd, termios.TCSANOW, attributes)

    def _update_dtr_state(self) -> None:
        if not self._opening:
            super()._update_dtr_state()

    def _update_rts_state(self) -> None:
        if not self._opening:
            super()._update_rts_state()


class QuietRfc2217(rfc2217.Serial):  # type: ignore[misc]
    """A port behind an RFC2217 server (RFC 2217, telnet COM port control).

    Besides opening quietly it does not negotiate the port's settings again whenever only the timeout changes, looks for
    answers more often, and loses no byte that came before the server closed: esptool runs about ten times as fast.
    """

    _opening = False
    _settings: tuple[Any, ...] | None = None

    def open(self) -> None:
        self._settings = None
        self._opening = True
        try:
            super().open()
        except (AttributeError, TypeError) as error:
            # pyserial, when the server hangs up while it negotiates
            raise SerialException(f"Could not open port {self._port}: the server hung up: {error}") from error
        finally:
            self._opening = False

    def _update_dtr_state(self) -> None:
        if not self._opening:
            super()._update_dtr_state()

    def _update_rts_state(self) -> None:
        super()._update_rts_state()
        if self._opening:
            super()._update_dtr_state()

    def _reconfigure_port(self) -> None:
        wanted = (self._baudrate, self._bytesize, self._parity, self._stopbits, self._rtscts, self._xonxoff)
        if self._write_timeout is not None:
            # As pyserial says it; esptool tries, and takes the timeout back.
            raise NotImplementedError("a write timeout is not supported")
        if wanted == self._settings:
            return
        self._settings = None
        super()._reconfigure_port()
        self._settings = wanted

    def read(self, size: int = 1) -> bytes:
        """Up to `size` bytes, fewer when the timeout passes; SerialException once the connection is over."""
        if not self.is_open:
            raise PortNotOpenError
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        data = bytearray()
        with contextlib.suppress(queue.Empty):
            while len(data) < size:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                byte = self._read_buffer.get(True, left)
                if byte is None:
                    self._read_buffer.put(None)
                    if data:
                        break
                    raise SerialException(f"{self._port}: the server closed the connection")
                data += byte
        return bytes(data)

    def rfc2217_send_purge(self, value: bytes) -> None:
        self._ask("purge", value)

    def rfc2217_set_control(self, value: bytes) -> None:
        if self._ignore_set_control_answer:
            super().rfc2217_set_control(value)
        else:
            self._ask("control", value)

    def _ask(self, option: str, value: bytes) -> None:
        """Send a request and wait for its answer."""
        request = self._rfc2217_options[option]
        request.set(value)
        deadline = time.monotonic() + self._network_timeout
        while not request.is_ready():
            if time.monotonic() > deadline:
                raise SerialException(f"{self._port}: no answer to {option!r}")
            time.sleep(POLL_S)
