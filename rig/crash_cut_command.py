"""`rig crash cut`: cut power in real time during a scenario, once, over a window of delays, or towards an edge."""

from __future__ import annotations

import contextlib
import math
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich import box
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

import rig
from rig.boards import inventory, kinds
from rig.boards.board import Board, powered
from rig.boards.inventory import BenchConfig, BoardSection
from rig.boards.shelf import FirmwareShelf, shelf_for
from rig.crash import edges, scenarios
from rig.crash.edges import Window
from rig.crash.scenarios import Scenario
from rig.crash.series import FILE, CutRecord, Cutting, Series, SeriesRecord
from rig.errors import BenchFault, FirmwareFault, Inconclusive, RigError, UserError
from rig.evidence.moments import EVENT_WORDS, AtMutation, AtStart, Moment, OnEvent, OnLine
from rig.evidence.records import Verdict
from rig.evidence.terminal import STYLE
from rig.evidence.terminal_sweeps import SEVERITY_STYLE
from rig.evidence.terminal_text import plain, unicode
from rig.processes import ended_like_ctrl_c
from rig.screen import Screen
from rig.virtual.builds import read_variant

FIRST_VERSION = "1.0.0"
"""Of the app that a scenario installs."""
EXIT = {
    Verdict.PASS: 0,
    Verdict.FIRMWARE_FAIL: FirmwareFault.exit_code,
    Verdict.BENCH_FAULT: BenchFault.exit_code,
    Verdict.INCONCLUSIVE: Inconclusive.exit_code,
}


@dataclass(frozen=True)
class Once:
    """One cut, `after` seconds."""

    after: float


@dataclass(frozen=True)
class Sweep:
    """A cut after each of these times."""

    delays: tuple[float, ...]


@dataclass(frozen=True)
class Bisect:
    """Cuts towards an edge in a window, until it is known to `resolution` seconds."""

    window: Window
    resolution: float


Plan = Once | Sweep | Bisect


def run(
    config: Path,
    board: str | None,
    scenario: str,
    *,
    on_line: str | None = None,
    on_event: str | None = None,
    at_mutation: int | None = None,
    after: float | None = None,
    sweep: str | None = None,
    bisect: str | None = None,
    variant: str | None = None,
    output: Path | None = None,
    as_json: bool = False,
) -> int:
    """The exit code of `rig crash cut`; see `rig.errors` for what it may raise.

    Times are seconds of the board's clock after the moment that `on_line` (a regular expression), `on_event` (`WORD` or
    `WORD NAME=VALUE …`) or `at_mutation` (from 1, as in names of crash images) tells, or else after the start of the
    recorded part. `sweep` is FROM:TO:STEPS, `bisect` FROM:TO or FROM:TO:RESOLUTION. `output`: the folder for cuts.json and
    the evidence of each cut, made if it is not there; by default one among the reports.
    """
    bench = inventory.load(config)
    section = bench.find(board) if board else bench.board[0]
    chosen = scenarios.find(scenario)
    moment = _moment(on_line, on_event, at_mutation)
    plan = _plan(after, sweep, bisect)
    if variant is not None:
        read_variant(variant)  # refuses an unknown one
    screen = Screen(stderr=as_json)
    started = datetime.now().astimezone()
    folder = _folder(config, bench, chosen, output, started)
    with contextlib.ExitStack() as stack:
        stack.enter_context(ended_like_ctrl_c())
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        firmware = shelf_for(section, bench.firmware, config, scratch, variant)
        head = _head(section, chosen, firmware, variant, moment, started)
        device = stack.enter_context(powered(_open(section)))
        head = head.model_copy(update={"clock_rate": device.clock_rate})
        told = stack.enter_context(_progress(screen, _count(plan)))
        series = Series(head, Cutting(chosen, device, firmware, moment).cut, _made(folder), told)
        try:
            _follow(plan, series)
        finally:
            # What was cut until a fault, or Ctrl-C, is worth seeing.
            stack.close()
            _show(series.record, folder, screen, as_json=as_json)
    return EXIT[series.record.verdict]


# --- what is asked for ---------------------------------------------------------------------------------------------------


def _moment(on_line: str | None, on_event: str | None, at_mutation: int | None) -> Moment:
    if sum(given is not None for given in (on_line, on_event, at_mutation)) > 1:
        raise UserError("power is cut after one moment", hint="give one of --on-line, --on-event, --at-mutation")
    if on_line is not None:
        try:
            return OnLine(re.compile(on_line.encode()))
        except re.error as error:
            raise UserError(f"{on_line!r} is no regular expression: {error}") from error
    if on_event is not None:
        return _event(on_event)
    if at_mutation is None:
        return AtStart()
    if at_mutation < 1:
        raise UserError(f"flash mutation {at_mutation}: they are counted from 1")
    return AtMutation(at_mutation)


def _event(text: str) -> OnEvent:
    word, *rest = text.split() or [""]
    if word not in EVENT_WORDS:
        raise UserError(f"the device says no event {word!r}", hint=f"one of: {', '.join(sorted(EVENT_WORDS))}")
    fields = [part.partition("=") for part in rest]
    if not all(name and equals for name, equals, _ in fields):
        raise UserError(f"{text!r} is no event", hint="as in: start state=PENDING_VERIFY")
    return OnEvent(word, {name: value for name, _, value in fields})


def _plan(after: float | None, sweep: str | None, bisect: str | None) -> Plan:
    if sum(given is not None for given in (after, sweep, bisect)) > 1:
        raise UserError("one delay or several?", hint="give one of --after, --sweep, --bisect")
    if sweep is not None:
        low, high, count = _numbers("--sweep", "FROM:TO:STEPS", sweep, 3)
        if count != int(count):
            raise UserError(f"--sweep {sweep}: {count:g} steps")
        return Sweep(edges.steps(edges.window(low, high), int(count)))
    if bisect is not None:
        low, high, *rest = _numbers("--bisect", "FROM:TO[:RESOLUTION]", bisect, 2, 3)
        window = edges.window(low, high)
        return Bisect(window, edges.finest(window, rest[0] if rest else None))
    if after is not None and not (math.isfinite(after) and after >= 0):
        raise UserError(f"--after {after:g}: seconds, 0 or more")
    return Once(after or 0.0)


def _numbers(option: str, form: str, text: str, *counts: int) -> list[float]:
    try:
        found = [float(part) for part in text.split(":")]
    except ValueError:
        found = []
    if len(found) not in counts or not all(map(math.isfinite, found)):
        raise UserError(f"{option} {text}: {form} is needed, in seconds", hint=f"as in {option} 0:0.5:11"[:-3 * (2 in counts) or None])
    return found


def _count(plan: Plan) -> int | None:
    """How many cuts it takes."""
    if isinstance(plan, Bisect):
        low, high = plan.window
        return 2 + max(0, math.ceil(math.log2((high - low) / plan.resolution)))
    return len(plan.delays) if isinstance(plan, Sweep) else 1
