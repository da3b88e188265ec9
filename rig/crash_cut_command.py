"""`rig crash cut`: cut power in real time during a scenario, once, over a window of delays, or towards an edge."""

from __future__ import annotations

import contextlib
import math
import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
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
from rig.boards.shelf import BASIS, FirmwareShelf, shelf_for
from rig.crash import edges, scenarios
from rig.crash.edges import Window
from rig.crash.scenarios import Scenario
from rig.crash.series import FILE, CutRecord, Cutting, Series, SeriesRecord
from rig.errors import BenchFault, FirmwareFault, Inconclusive, UserError
from rig.evidence.moments import EVENT_WORDS, AtMutation, AtStart, Moment, OnEvent, OnLine
from rig.evidence.records import Verdict
from rig.evidence.terminal import STYLE
from rig.evidence.terminal_sweeps import SEVERITY_STYLE
from rig.evidence.terminal_text import plain, unicode
from rig.evidence.timed_cut import pace
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
    recorded part. `sweep` is FROM:TO:STEPS, `bisect` FROM:TO or FROM:TO:RESOLUTION. `output`: the folder for cuts.json
    and the evidence of each cut, made if it is not there; by default one among the reports.
    """
    bench = inventory.load(config)
    section = bench.find(board) if board else bench.board[0]
    chosen = scenarios.find(scenario)
    moment = _moment(on_line, on_event, at_mutation)
    plan = _plan(after, sweep, bisect)
    if variant is not None:
        read_variant(variant)  # refuses an unknown one
        if chosen.variant != BASIS:
            raise UserError(f"{chosen.name} is about the variant {chosen.variant}, no other can take its place")
    screen = Screen(stderr=as_json)
    started = datetime.now().astimezone()
    folder = _folder(config, bench, chosen, output, started)
    series: Series | None = None
    try:
        with (
            ended_like_ctrl_c(),
            tempfile.TemporaryDirectory() as scratch,
            powered(_open(section)) as device,
            _progress(screen, _count(plan)) as told,
        ):
            firmware = shelf_for(section, bench.firmware, config, Path(scratch), variant)
            head = _head(chosen, device, firmware, variant, moment, started)
            series = Series(head, Cutting(chosen, device, firmware, moment).cut, folder, told)
            _follow(plan, series)
    finally:
        # What was cut until a fault, or Ctrl-C, is worth seeing.
        if series is None or not series.record.cuts:
            _remove_empty(folder)
        else:
            _show(series.record, folder, screen, as_json=as_json)
    return EXIT[series.record.verdict]


def _open(section: BoardSection) -> Board:
    board = kinds.open_board(section)
    if board.power is None:
        raise UserError("this board has no power switch", board=board.name, hint="docs/bench.md: `power` of a board")
    return board


def _follow(plan: Plan, series: Series) -> None:
    if isinstance(plan, Bisect):
        series.bisect(plan.window, plan.resolution)
    else:
        series.sweep(plan.delays if isinstance(plan, Sweep) else (plan.after,))


# --- what is asked for -----------------------------------------------------------------------------------------------


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
        raise UserError(
            f"{option} {text}: {form} is needed", hint="FROM, TO and RESOLUTION are seconds, as in 0:0.5:11"
        )
    return found


def _count(plan: Plan) -> int:
    """How many cuts it takes."""
    if isinstance(plan, Bisect):
        low, high = plan.window
        return 2 + max(0, math.ceil(math.log2((high - low) / plan.resolution)))
    return len(plan.delays) if isinstance(plan, Sweep) else 1


# --- where results go ------------------------------------------------------------------------------------------------


def _folder(config: Path, bench: BenchConfig, scenario: Scenario, output: Path | None, started: datetime) -> Path:
    """Made, and without results of another command in it."""
    name = f"{started.strftime('%Y-%m-%d_%H-%M-%S')}-cut-{scenario.name}"
    folder = output or config.resolve().parent / bench.bench.reports / name
    if (folder / FILE).exists():
        raise UserError(f"{folder} holds the results of other cuts", hint="name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        # ValueError: a path with a NUL in it
        raise UserError(f"{str(folder)!r}: no results can be written there: {error}") from error
    return folder


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _head(
    scenario: Scenario, board: Board, firmware: FirmwareShelf, variant: str | None, moment: Moment, started: datetime
) -> SeriesRecord:
    return SeriesRecord(
        tool=f"rollback-rig {rig.__version__}",
        command=shlex.join(["rig", *sys.argv[1:]]),
        started=started,
        finished=None,
        scenario=scenario.name,
        summary=scenario.summary,
        board=board.name,
        kind=board.kind,
        chip=board.chip,
        idf_version=firmware.build(scenario.variant, FIRST_VERSION).boot_config.idf_version,
        variant=variant or scenario.variant,
        moment=str(moment),
        pace=pace(board),
        cuts=[],
        edges=[],
    )


# --- what a person sees ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _progress(screen: Screen, total: int) -> Iterator[Callable[[CutRecord], None]]:
    columns = (
        TextColumn("cutting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[last]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=screen, transient=True) as progress:
        task = progress.add_task("", total=total, last="")

        def told(cut: CutRecord) -> None:
            last = f"{_ms(cut.delay_s)}: {cut.outcome or cut.verdict.value}"
            progress.update(task, advance=1, last=plain(last, screen))

        yield told


def _show(record: SeriesRecord, folder: Path, screen: Screen, *, as_json: bool) -> None:
    if as_json:
        # JSON is UTF-8, whatever the terminal's encoding.
        sys.stdout.buffer.write((folder / FILE).read_bytes())
    text = f"{record.scenario} on {record.board}, power cut after {record.moment}"
    screen.print(Text(plain(text, screen), style="bold"))
    screen.print(_table(record, screen))
    for edge in record.edges:
        text = f"edge between {_ms(edge.low_s)} and {_ms(edge.high_s)}: from {edge.below!r} to {edge.above!r}"
        screen.print(Text(plain(text, screen)))
    reasons: dict[tuple[Verdict, str], list[CutRecord]] = {}
    for cut in record.cuts:
        if cut.reason:
            reasons.setdefault((cut.verdict, cut.reason.splitlines()[0]), []).append(cut)
    for (verdict, reason), cuts in reasons.items():
        text = f"{verdict.value} after {', '.join(_ms(cut.delay_s) for cut in cuts)}: {reason}"
        screen.print(Text(plain(text, screen), style=STYLE[verdict]))
    number = len(record.cuts)
    sums = f"{record.verdict.value}: {number} cut{'' if number == 1 else 's'}" + (
        "" if record.finished else ", broken off"
    )
    screen.print(Text(sums, style=STYLE[record.verdict]))
    screen.print(f"results: {folder / FILE}", highlight=False, markup=False, soft_wrap=True)


def _table(record: SeriesRecord, screen: Screen) -> Table:
    style = box.SIMPLE_HEAD if unicode(screen) else box.ASCII2
    table = Table(box=style, width=min(screen.width, 120), pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("Delay", justify="right", no_wrap=True)
    table.add_column("Measured", justify="right", no_wrap=True)
    table.add_column("Outcome", ratio=2, overflow="fold")
    table.add_column("Boots", ratio=3, overflow="fold")
    for cut in record.cuts:
        outcome = Text(plain(cut.outcome or cut.verdict.value, screen))
        outcome.stylize(SEVERITY_STYLE[cut.severity] if cut.severity else STYLE[cut.verdict])
        measured = "exact" if cut.host is None and cut.outcome else _ms(cut.measured_s)
        table.add_row(_ms(cut.delay_s), measured, outcome, Text(plain(cut.boots, screen)))
    return table


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:,.2f} ms"
