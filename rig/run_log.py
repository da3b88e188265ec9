"""A run's entry in the history: written as results come, and given up loudly if the disk does not take it."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from rig.boards.inventory import BoardSection
from rig.errors import BenchFault, UserError
from rig.evidence.history.read import Standing
from rig.evidence.history.store import History, RunStart
from rig.evidence.records import SweepRecord, TestResult


class RunLog:
    """One run in an open history. `failed` is why the history lacks part of it, None if it lacks nothing.

    A history that cannot be written must not end a run that boards have worked on for hours.
    """

    def __init__(self, history: History, start: RunStart) -> None:
        self.failed: BenchFault | None = None
        self._history = history
        self._run = history.begin(start)

    def add(self, result: TestResult) -> None:
        self._try(lambda history: history.add(self._run, result))

    def finish(
        self,
        results: Sequence[TestResult],
        sweeps: Sequence[SweepRecord],
        *,
        exit_code: int,
        report: Path,
        quarantined: Mapping[str, str],
    ) -> None:
        """All there is, retries and tests that left no result included; those added before are replaced."""

        def write(history: History) -> None:
            for result in results:
                history.add(self._run, result)
            for sweep in sweeps:
                history.sweep(self._run, sweep)
            history.finish(self._run, datetime.now().astimezone(), exit_code, report, quarantined)

        self._try(write)

    def _try(self, write: object) -> None:
        assert callable(write)
        if self.failed is None:
            try:
                write(self._history)
            except BenchFault as error:
                self.failed = error


def host() -> str:
    return socket.gethostname()


def worn_out(sections: Sequence[BoardSection], standing: Mapping[str, Standing]) -> dict[str, str]:
    """Boards whose wear budget is spent, and the counts."""
    found = {}
    for section in sections:
        budget, erases = getattr(section, "wear_budget", None), _erases(section.name, standing)
        if budget is not None and erases >= budget:
            found[section.name] = f"{erases} otadata erases, its wear budget is {budget}"
    return found


def without_worn(sections: Sequence[BoardSection], standing: Mapping[str, Standing]) -> list[BoardSection]:
    """The boards that may be used; UserError if there is none."""
    worn = worn_out(sections, standing)
    left = [section for section in sections if section.name not in worn]
    if not left:
        said = "; ".join(f"{name}: {why}" for name, why in worn.items())
        raise UserError(
            f"worn out: {said}", hint="use another board, or raise wear_budget in rig.toml (docs/history.md)"
        )
    return left


def _erases(name: str, standing: Mapping[str, Standing]) -> int:
    return standing[name].erases if name in standing else 0
