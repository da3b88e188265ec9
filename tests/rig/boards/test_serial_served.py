"""The serial kind against `rig serve`, another process: qualification, real power cuts, and a port that vanishes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rig.boards import serial as kind
from rig.boards.board import powered
from rig.errors import BenchFault
from tests.rig.boards.wires import PATIENCE_S, wait_until
from tests.rig.project import ROOT
from tests.rig.served import Served, serving

POWERON = re.compile(rb"rst:0x1 \(POWERON\)")
pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    with serving() as start:
        yield start


def ask(url: str, method: str = "GET") -> tuple[int, str]:
    """HTTP status and answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def qualify(served: Served, folder: Path, select: str) -> dict[str, dict[str, object]]:
    """Results by test name of `pytest tests/qualification` on the served board."""
    (folder / "rig.toml").write_text(served.toml())
    results = folder / "results.jsonl"
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/qualification", "-k", select,
            "--rig-config", str(folder / "rig.toml"), "--rig-results", str(results),
            "--rig-evidence", str(folder / "evidence"),
        ],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""},
    )  # fmt: skip
    assert results.exists(), done.stdout + done.stderr
    records = [json.loads(line).get("result") for line in results.read_text().splitlines()]
    return {record["test"].split("::")[1]: record for record in records if record}


def test_qualification_tests_pass_on_a_serial_board_with_real_power_cuts(serve, tmp_path):
    select = "hang_and_power_cycle_goes_back or blank_otadata_boots_factory or cut_between_update_and_first_boot"
    results = qualify(serve(), tmp_path, select)
    cycle = results["test_hang_and_power_cycle_goes_back"]
    assert (cycle["verdict"], cycle["kind"], cycle["board"]) == ("pass", "serial", "served-c3"), cycle["reason"]
    assert [boot["slot"] for boot in cycle["boots"]] == ["ota_0", "ota_1", "ota_0"]
    assert results["test_blank_otadata_boots_factory"]["verdict"] == "pass"
    mutation = results["test_cut_between_update_and_first_boot"]
    assert mutation["verdict"] == "skipped"
    assert "nobody sees the single erases and programs inside a real chip" in mutation["reason"]
    log = (tmp_path / "evidence" / "rollback.test_hang_and_power_cycle_goes_back" / "console.log").read_bytes()
    assert len(POWERON.findall(log)) >= 2


def test_the_power_port_switches_and_tells(serve):
    served = serve()
    assert ask(served.power) == (200, "on\n")
    assert ask(f"{served.power}/off", "POST") == (200, "off\n")
    assert ask(f"{served.power}/off", "POST") == (200, "off\n")
    assert ask(served.power) == (200, "off\n")
    assert ask(f"{served.power}/on", "POST") == (200, "on\n")
    assert ask(f"{served.power}/on")[0] == 404
    assert ask(f"{served.power}/burn", "POST")[0] == 404


def test_a_power_port_that_is_taken_is_wrong_use(serve):
    served = serve()
    taken = served.power.rsplit(":")[-1]
    done = subprocess.run(
        [sys.executable, "-m", "rig", "serve", "--port", "0", "--power-port", taken, "--blank"],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"rig: user error: cannot listen on 127.0.0.1:{taken}: Address already in use")


def test_a_port_that_vanishes_with_the_power_is_waited_for_and_hides_nothing(serve):
    board = kind.open_board(serve("--bridge-loses-power").section())
    with powered(board):
        board.power.off()
        wait_until(lambda: board.console.lost, "the port is gone")
        board.reset_line.hold()
        board.power.on()
        assert board.console.port.is_open
        assert [gap.end > gap.start for gap in board.console.gaps] == [True]
        with pytest.raises(BenchFault, match="the chip may have run, and what flash held before is not known"):
            board.flash.read(0xD000, 32)
        board.console.skip()
        board.reset()
        assert board.console.expect(POWERON, PATIENCE_S)
        assert board.flash.read(0xD000, 4) == b"\x01\0\0\0", "the loader works on the port that came back"


def test_a_trigger_cuts_the_power_of_a_real_process_by_command(serve):
    board = kind.open_board(serve().section())
    with powered(board):
        board.reset()
        with board.console.trigger(re.compile(rb"Loaded app from partition at offset"), board.power.off) as trigger:
            assert trigger.wait(PATIENCE_S)
        board.console.drain()
        board.console.skip()
        assert board.console.expect(re.compile(rb"."), 0.2) is None
        board.power.on()
        assert board.console.expect(POWERON, PATIENCE_S)
