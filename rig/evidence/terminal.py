"""What a person sees in the terminal: progress while tests run, and the table of verdicts at the end."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from rig.evidence.records import RunRecord, TestResult, Verdict
from rig.evidence.report_page.summary import (
    LETTER,
    PRECEDENCE,
    count,
    counts_line,
    exit_code,
    hazards,
    overall,
    rows,
    skip_reasons,
    split_test,
    untested,
    worst,
)
from rig.evidence.report_page.text import one_line, seconds

__all__ = ["RunProgress", "counts_line", "exit_code", "print_summary"]

STYLE = {
    Verdict.PASS: "green",
    Verdict.FIRMWARE_FAIL: "bold red",
    Verdict.BENCH_FAULT: "bold yellow",
    Verdict.INCONCLUSIVE: "bold magenta",
    Verdict.SKIPPED: "dim",
}

_WIDEST = 120
_BAR = 20
_LOUD = (Verdict.FIRMWARE_FAIL, Verdict.BENCH_FAULT, Verdict.INCONCLUSIVE)


def print_summary(run: RunRecord, console: Console, report: Path | None = None) -> None:
    """Print the table of requirement, board and verdict, reasons, hazards, the sums and the path of the report.

    Verdicts are words, so nothing is lost without colour; fits 80 columns.
    """
    console.print(_table(run, console))
    _print_reasons(run, console)
    _print_skips(run, console)
    _print_hazards(run, console)
    console.print(_line(counts_line(run.results), STYLE[overall(run)], console))
    if not any(result.verdict is not Verdict.SKIPPED for result in run.results):
        console.print(_line("nothing was tested", STYLE[Verdict.INCONCLUSIVE], console))
    if words := untested(run):
        console.print(_line(words, STYLE[Verdict.INCONCLUSIVE], console))
    if report is not None:
        # A path must stay in one piece to be copied or clicked.
        console.print(Text(f"report: {_plain(str(report), console)}"), soft_wrap=True)


class RunProgress:
    """Shows how far a run is; used as a context manager around the tests.

    On a terminal: one live line with a bar, the time, the sums and the tests now running, above it a line for each test
    that did not pass or was skipped. Anywhere else: one line per finished test, nothing more.
    """

    def __init__(self, console: Console, total: int | None = None) -> None:
        self.console = console
        self.total = total
        self.finished: list[TestResult] = []
        self.running: dict[tuple[str, str], None] = {}
        self._live: Progress | None = None

    def __enter__(self) -> RunProgress:
        if self.console.is_terminal:
            line = Column(no_wrap=True, overflow="ellipsis" if _unicode(self.console) else "crop", ratio=1)
            text = TextColumn("{task.fields[line]}", markup=False, table_column=line)
            columns = (BarColumn(_BAR), TimeElapsedColumn(), text)
            self._live = Progress(*columns, console=self.console, refresh_per_second=8, transient=True, expand=True)
            self._live.add_task("", total=self.total, line=self._status())
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def started(self, test: str, board: str = "") -> None:
        """A test has begun on a board; several may run at once."""
        self.running[test, board] = None
        self._refresh()

    def done(self, result: TestResult) -> None:
        """A test has ended."""
        self.running.pop((result.test, result.board), None)
        self.running.pop((result.test, ""), None)
        self.finished.append(result)
        if self._live is None or result.verdict is not Verdict.PASS:
            self.console.print(self._finished_line(result), soft_wrap=True)
        self._refresh()

    def line(self) -> str:
        """The live line as plain text: done of total, sums so far without zeros, what runs now."""
        counts = count(self.finished)
        sums = ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in PRECEDENCE if counts[verdict])
        now = ", ".join(" on ".join(filter(None, (split_test(test)[1], board))) for test, board in self.running)
        if not self.finished and not now:
            now = "starting"
        return "  ".join(part for part in (self._position(), sums, one_line(now)) if part)

    def _position(self) -> str:
        total = "?" if self.total is None else str(max(self.total, len(self.finished)))
        return f"[{len(self.finished):>{len(total)}}/{total}]"

    def _finished_line(self, result: TestResult) -> Text:
        name = _plain(f"{split_test(result.test)[1]} on {result.board}", self.console)
        text = Text(f"{self._position()} ")
        text.append(f"{LETTER[result.verdict]} {result.verdict.value:13}", style=STYLE[result.verdict])
        text.append(f" {name}  {seconds(result.duration_s)}")
        return text

    def _status(self) -> str:
        return _encodable(self.line(), self.console)

    def _refresh(self) -> None:
        if self._live is not None:
            task = self._live.task_ids[0]
            self._live.update(task, completed=len(self.finished), total=self.total, line=self._status())


def _table(run: RunRecord, console: Console) -> Table:
    style = box.SIMPLE_HEAD if _unicode(console) else box.ASCII2
    table = Table(box=style, width=min(console.width, _WIDEST), pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("Requirement", no_wrap=True)
    table.add_column("Sentence", ratio=1, overflow="fold")
    table.add_column("Board", no_wrap=True)
    table.add_column("Verdict", no_wrap=True, min_width=15)
    for row in rows(run):
        requirement = row.requirement
        cells = [cell for cell in row.results if cell] or [()]
        sentence = requirement.text if requirement.id else split_test(requirement.text)[1]
        table.add_row(
            Text(_shortened(requirement.id or "-", 14, console)),
            Text(_plain(sentence, console)),
            Text("\n".join(_shortened(cell[0].board, 16, console) if cell else "-" for cell in cells)),
            Text("\n").join(_verdict(cell) for cell in cells),
        )
    return table


def _verdict(cell: tuple[TestResult, ...]) -> Text:
    """The verdict that stands for the cell; with others, how many of how many tests had it."""
    verdict = worst(cell)
    if verdict is None:
        return Text("  no test", style="dim")
    same = sum(result.verdict is verdict for result in cell)
    share = f" {same}/{len(cell)}" if len(cell) > same else ""
    return Text(f"{LETTER[verdict]} {verdict.value}{share}", style=STYLE[verdict])


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
            console.print(_line(f"{LETTER[verdict]} {verdict.value}{share}: {head}", STYLE[verdict], console))
            console.print(_more(more, console))


def _print_skips(run: RunRecord, console: Console) -> None:
    for reason, where in skip_reasons(run):
        console.print(_line(f"- skipped ({_tests(len(where))}): {reason}", STYLE[Verdict.SKIPPED], console))


def _print_hazards(run: RunRecord, console: Console) -> None:
    for hazard, where in hazards(run):
        console.print(_line(f"hazard ({_tests(len(where))}): {hazard.what}", "yellow", console))
        console.print(_more(f"to do: {hazard.remedy}", console))


def _tests(number: int) -> str:
    return f"{number} test{'' if number == 1 else 's'}"


def _line(text: str, style: str, console: Console) -> Text:
    return Text(_plain(text, console), style=style)


def _more(text: str, console: Console) -> Padding:
    return Padding(Text(_plain(text, console)), (0, 0, 0, 2))


def _plain(text: str, console: Console) -> str:
    """`text` on one line, safe for a terminal, in characters that its encoding has."""
    return _encodable(one_line(text), console)


def _encodable(text: str, console: Console) -> str:
    encoding = console.encoding or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding, "replace")


def _shortened(text: str, width: int, console: Console) -> str:
    plain = _plain(text, console)
    return plain if cell_len(plain) <= width else set_cell_size(plain, width - 1) + "~"


def _unicode(console: Console) -> bool:
    return (console.encoding or "").lower().startswith("utf")
