"""`rig serve`: a virtual board that other programs open over RFC2217."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from rig.boards import inventory
from rig.boards.install import flash_content
from rig.boards.inventory import VirtualBoardSection
from rig.boards.shelf import SynthesisedShelf
from rig.boards.virtual import build_virtual_chip
from rig.errors import BenchFault, UserError
from rig.virtual.chip import VirtualChip
from rig.virtual.rfc2217 import Server, serve

VARIANT = "rollback"
VERSION = "1.0.0"
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(config: Path, board: str | None, port: int, *, blank: bool) -> None:
    """Serve until Ctrl-C or SIGTERM; prints where to connect."""
    bench = inventory.load(config)
    section = bench.find(board) if board else bench.board[0]
    if section.kind != "virtual":
        raise UserError(f"board {section.name} is of kind {section.kind}; only virtual boards can be served")
    with _held_back():
        # Others expect a board that keeps real time.
        chip = build_virtual_chip(section.model_copy(update={"time_scale": 1.0}))
        if not blank:
            _flash(chip, section, bench.firmware.idf_version)
        with chip, _listen(chip, port) as server:
            what = "blank" if blank else f"{VARIANT} test app {VERSION}"
            click.echo(f"{section.name} ({section.chip}, {what}) is at {server.url}")
            click.echo(f"  esptool --port {server.url} --chip auto flash-id")
            click.echo(f"  python -m serial.tools.miniterm {server.url} 115200")
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


def _listen(chip: VirtualChip, port: int) -> Server:
    try:
        return serve(chip, port)
    except BenchFault as error:
        # The TCP port is what the user asked for, not a part of the bench.
        raise UserError(error.what, board=error.board, hint=error.hint) from error


def _flash(chip: VirtualChip, section: VirtualBoardSection, idf_version: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        build = SynthesisedShelf(Path(folder), section.chip, idf_version).build(VARIANT, VERSION)
        content = flash_content(build, build, (b"", b""), {})
    chip.flash.load(0, content)
