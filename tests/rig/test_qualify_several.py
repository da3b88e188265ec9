"""`rig qualify` with several boards: at the same time, side by side, and none drags another down."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.rig.project import (
    PATIENCE_S,
    gone,
    left_in,
    processes,
    refused,
    run,
    small_project,
    stuck,
    the_report,
    write_tests,
)

BOARDS = """\
import os, pathlib, signal, time
import pytest

requirement = pytest.mark.requirement
BOTH = ("one", "two")

@pytest.fixture
def name(request):
    return request.config.getoption("--board")

@requirement("C-1", "All boards do this.")
def test_alike(): ...

@requirement("C-2", "Some boards do this.")
def test_split(name):
    assert name == "one"

@requirement("C-3", "Two boards meet.")
def test_meet(name):
    pathlib.Path("here-" + name).touch()
    deadline = time.monotonic() + 60
    while not all(pathlib.Path("here-" + board).exists() for board in BOTH):
        assert time.monotonic() < deadline
        time.sleep(0.02)

@requirement("C-4", "The radio works.")
def test_radio(name):
    if name == "one":
        pytest.skip("no radio")

@requirement("C-5", "Nothing breaks.")
def test_fatal(name):
    if name == "two":
        os.kill(os.getpid(), signal.SIGKILL)

@requirement("C-6", "This ends.")
def test_endless(name):
    path = pathlib.Path("stuck-" + name)
    path.with_suffix(".part").write_text(f"{os.getpid()} {os.getppid()}")
    path.with_suffix(".part").rename(path)
    time.sleep(600)

@requirement("C-7", "The firmware is the usual one.")
def test_variant(request):
    if variant := request.config.getoption("--variant"):
        pytest.fail(f"variant {variant}")
"""


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project on a bench of two boards."""
    project = small_project(tmp_path, monkeypatch, "test_small.py", BOARDS)
    bench = (project / "rig.toml").read_text().partition("[[board]]")[0]
    for name, chip in (("one", "esp32c3"), ("two", "esp32")):
        bench += f'[[board]]\nname = "{name}"\nkind = "virtual"\nchip = "{chip}"\n'
    (project / "rig.toml").write_text(bench)
    return project


@pytest.fixture
def start(two: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `rig qualify` as a process of its own."""
    with processes("stuck-one", "stuck-two") as begin:
        yield begin


BOTH = ("--board", "one", "--board", "two")


def verdicts_by_board(record: dict[str, Any]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for test in record["results"]:
        found.setdefault(test["board"], {})[test["test"].split("::")[1]] = test["verdict"]
    return found


def test_without_a_board_the_first_is_tested(two):
    record = json.loads(run("--json", "-k", "split or alike").stdout)
    assert verdicts_by_board(record) == {"one": {"test_alike": "pass", "test_split": "pass"}}


def test_two_boards_are_tested_at_the_same_time_and_compared(two):
    result = run("--json", "-k", "split or alike or meet or radio", *BOTH)
    assert result.exit_code == 1
    record = json.loads(result.stdout)
    good = {"test_alike": "pass", "test_meet": "pass"}
    assert verdicts_by_board(record) == {
        "one": {**good, "test_radio": "skipped", "test_split": "pass"},
        "two": {**good, "test_radio": "pass", "test_split": "firmware fail"},
    }
    assert [(board["name"], board["chip"]) for board in record["boards"]] == [("one", "esp32c3"), ("two", "esp32")]
    assert [facts["board"] for facts in record["firmware"]] == ["one", "two"]
    assert "differs: test_split: one passes, two firmware fail" in " ".join(result.stderr.split())
    assert "1 of 4 requirements differs between boards, 1 not comparable" in result.stderr
    report = the_report()
    assert sorted(os.listdir(report / "tests")) == ["one", "two"]
    suites = ElementTree.parse(report / "junit.xml").getroot().findall("testsuite")
    assert [(suite.get("name"), suite.get("failures")) for suite in suites] == [("one", "0"), ("two", "1")]


def test_progress_names_the_board_and_counts_the_tests_of_all(two):
    lines = run("-k", "alike or split", *BOTH).stdout.splitlines()
    progress = [line for line in lines if line.startswith("[")]
    assert [line[:5] for line in progress] == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]
    assert sorted(re.findall(r"on (one|two) ", " ".join(progress))) == ["one", "one", "two", "two"]


def test_when_the_pytest_of_one_board_is_killed_the_other_goes_on(two):
    result = run("--json", "-k", "alike or fatal", *BOTH)
    assert result.exit_code == 3
    record = json.loads(result.stdout)
    assert verdicts_by_board(record) == {
        "one": {"test_alike": "pass", "test_fatal": "pass"},
        "two": {"test_alike": "pass", "test_fatal": "bench fault"},
    }
    lost = next(test for test in record["results"] if test["verdict"] == "bench fault")
    assert lost["evidence"] == {"pytest.log": "tests/two/pytest.log"}
    assert (lost["kind"], lost["chip"]) == ("virtual", "esp32")
    assert "pytest was ended by signal 9 (SIGKILL) on two; see " in result.stderr
    assert " on one; see" not in result.stderr


def test_a_board_of_which_nothing_came_back_has_a_bench_fault_for_each_test(two):
    record = json.loads(run("--json", "-k", "fatal", *BOTH).stdout)
    assert verdicts_by_board(record) == {"one": {"test_fatal": "pass"}, "two": {"test_fatal": "bench fault"}}


def test_when_nothing_comes_back_from_any_board_each_is_named(two):
    write_tests(two, BOARDS.replace('== "two":', "in BOTH:"))
    said = refused(run("-k", "fatal", *BOTH), code=3)
    for board in ("one", "two"):
        assert f"pytest was ended by signal 9 (SIGKILL) on {board} before any test finished" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_no_process_of_any_board(two, start, number):
    process = start("--jobs", "1", *BOTH, "-k", "endless")
    pids = [pid for board in ("one", "two") for pid in stuck(f"stuck-{board}")]
    process.send_signal(number)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert left_in("reports") == []
    assert all(map(gone, pids))


def test_a_board_given_twice_is_refused(two):
    assert (
        refused(run(*BOTH, "--board", "one")) == "rig: user error: board given twice: one\ntry: name each board once\n"
    )


def test_another_variant_reaches_the_tests_and_is_recorded_and_announced(two):
    result = run("--json", "-k", "variant", "--variant", "no_rollback", *BOTH)
    assert result.exit_code == 1
    record = json.loads(result.stdout)
    assert record["variant"] == "no_rollback"
    assert {test["reason"].splitlines()[0] for test in record["results"]} == {"variant no_rollback"}
    assert "VARIANT no_rollback instead of rollback: 1 of 1 requirement fails with it" in result.stderr
    assert json.loads(run("--json", "-k", "alike").stdout)["variant"] is None


def test_an_unknown_variant_is_refused_before_any_test_runs(two):
    said = refused(run("--variant", "no_such"))
    assert said.startswith("rig: user error: unknown build variant 'no_such'\ntry: ")
    assert "no_rollback" in said
