"""Finds a board's serial port by what stays the same when its device name changes.

A USB bridge gets the next free name whenever it comes back, so the port is looked for again at every opening.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

import esptool.cmds
from esptool.reset import HardReset
from esptool.util import FatalError
from serial.tools.list_ports import comports
from serial.tools.list_ports_common import ListPortInfo

from rig.boards.quiet_ports import open_quietly
from rig.errors import BenchFault, UserError

NETWORK_SCHEMES = ("rfc2217", "socket")
BY_ID = "/dev/serial/by-id"


class PortFinder(Protocol):
    """What rig.toml says about the port."""

    def find(self) -> str:
        """A device or URL to open, now. BenchFault if it is not there, UserError if it is not a single one."""


class FixedPort:
    """A device path, also a link as in /dev/serial/by-id, which udev moves with the device."""

    def __init__(self, board: str, path: str) -> None:
        self._board, self._path = board, path

    def find(self) -> str:
        try:
            kind = os.stat(self._path).st_mode
        except OSError as error:
            raise _absent(self._board, self._path, error.strerror or str(error)) from error
        if not stat.S_ISCHR(kind):
            raise UserError(f"{self._path} is not a serial port", board=self._board, hint=_present())
        # esptool looks for the USB bridge by the device's own name.
        return os.path.realpath(self._path)


class NetworkPort:
    """A port behind a server."""

    def __init__(self, board: str, url: str) -> None:
        check_url(board, url)
        self._url = url

    def find(self) -> str:
        return self._url


class UsbSerialNumber:
    """The one port of the USB device with this serial number."""

    def __init__(self, board: str, number: str) -> None:
        self._board, self._number = board, number

    def find(self) -> str:
        wanted = self._number.casefold()
        found = [port for port in comports() if (port.serial_number or "").casefold() == wanted]
        return _only(self._board, f"serial number {self._number}", found)


class UsbPlace(NamedTuple):
    """What tells one USB serial port from the others, as well as it can: its number, else the socket it is in."""

    vid: int | None
    pid: int | None
    number: str | None
    location: str | None

    @classmethod
    def of(cls, port: ListPortInfo) -> UsbPlace:
        return cls(port.vid, port.pid, port.serial_number, None if port.serial_number else port.location)


class ChipMac:
    """The port behind which is the chip with this MAC address.

    A chip with its own USB port (USB-Serial-JTAG) has its MAC address as serial number. Any other has to be asked,
    once: esptool resets every board whose port nobody holds until one answers with that address. From then on the port
    is known by its USB device, so that nothing is reset when it is opened again.
    """

    def __init__(self, board: str, mac: str, ask: Callable[[str], str] | None = None) -> None:
        self._board, self._mac = board, mac
        self._ask = ask or read_mac
        self._place: UsbPlace | None = None

    def find(self) -> str:
        ports = [port for port in comports() if port.vid is not None]
        if self._place is not None:
            found = [port for port in ports if UsbPlace.of(port) == self._place]
            return _only(self._board, f"MAC address {self._mac}", found)
        own = [port for port in ports if _digits(port.serial_number or "") == _digits(self._mac)]
        port = own[0] if len(own) == 1 else self._asked(ports)
        self._place = UsbPlace.of(port)
        return str(port.device)

    def _asked(self, ports: Iterable[ListPortInfo]) -> ListPortInfo:
        answers = []
        for port in ports:
            try:
                mac = self._ask(port.device)
            except (OSError, ValueError, FatalError) as error:
                answers.append(f"{_named(port)}: {str(error).splitlines()[0]}")
                continue
            if _digits(mac) == _digits(self._mac):
                return port
            answers.append(f"{_named(port)}: the chip there is {mac}")
        raise BenchFault(
            f"no serial port leads to a chip with MAC address {self._mac}",
            board=self._board,
            evidence="asked: " + ("; ".join(answers) or "nobody, there is no USB serial port"),
            hint="is the board plugged in, and its port not held by another program?",
        )


def read_mac(device: str) -> str:
    """The base MAC address of the chip behind a port, which esptool resets twice for that; it runs on afterwards.

    Raises what pyserial and esptool raise; a port that another program holds is left alone.
    """
    if users := other_users(os.path.realpath(device)):
        raise OSError(f"held by {', '.join(users)}")
    with contextlib.redirect_stdout(io.StringIO()), open_quietly(device, exclusive=True) as port:
        esp = esptool.cmds.detect_chip(port, connect_attempts=2)
        mac = ":".join(f"{byte:02x}" for byte in esp.read_mac("BASE_MAC"))
        HardReset(port)()
        return mac


def wanted_port(board: str, port: str | None, serial_number: str | None, mac: str | None) -> PortFinder:
    """What to look for; UserError for a URL that cannot be one."""
    if mac is not None:
        return ChipMac(board, mac)
    if serial_number is not None:
        return UsbSerialNumber(board, serial_number)
    assert port is not None
    return NetworkPort(board, port) if "://" in port else FixedPort(board, port)


def check_url(board: str, url: str) -> None:
    """UserError unless it is rfc2217://HOST:PORT or socket://HOST:PORT."""
    hint = "rfc2217://HOST:PORT, or socket://HOST:PORT for a console alone"
    try:
        parts = urlsplit(url)
        complete = bool(parts.hostname) and parts.port is not None
    except ValueError as error:
        raise UserError(f"{url}: {error}", board=board, hint=hint) from error
    if parts.scheme not in NETWORK_SCHEMES or not complete:
        raise UserError(f"{url} is no address of a serial port", board=board, hint=hint)


def usb_ids(device: str) -> tuple[int | None, int | None]:
    """USB vendor and product of a device; (None, None) for anything else."""
    return next(((port.vid, port.pid) for port in comports() if port.device == device), (None, None))


def other_users(device: str) -> list[str]:
    """Other programs that have this device open, as `name (process id)`, as far as this user may see."""
    users = []
    for process in os.scandir("/proc") if os.path.isdir("/proc") else ():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if any(_leads_to(entry.path, device) for entry in os.scandir(f"{process.path}/fd")):
                with open(f"{process.path}/comm", encoding="utf-8", errors="replace") as name:
                    users.append(f"{name.read().strip()} ({process.name})")
    return sorted(users)


def _leads_to(link: str, device: str) -> bool:
    with contextlib.suppress(OSError):
        return os.readlink(link) == device
    return False


def _only(board: str, wanted: str, found: list[ListPortInfo]) -> str:
    if not found:
        raise _absent(board, f"a port with {wanted}", "no such device")
    if len(found) > 1:
        raise UserError(
            f"{len(found)} serial ports have {wanted}: {_listed(found)}",
            board=board,
            hint=f"name one of them by `port`, as {BY_ID} has it",
        )
    return str(found[0].device)


def _absent(board: str, wanted: str, why: str) -> BenchFault:
    return BenchFault(f"{wanted} is not there ({why})", board=board, evidence=_present(), hint="is it plugged in?")


def _present() -> str:
    """What there is instead, for a person."""
    ports = [port for port in comports() if port.vid is not None]
    links = sorted(os.listdir(BY_ID)) if os.path.isdir(BY_ID) else []
    known = f"USB serial ports: {_listed(ports)}" if ports else "there is no USB serial port"
    return known + (f"; in {BY_ID}: {', '.join(links)}" if links else "")


def _listed(ports: Iterable[ListPortInfo]) -> str:
    return ", ".join(sorted(map(_named, ports)))


def _named(port: ListPortInfo) -> str:
    number = f"serial number {port.serial_number}" if port.serial_number else "no serial number"
    return f"{port.device} ({port.product or port.description}, {number})"


def _digits(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter in "0123456789abcdef")
