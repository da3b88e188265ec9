"""`rig serve`: a virtual board that other programs open over RFC2217."""

from __future__ import annotations

import ipaddress
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import click

from rig.boards import inventory
from rig.boards.install import flash_content
from rig.boards.inventory import VirtualBoardSection
from rig.boards.shelf import SynthesisedShelf
from rig.boards.virtual import build_virtual_chip
from rig.errors import BenchFault, UserError
from rig.virtual.chip import VirtualChip
from rig.virtual.power_port import PowerPort
from rig.virtual.rfc2217 import LOOPBACK, Server, serve

VARIANT = "rollback"
VERSION = "1.0.0"
T = TypeVar("T")
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Serving:
    """How to serve: TCP ports (0: any free one), erased flash or the test app, what hangs on the board's supply, and
    the address of this host to serve on."""

    port: int
    power_port: int | None = None
    blank: bool = False
    bridge_loses_power: bool = False
    host: str = LOOPBACK


def run(config: Path, board: str | None, how: Serving) -> None:
    """Serve until Ctrl-C or SIGTERM; prints where to connect."""
    bench = inventory.load(config)
    section = bench.find(board) if board else bench.board[0]
    if section.kind != "virtual":
        raise UserError(f"board {section.name} is of kind {section.kind}; only virtual boards can be served")
    with _held_back():
        # Others expect a board that keeps real time.
        chip = build_virtual_chip(section.model_copy(update={"time_scale": 1.0}))
        if not how.blank:
            _flash(chip, section, bench.firmware.idf_version)
        with chip, ServedBoard(chip, how) as served, served.power_port() as power:
            what = "blank" if how.blank else f"{VARIANT} test app {VERSION}"
            click.echo(f"{section.name} ({section.chip}, {what}) is at {served.url}")
            click.echo(f"  esptool --port {served.url} --chip auto flash-id")
            click.echo(f"  python -m serial.tools.miniterm {served.url} 115200")
            if power is not None:
                click.echo(f"Its power is at {power.url}")
                click.echo(f"  curl -X POST {power.url}/off")
            if not _is_loopback(how.host):
                click.echo(f"rig: whoever reaches {how.host} can flash and switch this board", err=True)
            click.echo("Ctrl-C ends it.")
            signal.sigwait(ENDING)
            # A second Ctrl-C is for whom the first is not enough.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


@contextmanager
def _held_back() -> Iterator[None]:
    """Keeps the signals that end us for `sigwait`: a handler might run while a lock it needs is held."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class ServedBoard:
    """A chip with its serial port server: together what a supply feeds."""

    def __init__(self, chip: VirtualChip, how: Serving) -> None:
        self._chip = chip
        self._how = how
        self._server: Server | None = None
        self._port = how.port

    @property
    def url(self) -> str:
        return f"rfc2217://{self._how.host}:{self._port}"

    def __enter__(self) -> Self:
        self._serve()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._server is not None:
            self._server.close()

    @contextmanager
    def power_port(self) -> Iterator[PowerPort | None]:
        """Where other programs switch its power, if that was asked for."""
        if self._how.power_port is None:
            yield None
            return
        with _asked_for(lambda: PowerPort(self, self._how.power_port or 0, self._how.host).start()) as port:
            yield port

    @property
    def is_on(self) -> bool:
        return self._chip.powered

    def on(self) -> None:
        self._chip.power_on()
        if self._server is None:
            self._serve()

    def off(self) -> None:
        self._chip.power_off()
        if self._how.bridge_loses_power and self._server is not None:
            self._server.close()
            self._server = None

    def _serve(self) -> None:
        self._server = _asked_for(lambda: serve(self._chip, self._port, self._how.host))
        self._port = self._server.port


def _asked_for(listen: Callable[[], T]) -> T:
    try:
        return listen()
    except BenchFault as error:
        # The TCP port is what the user asked for, not a part of the bench.
        raise UserError(error.what, board=error.board, hint=error.hint) from error


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _flash(chip: VirtualChip, section: VirtualBoardSection, idf_version: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        build = SynthesisedShelf(Path(folder), section.chip, idf_version).build(VARIANT, VERSION)
        content = flash_content(build, build, (b"", b""), {})
    chip.flash.load(0, content)
