"""history.sqlite: every result is kept at once, whatever happens to whoever wrote it."""

import os
import signal
import sqlite3
import subprocess
import sys
from datetime import timedelta

import pytest

from rig.errors import BenchFault, UserError
from rig.evidence.history import schema
from rig.evidence.history.read import Filter, Reader
from rig.evidence.history.store import migrate, open_history
from rig.evidence.records import BootRecord, Retry, Transition, Verdict
from tests.rig.evidence.history.runs import EPOCH, result, start

WRITER = """
import sys
from pathlib import Path
from rig.evidence.history.store import open_history
from tests.rig.evidence.history.runs import result, start
with open_history(Path(sys.argv[1])) as history:
    run = history.begin(start(sys.argv[2]))
    for number in range(int(sys.argv[3])):
        history.add(run, result(f"test {number}", sys.argv[2]))
        print(number, flush=True)
"""


def writer(path, name, count):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(count)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return tmp_path / "history.sqlite"


def whole(path):
    with sqlite3.connect(path) as database:
        return database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_what_was_added_can_be_read_by_anybody(path):
    with open_history(path) as history:
        run = history.begin(start("2026-01-01"))
        history.add(run, result(reason="because", verdict=Verdict.FIRMWARE_FAIL))
        history.finish(run, EPOCH, 1, None, {"two": "smoke"})
    with sqlite3.connect(path) as plain:
        assert plain.execute("SELECT run, test, board, verdict, reason, app_elf FROM results_flat").fetchall() == [
            ("2026-01-01", "t::a", "one", "firmware fail", "because", "aaaa")
        ]
        assert plain.execute("SELECT board, reason FROM quarantined").fetchall() == [("two", "smoke")]


def test_a_run_that_never_ended_keeps_the_results_it_has(path):
    with open_history(path) as history:
        history.add(history.begin(start()), result())
        (run,) = Reader(history.connection).runs()
    assert (run.finished, run.exit_code, run.results) == (None, None, 1)


@pytest.mark.parametrize("results", [1, 25, 60])
def test_a_writer_killed_at_any_moment_loses_nothing_that_it_had_added(path, results):
    process = writer(path, "killed", 100_000)
    for _ in range(results):
        said = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert whole(path)
    with open_history(path) as history:
        assert Reader(history.connection).count()[1] >= said + 1


def test_two_writers_at_once_both_write_all(path):
    processes = [writer(path, name, 40) for name in ("left", "right")]
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, 0]
    assert whole(path)
    with open_history(path) as history:
        assert {run.name: run.results for run in Reader(history.connection).runs()} == {"left": 40, "right": 40}


def test_two_runs_of_one_name_are_two_runs(path):
    with open_history(path) as history:
        history.begin(start("same")), history.begin(start("same"))
        assert [run.name for run in Reader(history.connection).runs()] == ["same", "same-2"]


def test_a_result_added_twice_counts_once(path):
    with open_history(path) as history:
        run = history.begin(start())
        for verdict in (Verdict.BENCH_FAULT, Verdict.PASS):
            history.add(run, result(verdict=verdict, retries=[Retry(board="two", reason="gone")]))
        outcomes = Reader(history.connection).outcomes(Filter())
    assert sorted((outcome.board, outcome.verdict) for outcome in outcomes) == [("one", "pass"), ("two", "bench fault")]


def test_the_order_of_runs_is_that_of_writing_when_the_clock_jumps(path):
    with open_history(path) as history:
        for name, hours in (("first", 5), ("second", 0), ("third", 1)):
            history.begin(start(name, hours=hours))
        runs = Reader(history.connection).runs()
    assert [(run.name, bool(run.clock_went_back)) for run in runs] == [
        ("first", False),
        ("second", True),
        ("third", False),
    ]


def test_an_older_file_is_brought_up_to_date_with_all_it_holds(path):
    old = sqlite3.connect(path, isolation_level=None)
    migrate(old, 1)
    old.execute("INSERT INTO runs (name, started, tool, command, bench, host) VALUES ('old', '2025', '', '', '', '')")
    old.close()
    with open_history(path) as history:
        run = history.begin(start("new"))
        history.finish(run, EPOCH + timedelta(hours=1), 0, None, {"one": "worn"})
        assert [run.name for run in Reader(history.connection).runs()] == ["old", "new"]
        assert history.connection.execute("PRAGMA user_version").fetchone()[0] == schema.VERSION


def test_a_step_that_fails_changes_nothing(path, monkeypatch):
    database = sqlite3.connect(path, isolation_level=None)
    migrate(database, 1)
    monkeypatch.setattr(schema, "MIGRATIONS", ())
    monkeypatch.setattr("rig.evidence.history.store.MIGRATIONS", (schema._1, "CREATE TABLE half (a);\nBROKEN;\n"))
    with pytest.raises(sqlite3.OperationalError):
        migrate(database, 2)
    assert database.execute("PRAGMA user_version").fetchone()[0] == 1
    assert not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'half'").fetchone()


def test_a_newer_file_is_refused_and_left_as_it_is(path):
    with sqlite3.connect(path) as newer:
        newer.execute("CREATE TABLE future (a)")
        newer.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    newer.close()
    before = path.read_bytes()
    said = f"of version {schema.VERSION + 1}; this rig knows up to {schema.VERSION}"
    with pytest.raises(UserError, match=said), open_history(path):
        pass
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be looked at" * 20, b"x"])
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path, content):
    path.write_bytes(content)
    with pytest.raises(UserError, match="is no history of runs"), open_history(path):
        pass
    assert path.read_bytes() == content


def test_another_programs_database_is_refused(path):
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE music (title)")
    other.close()
    with pytest.raises(UserError, match="is a database, but no history"), open_history(path):
        pass


def test_a_folder_that_is_not_there_is_said(path):
    with pytest.raises(UserError, match="no such folder"), open_history(path.parent / "absent" / "history.sqlite"):
        pass


def test_a_full_disk_is_a_bench_fault_and_the_history_stays_whole(path):
    with open_history(path) as history:
        run = history.begin(start())
        pages = history.connection.execute("PRAGMA page_count").fetchone()[0]
        history.connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        added = 0
        with pytest.raises(BenchFault, match=r"disk is full.*\n.*is the disk full"):  # noqa: PT012
            while added < 10_000:
                history.add(run, result(f"test {added}", reason="x" * 500))
                added += 1
        assert Reader(history.connection).count()[1] == added
    assert whole(path)


def test_wear_counts_what_erased_otadata_and_nothing_else(path):
    boot = BootRecord(index=0, started_s=0.0)
    change = Transition(slot="ota_1", before="NEW", after="VALID", by="app", boot=0)
    with open_history(path) as history:
        for name in ("first", "second"):
            run = history.begin(start(name))
            history.add(run, result("t::a", boots=[boot], transitions=[change, change]))
            history.add(run, result("t::b", verdict=Verdict.SKIPPED))
        standing = Reader(history.connection).standing()
    assert (standing["one"].erases, standing["one"].verdict, standing["one"].run) == (6, "pass", "second")


def test_a_board_stands_by_the_worst_verdict_of_its_last_run(path):
    with open_history(path) as history:
        run = history.begin(start("bad"))
        history.add(run, result("t::a", verdict=Verdict.FIRMWARE_FAIL))
        run = history.begin(start("better"))
        history.add(run, result("t::a"))
        history.add(run, result("t::b", verdict=Verdict.INCONCLUSIVE))
        assert Reader(history.connection).standing()["one"].verdict == "inconclusive"


def test_durations_are_those_of_the_last_runs(path):
    with open_history(path) as history:
        for seconds in (100.0, *[2.0, 4.0] * 3):
            history.add(history.begin(start()), result(seconds=seconds))
        assert 2.0 < Reader(history.connection).durations()["t::a"] < 4.0
