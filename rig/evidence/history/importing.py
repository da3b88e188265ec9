"""Takes reports of earlier runs into a history."""

from __future__ import annotations

import json
from datetime import UTC
from pathlib import Path

from pydantic import ValidationError

from rig.errors import UserError
from rig.evidence.history.store import History, RunStart
from rig.evidence.records import RunRecord
from rig.evidence.report_page.summary import exit_code

RESULTS = "results.json"


def add_report(history: History, path: Path) -> str:
    """Add the run of a report's folder, or of its results.json; what was done, in words. UserError if it is none."""
    source = path / RESULTS if path.is_dir() else path
    try:
        record = RunRecord.model_validate(json.loads(source.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise UserError(
            f"{source} is no report of a run: {str(error).splitlines()[0]}", hint="name a folder that rig qualify wrote"
        ) from error
    name = source.resolve().parent.name
    started = record.started.astimezone(UTC).isoformat(timespec="milliseconds")
    if history.connection.execute("SELECT 1 FROM runs WHERE started = ?", (started,)).fetchone():
        return f"{name} is in the history already"
    run = history.begin(
        RunStart(
            name, record.started, record.tool, record.command, "imported", "-", record.variant, record.requirements
        )
    )
    for result in record.results:
        history.add(run, result)
    for sweep in record.sweeps:
        history.sweep(run, sweep)
    history.finish(run, record.finished, exit_code(record), source.with_name("index.html"), record.quarantined)
    return f"{name}: {len(record.results)} results taken in"
