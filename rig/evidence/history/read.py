"""What is asked of a history. Aggregates are SQLite's work; what comes back is small."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from rig.evidence.history.blame import Outcome
from rig.evidence.verdicts import Verdict

WINDOW = 30
"""So many of the last runs are looked at for trends and for blame."""


class Run(NamedTuple):
    """One run; `finished` and `exit_code` are None for one that was broken off."""

    id: int
    name: str
    started: str
    finished: str | None
    exit_code: int | None
    command: str
    variant: str | None
    clock_went_back: int
    results: int


class Standing(NamedTuple):
    """What the history says of a board. `erases`: see `store.otadata_erases`, summed over all runs."""

    verdict: str
    run: str
    started: str
    erases: int


@dataclass(frozen=True)
class Filter:
    """What to look at: a requirement, a board, the beginning of an app's or a bootloader's SHA-256."""

    requirement: str | None = None
    board: str | None = None
    firmware: str | None = None

    def where(self) -> tuple[str, list[str]]:
        """SQL for the tables results, tests and boards, and its parameters."""
        parts, values = ["1"], []
        if self.requirement is not None:
            parts.append("results.test IN (SELECT test FROM checks WHERE requirement = ?)")
            values.append(self.requirement)
        if self.board is not None:
            parts.append("boards.name = ?")
            values.append(self.board)
        if self.firmware is not None:
            parts.append("(results.app_elf GLOB ? OR results.bootloader GLOB ?)")
            values += [f"{self.firmware}*"] * 2
        return " AND ".join(parts), values


class Reader:
    """Questions to an open history."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._database = connection

    def runs(self, limit: int = WINDOW) -> list[Run]:
        """The last runs, oldest first."""
        rows = self._database.execute(
            "SELECT id, name, started, finished, exit_code, command, variant, clock_went_back,"
            " (SELECT count(*) FROM results WHERE run = runs.id) FROM runs ORDER BY id DESC LIMIT ?",
            (limit,),
        )
        return [Run(*row) for row in rows][::-1]

    def find_run(self, name: str) -> Run | None:
        """A run by its name; `last`, `last~1` and so on count from the newest."""
        runs = self.runs(1_000_000)
        if name == "last" or name.startswith("last~"):
            back = name.removeprefix("last").removeprefix("~") or "0"
            return runs[-1 - int(back)] if back.isdigit() and int(back) < len(runs) else None
        return next((run for run in runs if run.name == name), None)

    def count(self) -> tuple[int, int]:
        """How many runs and results there are."""
        row = self._database.execute("SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM results)").fetchone()
        return int(row[0]), int(row[1])

    def outcomes(self, wanted: Filter, window: int = WINDOW) -> list[Outcome]:
        """Every result and every earlier try of the last `window` runs that fits, oldest run first."""
        where, values = wanted.where()
        first = "(SELECT coalesce(min(id), 0) FROM (SELECT id FROM runs ORDER BY id DESC LIMIT ?))"
        rows = self._database.execute(
            f"SELECT tests.name, boards.name, results.app_elf, results.bootloader, results.run, results.verdict"
            f" FROM results JOIN tests ON tests.id = results.test JOIN boards ON boards.id = results.board"
            f" WHERE results.run >= {first} AND {where}"
            f" UNION ALL SELECT tests.name, boards.name, results.app_elf, results.bootloader, tries.run, 'bench fault'"
            f" FROM tries JOIN results ON results.run = tries.run AND results.test = tries.test"
            f" JOIN tests ON tests.id = tries.test JOIN boards ON boards.id = tries.board"
            f" WHERE tries.run >= {first} AND {where} ORDER BY 5",
            [window, *values, window, *values],
        )
        return [
            Outcome(test, board, build(app, boot), run, Verdict(verdict))
            for test, board, app, boot, run, verdict in rows
        ]

    def flakes(self, wanted: Filter) -> dict[str, tuple[int, int]]:
        """By test, over all runs: how many tries went the rarer way, of all that were repeated.

        Repeated: the same test on the same board with the same build. Skips do not count, nor do bench faults, which
        say nothing of either.
        """
        where, values = wanted.where()
        joined = "" if where == "1" else "JOIN boards ON boards.id = results.board"
        rows = self._database.execute(
            f"SELECT tests.name, sum(min(good, bad)), sum(good + bad) FROM (SELECT test,"
            f" sum(verdict = 'pass') AS good, sum(verdict IN ('firmware fail', 'inconclusive')) AS bad"
            f" FROM results {joined} WHERE {where} GROUP BY test, board, app_elf, bootloader)"
            f" JOIN tests ON tests.id = test WHERE good + bad > 1 GROUP BY test",
            values,
        )
        return {test: (rare, all_) for test, rare, all_ in rows}

    def standing(self) -> dict[str, Standing]:
        """By board: the worst verdict of its last run, which run that was, and what it was worn by."""
        order = ["skipped", "pass", "inconclusive", "bench fault", "firmware fail"]
        worst = f"CASE verdict {' '.join(f'WHEN {name!r} THEN {rank}' for rank, name in enumerate(order))} END"
        rows = self._database.execute(
            f"SELECT boards.name, verdict, runs.name, runs.started, max({worst}),"
            f" (SELECT sum(all_.otadata_erases) FROM results AS all_ WHERE all_.board = boards.id)"
            f" FROM results JOIN boards ON boards.id = results.board JOIN runs ON runs.id = results.run"
            f" WHERE results.run = (SELECT max(run) FROM results AS newest WHERE newest.board = boards.id)"
            f" GROUP BY boards.id ORDER BY runs.id"
        )
        return {name: Standing(verdict, run, started, erases) for name, verdict, run, started, _, erases in rows}

    def durations(self, runs: int = 5) -> dict[str, float]:
        """By test: seconds it took on average in the last runs that had it, skips left out."""
        rows = self._database.execute(
            "SELECT tests.name, avg(duration_s) FROM results JOIN tests ON tests.id = results.test WHERE verdict !="
            " 'skipped' AND run IN (SELECT id FROM runs ORDER BY id DESC LIMIT ?) GROUP BY test",
            (runs,),
        )
        return dict(rows.fetchall())

    def requirements(self) -> dict[str, tuple[str, list[str]]]:
        """By requirement: its sentence and the tests that check it."""
        found: dict[str, tuple[str, list[str]]] = {}
        for name, text, test in self._database.execute(
            "SELECT checks.requirement, coalesce(requirements.text, ''), tests.name FROM checks JOIN tests ON"
            " tests.id = checks.test LEFT JOIN requirements ON requirements.id = checks.requirement ORDER BY 1, 3"
        ):
            found.setdefault(name, (text, []))[1].append(test)
        return found

    def verdicts_of(self, run: int) -> Mapping[tuple[str, str], tuple[str, str, float]]:
        """By test and board: verdict, reason and seconds in one run."""
        rows = self._database.execute(
            "SELECT tests.name, boards.name, verdict, reason, duration_s FROM results JOIN tests ON"
            " tests.id = results.test JOIN boards ON boards.id = results.board WHERE run = ? ORDER BY 1, 2",
            (run,),
        )
        return {(test, board): (verdict, reason, seconds) for test, board, verdict, reason, seconds in rows}

    def everything(self) -> Iterator[dict[str, object]]:
        """Each result as a flat record, for export."""
        cursor = self._database.execute("SELECT * FROM results_flat")
        names = [column[0] for column in cursor.description]
        for row in cursor:
            yield dict(zip(names, row, strict=True))


def build(app_elf: str | None, bootloader: str | None) -> str:
    """A build in short: the beginnings of the SHA-256 of its app's ELF and of its bootloader; empty if not known."""
    return f"{(app_elf or '')[:9]}+{(bootloader or '')[:9]}" if app_elf or bootloader else ""
