"""Writes history.sqlite: each result as it comes, so that a killed run loses none that was finished.

Several runs may write at once: SQLite's write-ahead log lets one wait for another.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rig.errors import BenchFault, RigError, UserError
from rig.evidence.history.schema import APPLICATION_ID, MIGRATIONS, VERSION

if TYPE_CHECKING:
    from rig.evidence.records import Requirement, SweepRecord, TestResult

BUSY_S = 30.0
"""How long another writer is waited for."""


@dataclass(frozen=True)
class RunStart:
    """What is known of a run when it begins. `name`: of its report's folder; another run of the name gets a number."""

    name: str
    started: datetime
    tool: str
    command: str
    bench: str
    host: str
    variant: str | None = None
    requirements: Sequence[Requirement] = ()


@contextmanager
def open_history(path: Path) -> Iterator[History]:
    """The history in a file, made or brought up to date first.

    Raises UserError for a file that is none, or is from a newer version, which is left as it is; BenchFault if the
    disk is full or the folder cannot be written.
    """
    with _explained(path):
        connection = _connect(path)
    try:
        with _explained(path):
            _bring_up_to_date(connection, path)
            yield History(connection, path)
    finally:
        connection.close()


class History:
    """An open history. Every method commits before it returns."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self.path = path

    def begin(self, run: RunStart) -> int:
        """Note that a run has begun; its number."""
        with self._transaction() as database:
            last = database.execute("SELECT started FROM runs ORDER BY id DESC LIMIT 1").fetchone()
            went_back = last is not None and text_of(run.started) < last[0]
            return _insert_run(database, run, None, went_back)

    def begin_before(self, run: RunStart) -> int:
        """Note a run that is older than all that are here, and so comes before them; its number."""
        with self._transaction() as database:
            first = database.execute("SELECT min(id) FROM runs").fetchone()[0]
            return _insert_run(database, run, None if first is None else first - 1, went_back=False)

    def span(self) -> tuple[str, str] | None:
        """When the oldest and when the newest run began; None if there is none."""
        first, last = self.connection.execute("SELECT min(started), max(started) FROM runs").fetchone()
        return None if first is None else (first, last)

    def add(self, run: int, result: TestResult) -> None:
        """A test's result, with its earlier tries; takes the place of one that the run had for this test and board."""
        with self._transaction() as database:
            test = _test(database, result)
            board = _board(database, result.board, result.kind, result.chip)
            database.execute(
                "INSERT OR REPLACE INTO results (run, test, board, verdict, reason, started, duration_s, app_elf,"
                " bootloader, idf, otadata_erases) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    run, test, board, result.verdict.value, result.reason, text_of(result.started), result.duration_s,
                    result.app_elf, result.bootloader, result.firmware.get("ESP-IDF"), otadata_erases(result),
                ),
            )  # fmt: skip
            database.execute("DELETE FROM tries WHERE run = ? AND test = ?", (run, test))
            database.executemany(
                "INSERT INTO tries VALUES (?, ?, ?, ?)",
                [
                    (run, test, _board_called(database, retry.board, result), retry.reason)
                    for retry in result.retries
                ],
            )  # fmt: skip

    def sweep(self, run: int, sweep: SweepRecord) -> None:
        """What came of every power cut of one recorded run."""
        with self._transaction() as database:
            board = _board(database, sweep.board, sweep.kind, sweep.chip)
            database.execute(
                "INSERT OR REPLACE INTO sweeps VALUES (?, ?, ?, ?, ?, ?)",
                (run, sweep.scenario, board, sweep.verdict.value, sweep.images, len(sweep.findings)),
            )

    def finish(
        self, run: int, finished: datetime, exit_code: int, report: Path | None, quarantined: Mapping[str, str]
    ) -> None:
        """The run is over. One that never says so was broken off."""
        with self._transaction() as database:
            database.execute(
                "UPDATE runs SET finished = ?, exit_code = ?, report = ? WHERE id = ?",
                (text_of(finished), exit_code, None if report is None else str(report), run),
            )
            database.executemany(
                "INSERT OR REPLACE INTO quarantined VALUES (?, ?, ?)",
                [(run, board, reason) for board, reason in quarantined.items()],
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _explained(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
            except BaseException:
                self.connection.execute("ROLLBACK")
                raise
            self.connection.execute("COMMIT")


def otadata_erases(result: TestResult) -> int:
    """How often, at most, a test erased one otadata sector: to start from a known one, and once a transition.

    Each transition erases one of the two sectors (ESP-IDF, bootloader_utility.c and esp_ota_ops.c), so the sum over
    both is an upper bound for either. What ended before anything was installed erased nothing.
    """
    return 1 + len(result.transitions) if result.boots else 0


def _connect(path: Path) -> sqlite3.Connection:
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: no such folder", hint="bench.history in rig.toml names the history's file")
    # SQLite takes a file shorter than a page for an empty database, and would write over it.
    if path.is_file() and path.stat().st_size and path.open("rb").read(16) != b"SQLite format 3\0":
        raise UserError(f"{path} is no history of runs", hint="bench.history in rig.toml names the history's file")
    # In autocommit mode: transactions are begun by hand, at once for writing, so that two writers wait and never fail.
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise UserError(
            f"{path} is a history of version {version}; this rig knows up to {VERSION}",
            hint="use the newer rig that wrote it, or another file: bench.history in rig.toml",
        )
    if version == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise UserError(
            f"{path} is a database, but no history of runs", hint="bench.history in rig.toml names the file"
        )
    if version == VERSION:
        return
    connection.execute("PRAGMA journal_mode = WAL")
    migrate(connection, VERSION)


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring the tables to `version`, a step at a time, each whole or not at all; another process may do the same."""
    while True:
        connection.execute("BEGIN IMMEDIATE")
        try:
            present: int = connection.execute("PRAGMA user_version").fetchone()[0]
            if present < version:
                # Not executescript: it would commit what was begun.
                for statement in filter(str.strip, MIGRATIONS[present].split(";\n")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {present + 1}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        if present >= version - 1:
            return


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except RigError:
        raise
    except sqlite3.DatabaseError as error:
        text = str(error)
        if "not a database" in text or "malformed" in text:
            raise UserError(
                f"{path} is no history of runs: {text}",
                hint="move it away, a new one is made; `rig history import reports/*` fills it again",
            ) from error
        raise BenchFault(
            f"{path}: the history cannot be written: {text}", hint="is the disk full, or the folder write-protected?"
        ) from error


def _insert_run(database: sqlite3.Connection, run: RunStart, number: int | None, went_back: bool) -> int:
    given = database.execute(
        "INSERT INTO runs (id, name, started, tool, command, bench, host, variant, clock_went_back)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            number, _free_name(database, run.name), text_of(run.started), run.tool, run.command, run.bench, run.host,
            run.variant, went_back,
        ),
    ).lastrowid  # fmt: skip
    database.executemany(
        "INSERT INTO requirements VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET area = excluded.area, "
        "text = excluded.text",
        [(known.id, known.area, known.text) for known in run.requirements],
    )
    assert given is not None
    return given


def _free_name(database: sqlite3.Connection, name: str) -> str:
    number, free = 2, name
    while database.execute("SELECT 1 FROM runs WHERE name = ?", (free,)).fetchone():
        free = f"{name}-{number}"
        number += 1
    return free


def _test(database: sqlite3.Connection, result: TestResult) -> int:
    database.execute("INSERT OR IGNORE INTO tests (name) VALUES (?)", (result.test,))
    number: int = database.execute("SELECT id FROM tests WHERE name = ?", (result.test,)).fetchone()[0]
    database.executemany(
        "INSERT OR IGNORE INTO checks VALUES (?, ?)", [(number, requirement) for requirement in result.requirements]
    )
    return number


def _board(database: sqlite3.Connection, name: str, kind: str, chip: str) -> int:
    database.execute("INSERT OR IGNORE INTO boards (name, kind, chip) VALUES (?, ?, ?)", (name, kind, chip))
    number: int = database.execute(
        "SELECT id FROM boards WHERE name = ? AND kind = ? AND chip = ?", (name, kind, chip)
    ).fetchone()[0]
    return number


def _board_called(database: sqlite3.Connection, name: str, like: TestResult) -> int:
    """A board of an earlier try, of which only the name is known; new ones count as of the same kind."""
    found = database.execute("SELECT id FROM boards WHERE name = ? ORDER BY id DESC", (name,)).fetchone()
    return int(found[0]) if found else _board(database, name, like.kind, like.chip)


def text_of(moment: datetime) -> str:
    """As the tables have it: UTC, so that texts compare as times do."""
    with contextlib.suppress(ValueError, OverflowError):
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")
