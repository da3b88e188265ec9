"""A board that is unplugged in the middle of a test: its tests move to another one, and nothing is left behind."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from rig.boards.lease import FOLDER, holder
from tests.rig.project import PATIENCE_S, small_project, the_report
from tests.rig.served import serving

TESTS = """\
import pathlib, time
import pytest
requirement = pytest.mark.requirement

@requirement("U-1", "A board starts.")
@pytest.mark.parametrize("number", range(4))
def test_start(trial, number):
    if trial.board.name == "desk":
        while not pathlib.Path("unplugged").exists():
            time.sleep(0.05)
    trial.install("rollback")
    trial.boot()
    while trial.board.name == "served-c3":
        pathlib.Path("at-work").touch()
        trial.power_cycle()
        trial.wait_start()
    trial.finish()
"""


@pytest.mark.timeout(240)
def test_its_tests_move_to_another_board_and_nothing_is_lost(tmp_path, monkeypatch):
    project = small_project(tmp_path, monkeypatch, "test_small.py", TESTS)
    monkeypatch.setenv(FOLDER, str(tmp_path / "leases"))
    bench = (project / "rig.toml").read_text().partition("[[board]]")[0]
    with serving() as serve:
        served = serve()
        (project / "rig.toml").write_text(bench + served.toml() + '[[board]]\nname = "desk"\nkind = "virtual"\n')
        run = subprocess.Popen(
            [sys.executable, "-m", "rig", "qualify", "--no-open", "--boards", "all"], stdout=subprocess.PIPE, text=True
        )
        wait_for(project / "at-work", run)
        served.process.kill()
        (project / "unplugged").touch()
        said, _ = run.communicate(timeout=200)
    assert run.returncode == 0, said
    record = json.loads((the_report() / "results.json").read_text())
    assert Counter((result["board"], result["verdict"]) for result in record["results"]) == {("desk", "pass"): 4}
    tries = [retry for result in record["results"] for retry in result["retries"]]
    assert {retry["board"] for retry in tries} == {"served-c3"}
    # The other board may have done all the rest before this one fails a second time.
    assert set(record["quarantined"]) <= {"served-c3"}
    assert all((the_report() / path).exists() for retry in tries for path in retry["evidence"].values())
    assert holder([served.url]) is None
    database = sqlite3.connect(project / "history.sqlite")
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert database.execute("SELECT count(*) FROM results WHERE verdict = 'pass'").fetchone() == (4,)


def wait_for(path: Path, run: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.05)
