"""What a person who writes and runs tests meets: skips with a reason, verdicts, explained asserts, `dut`, the results.

The tests about pytest run a small suite of their own in a process of its own, on a board of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.reporting import classify, weigh
from rig.errors import BenchFault, FirmwareFault, Inconclusive, UserError
from rig.evidence.judge import Judgement
from rig.evidence.records import TestResult, Verdict
from rig.updates.agent import AgentError, AgentTimeout, DeviceRestarted

ROOT = Path(__file__).resolve().parents[2]
PASS, FAIL, SKIPPED = Verdict.PASS, Verdict.FIRMWARE_FAIL, Verdict.SKIPPED
BENCH, UNSURE = Verdict.BENCH_FAULT, Verdict.INCONCLUSIVE

RIG_TOML = """
[[board]]
name = "inner-board"
kind = "virtual"
time_scale = 200
"""
SUITE = """
import time

import pytest

from rig.errors import BenchFault, FirmwareFault, Inconclusive, NotApplicable

requirement = pytest.mark.requirement
needs = pytest.mark.needs


@requirement("SLOW-01", "What a board did takes longer to judge than a test may take.")
@pytest.mark.timeout(1)
def test_is_judged_slowly(trial):
    trial.describe = lambda: time.sleep(2) or "described in the end"
    raise BenchFault("the bench broke")


@requirement("OK-01", "A sound board boots.")
def test_passes(trial):
    trial.install("rollback")
    trial.boot()
    trace = trial.finish()
    assert trace.booted == ["ota_0"]


@requirement("RADIO-01", "A radio is there.")
@needs("power_cut", "wifi")
def test_needs_a_radio(trial):
    raise AssertionError("never run")


@requirement("BUILD-01", "A build is there.")
def test_needs_a_build(trial):
    raise NotApplicable("variant x is not built", hint="rig build --variant x")


@pytest.fixture
def unfit():
    raise NotApplicable("this app cannot be asked", hint="add the component")


@requirement("BUILD-02", "A set-up may find that out, too.")
def test_needs_an_agent(unfit):
    raise AssertionError("never run")


@requirement("CUT-01", "Power can be cut.")
@requirement("CUT-02", "And at a mutation.")
@needs("power_cut", "flash_mutations")
def test_needs_what_is_there(trial):
    trial.install("rollback")
    trial.boot()
    trial.finish()


@requirement("EXP-01", "The trace is what a person expects.")
def test_expects_another_trace(trial):
    trial.install("rollback")
    trial.boot()
    trial.update("2.0.0")
    trial.restart()
    trace = trial.finish()
    assert trace.transitions == [
        ("ota_0", "none", "VALID", "bootloader"),
        ("ota_1", "none", "NEW", "app"),
        ("ota_1", "NEW", "PENDING_VERIFY", "bootloader"),
        ("ota_1", "PENDING_VERIFY", "ABORTED", "bootloader"),
    ]


@requirement("EXP-02", "The boots are what a person expects.")
def test_expects_other_boots(trial):
    trial.install("rollback")
    trial.boot()
    trace = trial.finish()
    assert trace.booted == ["ota_1"]


@requirement("JDG-01", "The judge is always asked.")
def test_forgets_the_judge(trial):
    trial.install("rollback")
    trial.boot()


@requirement("DUT-01", "dut.expect sees the console.")
def test_dut_expects(trial, dut):
    trial.install("rollback")
    trial.boot()
    match = dut.expect(r"Loaded app from partition at offset (0x[0-9a-f]+)", timeout=20)
    assert match.group(1) == b"0x10000"
    dut.write("@rig 1 ping data=none")
    dut.expect_exact("bad_line", timeout=20)
    trial.finish()


@requirement("DUT-02", "dut.expect gives up.")
def test_dut_gives_up(trial, dut):
    trial.install("rollback")
    trial.boot()
    dut.expect("these words are never printed", timeout=0.2)


@requirement("BEN-01", "The bench works.")
def test_meets_a_bench_fault(trial):
    raise BenchFault("the cable came off", board="inner-board", hint="plug it in")


@requirement("BEN-02", "A dead board is no fault of the firmware.")
def test_asserts_on_a_dead_board(trial):
    trial.install("rollback")
    trial.boot()
    trial.board.power.off()
    trial.board.console.drain()
    trial.witnesses.mark("power on")
    assert trial.board.kind == "answering"


@requirement("SET-01", "A set-up that fails is told, too.")
def test_meets_a_fault_in_its_setup(broken):
    raise AssertionError("never run")


@pytest.fixture
def broken():
    raise Inconclusive("nothing can be said")


def test_without_a_requirement(board):
    assert board.name == "inner-board"
"""


class Run:
    """An inner run: what it printed, and the lines it streamed."""

    def __init__(self, folder, *arguments):
        for name in ("conftest.py", "pytest.ini"):
            shutil.copy(ROOT / name, folder)
        (folder / "rig.toml").write_text(RIG_TOML)
        (folder / "test_inner.py").write_text(SUITE)
        self.folder = folder
        self.results = folder / "out" / "results.jsonl"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "", "COLUMNS": "150"}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", ".", "-rA", "--color=no", "--rig-results", str(self.results), *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            env={name: value for name, value in environment.items() if not name.startswith("PYTEST_XDIST")},
            timeout=100,
        )
        self.exit_code = done.returncode
        self.text = done.stdout + done.stderr
        self.lines = [json.loads(line) for line in self.results.read_text().splitlines()]

    def result(self, test):
        found = [line["result"] for line in self.lines if line.get("result", {}).get("test", "").endswith(f"::{test}")]
        assert len(found) == 1, self.text
        return TestResult.model_validate(found[0])

    def section(self, test):
        """What pytest printed about one failure."""
        shown = re.search(rf"\n_+ (?:\w+ at \w+ of )?{test} _+\n(.*?)\n(?:_{{8}}|={{8}})", self.text, re.DOTALL)
        assert shown is not None, self.text
        return shown[1]


@pytest.fixture(scope="module")
def inner(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inner")
    return Run(folder, "--rig-evidence", str(folder / "evidence"), "--rig-requirements", str(folder / "carried.json"))


VERDICTS = {
    "test_passes": PASS,
    "test_needs_a_radio": SKIPPED,
    "test_needs_a_build": SKIPPED,
    "test_needs_an_agent": SKIPPED,
    "test_needs_what_is_there": PASS,
    "test_expects_another_trace": FAIL,
    "test_expects_other_boots": FAIL,
    "test_forgets_the_judge": UNSURE,
    "test_dut_expects": PASS,
    "test_dut_gives_up": UNSURE,
    "test_is_judged_slowly": BENCH,
    "test_meets_a_bench_fault": BENCH,
    "test_asserts_on_a_dead_board": BENCH,
    "test_meets_a_fault_in_its_setup": UNSURE,
}


# --- a whole run -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("test", VERDICTS)
def test_each_outcome_has_its_verdict(inner, test):
    result = inner.result(test)
    assert result.verdict is VERDICTS[test], result.details
    assert bool(result.reason) == (result.verdict is not PASS)


def test_a_board_that_lacks_something_is_a_visible_skip_with_its_own_reason(inner):
    reason = "board inner-board has no wifi: the virtual board models no radio"
    assert inner.result("test_needs_a_radio").reason == reason
    assert reason in inner.text


def test_a_test_without_its_build_is_skipped_and_told_how_to_build(inner):
    assert inner.result("test_needs_a_build").reason == "variant x is not built; rig build --variant x"
    assert re.search(r"SKIPPED.*variant x is not built; rig build --variant x", inner.text)
    assert inner.result("test_needs_an_agent").reason == "this app cannot be asked; add the component"


def test_expected_and_seen_transitions_are_shown_side_by_side_with_their_witness(inner):
    shown = inner.section("test_expects_another_trace")
    row = next(line for line in shown.splitlines() if "ABORTED by bootloader" in line and "|" in line)
    left, right = row.split("|")
    assert "ota_1: PENDING_VERIFY → ABORTED by bootloader" in left
    assert "ota_1: PENDING_VERIFY → VALID by app" in right
    assert "@rig - diag outcome=pass result=confirmed" in shown
    result = inner.result("test_expects_another_trace")
    assert "ota_1: PENDING_VERIFY → VALID by app" in result.details
    assert "boot 1: ota_1, version 2.0.0" in result.details, "and what the board did"


def test_expected_and_seen_boots_are_shown_side_by_side(inner):
    shown = inner.section("test_expects_other_boots")
    row = next(line for line in shown.splitlines() if "ota_1" in line and "|" in line)
    assert [side.split()[-1] for side in row.split("|")] == ["ota_1", "ota_0"]
    assert "loaded from 0x10000, version 1.0.0" in shown


def test_a_failure_comes_with_what_the_board_did(inner):
    assert "what inner-board did" in inner.section("test_dut_gives_up")
    assert "boot 0: ota_0, version 1.0.0, reset 0x1 (POWERON)" in inner.section("test_dut_gives_up")


def test_a_test_that_never_asked_the_judge_is_no_pass(inner):
    result = inner.result("test_forgets_the_judge")
    assert result.reason == "the test ended without asking the judge (board inner-board)"
    assert "trial.finish()" in result.details


def test_dut_expect_gives_up_with_the_words_of_pytest_embedded(inner):
    shown = inner.section("test_dut_gives_up")
    assert "Not found" in shown
    assert "these words are never printed" in shown
    assert "these words are never printed" in inner.result("test_dut_gives_up").details


def test_the_reason_is_one_line_and_the_hint_is_in_the_details(inner):
    result = inner.result("test_meets_a_bench_fault")
    assert result.reason == "the cable came off (board inner-board)"
    assert "try: plug it in" in result.details


def test_a_result_carries_requirements_board_boots_and_evidence(inner):
    result = inner.result("test_needs_what_is_there")
    assert result.requirements == ["CUT-01", "CUT-02"]
    assert (result.board, result.kind, result.chip) == ("inner-board", "virtual", "esp32c3")
    assert [boot.slot for boot in result.boots] == ["ota_0"]
    for path in result.evidence.values():
        assert (inner.folder / path).is_file()
    logs = {inner.result(test).evidence["console.log"] for test in VERDICTS if inner.result(test).evidence}
    assert len(logs) == sum(bool(inner.result(test).evidence) for test in VERDICTS), "no test overwrites another's"


def test_what_the_witnesses_know_outranks_the_assertion_that_ended_a_test(inner):
    result = inner.result("test_asserts_on_a_dead_board")
    assert result.reason.startswith("no output after the reset")
    assert "the test broke off with: 'virtual' == 'answering'" in result.details


def test_the_stream_tells_how_many_there_are_what_runs_and_what_came_of_it(inner):
    assert inner.lines[0] == {"collected": len(VERDICTS) + 1}
    for test in VERDICTS:
        kinds = [
            next(iter(line))
            for line in inner.lines[1:]
            if (line.get("started") or line["result"]["test"]).endswith(f"::{test}")
        ]
        assert kinds == ["started", "result"]


def test_a_test_without_a_requirement_is_run_but_not_reported(inner):
    assert "PASSED test_inner.py::test_without_a_requirement" in inner.text
    assert not any("test_without" in line["result"]["test"] for line in inner.lines if "result" in line)


def test_the_requirements_of_collected_tests_are_written_in_order(inner):
    carried = json.loads((inner.folder / "carried.json").read_text())
    assert len(carried) == len(VERDICTS) + 1
    cut = next(entry for entry in carried if entry["test"].endswith("test_needs_what_is_there"))
    assert [requirement["id"] for requirement in cut["requirements"]] == ["CUT-01", "CUT-02"]
    assert cut["requirements"][0] == {"id": "CUT-01", "area": "inner", "text": "Power can be cut."}


def test_parallel_workers_stream_the_same_results_once_each(inner, tmp_path):
    parallel = Run(tmp_path, "-n", "2")
    assert parallel.lines[0] == inner.lines[0]
    assert sum("collected" in line for line in parallel.lines) == 1
    for test, verdict in VERDICTS.items():
        result = parallel.result(test)
        assert (result.verdict, result.reason) == (verdict, inner.result(test).reason)


def test_an_unknown_board_is_told_with_the_boards_there_are(tmp_path):
    run = Run(tmp_path, "--board", "no-such-board", "-k", "test_passes")
    result = run.result("test_passes")
    assert result.verdict is UNSURE
    assert result.reason == "user error: no board is called 'no-such-board'"
    assert "one of: inner-board" in result.details


# --- what an exception says ------------------------------------------------------------------------------------------


def caught(error):
    with pytest.raises(type(error)) as info:
        raise error
    return info


def skip(reason):
    return pytest.skip.Exception(reason)


@pytest.mark.parametrize(
    ("error", "verdict", "words"),
    [
        (skip("no radio"), SKIPPED, "no radio"),
        (FirmwareFault("it booted the wrong slot"), FAIL, "it booted the wrong slot"),
        (AgentError("confirm", "ESP_FAIL", None, "b"), FAIL, "answered 'confirm' with ESP_FAIL"),
        (DeviceRestarted("it restarted"), FAIL, "it restarted"),
        (AssertionError("assert 1 == 2"), FAIL, "1 == 2"),
        (AssertionError(""), FAIL, "assertion failed"),
        (pytest.fail.Exception("no such line"), FAIL, "no such line"),
        (pytest.fail.Exception("Timeout (>120.0s) from pytest-timeout."), UNSURE, "did not finish"),
        (BenchFault("no port", hint="plug it in"), BENCH, "try: plug it in"),
        (AgentTimeout("no answer"), UNSURE, "no answer"),
        (Inconclusive("no cut"), UNSURE, "no cut"),
        (UserError("no such slot"), UNSURE, "user error: no such slot"),
        (ZeroDivisionError("by zero"), UNSURE, "the test did not finish: ZeroDivisionError: by zero"),
        (TimeoutError("late"), UNSURE, "the test did not finish: TimeoutError: late"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_what_ended_a_test_decides_what_is_said(error, verdict, words):
    said, reason = classify(caught(error))
    assert said is verdict
    assert words in reason


def test_nothing_that_went_wrong_is_a_pass():
    assert classify(None) == (PASS, "")


ORDER = [BENCH, FAIL, UNSURE, PASS]


@pytest.mark.parametrize("own", ORDER[:3])
@pytest.mark.parametrize("witnesses", ORDER)
def test_witnesses_that_know_worse_outrank_what_the_test_met(own, witnesses):
    verdict, reason = weigh(own, "its own words", Judgement(witnesses, "what they saw", "side by side"))
    assert verdict is min(own, witnesses, key=ORDER.index)
    assert "its own words" in reason
    assert ("what they saw" in reason) == (ORDER.index(witnesses) < ORDER.index(own))


@pytest.mark.parametrize("witnesses", ORDER)
def test_a_skip_stays_a_skip(witnesses):
    assert weigh(SKIPPED, "no radio", Judgement(witnesses, "what they saw")) == (SKIPPED, "no radio")
