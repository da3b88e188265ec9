"""The kind `serial`: a board on a serial port of this host, or behind a serial port server.

Example for rig.toml::

    [[board]]
    name = "c3-devkit"
    kind = "serial"
    chip = "esp32c3"
    port = "/dev/serial/by-id/usb-Silicon_Labs_CP2102N_0001-if00-port0"
    power = { on = "uhubctl -l 1-1.2 -p 3 -a on", off = "uhubctl -l 1-1.2 -p 3 -a off -r 100" }

Instead of `port`: `serial_number` of the USB bridge, `mac` of the chip, or a `place` of labgrid (docs/labgrid.md).
`port` may be rfc2217://HOST:PORT, and socket://HOST:PORT for a console alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NoReturn

import serial
from esptool.reset import HardReset

from rig.boards.board import Board, Capability, EfuseAccess, FlashAccess, NetworkAccess, ResetLine
from rig.boards.console import Console
from rig.boards.efuses import BurntEfuse, EmulatedEfuse
from rig.boards.inventory import SerialBoardSection
from rig.boards.labgrid_port import LabgridPort
from rig.boards.lease import Lease
from rig.boards.loader import LoaderFlash
from rig.boards.power import TIMED_CUT_LIMIT_S, PowerSwitch
from rig.boards.quiet_ports import NO_LINES as NO_LINES_ERRORS
from rig.boards.quiet_ports import open_quietly
from rig.boards.serial_ports import PortFinder, other_users, usb_ids, wanted_port
from rig.boards.sparing import Sparing
from rig.errors import BenchFault, UserError
from rig.idf.errors import FormatError
from rig.idf.flash_cipher import PLAIN, cipher_for

COMING_S = 0.1
"""How often a port that shall come with the power is looked for."""
ESPRESSIF = 0x303A
"""USB vendor of chips that are their own USB device: USB-Serial-JTAG, USB-OTG."""
CP2102C = (0x10C4, 0xEA64)
"""This bridge couples its CTS to the chip's reset and wants another sequence (esptool, reset.py)."""
NO_LINES = "a raw TCP socket carries no DTR and RTS: serve the port by RFC2217 (rfc2217://HOST:PORT)"
FLASHING = "esptool, through the ROM loader"
MISSING: Mapping[str, str] = {
    Capability.FLASH_MUTATIONS: "nobody sees the single erases and programs inside a real chip",
    Capability.CRASH_IMAGES: "thousands of flash images cannot be booted on it; rig crash replay shows single ones",
    Capability.BROWNOUT: "a power switch knows only on and off",
}
SYNTHESISED = "synthesised firmware runs on a simulated chip, which has no instruction timing"
NO_CUT_LINE = "rig.toml does not say that this board's supply hangs on a cut line (docs/cut-line.md)"
NO_KEY = "rig.toml names no flash encryption key for this board (encryption_key), and a key cannot be taken back"
NO_WIFI = "rig.toml names no access point for this board (wifi = { ssid = ..., password = ..., host = ... })"
NO_EFUSE = "a burnt eFuse of a real chip stays burnt, and rig.toml does not say `efuse` (docs/anti-rollback.md)"
ASKED_ONCE = "rig.toml allows its eFuses to be burnt for good, but --burn-efuses does not name it"
SAGS_UNJUDGED = "its supply can sag, but the judge takes every brown-out for a fault of the bench (docs/power.md)"
TOO_SLOW = "its power switch takes {:g} s to cut; at a moment of a test it must not take longer than {:g} s"
NO_POWER = "rig.toml names no power switch for this board; its reset line is not one"


def open_board(section: SerialBoardSection) -> Board:
    """The board of a section; nothing is touched yet. UserError if its port or power cannot be what is written."""
    name = section.name
    finder = port_finder(section)
    power = _power(section)
    console = SerialConsole(name, port_opener(name, finder, section.baud), power)
    reset_line: ResetLine
    flash: FlashAccess
    key = read_encryption_key(section)
    cipher = PLAIN if key is None else cipher_for(section.chip, key)
    sparing = Sparing(name, "emulated" if section.efuse == "virtual" else "stay", cipher)
    if _has_lines(section):
        reset_line = SerialResetLine(console)
        flash = SerialFlash(console, section.chip, section.flash_baud, reset_line, sparing)
    else:
        reset_line, flash = NoResetLine(name), NoFlash(name)
    return Board(
        name=name,
        kind=section.kind,
        chip=section.chip,
        console=console,
        flash=flash,
        reset_line=reset_line,
        power=power,
        efuse=_efuse(section, flash),
        encryption_key=key,
        network=_network(section),
        interrupt_gap_limits=section.interrupt_gap_limits.model_dump(exclude_none=True),
        missing=missing(section),
        sparing=sparing,
        lease=lease_of(section),
    )


def port_finder(section: SerialBoardSection) -> PortFinder:
    """What rig.toml says about its port; UserError for a URL that cannot be one."""
    if section.place is not None:
        return LabgridPort(section.name, section.place.address, section.place.serial)
    return wanted_port(section.name, section.port, section.serial_number, section.mac)


def lease_of(section: SerialBoardSection) -> Lease:
    """What a run on this board has to hold."""
    return Lease(section.name, _places(section), section.power)


def _places(section: SerialBoardSection) -> list[str]:
    """What other sections may know this hardware by."""
    if section.place is not None:
        return [section.place.address.url]
    places = {"port": section.port, "serial_number": section.serial_number, "mac": section.mac}
    return [value if name == "port" else f"{name}-{value.lower()}" for name, value in places.items() if value]


def missing(section: SerialBoardSection) -> Mapping[str, str]:
    """What this board cannot show, and why."""
    lacks = dict(MISSING)
    if section.power is None:
        lacks[Capability.POWER_CUT] = lacks[Capability.TIMED_CUT] = NO_POWER
    elif (latency := section.power.cut_latency_s) is not None and latency > TIMED_CUT_LIMIT_S:
        lacks[Capability.TIMED_CUT] = TOO_SLOW.format(latency, TIMED_CUT_LIMIT_S)
    if section.power is not None and section.power.SAGS:
        lacks[Capability.BROWNOUT] = SAGS_UNJUDGED
    if not section.cut_line:
        lacks[Capability.CUT_LINE] = NO_CUT_LINE
    if section.efuse != "virtual":
        lacks[Capability.EFUSE] = ASKED_ONCE if section.efuse == "burn" else NO_EFUSE
    if section.encryption_key is None:
        lacks[Capability.FLASH_ENCRYPTION] = NO_KEY
    if section.wifi is None:
        lacks[Capability.NETWORK] = lacks[Capability.WIFI] = NO_WIFI
    if section.firmware == "synthesised":
        lacks[Capability.INTERRUPT_LATENCY] = SYNTHESISED
    if not _has_lines(section):
        lacks["reset_line"] = NO_LINES
        lacks["flash"] = f"esptool cannot bring the chip into its loader: {NO_LINES}"
        lacks[Capability.EFUSE] = lacks["flash"]
    return lacks


def _has_lines(section: SerialBoardSection) -> bool:
    return not (section.port or "").startswith("socket://")


def with_burning(board: Board, section: SerialBoardSection) -> Board:
    """The board with its eFuses to be burnt for good. UserError unless rig.toml says so as well."""
    if section.efuse != "burn" or not isinstance(board.flash, SerialFlash):
        raise UserError(
            "--burn-efuses names a board that rig.toml does not give up for that",
            board=section.name,
            hint='a board that is meant to be spent has efuse = "burn" (docs/anti-rollback.md)',
        )
    lacks = {name: reason for name, reason in board.missing.items() if name != Capability.EFUSE}
    sparing = replace(board.flash.sparing, versions="spent")
    flash = board.flash.with_sparing(sparing)
    return replace(board, flash=flash, efuse=BurntEfuse(flash), missing=lacks, sparing=sparing)


def _efuse(section: SerialBoardSection, flash: FlashAccess) -> EfuseAccess | None:
    """Only those that cost nothing: burning is asked for twice, see `with_burning`."""
    return EmulatedEfuse(flash) if section.efuse == "virtual" and isinstance(flash, LoaderFlash) else None


def _network(section: SerialBoardSection) -> NetworkAccess | None:
    """By Wi-Fi; the update server listens on this machine's address in that network, and on no other."""
    wifi = section.wifi
    if wifi is None:
        return None
    return NetworkAccess(wifi.host, wifi.host, "network_wifi", wifi.ssid, wifi.password)


def read_encryption_key(section: SerialBoardSection) -> bytes | None:
    """What espsecure generate-flash-encryption-key made and somebody burnt; read anew each time, kept nowhere else."""
    path = section.encryption_key
    if path is None:
        return None
    try:
        key = path.read_bytes()
        cipher_for(section.chip, key)
    except OSError as error:
        raise UserError(
            f"the flash encryption key {path} cannot be read: {error.strerror}",
            board=section.name,
            hint="encryption_key in rig.toml is the file that espefuse burn-key was given",
        ) from error
    except FormatError as error:
        raise UserError(
            f"{path} is no flash encryption key: {error}",
            board=section.name,
            hint="it is the file that espefuse burn-key was given, as espsecure made it",
        ) from error
    return key


def _power(section: SerialBoardSection) -> PowerSwitch | None:
    return None if section.power is None else section.power.open(section.name)


def port_opener(board: str, finder: PortFinder, baud: int) -> Callable[[], serial.SerialBase]:
    """Opens the port where it is at that moment, for us alone."""

    def open_port() -> serial.SerialBase:
        where = finder.find()
        if "://" in where:
            return open_quietly(where, baud)
        port = open_quietly(where, baud, exclusive=True)
        if users := other_users(os.path.realpath(where)):
            port.close()
            raise BenchFault(
                f"{where} is used by another program too: {', '.join(users)}",
                board=board,
                hint="end it: two readers get half of the log each",
            )
        return port

    return open_port


class SerialConsole(Console):
    """A console whose port may need the board's power to exist."""

    def __init__(self, board: str, open_port: Callable[[], serial.SerialBase], power: PowerSwitch | None) -> None:
        super().__init__(board, open_port)
        self._power = power

    def open(self) -> None:
        """Switch power on if it can be, and open the port, which may take its time to appear then."""
        if self._power is None:
            super().open()
            return
        self._power.on()
        deadline = time.monotonic() + self.absence_limit
        while True:
            try:
                super().open()
                return
            except BenchFault:
                if time.monotonic() > deadline:
                    raise
            time.sleep(COMING_S)


class SerialResetLine:
    """EN by RTS. Knows whether a chip that shall be held in reset has really been held all the time."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._held_at: int | None = None
        self._asked = False

    def hold(self) -> None:
        """A port that is away, as when its bridge has no power either, cannot hold; `demand_held` tells later."""
        self._asked, self._held_at = True, None
        port = self._console.port_at_hand
        if port is None:
            return
        try:
            port.dtr = False
            port.rts = True
        except (OSError, AttributeError) as error:
            if isinstance(error, OSError) and error.errno in NO_LINES_ERRORS:
                raise BenchFault(f"this port has no reset line: {error}", board=self._console.board) from error
            # It has just gone; AttributeError: pyserial's network ports.
            return
        self._held_at = self._console.openings

    def release(self) -> None:
        """A port that is away comes back with its lines released."""
        self._asked = False
        port = self._console.port_at_hand
        if port is not None:
            self._set_rts(port, False)

    def pulse(self) -> None:
        """With esptool's timing for this port; waits for a port that is away."""
        self._asked = False
        port = self._console.port
        usb = usb_ids(port.port)
        try:
            # `reset` and not a call: that would open a port which vanishes by itself, beside the console.
            HardReset(port, uses_usb=usb[0] == ESPRESSIF, flow_control=usb == CP2102C).reset()
        except (OSError, AttributeError) as error:
            # A chip that is its own USB device may leave the bus with the reset; AttributeError: network ports.
            if usb[0] != ESPRESSIF:
                raise BenchFault(f"the reset line cannot be moved: {error}", board=self._console.board) from error

    def demand_held(self) -> None:
        """BenchFault if the chip may have run although it was to be held in reset."""
        port = self._console.port_at_hand
        if self._asked and (port is None or self._held_at != self._console.openings):
            raise BenchFault(
                "the serial port was away while the chip was to be held in reset, so the chip may have run, and what"
                " flash held before is not known",
                board=self._console.board,
                hint="feed the USB bridge from another supply than the one that is cut",
            )

    def taken(self) -> None:
        """The loader has the chip now: nothing is to be held any more."""
        self._asked = False

    def _set_rts(self, port: serial.SerialBase, level: bool) -> None:
        try:
            port.rts = level
        except (OSError, AttributeError):
            # Gone: see `release`.
            return


class SerialFlash(LoaderFlash):
    """Flash of a chip that is to be held in reset until the loader takes over, and whose eFuses are real."""

    def __init__(self, console: Console, chip: str, baud: int, reset_line: SerialResetLine, sparing: Sparing) -> None:
        super().__init__(console, chip, baud)
        self.sparing = sparing
        self._reset_line = reset_line

    def with_sparing(self, sparing: Sparing) -> SerialFlash:
        """The same flash of a board that gives up other things."""
        return SerialFlash(self.console, self.chip, self.baud, self._reset_line, sparing)

    def read(self, offset: int, size: int) -> bytes:
        """As `LoaderFlash.read`; BenchFault if the chip has run since it was to be held in reset."""
        self._reset_line.demand_held()
        data = super().read(offset, size)
        self._reset_line.taken()
        return data

    def restore(self, regions: Mapping[int, bytes]) -> int:
        """As `LoaderFlash.restore`. NotApplicable, and nothing written, for what would burn eFuses that are to stay."""
        self.sparing.demand(regions)
        written = super().restore(regions)
        self._reset_line.taken()
        return written


class NoResetLine:
    """A port without lines."""

    def __init__(self, board: str) -> None:
        self._board = board

    def hold(self) -> None:
        self._refuse()

    def release(self) -> None:
        self._refuse()

    def pulse(self) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise UserError("this board's reset line cannot be moved", board=self._board, hint=NO_LINES)


class NoFlash:
    """Flash that nothing reaches."""

    def __init__(self, board: str) -> None:
        self._board = board
        self.transcript: list[str] = []

    def read(self, offset: int, size: int) -> bytes:
        self._refuse()

    def restore(self, regions: Mapping[int, bytes]) -> int:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise UserError("this board's flash cannot be reached", board=self._board, hint=NO_LINES)
