"""`rig qualify --boards`: each test on one of many boards, bench faults done again elsewhere, bad boards taken out."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rig.cli import main
from tests.rig.project import PATIENCE_S, gone, processes, refused, small_project, stuck, the_report

TESTS = """\
import os, pathlib, signal, time
import pytest
from rig.errors import BenchFault

requirement = pytest.mark.requirement

@pytest.fixture
def name(board_section):
    return board_section.name

@pytest.fixture(autouse=True)
def noted(request, board_section):
    with open("ran", "a") as file:
        file.write(f"{request.node.name} {board_section.name}\\n")

@requirement("S-1", "Boards meet.")
@pytest.mark.parametrize("which", ["left", "right"])
def test_meet(which):
    pathlib.Path(which).touch()
    deadline = time.monotonic() + 60
    while not (pathlib.Path("left").exists() and pathlib.Path("right").exists()):
        assert time.monotonic() < deadline
        time.sleep(0.02)

@requirement("S-2", "Much is to do.")
@pytest.mark.parametrize("number", range(6))
def test_many(number): ...

@requirement("S-3", "The port is there.")
@pytest.mark.parametrize("number", range(4))
def test_port(name, number):
    if name == "one":
        raise BenchFault("the port is gone", board=name)
    time.sleep(0.3)

@requirement("S-4", "The firmware is right.")
def test_wrong(name):
    assert name == "nobody"

@requirement("S-5", "The worker lives.")
def test_fatal(name):
    if not pathlib.Path("died").exists():
        pathlib.Path("died").touch()
        os.kill(os.getpid(), signal.SIGKILL)

@requirement("S-6", "The worker answers.")
def test_deaf(name):
    if not pathlib.Path("slept").exists():
        pathlib.Path("slept").touch()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        time.sleep(600)

@requirement("S-7", "This ends.")
def test_endless():
    path = pathlib.Path("stuck")
    path.with_suffix(".part").write_text(f"{os.getpid()} {os.getppid()}")
    path.with_suffix(".part").rename(path)
    time.sleep(600)

@requirement("S-8", "A radio is needed.")
@pytest.mark.needs("wifi")
def test_radio(_fits): ...
"""


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project on a bench of two boards with the tag `lab`, and one without."""
    project = small_project(tmp_path, monkeypatch, "test_small.py", TESTS)
    bench = (project / "rig.toml").read_text().partition("[[board]]")[0]
    for name, tags in (("one", '["lab"]'), ("two", '["lab", "new"]'), ("desk", "[]")):
        bench += f'[[board]]\nname = "{name}"\nkind = "virtual"\ntags = {tags}\n'
    (project / "rig.toml").write_text(bench)
    return project


@pytest.fixture
def start(two: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    with processes("stuck") as begin:
        yield begin


def spread(*arguments: str, code: int = 0) -> dict[str, Any]:
    """results.json of a run over the boards of the lab."""
    result = CliRunner(env={"COLUMNS": "80"}).invoke(
        main, ["qualify", "--no-open", "--json", "--boards", "tag=lab", *arguments]
    )
    assert result.exit_code == code, result.output
    return {**json.loads(result.stdout), "said": result.stderr}


def ran() -> Counter[str]:
    return Counter(Path("ran").read_text().splitlines())


def test_tests_are_spread_over_the_boards_and_only_bench_faults_are_done_again(two):
    record = spread("-k", "meet or many or port or wrong or radio", code=1)
    wrong = [result for result in record["results"] if "test_wrong" in result["test"]]
    by_test = {result["test"].split("::")[1]: result for result in record["results"]}
    # Each runs on one of the boards, and both boards work.
    assert record["spread"] is True
    assert by_test["test_meet[left]"]["verdict"] == by_test["test_meet[right]"]["verdict"] == "pass"
    assert {line.split()[1] for line in ran()} == {"one", "two"}
    assert {f"{result['test'].split('::')[1]} {result['board']}" for result in record["results"]} <= set(ran())
    # A firmware verdict stands; another board bears witness if there is one left.
    assert {(result["verdict"], len(result["retries"])) for result in wrong} == {("firmware fail", 0)}
    assert len({result["board"] for result in wrong}) == len(wrong)
    # What no board can do is skipped visibly.
    assert by_test["test_radio"]["verdict"] == "skipped"
    assert "no radio" in by_test["test_radio"]["reason"]
    # A bench fault is done again on the other board, and a second one takes the first board out.
    ports = [result for test, result in by_test.items() if "test_port" in test]
    assert {(result["board"], result["verdict"]) for result in ports} == {("two", "pass")}
    assert all(result["duration_s"] >= 0.3 for result in ports)
    tries = [retry for result in ports for retry in result["retries"]]
    assert [(retry["board"], retry["reason"]) for retry in tries] == [("one", "the port is gone (board one)")] * 2
    assert list(record["quarantined"]) == ["one"]
    assert sum(ran().values()) == len(record["results"]) + len(tries)
    # All of this is said, while it runs, at its end and in the report.
    said = " ".join(record["said"].split())
    assert "board one is taken out: bench fault in 2 tests" in said
    assert "done again after a bench fault: 2 tries (2 on one)" in said
    assert re.search(r"\[(14/14|15/15)\]", said)
    assert re.search(r"pass +test_many\[0\] on (one|two) ", said)
    page = (the_report() / "index.html").read_text()
    assert "board one was taken out" in page
    assert "before, on one: the port is gone" in page


def test_a_worker_that_dies_or_is_stuck_is_a_bench_fault_and_its_test_done_again(two):
    record = spread("-k", "fatal or deaf or many", "--test-limit", "6")
    by_test = {result["test"].split("::")[1]: result for result in record["results"]}
    for test in ("test_fatal", "test_deaf"):
        assert by_test[test]["verdict"] == "pass"
        assert [retry["reason"] for retry in by_test[test]["retries"]] == ["its worker ended while the test ran"]


def test_when_every_board_is_taken_out_each_test_left_is_a_bench_fault_that_says_so(two):
    Path("rig.toml").write_text(Path("rig.toml").read_text().replace('["lab", "new"]', "[]"))
    record = spread("-k", "port", code=3)
    assert {result["verdict"] for result in record["results"]} == {"bench fault"}
    left = [result for result in record["results"] if result["board"] == "-"]
    assert left
    assert all("no board was left for it: one: bench fault" in result["reason"] for result in left)


def test_killed_it_leaves_no_process(two, start):
    process = start("--boards", "tag=lab", "-k", "endless")
    pids = stuck()
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    deadline = time.monotonic() + PATIENCE_S
    while not all(map(gone, pids)):
        assert time.monotonic() < deadline, "pytest goes on without rig qualify"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--boards", "tag=nobody"), "no board of rig.toml fits\ntry: there are: one (esp32c3, virtual); two"),
        (("--boards", "colour=red"), "'colour=red' is no condition\ntry: KEY=VALUE, with one of these keys: name"),
        (("--boards", ""), "'' is no condition"),
        (("--boards", "all", "--board", "one"), "--board and --boards exclude each other"),
        (("--boards", "all", "--burn-efuses", "one"), "a board that is spent is not one of many"),
    ],
)
def test_a_wrong_choice_of_boards_is_refused(two, arguments, said):
    assert said in refused(CliRunner().invoke(main, ["qualify", "--no-open", *arguments]))
