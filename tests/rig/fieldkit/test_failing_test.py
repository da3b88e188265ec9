"""From a failing qualification test to its `scenario.toml`, and from that to the same failure again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fixtures.scenario import write_scenario
from rig.cli import main
from rig.evidence.records import Verdict
from rig.fieldkit.scenario import load

ROOT = Path(__file__).resolve().parents[3]
BENCH = """
[[board]]
name = "wrong"
kind = "virtual"
time_scale = 200
wrong_bootloader = "erases_both_entries"

[[board]]
name = "right"
kind = "virtual"
time_scale = 200
"""
FAILS = "test_cut_while_pending_verify_is_written[erase-after]"
PASSES = "test_update_after_a_cut"


@pytest.fixture(scope="module")
def qualified(tmp_path_factory):
    """Two qualification tests on the board with the wrong bootloader: the bench, the evidence, the results by test."""
    folder = tmp_path_factory.mktemp("qualified")
    config = folder / "rig.toml"
    config.write_text(BENCH)
    file = ROOT / "tests" / "qualification" / "test_power_cut.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{file}::{FAILS}", f"{file}::{PASSES}"]
    command += ["--rig-config", config, "--board", "wrong", "--rig-evidence", folder / "wrong"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, "--rig-results", folder / "results.jsonl"], cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 1, done.stdout + done.stderr
    lines = map(json.loads, (folder / "results.jsonl").read_text().splitlines())
    return (
        config,
        folder,
        {line["result"]["test"].rpartition("::")[2]: line["result"] for line in lines if "result" in line},
    )


def replay(config, path, board):
    done = CliRunner().invoke(main, ["replay", "--json", "--config", str(config), "--board", board, str(path)])
    assert done.exit_code in (0, 1), done.output
    return json.loads(done.stdout)


def test_a_failing_test_writes_a_scenario_that_reproduces_it_on_its_board_only(qualified):
    config, folder, results = qualified
    failed = results[FAILS]
    assert failed["verdict"] == "firmware fail"
    path = folder / failed["evidence"]["scenario.toml"]
    assert f"rig replay {path} --board wrong" in failed["details"].replace("'", "")
    scenario = load(path)
    assert scenario.left_out == ()
    assert scenario.test.endswith(FAILS)
    assert scenario.expect[0].otadata == ("erased", "seq 2 PENDING_VERIFY")
    assert replay(config, path, "wrong")["result"] == "reproduced"
    right = replay(config, path, "right")
    assert right["result"] == "not reproduced"
    assert "booted: expected ota_0, ota_1, seen ota_0, ota_0" in right["why"]
    assert not list(path.parent.glob("*.partial"))


def test_a_passing_test_writes_none(qualified):
    _, folder, results = qualified
    assert results[PASSES]["verdict"] == "pass"
    assert "scenario.toml" not in results[PASSES]["evidence"]
    assert len(list(folder.rglob("scenario.toml"))) == 1


def test_a_scenario_that_cannot_be_written_hides_no_verdict():
    written = write_scenario(None, None, [], Verdict.FIRMWARE_FAIL, "it failed")  # type: ignore[arg-type]
    assert written.evidence is None
    assert "scenario.toml was not written: AttributeError" in written.said
