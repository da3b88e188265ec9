"""Takes reports of earlier runs into a history, each at its place in time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from rig.errors import UserError
from rig.evidence.history.store import History, RunStart, text_of
from rig.evidence.records import RunRecord
from rig.evidence.report_page.summary import exit_code

RESULTS = "results.json"


class Report(NamedTuple):
    """A run as its report has it."""

    name: str
    path: Path
    record: RunRecord

    @property
    def started(self) -> str:
        return text_of(self.record.started)


def read_report(path: Path) -> Report:
    """What a report's folder, or its results.json, holds. UserError if it is none."""
    source = path / RESULTS if path.is_dir() else path
    try:
        record = RunRecord.model_validate(json.loads(source.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise UserError(
            f"{source} is no report of a run: {str(error).splitlines()[0]}", hint="name a folder that rig qualify wrote"
        ) from error
    return Report(source.resolve().parent.name, source, record)


def add_reports(history: History, paths: Iterable[Path]) -> Iterator[str]:
    """Take in what is older or newer than all runs that are here; what was done with each report, in words.

    UserError, before anything is written, if one of them is no report.
    """
    reports = sorted(map(read_report, paths), key=lambda report: report.started)
    oldest, newest = history.span() or ("", "")
    older = [report for report in reports if report.started < oldest]
    # The older ones from the newest to the oldest: each comes before all that are there.
    for report in (*reversed(older), *reports[len(older) :]):
        if _is_known(history, report):
            yield f"{report.name} is in the history already"
        elif report.started < oldest:
            yield _add(history, report, history.begin_before(_start(report)))
        elif report.started > newest:
            yield _add(history, report, history.begin(_start(report)))
        else:
            yield (
                f"{report.name}: left out: it lies between runs that are there. To have it, move the history away and"
                " take in all reports"
            )


def _start(report: Report) -> RunStart:
    record = report.record
    return RunStart(
        report.name, record.started, record.tool, record.command, "imported", "-", record.variant, record.requirements
    )


def _is_known(history: History, report: Report) -> bool:
    known = history.connection.execute("SELECT 1 FROM runs WHERE started = ?", (report.started,)).fetchone()
    return known is not None


def _add(history: History, report: Report, run: int) -> str:
    record = report.record
    for result in record.results:
        history.add(run, result)
    for sweep in record.sweeps:
        history.sweep(run, sweep)
    history.finish(run, record.finished, exit_code(record), report.path.with_name("index.html"), record.quarantined)
    return f"{report.name}: {len(record.results)} results taken in"
