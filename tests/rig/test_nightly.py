"""`rig nightly`: firmware first, unfit boards left out, tests on the others, and one exit code."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from rig.boards.lease import FOLDER, Lease, holder
from rig.cli import main
from rig.evidence.history.read import Reader
from rig.evidence.history.store import open_history
from rig.nightly_cli import nightly
from tests.rig.project import ROOT, small_project, the_report

TESTS = """\
import pytest, time
requirement = pytest.mark.requirement

@requirement("N-1", "It works.")
@pytest.mark.parametrize("number", range(3))
def test_good(number):
    time.sleep(0.2)

@requirement("N-2", "It does not work.")
def test_bad():
    assert "VALID" == "ABORTED"
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A board that is there, and one that is not plugged in."""
    project = small_project(tmp_path, monkeypatch, "test_small.py", TESTS)
    bench = (project / "rig.toml").read_text().partition("[[board]]")[0]
    bench += '[[board]]\nname = "night-here"\nkind = "virtual"\ntags = ["lab"]\n'
    bench += '[[board]]\nname = "night-gone"\nkind = "serial"\nfirmware = "synthesised"\nchip = "esp32c3"\n'
    bench += 'port = "/dev/no-such-port"\ntags = ["lab", "gone"]\n'
    (project / "rig.toml").write_text(bench)
    monkeypatch.setenv(FOLDER, str(tmp_path / "leases"))
    return project


def rig(*arguments):
    done = CliRunner(env={"COLUMNS": "100"}).invoke(main, ["nightly", *arguments])
    assert "Traceback (most" not in done.output
    return done


def test_a_night_leaves_out_what_is_unfit_and_ends_with_the_verdict_of_the_tests(lab):
    said = "import pathlib; pathlib.Path('fetched').touch()"
    done = rig("--boards", "tag=lab", "--firmware", shlex.join([sys.executable, "-c", said]))
    assert done.exit_code == 1, done.output
    assert Path("fetched").exists()
    assert "board night-gone is left out: port: /dev/no-such-port is not there" in done.stdout
    assert "rig doctor night-gone says what to do about it" in done.stdout
    assert "3 pass, 1 firmware fail" in done.stdout
    report = the_report()
    record = json.loads((report / "results.json").read_text())
    assert {result["board"] for result in record["results"]} == {"night-here"}
    assert list(record["quarantined"]) == ["night-gone"]
    assert "History of rollback qualification" in (report / "history.html").read_text()
    assert "explains N-2" in done.stdout
    with open_history(lab / "history.sqlite") as history:
        (run,) = Reader(history.connection).runs()
    assert (run.exit_code, run.results) == (1, 4)


def test_a_night_without_a_fit_board_is_a_bench_fault_that_names_each(lab):
    done = rig("--boards", "tag=gone")
    assert done.exit_code == 3
    assert "no board is left: night-gone: port: /dev/no-such-port is not there" in done.stderr


def test_a_board_that_another_run_has_is_left_out_from_the_beginning(lab):
    with Lease("night-gone", ["/dev/no-such-port"], None)():
        done = rig("--boards", "tag=gone", "--firmware", "touch built")
    assert done.exit_code == 3
    assert not Path("built").exists(), "firmware that no board waits for"
    assert "no board is left: night-gone: somebody else is using this board" in " ".join(done.stderr.split())


def test_boards_are_leased_from_before_the_firmware_until_the_end(lab):
    said = f"from rig.boards.lease import holder; assert holder(['/dev/no-such-port']).pid == {os.getpid()}"
    done = rig("--boards", "tag=gone", "--firmware", shlex.join([sys.executable, "-c", said]))
    assert "no board is left: night-gone: port" in " ".join(done.stderr.split())
    assert holder(["/dev/no-such-port"]) is None


@pytest.mark.parametrize("name", ["github-nightly.yml", "gitlab-nightly.yml"])
def test_the_files_for_ci_servers_run_a_night_with_options_that_there_are(name):
    text = (ROOT / "docs" / "ci" / name).read_text()
    assert yaml.safe_load(text)
    (options,) = re.findall(r'make nightly NIGHTLY="(.*)"', text)
    known = {option for parameter in nightly.params for option in parameter.opts}
    assert {word for word in options.split() if word.startswith("--")} <= known
    assert "\nnightly:" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize(
    ("command", "said"),
    [("false", "failed with exit code 1"), ("no-such-program", "cannot be run"), ("'", "cannot be run")],
)
def test_without_its_firmware_no_night_begins(lab, command, said):
    done = rig("--firmware", command)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not Path("history.sqlite").exists()
