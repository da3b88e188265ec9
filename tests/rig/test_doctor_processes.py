"""Doctors of many boards at once: what they say comes back by board, and none outlives the night that asked."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rig.doctor_processes import unfit
from tests.rig.project import PATIENCE_S, ROOT, gone

BENCH = """\
[[board]]
name = "here"
kind = "virtual"
[[board]]
name = "gone"
kind = "serial"
chip = "esp32c3"
firmware = "synthesised"
port = "/dev/no-such-port"
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "rig.toml").write_text(BENCH)
    return tmp_path / "rig.toml"


def test_only_what_is_unfit_comes_back_with_its_first_reason(config):
    found = unfit(config, ["here", "gone"])
    assert list(found) == ["gone"]
    assert found["gone"].startswith("port: /dev/no-such-port is not there")
    assert unfit(config, []) == {}


def test_a_doctor_that_cannot_work_makes_its_board_unfit(config):
    (why,) = unfit(config, ["nobody"]).values()
    assert why == "its rig doctor ended with exit code 2: rig: user error: no board is called 'nobody'"


def test_a_night_that_is_ended_ends_its_doctors(config):
    program = """
import sys
from pathlib import Path
from rig.doctor_processes import unfit
from rig.processes import ended_like_ctrl_c
with ended_like_ctrl_c():
    unfit(Path(sys.argv[1]), ["here"])
"""
    night = subprocess.Popen([sys.executable, "-c", program, str(config)])
    children = Path(f"/proc/{night.pid}/task")
    deadline = time.monotonic() + PATIENCE_S
    while not (pids := [int(pid) for task in children.glob("*/children") for pid in task.read_text().split()]):
        assert time.monotonic() < deadline, "no doctor was started"
        time.sleep(0.02)
    night.send_signal(signal.SIGTERM)
    assert night.wait(PATIENCE_S) == 128 + signal.SIGTERM
    assert all(map(gone, pids))
