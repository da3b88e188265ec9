"""Prove a board fit by using it: its port, its reset line, its power switch, its flash. For `rig doctor`.

The chip is brought into its loader for most of this, where it is silent whatever its flash holds and answers within
milliseconds. Flash ends as it was, and what holds data is never written. A proof is a function that returns what it
measured, in words, or raises a RigError.
"""

from __future__ import annotations

import contextlib
import re
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import serial
from esptool.loader import ESPLoader
from esptool.util import FatalError

from rig.boards.board import Board
from rig.boards.loader import LoaderFlash
from rig.boards.power import TIMED_CUT_LIMIT_S, cycle
from rig.errors import BenchFault, NotApplicable, RigError
from rig.idf.effects import SECTOR_SIZE

RESET = re.compile(rb"rst:0x([0-9a-fA-F]+) \((\w+)\)")
"""What every ROM prints first: the number and name of the reset reason (ESP-IDF, rom/rtc.h)."""
POWER_ON = 1
BANNER_LIMIT_S = 5.0
"""Within so long the ROM has said why it started, supply and USB bridge included."""
SILENT_S = 2.0
CUTS = 5
ANSWER_LIMIT_S = 0.25
"""A loader that has not answered for so long has no power: it answers within a few milliseconds."""
STILL_ON_S = 2.0
ALIVE_REGISTER = 0x4000_1000
"""Any address will do: the loader answers before it is asked what is there (esptool, chip_detect_magic)."""
PATTERN = bytes(range(256)) * (SECTOR_SIZE // 256)
BLANK = b"\xff" * SECTOR_SIZE
SPARE_BYTES = 16 * SECTOR_SIZE
"""So much of the end of flash is searched for a sector that nobody uses."""


@dataclass(frozen=True)
class Cuts:
    """Cut latencies in seconds: from the call of the switch until the chip gave its last answer, one a cut.

    `between`: typical time between two answers, in seconds; no cut is known better than that.
    """

    latencies: tuple[float, ...]
    between: float

    def __str__(self) -> str:
        low, high = min(self.latencies) * 1000, max(self.latencies) * 1000
        middle = statistics.median(self.latencies) * 1000
        return (
            f"no power {middle:.0f} ms after the call ({low:.0f} to {high:.0f} ms in {len(self.latencies)} cuts, "
            f"one question every {self.between * 1000:.1f} ms)"
        )


def resets(board: Board) -> str:
    """The reset line starts the chip."""
    return f"the reset line starts the chip: {_reset_reason(board, board.reset)[1]}"


def power_cuts(board: Board) -> str:
    """Without power the board is silent for 2 s, and starts with a power-on reset when it is back."""
    power = board.power
    if power is None:
        raise NotApplicable("no power switch", hint="docs/power.md")
    cut_at = board.console.position
    try:
        power.off()
        board.console.drain()
        before = board.console.position
        time.sleep(SILENT_S)
        if board.console.position != before:
            raise BenchFault(
                f"the board printed while it was to be without power: {_last(board, before)!r}",
                board=board.name,
                evidence=f"{before - cut_at} bytes came after the call of the switch, then more",
                hint="does the switch sit in the supply of the chip, and is there no second supply, as by USB?",
            )
    except BaseException:
        power.on()
        raise
    try:
        number, name = _reset_reason(board, power.on)
    except BenchFault as error:
        raise BenchFault(
            f"{error.what} when power was back: the chip kept its supply, or its console is dead",
            board=board.name,
            hint="the hub or relay may not switch this port: does the board's lamp go out? is there a second supply?",
        ) from error
    if number != POWER_ON:
        raise BenchFault(
            f"after the power cut the chip says {name}, not a power-on reset: it kept its supply",
            board=board.name,
            hint="the hub or relay may not switch this port: does its lamp go out? is there a second supply?",
        )
    return f"silent for {SILENT_S:g} s without power, then {name}"


def cut_latency(board: Board) -> str:
    """How soon after the call of the switch the chip answers no more, measured several times."""
    flash, power = board.flash, board.power
    if power is None or not isinstance(flash, LoaderFlash):
        raise NotApplicable("nothing to measure: no power switch, or no loader that answers")
    cuts = measured_cuts(board, flash)
    if max(cuts.latencies) > TIMED_CUT_LIMIT_S:
        raise NotApplicable(
            f"{cuts}: too slow to cut at a moment of a test",
            hint=f"cut_latency_ms = {max(cuts.latencies) * 1000:.0f} in `power` of rig.toml skips those tests",
        )
    return str(cuts)


def measured_cuts(board: Board, flash: LoaderFlash, number: int = CUTS) -> Cuts:
    """Cut power `number` times while the loader is asked without a pause. BenchFault if it goes on answering."""
    assert board.power is not None
    latencies, between = [], []
    for _ in range(number):
        try:
            latency, pause = flash.in_loader(lambda esp: _cut_while_asking(board, esp))
        finally:
            cycle(board.power, 0.0)
        latencies.append(latency)
        between.append(pause)
    return Cuts(tuple(latencies), statistics.median(between))


def opening_is_quiet(board: Board) -> str:
    """The chip, in its loader, is still there when the port was closed and opened again."""
    flash = board.flash
    if not isinstance(flash, LoaderFlash):
        raise NotApplicable("this port is not opened by anybody else")
    flash.in_loader(lambda esp: esp.read_reg(ALIVE_REGISTER))
    board.console.close()
    board.console.open()
    position = board.console.position
    time.sleep(0.5)
    if board.console.position != position:
        raise BenchFault(
            f"opening the port resets the board: {_last(board, position)!r}",
            board=board.name,
            hint="RTS alone pulls EN on this board: add the usual two transistors, or use another bridge",
        )
    board.reset()
    return "closing and opening the port leaves the chip alone"


def port_is_stable(board: Board) -> str:
    """The port is the same after a reset and after a power cycle, and did not go away meanwhile."""
    before, gaps = board.console.port.port, len(board.console.gaps)
    board.reset()
    if board.power is not None:
        cycle(board.power)
    after = board.console.port.port
    if after != before:
        raise BenchFault(
            f"the port was {before} and is {after} after a reset and a power cycle",
            board=board.name,
            hint="name it by /dev/serial/by-id or by serial_number; a bridge with a supply of its own keeps its name",
        )
    if len(board.console.gaps) > gaps:
        raise NotApplicable(
            "the port goes away when power is cut, so the first lines of a boot are lost",
            hint="feed the USB bridge from another supply; docs/bench.md, `When power is cut`",
        )
    return f"{after} after a reset and a power cycle" if board.power is not None else f"{after} after a reset"


def flash_identity(board: Board) -> str:
    """Who made the flash, and how big it says it is."""
    flash = board.flash
    if not isinstance(flash, LoaderFlash):
        raise NotApplicable("flash is placed directly")
    number = int(flash.in_loader(lambda esp: esp.flash_id()))
    maker, kind, size = number & 0xFF, number >> 8 & 0xFF, number >> 16 & 0xFF
    if maker in (0x00, 0xFF):
        raise BenchFault(
            f"the flash chip does not say who it is (identity {number:#08x})",
            board=board.name,
            hint="is the flash soldered, and its pins free?",
        )
    return f"maker {maker:#04x}, device {kind:#04x}{size:02x}, {1 << size >> 10} KiB"


def spare_sector(board: Board) -> str:
    """A blank sector near the end of flash can be written and erased again; sectors that hold data are left alone."""
    flash = board.flash
    if not isinstance(flash, LoaderFlash):
        raise NotApplicable("flash is placed directly")
    end = 1 << (int(flash.in_loader(lambda esp: esp.flash_id())) >> 16 & 0xFF)
    tail = flash.read(end - SPARE_BYTES, SPARE_BYTES)
    # A doctor that was killed here may have left its pattern, which is nobody's data.
    spares = [at for at in range(0, SPARE_BYTES, SECTOR_SIZE) if tail[at : at + SECTOR_SIZE] in (BLANK, PATTERN)]
    if not spares:
        raise NotApplicable(
            f"no sector of the last {SPARE_BYTES >> 10} KiB of flash is blank, so none was written",
            hint=f"to have one tried, lose what it holds: esptool erase-region {end - SECTOR_SIZE:#x} {SECTOR_SIZE:#x}",
        )
    sector = end - SPARE_BYTES + spares[-1]
    try:
        flash.restore({sector: BLANK})
        flash.restore({sector: PATTERN})
        seen = flash.read(sector, SECTOR_SIZE)
    finally:
        flash.restore({sector: BLANK})
    wrong = sum(a != b for a, b in zip(seen, PATTERN, strict=True))
    left = sum(byte != 0xFF for byte in flash.read(sector, SECTOR_SIZE))
    if wrong or left:
        raise BenchFault(
            f"the flash sector at {sector:#x} does not keep what is written: {wrong} of {SECTOR_SIZE} bytes differ"
            f" after a write, {left} are not erased after an erase",
            board=board.name,
            hint="the flash is worn out or write-protected, or the supply too weak",
        )
    return f"the blank sector at {sector:#x} was written, read back and erased again"


PROOFS: Mapping[str, Callable[[Board], str]] = {
    "reset": resets,
    "power cut": power_cuts,
    "cut time": cut_latency,
    "opening": opening_is_quiet,
    "same port": port_is_stable,
    "flash": flash_identity,
    "sector": spare_sector,
}
"""In this order; each leaves the board powered and its flash as it was."""


def prove(board: Board) -> Iterator[tuple[str, str | RigError]]:
    """Run every proof on an opened board; each yields its name and what it showed, or the error it ended with."""
    for name, proof in PROOFS.items():
        try:
            yield name, proof(board)
        except RigError as error:
            yield name, error
        except (OSError, FatalError) as error:
            yield name, BenchFault(str(error).splitlines()[0], board=board.name)


def _reset_reason(board: Board, start: Callable[[], None]) -> tuple[int, str]:
    board.console.skip()
    start()
    match = board.console.expect(RESET, BANNER_LIMIT_S)
    if match is None:
        raise BenchFault(
            f"no reset reason came within {BANNER_LIMIT_S:g} s",
            board=board.name,
            hint="is the console at 115200 baud, TX wired, and EN not held?",
        )
    return int(match[1], 16), match[0].decode(errors="replace")


def _cut_while_asking(board: Board, esp: ESPLoader) -> tuple[float, float]:
    """Seconds from the call of the switch to the last answer, and typical seconds between two answers."""
    assert board.power is not None
    answers: list[float] = []
    over, begun = threading.Event(), threading.Event()

    def ask() -> None:
        while not over.is_set():
            try:
                esp.read_reg(ALIVE_REGISTER, timeout=ANSWER_LIMIT_S)
            except (FatalError, OSError, serial.SerialException):
                break
            answers.append(time.monotonic())
            if len(answers) > 10:
                begun.set()
        begun.set()

    asking = threading.Thread(target=ask, name=f"asks-{board.name}", daemon=True)
    asking.start()
    try:
        begun.wait(BANNER_LIMIT_S)
        if not asking.is_alive():
            raise BenchFault("the loader stopped answering before power was cut", board=board.name)
        called = time.monotonic()
        board.power.off()
        asking.join(STILL_ON_S)
        if asking.is_alive():
            raise BenchFault(
                f"the chip still answers {STILL_ON_S:g} s after its power was switched off",
                board=board.name,
                hint="the hub or relay does not switch this port, or there is a second supply",
            )
    finally:
        over.set()
        asking.join()
    pauses = [later - earlier for earlier, later in pairwise(answers)]
    return max(0.0, answers[-1] - called), statistics.median(pauses)


def _last(board: Board, position: int) -> str:
    with contextlib.suppress(IndexError):
        return board.console.chunks_since(position)[0].data[:80].decode(errors="replace")
    return ""
