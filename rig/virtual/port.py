"""A virtual chip as a pyserial port: `virtual://NAME`.

`enable()` once, `plug(chip)`, then `serial.serial_for_url("virtual://NAME")` from anywhere in this process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import serial
from serial.serialutil import PortNotOpenError, SerialBase, SerialException

from rig.virtual.chip import VirtualChip

SCHEME = "virtual://"
HANDLER_PACKAGE = "rig.virtual.urls"

# esptool resets through an ioctl on the port's file descriptor, which this port does not have, unless the port's name
# says that it is a remote one (loader.py: _construct_reset_strategy_sequence).
REMOTE_PREFIX = "rfc2217:"

_chips: dict[str, VirtualChip] = {}
_lock = threading.Lock()


def enable() -> None:
    """Make pyserial know `virtual://`; may be called again."""
    if HANDLER_PACKAGE not in serial.protocol_handler_packages:
        serial.protocol_handler_packages.append(HANDLER_PACKAGE)


def plug(chip: VirtualChip) -> str:
    """Make `chip` available under its name; its URL. ValueError if another chip has that name."""
    enable()
    key = chip.name.lower()
    with _lock:
        if _chips.setdefault(key, chip) is not chip:
            raise ValueError(f"there is another virtual chip named {chip.name!r}")
    return SCHEME + chip.name


def unplug(chip: VirtualChip) -> None:
    """Take the port away: open handles of it fail like those of an unplugged adapter."""
    with _lock:
        if _chips.get(chip.name.lower()) is chip:
            del _chips[chip.name.lower()]
    chip.uart.wake()


def is_plugged(chip: VirtualChip) -> bool:
    """Whether `chip` is available under its name."""
    with _lock:
        return _chips.get(chip.name.lower()) is chip


@contextmanager
def plugged(chip: VirtualChip) -> Iterator[str]:
    """Power and plug `chip` for the time of a `with`; gives its URL."""
    url = plug(chip)
    try:
        with chip:
            yield url
    finally:
        unplug(chip)


def _find(url: str) -> VirtualChip:
    if not url.lower().startswith(SCHEME):
        raise SerialException(f"{url!r} is no {SCHEME} URL")
    name = url[len(SCHEME) :].strip("/")
    with _lock:
        chip = _chips.get(name.lower())
        known = ", ".join(sorted(_chips)) or "none"
    if chip is None:
        raise SerialException(f"could not open port {url}: FileNotFoundError: no such virtual chip; there are: {known}")
    return chip


class VirtualSerial(SerialBase):  # type: ignore[misc]
    """The port. Opening puts DTR and RTS as they are set (both asserted by default), at once; closing drops both."""

    is_open: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._chip: VirtualChip | None = None
        self._cancelled = False
        super().__init__(*args, **kwargs)

    def open(self) -> None:
        """SerialException if there is no such chip, or another handle holds it exclusively."""
        if self._port is None:
            raise SerialException("Port must be configured before it can be used.")
        if self.is_open:
            raise SerialException("Port is already open.")
        chip = _find(self._port)
        _claim(chip, self)
        self._chip = chip
        self.name = REMOTE_PREFIX + self._port
        self.is_open = True
        self._apply_lines()

    def close(self) -> None:
        if not self.is_open:
            return
        self.is_open = False
        chip = self._chip
        assert chip is not None
        _release(chip, self)
        chip.set_lines(dtr=False, rts=False)
        chip.uart.wake()

    def _plugged(self) -> VirtualChip:
        if not self.is_open or self._chip is None:
            raise PortNotOpenError
        if not is_plugged(self._chip):
            raise SerialException(f"{self._port}: device disconnected")
        return self._chip

    def _reconfigure_port(self) -> None:
        if not 0 < self._baudrate < 2**32:
            raise ValueError(f"invalid baudrate: {self._baudrate!r}")

    @property
    def in_waiting(self) -> int:
        return len(self._plugged().uart.to_host)

    @property
    def out_waiting(self) -> int:
        self._plugged()
        return 0

    def read(self, size: int = 1) -> bytes:
        """Up to `size` bytes; fewer only when the timeout passes or the read is cancelled."""
        chip = self._plugged()
        self._cancelled = False
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        data = chip.uart.to_host.take(size, self._baudrate)
        while len(data) < size:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            chip.uart.to_host.wait(left, self._must_stop)
            if self._cancelled or not self.is_open:
                break
            data += self._plugged().uart.to_host.take(size - len(data), self._baudrate)
        return bytes(data)

    def _must_stop(self) -> bool:
        if self._cancelled or not self.is_open or self._chip is None:
            return True
        return not is_plugged(self._chip)

    def write(self, data: Any) -> int:
        """Send bytes; those the chip cannot hear (no power, held in reset) are lost."""
        content = bytes(data)
        self._plugged().host_write(content, self._baudrate)
        return len(content)

    def flush(self) -> None:
        self._plugged()

    def cancel_read(self) -> None:
        """Let a read in another thread return what it has."""
        self._cancelled = True
        if self._chip is not None:
            self._chip.uart.wake()

    def reset_input_buffer(self) -> None:
        self._plugged().uart.to_host.clear()

    def reset_output_buffer(self) -> None:
        self._plugged()

    def _apply_lines(self) -> None:
        self._plugged().set_lines(dtr=bool(self._dtr_state), rts=bool(self._rts_state))

    _update_dtr_state = _apply_lines
    _update_rts_state = _apply_lines

    def _update_break_state(self) -> None:
        self._plugged()

    @property
    def cts(self) -> bool:
        return False

    @property
    def dsr(self) -> bool:
        return False

    @property
    def ri(self) -> bool:
        return False

    @property
    def cd(self) -> bool:
        return False


_holders: dict[int, VirtualSerial] = {}


def _claim(chip: VirtualChip, port: VirtualSerial) -> None:
    """As flock does for a real port: only handles opened as exclusive shut each other out."""
    if not port.exclusive:
        return
    with _lock:
        if id(chip) in _holders:
            raise SerialException(f"could not open port {port.port}: Resource temporarily unavailable: it is busy")
        _holders[id(chip)] = port


def _release(chip: VirtualChip, port: VirtualSerial) -> None:
    with _lock:
        if _holders.get(id(chip)) is port:
            del _holders[id(chip)]
