"""`rig serve`: a virtual board that other programs open over RFC2217."""

from __future__ import annotations

import signal
import tempfile
import threading
from pathlib import Path

import click

from rig.boards import inventory
from rig.boards.install import flash_content
from rig.boards.inventory import VirtualBoardSection
from rig.boards.shelf import FirmwareShelf
from rig.boards.virtual import build_virtual_chip
from rig.errors import UserError
from rig.virtual.chip import VirtualChip
from rig.virtual.rfc2217 import serve

VARIANT = "rollback"
VERSION = "1.0.0"


def run(config: Path, board: str | None, port: int, *, blank: bool) -> None:
    """Serve until Ctrl-C or SIGTERM; prints where to connect."""
    bench = inventory.load(config)
    section = bench.find(board) if board else bench.board[0]
    if section.kind != "virtual":
        raise UserError(f"board {section.name} is of kind {section.kind}; only virtual boards can be served")
    # Others expect a board that keeps real time.
    chip = build_virtual_chip(section.model_copy(update={"time_scale": 1.0}))
    if not blank:
        _flash(chip, section, bench.firmware.idf_version)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with chip, serve(chip, port) as server:
        what = "blank" if blank else f"{VARIANT} test app {VERSION}"
        click.echo(f"{section.name} ({section.chip}, {what}) is at {server.url}")
        click.echo(f"  esptool --port {server.url} --chip auto flash-id")
        click.echo(f"  python -m serial.tools.miniterm {server.url} 115200")
        click.echo("Ctrl-C ends it.")
        try:
            stop.wait()
        except KeyboardInterrupt:
            click.echo("")


def _flash(chip: VirtualChip, section: VirtualBoardSection, idf_version: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        build = FirmwareShelf(Path(folder), section.chip, idf_version).build(VARIANT, VERSION)
        content = flash_content(build, build, (b"", b""), {})
    chip.flash.load(0, content)
