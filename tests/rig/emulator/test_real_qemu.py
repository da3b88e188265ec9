"""The board on the real QEMU, with real firmware.

Needs Espressif's QEMU (QEMU_PATH, PATH or ESP-IDF's tools) and RIG_TEST_BUILDS, the folder that `rig build` fills with
`esp32c3/rollback/1.0.0` and `2.0.0`.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import pytest

from rig.boards import qemu
from rig.boards.board import Board, powered
from rig.boards.inventory import QemuBoardSection
from rig.boards.shelf import BuiltShelf
from rig.emulator.disk import Disk
from rig.emulator.machine import Machine
from rig.errors import BenchFault
from rig.evidence.trial import Trial

CHIP = "esp32c3"
PATIENCE_S = 60.0
Clock = Literal["instructions", "real"]
_numbers = itertools.count(1)


@pytest.fixture
def opened(
    builds: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[tuple[Board, Machine]]:
    made: list[Machine] = []
    build = qemu.build_machine

    def remember(*arguments: object) -> Machine:
        made.append(build(*arguments))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr(qemu, "build_machine", remember)
    clock = getattr(request, "param", "instructions")
    section = QemuBoardSection(name=f"real-{os.getpid()}-{next(_numbers)}", kind="qemu", chip=CHIP, clock=clock)
    with powered(qemu.open_board(section)) as board:
        yield board, made[0]
    made[0].close()


@pytest.fixture
def trial(opened: tuple[Board, Machine], builds: Path, tmp_path: Path) -> Trial:
    return Trial(opened[0], BuiltShelf(builds, CHIP, tmp_path / "scratch"), tmp_path / "evidence")


@pytest.mark.parametrize("opened", get_args(Clock), indirect=True)
def test_it_boots_and_restarts_by_either_clock(trial: Trial) -> None:
    trial.install("rollback")
    assert trial.boot().version == "1.0.0"
    assert trial.restart().slot == "ota_0"
    trial.finish()


def test_an_update_restarts_into_the_new_app_by_a_fresh_process(trial: Trial, opened: tuple[Board, Machine]) -> None:
    board, machine = opened
    trial.install("rollback")
    assert trial.boot().slot == "ota_0"
    trial.update("2.0.0")
    before = machine.boots
    assert trial.restart().version == "2.0.0"
    assert machine.boots == before + 1
    assert board.restarts is not None
    assert len(board.restarts.since(0)) == 1
    assert trial.finish().booted == ["ota_0", "ota_1"]


@pytest.mark.parametrize("phase", ["before", "torn", "after"])
def test_power_is_cut_at_the_program_that_would_choose_the_new_app(
    trial: Trial, phase: Literal["before", "torn", "after"]
) -> None:
    trial.install("rollback")
    trial.boot()
    with trial.power_lost_at("otadata", kind="program", phase=phase):
        trial.update("2.0.0")
    assert trial.power_on().slot == ("ota_1" if phase == "after" else "ota_0")
    trial.finish()


def test_esp_idf_makes_two_mutations_of_otadata_when_it_chooses_an_app(
    trial: Trial, opened: tuple[Board, Machine]
) -> None:
    trial.install("rollback")
    trial.boot()
    _ = trial.agent
    seen: list[str] = []
    start = trial.offset("otadata")
    disk: Disk = opened[1].disk
    disk.observer = lambda m: seen.append(type(m).__name__) if start <= m.offset < start + 0x2000 else None
    trial.update("2.0.0")
    assert seen == ["Erase", "Program"]


def test_an_emulator_that_is_killed_ends_the_trial_as_a_bench_fault(
    trial: Trial, opened: tuple[Board, Machine]
) -> None:
    board, machine = opened
    trial.install("rollback")
    trial.boot()
    assert machine.pid is not None
    os.kill(machine.pid, signal.SIGKILL)
    with pytest.raises(BenchFault, match="SIGKILL"):
        board.console.expect(re.compile(b"never"), PATIENCE_S)
    trial.install("rollback")
    trial.boot()
    trial.finish()
