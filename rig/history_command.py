"""`rig history` and `rig compare`: the history as tables, JSON, CSV, or a page."""

from __future__ import annotations

import csv
import json
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from rig.errors import BenchFault, UserError
from rig.evidence.history import changes as changed
from rig.evidence.history.analysis import Analysis, Row, analyse
from rig.evidence.history.blame import Culprit
from rig.evidence.history.read import Filter, Reader, Run
from rig.evidence.history.store import open_history
from rig.screen import Screen

HISTORY = "history.sqlite"
ROWS = 15
"""Rows of what does well are shortened to so many: `--json` and the page have all."""


def history_path(config: Path) -> Path:
    """Where rig.toml says that the history is. UserError if rig.toml cannot be read."""
    try:
        bench = tomllib.loads(config.read_text(encoding="utf-8")).get("bench", {})
        name = bench.get("history", HISTORY)
        return config.resolve().parent / str(name)
    except (OSError, ValueError, AttributeError):
        # To explain it takes what checks the whole of it, which takes its time to start.
        from rig.boards import inventory

        return config.resolve().parent / inventory.load(config).bench.history


def show(config: Path, wanted: Filter, limit: int, *, as_json: bool, page: Path | None) -> None:
    """Print the history, or write its page."""
    with _existing(config) as reader:
        runs = reader.runs(limit)
        requirements = reader.requirements()
        if wanted.requirement is not None:
            if wanted.requirement not in requirements:
                raise UserError(f"no run had a requirement {wanted.requirement}", hint="rig requirements lists them")
            requirements = {wanted.requirement: requirements[wanted.requirement]}
        found = analyse(reader.outcomes(wanted, limit), reader.flakes(wanted), requirements)
        total = reader.count()
    if page is not None:
        from rig.evidence.history.page import render

        _write(page, render(found, runs, total))
    elif as_json:
        print(json.dumps(_plain(found, runs), indent=2))
    else:
        _print(found, runs, total)


def compare(config: Path, before: str, after: str, *, as_json: bool) -> int:
    """The exit code of `rig compare`."""
    with _existing(config) as reader:
        first, second = _run(reader, before), _run(reader, after)
        old, new = reader.verdicts_of(first.id), reader.verdicts_of(second.id)
    found, slow = changed.changes(old, new), changed.slower(old, new)
    if as_json:
        print(
            json.dumps(
                {
                    "before": first.name,
                    "after": second.name,
                    "changes": [{**asdict(change), "worse": change.worse} for change in found],
                    "durations": [asdict(one) for one in slow],
                },
                indent=2,
            )
        )
    else:
        _print_changes(first, second, found, slow)
    return changed.exit_code(found)


def export_csv(config: Path) -> None:
    """Every result as CSV on stdout."""
    with _existing(config) as reader:
        records = iter(reader.everything())
        first = next(records, None)
        if first is not None:
            writer = csv.DictWriter(sys.stdout, list(first))
            writer.writeheader()
            writer.writerow(first)
            writer.writerows(records)


def export_json(config: Path) -> None:
    """Every result as a JSON list on stdout, one record a line."""
    with _existing(config) as reader:
        print("[", end="")
        for number, record in enumerate(reader.everything()):
            print(",\n" if number else "\n", json.dumps(record), sep="", end="")
        print("\n]")


EXPORTS: Mapping[str, Callable[[Path], None]] = {"csv": export_csv, "json": export_json}


def take_in(config: Path, reports: Iterable[Path]) -> None:
    """Add the runs of reports, each at its place in time; one that is there already is left out."""
    from rig.evidence.history.importing import add_reports

    screen = Screen()
    with open_history(history_path(config)) as history:
        for said in add_reports(history, reports):
            screen.print(said, highlight=False, soft_wrap=True)


def _existing(config: Path) -> AbstractContextManager[Reader]:
    path = history_path(config)
    if not path.exists():
        raise UserError(
            f"{path}: there is no history yet",
            hint="rig qualify writes it; rig history import reports/* takes old ones in",
        )
    return _reading(path)


@contextmanager
def _reading(path: Path) -> Iterator[Reader]:
    with open_history(path) as history:
        yield Reader(history.connection)


def _run(reader: Reader, name: str) -> Run:
    found = reader.find_run(name)
    if found is None:
        last = ", ".join(run.name for run in reader.runs(3))
        raise UserError(f"no run is called {name}", hint=f"last, last~1, ... or a name; the newest: {last or 'none'}")
    return found


def _write(page: Path, text: str) -> None:
    try:
        page.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BenchFault(f"{page}: cannot be written: {error.strerror}") from error
    Screen().print(f"written: {page}", highlight=False, soft_wrap=True)


def _plain(found: Analysis, runs: Sequence[Run]) -> dict[str, Any]:
    names = {run.id: run.name for run in runs}

    def row(one: Row) -> dict[str, Any]:
        return {
            "name": one.name,
            "text": one.text,
            "last": one.last,
            "trend": {names[run]: verdict for run, verdict in one.trend.items()},
            "flakes": {"hits": one.flakes.hits, "tries": one.flakes.tries, "interval_95": one.flakes.range},
            "first_bad": None if one.first_bad is None else names.get(one.first_bad),
            "last_good": None if one.last_good is None else names.get(one.last_good),
            "blame": [asdict(blame) for blame in one.blames],
        }

    return {
        "runs": [run._asdict() for run in runs],
        "requirements": [row(one) for one in found.requirements],
        "boards": [row(one) for one in found.boards],
        "builds": [row(one) for one in found.builds],
    }


def _print(found: Analysis, runs: Sequence[Run], total: tuple[int, int]) -> None:
    screen = Screen()
    names = {run.id: run.name for run in runs}
    ids = [run.id for run in runs]
    _print_runs(screen, runs, total)
    for title, rows in (("Requirement", found.requirements), ("Board", found.boards), ("Build", found.builds)):
        shown = [row for row in rows if row.first_bad is not None or row.flakes.hits]
        quiet = [row for row in rows if row not in shown]
        most = ROWS if title == "Requirement" else len(quiet)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for column in (title, "Trend", "Flakes, 95 % interval"):
            table.add_column(column, no_wrap=True)
        for row in [*shown, *quiet[:most]]:
            table.add_row(row.name, Text(row.letters(ids)), str(row.flakes))
        screen.print(table)
        if len(quiet) > most:
            screen.print(f"and {len(quiet) - most} more that do well", style="dim")
        screen.print()
    for blame, explained in found.troubles:
        style = "" if blame.culprit is Culprit.UNKNOWN else "bold"
        screen.print(
            Text(f"{blame.culprit}{f' {blame.what}' if blame.what else ''}: {blame.why}", style), soft_wrap=True
        )
        for row in explained:
            last_good = "never" if row.last_good is None else names[row.last_good]
            since = "" if row.first_bad is None else f" since {names[row.first_bad]}, last good: {last_good}"
            screen.print(Text(f"  {row.name}{since}"), soft_wrap=True)


def _print_runs(screen: Screen, runs: Sequence[Run], total: tuple[int, int]) -> None:
    screen.print(
        f"{total[0]:,} runs, {total[1]:,} results; the last {len(runs)} runs, the newest last", highlight=False
    )
    for run in runs:
        if run.finished is None:
            screen.print(f"{run.name} was broken off, with {run.results} results", highlight=False)
        if run.clock_went_back:
            screen.print(f"{run.name}: the clock was put back before it", highlight=False)


def _print_changes(before: Run, after: Run, found: list[changed.Change], slow: list[changed.Slower]) -> None:
    screen = Screen()
    screen.print(f"{before.name} → {after.name}", highlight=False)
    for change in sorted(found, key=lambda one: not one.worse):
        line = Text("worse  " if change.worse else "       ", style="bold red")
        verdicts = f"{change.before or 'not run'} → {change.after or 'not run'}"
        line.append(f"{verdicts:34} {change.test.rpartition('/')[2]} on {change.board}", style="default")
        screen.print(line, soft_wrap=True)
        if change.worse and change.reason:
            screen.print(Text(f"       {change.reason}", style="dim"), soft_wrap=True)
    for one in slow:
        screen.print(
            f"       {one.before:.1f} s → {one.after:.1f} s  {one.test.rpartition('/')[2]} on {one.board}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    worse = sum(change.worse for change in found)
    screen.print(f"{worse} worse, {len(found) - worse} other changes", style="bold red" if worse else "green")
