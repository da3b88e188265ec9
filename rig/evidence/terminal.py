"""What a person sees in the terminal: progress while tests run, and the table of verdicts at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from rig.evidence.records import Retry, RunRecord, TestResult, Verdict
from rig.evidence.report_page import differences, sweeps
from rig.evidence.report_page.summary import (
    LETTER,
    bench_lines,
    burnt,
    by_board,
    count,
    counts_line,
    exit_code,
    hazards,
    instead,
    named,
    overall,
    rows,
    skip_reasons,
    split_test,
    untested,
    worst,
)
from rig.evidence.report_page.text import one_line, seconds
from rig.evidence.terminal_text import encodable, indented, plain, shortened, styled, unicode

__all__ = ["RunProgress", "counts_line", "exit_code", "print_summary"]

STYLE = {
    Verdict.PASS: "green",
    Verdict.FIRMWARE_FAIL: "bold red",
    Verdict.BENCH_FAULT: "bold yellow",
    Verdict.INCONCLUSIVE: "bold magenta",
    Verdict.SKIPPED: "dim",
}

MARK_STYLE = {differences.DIFFERS: "bold red", differences.BOOTS: "bold"}
"""Of what makes a difference; what cannot be compared makes none."""

_WIDEST = 120
_SHOWN = 3
_BAR = 20
_LOUD = (Verdict.FIRMWARE_FAIL, Verdict.BENCH_FAULT, Verdict.INCONCLUSIVE)


def print_summary(run: RunRecord, console: Console, report: Path | None = None) -> None:
    """Print the table of requirement, board and verdict, reasons, differences between boards, hazards, the sums and the
    path of the report.

    Verdicts are words, so nothing is lost without colour; fits 80 columns.
    """
    _print_variant(run, console)
    console.print(_table(run, console))
    _print_reasons(run, console)
    _print_skips(run, console)
    _print_hazards(run, console)
    _print_differences(run, console)
    _print_variant(run, console)
    several = by_board(run)
    for board, results in several if len(several) > 1 else []:
        console.print(styled(f"{board}: {_seen(results)}", "", console))
    for line in bench_lines(run):
        console.print(styled(line, STYLE[Verdict.BENCH_FAULT], console))
    console.print(styled(counts_line(run.results), STYLE[overall(run)], console))
    if run.sweeps:
        console.print(styled(sweeps.in_short(run), "", console))
    if not run.sweeps and all(result.verdict is Verdict.SKIPPED for result in run.results):
        console.print(styled("nothing was tested", STYLE[Verdict.INCONCLUSIVE], console))
    if words := untested(run):
        console.print(styled(words, STYLE[Verdict.INCONCLUSIVE], console))
    for line in burnt(run):
        console.print(styled(line, "bold", console))
    if report is not None:
        # A path must stay in one piece to be copied or clicked.
        console.print(Text(f"report: {plain(str(report), console)}"), soft_wrap=True)


@dataclass
class _Board:
    """How far the tests on one board are."""

    total: int | None
    finished: list[TestResult] = field(default_factory=list)
    running: dict[str, None] = field(default_factory=dict)
    end: str | None = None


class RunProgress:
    """Shows how far a run is; used as a context manager around the tests.

    On a terminal: a live line for each board with a bar, the time, the sums and the tests now running, above them a
    line for each test that did not pass or was skipped. Anywhere else: one line per finished test, nothing more.
    """

    def __init__(self, console: Console, boards: Mapping[str, int | None]) -> None:
        """`boards` holds the number of tests on each board, None if it is not known yet."""
        self.console = console
        self._boards = {board: _Board(total) for board, total in boards.items()}
        self._live: Progress | None = None

    def __enter__(self) -> RunProgress:
        if self.console.is_terminal:
            line = Column(no_wrap=True, overflow="ellipsis" if unicode(self.console) else "crop", ratio=1)
            text = TextColumn("{task.fields[line]}", markup=False, table_column=line)
            columns = (BarColumn(_BAR), TimeElapsedColumn(), text)
            self._live = Progress(*columns, console=self.console, refresh_per_second=8, transient=True, expand=True)
            for board, state in self._boards.items():
                self._live.add_task("", total=state.total, line=self._status(board))
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def expect(self, board: str, total: int) -> None:
        """This many tests there will be on a board."""
        self._boards[board].total = total
        self._refresh()

    def started(self, board: str, test: str) -> None:
        """A test has begun on a board; several may run at once."""
        self._boards[board].running[test] = None
        self._refresh()

    def done(self, board: str, result: TestResult) -> None:
        """A test has ended on a board."""
        self._boards[board].running.pop(result.test, None)
        self._boards[board].finished.append(result)
        if self._live is None or result.verdict is not Verdict.PASS:
            self.console.print(self._finished_line(result), soft_wrap=True)
        self._refresh()

    def retried(self, board: str, test: str, retry: Retry) -> None:
        """A try of a test was a bench fault; it will be done again, or was the last."""
        self._boards[board].running.pop(test, None)
        self.say(f"bench fault on {retry.board}, {split_test(test)[1]}: {one_line(retry.reason)}")

    def say(self, text: str) -> None:
        """Something about the bench that cannot wait for the end."""
        self.console.print(styled(text, STYLE[Verdict.BENCH_FAULT], self.console), soft_wrap=True)
        self._refresh()

    def ended(self, board: str, end: str = "") -> None:
        """No more tests will run on a board; `end` says why if it is not because all are done."""
        self._boards[board].running.clear()
        self._boards[board].end = end or "finished"
        # The others go on; of the only board all is said at the end.
        if end and len(self._boards) > 1:
            self.console.print(styled(f"{board}: {end}", STYLE[Verdict.BENCH_FAULT], self.console), soft_wrap=True)
        self._refresh()

    def line(self, board: str) -> str:
        """A live line as plain text: the board if there are several, done of total, sums so far, what runs now."""
        state = self._boards[board]
        name = board.ljust(max(map(len, self._boards))) if len(self._boards) > 1 else ""
        now = state.end or ", ".join(split_test(test)[1] for test in state.running)
        if not state.finished and not now:
            now = "starting"
        return "  ".join(part for part in (name, _position([state]), _seen(state.finished), one_line(now)) if part)

    def _finished_line(self, result: TestResult) -> Text:
        name = plain(f"{split_test(result.test)[1]} on {result.board}", self.console)
        text = Text(f"{_position(self._boards.values())} ")
        text.append(f"{LETTER[result.verdict]} {result.verdict.value:13}", style=STYLE[result.verdict])
        text.append(f" {name}  {seconds(result.duration_s)}")
        return text

    def _status(self, board: str) -> str:
        return encodable(self.line(board), self.console)

    def _refresh(self) -> None:
        if self._live is None:
            return
        for task, (board, state) in zip(self._live.task_ids, self._boards.items(), strict=True):
            self._live.update(task, completed=len(state.finished), total=state.total, line=self._status(board))


def _position(boards: Iterable[_Board]) -> str:
    """`[ 3/96]`: finished of all, `?` while not every board's number is known."""
    states = list(boards)
    finished = sum(len(state.finished) for state in states)
    totals = [max(state.total, len(state.finished)) for state in states if state.total is not None]
    total = str(sum(totals)) if len(totals) == len(states) else "?"
    return f"[{finished:>{len(total)}}/{total}]"


def _table(run: RunRecord, console: Console) -> Table:
    style = box.SIMPLE_HEAD if unicode(console) else box.ASCII2
    table = Table(box=style, width=min(console.width, _WIDEST), pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("Requirement", no_wrap=True)
    table.add_column("Sentence", ratio=1, overflow="fold")
    table.add_column("Board", no_wrap=True)
    table.add_column("Verdict", no_wrap=True, min_width=15)
    found = rows(run)
    for row, mark in zip(found, differences.marks(found, differences.comparisons(run)), strict=True):
        requirement = row.requirement
        cells = [cell for cell in row.results if cell] or [()]
        sentence = requirement.text if requirement.id else split_test(requirement.text)[1]
        table.add_row(
            Text.assemble(
                shortened(requirement.id or "-", 14, console), (f"\n{mark}" if mark else "", MARK_STYLE.get(mark, ""))
            ),
            Text(plain(sentence, console)),
            Text("\n".join(shortened(_where(cell), 16, console) for cell in cells)),
            Text("\n").join(_verdict(cell) for cell in cells),
        )
    return table


def _where(cell: tuple[TestResult, ...]) -> str:
    names = dict.fromkeys(result.board for result in cell)
    return f"{len(names)} boards" if len(names) > 1 else next(iter(names), "-")


def _verdict(cell: tuple[TestResult, ...]) -> Text:
    """The verdict that stands for the cell; with others, how many of how many tests had it."""
    verdict = worst(cell)
    if verdict is None:
        return Text("  no test", style="dim")
    same = sum(result.verdict is verdict for result in cell)
    share = f" {same}/{len(cell)}" if len(cell) > same else ""
    return Text(f"{LETTER[verdict]} {verdict.value}{share}", style=STYLE[verdict])


def _seen(results: Iterable[TestResult]) -> str:
    """Sums without zeros."""
    return ", ".join(f"{number} {verdict.value}" for verdict, number in count(results).items() if number)


def _print_reasons(run: RunRecord, console: Console) -> None:
    for verdict in _LOUD:
        found: dict[str, list[str]] = {}
        for result in (result for result in run.results if result.verdict is verdict):
            where = f"{split_test(result.test)[1]} on {result.board}"
            found.setdefault(one_line(result.reason) or "no reason given", []).append(where)
        for reason, tests in found.items():
            # A fault that many tests share is told once, as when pytest itself ended.
            alone = len(tests) == 1
            head, more = (tests[0], reason) if alone else (reason, ", ".join(tests))
            share = "" if alone else f" ({_tests(len(tests))})"
            console.print(styled(f"{LETTER[verdict]} {verdict.value}{share}: {head}", STYLE[verdict], console))
            console.print(indented(more, console))


def _print_skips(run: RunRecord, console: Console) -> None:
    for reason, where in skip_reasons(run):
        console.print(styled(f"- skipped ({_tests(len(where))}): {reason}", STYLE[Verdict.SKIPPED], console))


def _print_hazards(run: RunRecord, console: Console) -> None:
    for hazard, where in hazards(run):
        style = "bold red" if hazard.severity == "bricks" else "yellow"
        console.print(styled(f"{named(hazard)} ({_tests(len(where))}): {hazard.what}", style, console))
        console.print(indented(f"to do: {hazard.remedy}", console))


def _print_differences(run: RunRecord, console: Console) -> None:
    words = differences.sums(run)
    if words is None:
        return
    found = [comparison for comparison in differences.comparisons(run) if comparison.mark in MARK_STYLE]
    for comparison in sorted(found, key=lambda comparison: comparison.mark != differences.DIFFERS):
        style = MARK_STYLE[comparison.mark]
        name = split_test(comparison.test)[1]
        console.print(styled(f"{comparison.mark}: {name}: {comparison.words}", style, console))
        for pair in comparison.pairs[:_SHOWN]:
            first = pair.deviations[0]
            for result, side in ((pair.left, first.left), (pair.right, first.right)):
                text = "; ".join(step.text for step in side) or "nothing there"
                console.print(indented(f"{result.board}: {text}", console))
            if more := len(pair.deviations) - 1:
                console.print(indented(f"and {more} more place{'' if more == 1 else 's'}, in the report", console))
    console.print(styled(words, "bold" if found else "", console))


def _print_variant(run: RunRecord, console: Console) -> None:
    if words := instead(run):
        text = f"VARIANT {run.variant} instead of rollback: {words}"
        console.print(styled(text, "bold magenta", console))


def _tests(number: int) -> str:
    return f"{number} test{'' if number == 1 else 's'}"
