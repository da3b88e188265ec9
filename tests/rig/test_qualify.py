"""`rig qualify` from outside: verdicts to exit codes, the report it leaves, and how it ends when it cannot go on."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from rig import qualify_command, report_folder
from rig.evidence.records import TestResult
from rig.evidence.terminal import RunProgress
from tests.rig.project import (
    PATIENCE_S,
    ROOT,
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

TESTS = """\
import os, pathlib, time
import pytest
from rig.errors import BenchFault, Inconclusive

requirement = pytest.mark.requirement

@requirement("A-1", "Good boards pass.")
def test_good(): ...

@requirement("A-2", "Bad boards fail.")
def test_bad():
    assert ["ota_1"] == ["ota_0"]

@requirement("A-3", "The port is there.")
def test_dead():
    raise BenchFault("the port vanished")

@requirement("A-4", "The log says what happened.")
def test_vague():
    raise Inconclusive("the log is silent")

@requirement("A-5", "The radio works.")
def test_radio():
    pytest.skip("no radio")
"""
STUCK = """\
import os, pathlib, time
import pytest

@pytest.mark.requirement("B-1", "This comes first.")
def test_first(): ...

@pytest.mark.requirement("B-2", "This never ends.")
def test_stuck():
    path = pathlib.Path("stuck")
    path.with_suffix(".part").write_text(f"{os.getpid()} {os.getppid()}")
    path.with_suffix(".part").rename(path)
    time.sleep(600)

@pytest.mark.requirement("B-3", "This would be last.")
def test_the_last(): ...
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project with quick tests that need no board, and the current folder in it."""
    return small_project(tmp_path, monkeypatch, "test_small.py", TESTS)


# --- what a run leaves --------------------------------------------------------------------------------------------


def test_a_run_leaves_page_junit_and_json_and_prints_the_table(project):
    result = run()
    assert result.exit_code == 1
    report = the_report()
    assert sorted(os.listdir(report)) == ["index.html", "junit.xml", "results.json", "tests"]
    assert os.listdir(report / "tests" / "virtual-c3") == ["pytest.log"]
    record = json.loads((report / "results.json").read_text(encoding="utf-8"))
    assert {test["test"].split("::")[1]: test["verdict"] for test in record["results"]} == {
        "test_good": "pass",
        "test_bad": "firmware fail",
        "test_dead": "bench fault",
        "test_vague": "inconclusive",
        "test_radio": "skipped",
    }
    assert record["requirements"][0] == {"id": "A-1", "area": "small", "text": "Good boards pass."}
    suite = ElementTree.parse(report / "junit.xml").getroot()
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["5", "1", "2", "1"]
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "Firmware failed 1 of 4 tests" in page
    *_, sums, where = result.stdout.splitlines()
    assert sums == "1 pass, 1 firmware fail, 1 bench fault, 1 inconclusive, 1 skipped"
    assert where == f"report: {project / report / 'index.html'}"
    assert max(map(len, result.stdout.splitlines()[:-1])) <= 80


@pytest.mark.parametrize(
    ("select", "code"),
    [("dead or vague", 3), ("vague or good", 4), ("radio", 4)],
)
def test_the_worst_verdict_is_the_exit_code(project, select, code):
    assert run("-k", select).exit_code == code


def test_json_is_all_there_is_on_stdout(project):
    result = run("--json", "-k", "good or radio")
    assert result.exit_code == 0
    assert result.stdout == (the_report() / "results.json").read_text(encoding="utf-8")
    assert len(json.loads(result.stdout)["results"]) == 2
    assert "1 pass, 0 firmware fail" in result.stderr


def test_the_command_in_the_report_can_be_typed_again(project, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/rig", "qualify", "-k", "good and not bad"])
    run("-k", "good and not bad")
    record = json.loads((the_report() / "results.json").read_text())
    assert record["command"] == "rig qualify -k 'good and not bad'"


def test_a_second_report_of_the_same_second_keeps_the_first(project, monkeypatch):
    class OneSecond(qualify_command.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls(2026, 1, 2, 3, 4, 5)

    monkeypatch.setattr(qualify_command, "datetime", OneSecond)
    first = project / "reports" / "2026-01-02_03-04-05"
    first.mkdir(parents=True)
    assert run("-k", "good").exit_code == 0
    assert os.listdir(first) == []
    assert (project / "reports" / "2026-01-02_03-04-05-2" / "index.html").is_file()


def test_a_virtual_board_leaves_evidence_and_every_link_leads_to_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "rig.toml", tmp_path)
    result = run("--json", "-k", "test_blank_otadata_boots_factory")
    assert result.exit_code == 0, result.output
    report = the_report()
    (test,) = json.loads(result.stdout)["results"]
    assert (test["verdict"], test["board"], test["chip"]) == ("pass", "virtual-c3", "esp32c3")
    assert [boot["slot"] for boot in test["boots"]] == ["factory"]
    assert any(path.endswith("/console.log") for path in test["evidence"].values())
    page = (report / "index.html").read_text(encoding="utf-8")
    links = {os.path.normpath(link) for link in re.findall(r'href="([^"#:]+)"', page)}
    assert links >= {*test["evidence"].values(), "junit.xml", "results.json"}
    for link in links:
        assert (report / link).is_file(), link
        assert (report / link).stat().st_size


def test_on_a_terminal_a_bar_shows_how_far_the_run_is():
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=80, _environ={})
    passed = TestResult(
        test="x::test_a", requirements=["A-1"], board="-", kind="-", chip="-", verdict="pass",
        started=datetime.now(UTC), duration_s=1.0,
    )  # fmt: skip
    with RunProgress(console, {"one": 4}) as progress:
        assert progress.line("one") == "[0/4]  starting"
        progress.done("one", passed)
        progress.started("one", "x::test_[b]")
    assert re.search(r"━━━━━ {15} \d:\d\d:\d\d \[1/4\]  1 pass  test_\[b\]", console.file.getvalue())


# --- what cannot be run -------------------------------------------------------------------------------------------


def test_an_expression_that_fits_nothing_is_inconclusive_and_leaves_nothing(project):
    said = refused(run("-k", "no_such_test"), code=4)
    assert said == "rig: inconclusive: no test fits -k no_such_test\ntry: rig requirements lists the tests\n"


def test_an_expression_may_begin_with_a_dash(project):
    assert "no test fits -k --version" in refused(run("-k", "--version"), code=4)


@pytest.mark.parametrize("select", ["good or", "("])
def test_a_broken_expression_is_named(project, select):
    said = refused(run("-k", select))
    assert "Wrong expression passed to '-k'" in said
    assert select in said


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("tests/qualification/test_broken.py", "def test_x(:\n", "SyntaxError"),
        ("tests/qualification/test_broken.py", "import no_such_module\n", "No module named 'no_such_module'"),
        ("tests/qualification/conftest.py", "1 / 0\n", "ZeroDivisionError"),
        ("tests/qualification/test_broken.py", "def test_bare(): ...\n", "without a requirement get no verdict"),
        (
            "tests/qualification/test_broken.py",
            "import pytest\n@pytest.mark.requirement('A-1', 'Another.')\ndef test_x(): ...\n",
            "requirement A-1 has two sentences: 'Another.' and 'Good boards pass.'",
        ),
    ],
    ids=["syntax", "import", "conftest", "no requirement", "two sentences"],
)
def test_broken_tests_are_refused_before_any_runs(project, name, text, said):
    (project / name).write_text(text)
    message = refused(run())
    assert message.startswith("rig: user error: ")
    assert said in message


@pytest.mark.parametrize("folder", ["rig.toml/x", "/proc/none", "a\\u0000b"])
def test_a_folder_that_cannot_be_written_is_refused(project, folder):
    bench = (project / "rig.toml").read_text()
    (project / "rig.toml").write_text(bench.replace('reports = "reports"', f'reports = "{folder}"'))
    before = sorted(os.listdir())
    said = refused(run("-k", "good"))
    assert "no report can be written there" in said
    assert "bench.reports in rig.toml" in said
    assert sorted(os.listdir()) == before


def test_a_report_that_cannot_be_written_at_the_end_is_a_bench_fault_and_the_table_is_shown(project, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(report_folder, "write_report", full)
    result = run("-k", "good")
    assert "the report cannot be written there: No space left on device" in refused(result, code=3)
    assert "1 pass, 0 firmware fail" in result.stdout


# --- how it ends early --------------------------------------------------------------------------------------------


@pytest.fixture
def start(project: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `rig qualify` as a process of its own on tests of which one never ends."""
    write_tests(project, STUCK)
    with processes("stuck") as begin:
        yield begin


@pytest.mark.parametrize(
    ("number", "jobs", "code", "says"),
    [
        (signal.SIGINT, "1", 130, "rig: interrupted\n"),
        (signal.SIGINT, "2", 130, "rig: interrupted\n"),
        (signal.SIGTERM, "2", 143, ""),
        (signal.SIGHUP, "1", 129, ""),
    ],
    ids=["Ctrl-C", "Ctrl-C with workers", "SIGTERM with workers", "terminal closed"],
)
def test_interrupted_it_leaves_no_report_and_no_process(start, number, jobs, code, says):
    process = start("--jobs", jobs)
    pids = stuck()
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, said) == (code, says)
    assert left_in("reports") == []
    # Without xdist the process above is rig itself.
    assert all(map(gone, pids))


def test_interrupted_while_it_collects_it_leaves_nothing(start, project):
    write_tests(project, STUCK.partition("@pytest")[0] + STUCK[STUCK.index("    path =") :].replace("    ", ""))
    process = start()
    pids = stuck()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, said) == (130, "rig: interrupted\n")
    assert left_in("reports") == []
    assert all(map(gone, pids))


def test_when_pytest_is_killed_the_report_says_which_tests_have_no_result(start):
    process = start("--json", "--jobs", "1")
    pytest_pid, _ = stuck()
    os.kill(pytest_pid, signal.SIGKILL)
    output, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 3
    verdicts = {
        test["test"].split("::")[1]: (test["verdict"], test["reason"]) for test in json.loads(output)["results"]
    }
    lost = ("bench fault", "pytest was ended by signal 9 (SIGKILL) and left no result of this test")
    assert verdicts == {"test_first": ("pass", ""), "test_stuck": lost, "test_the_last": lost}
    assert "pytest was ended by signal 9 (SIGKILL) on virtual-c3; see " in said
    assert "The bench failed in 2 of 3 tests" in (the_report() / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("code", [0, 3])
def test_whatever_pytest_exits_with_a_test_without_result_is_a_bench_fault(project, code):
    write_tests(project, STUCK.replace("time.sleep(600)", f"os._exit({code})"))
    result = run("--json", "-k", "first or stuck", "--jobs", "1")
    assert result.exit_code == 3
    first, lost = json.loads(result.stdout)["results"]
    assert (first["verdict"], lost["verdict"]) == ("pass", "bench fault")
    assert lost["reason"] == f"pytest ended with exit code {code} and left no result of this test"
    assert lost["evidence"] == {"pytest.log": "tests/virtual-c3/pytest.log"}
    assert (the_report() / lost["evidence"]["pytest.log"]).is_file()


def test_when_a_worker_of_pytest_is_killed_its_test_is_a_bench_fault(start):
    process = start("--json", "--jobs", "2")
    worker, _ = stuck()
    os.kill(worker, signal.SIGKILL)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 3
    verdicts = {test["test"].split("::")[1]: test["verdict"] for test in json.loads(output)["results"]}
    assert verdicts == {"test_first": "pass", "test_stuck": "bench fault", "test_the_last": "pass"}


def test_when_pytest_is_killed_before_any_result_there_is_no_report_and_no_worker_left(start, project):
    deaf = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    write_tests(project, STUCK.replace("    path = ", f"    {deaf}\n    path = "))
    process = start("--jobs", "2", "-k", "stuck")
    worker, controller = stuck()
    os.kill(controller, signal.SIGKILL)
    output, said = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, output) == (3, "")
    assert said.startswith("rig: bench fault: pytest was ended by signal 9 (SIGKILL) before any test finished")
    assert "Traceback" not in said
    assert left_in("reports") == []
    assert gone(worker)
