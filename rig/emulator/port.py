"""The UART of an emulated chip as a pyserial port: `qemu://NAME`.

`plug(machine)`, then `serial.serial_for_url("qemu://NAME")` from anywhere in this process. Every byte the chip ever
printed is read exactly once, also by a port that was opened later. RTS is wired to EN, as on development boards; DTR
is wired to nothing, since the emulated chip always starts from flash.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import serial
from serial.serialutil import PortNotOpenError, SerialBase, SerialException

from rig.emulator.machine import Machine

SCHEME = "qemu://"
HANDLER_PACKAGE = "rig.emulator.urls"
POLL_S = 0.001

_machines: dict[str, Machine] = {}
_lock = threading.Lock()


def enable() -> None:
    """Make pyserial know `qemu://`; may be called again."""
    if HANDLER_PACKAGE not in serial.protocol_handler_packages:
        serial.protocol_handler_packages.append(HANDLER_PACKAGE)


def plug(machine: Machine) -> str:
    """Make `machine` available under its name; its URL. A closed machine makes room, another one is a ValueError."""
    enable()
    with _lock:
        present = _machines.get(machine.name.lower())
        if present is not None and present is not machine and not present.closed:
            raise ValueError(f"there is another emulated chip named {machine.name!r}")
        _machines[machine.name.lower()] = machine
    return SCHEME + machine.name


def _find(url: str) -> Machine:
    if not url.lower().startswith(SCHEME):
        raise SerialException(f"{url!r} is no {SCHEME} URL")
    name = url[len(SCHEME) :].strip("/")
    with _lock:
        machine = _machines.get(name.lower())
        known = ", ".join(sorted(name for name, machine in _machines.items() if not machine.closed)) or "none"
    if machine is None or machine.closed:
        raise SerialException(f"could not open port {url}: FileNotFoundError: no such chip; there are: {known}")
    return machine


class QemuSerial(SerialBase):  # type: ignore[misc]
    """The port. After a fault of the emulator every use fails, once what was printed before has been read."""

    is_open: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._machine: Machine | None = None
        self._cancelled = False
        self._holds = False
        super().__init__(*args, **kwargs)

    def open(self) -> None:
        """SerialException if there is no such chip, or its emulator is out of order."""
        if self._port is None:
            raise SerialException("Port must be configured before it can be used.")
        if self.is_open:
            raise SerialException("Port is already open.")
        machine = _find(self._port)
        # Asked once: another thread may start the chip anew meanwhile.
        fault = machine.fault
        if fault is not None and not machine.uart.waiting:
            raise SerialException(f"{self._port}: {fault.what}")
        self._machine = machine
        self.name = self._port
        self.is_open = True
        self._update_rts_state()

    def close(self) -> None:
        if not self.is_open:
            return
        self.is_open = False
        machine = self._machine
        if self._holds and machine is not None and not machine.closed:
            self._holds = False
            machine.release()

    def _there(self) -> Machine:
        if not self.is_open or self._machine is None:
            raise PortNotOpenError
        if self._machine.closed:
            raise SerialException(f"{self._port}: device disconnected")
        return self._machine

    def _reconfigure_port(self) -> None:
        if not 0 < self._baudrate < 2**32:
            raise ValueError(f"invalid baudrate: {self._baudrate!r}")

    @property
    def in_waiting(self) -> int:
        return self._there().uart.waiting

    @property
    def out_waiting(self) -> int:
        self._there()
        return 0

    def read(self, size: int = 1) -> bytes:
        """Up to `size` bytes; fewer only when the timeout passes or the read is cancelled."""
        self._cancelled = False
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        data = b""
        while True:
            machine = self._there()
            # Asked before reading: what was printed before the fault is still to be had.
            fault = machine.fault
            data += machine.uart.take(size - len(data))
            if len(data) == size or self._cancelled or not self.is_open:
                return data
            if fault is not None:
                if data:
                    return data
                raise SerialException(f"{self._port}: {fault.what}")
            if deadline is not None and time.monotonic() >= deadline:
                return data
            time.sleep(POLL_S)

    def write(self, data: Any) -> int:
        """Send bytes, all of them; those the chip cannot hear (no power, held in reset) are lost."""
        content = bytes(data)
        machine = self._there()
        fault = machine.fault
        if fault is not None:
            raise SerialException(f"{self._port}: {fault.what}")
        machine.write(content)
        return len(content)

    def flush(self) -> None:
        self._there()

    def cancel_read(self) -> None:
        """Let a read in another thread return what it has."""
        self._cancelled = True

    def reset_input_buffer(self) -> None:
        self._there().uart.skip()

    def reset_output_buffer(self) -> None:
        self._there()

    def _update_rts_state(self) -> None:
        machine = self._there()
        if bool(self._rts_state) == self._holds:
            return
        self._holds = bool(self._rts_state)
        if self._holds:
            machine.hold()
        else:
            machine.release()

    def _update_dtr_state(self) -> None:
        self._there()

    def _update_break_state(self) -> None:
        self._there()

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
