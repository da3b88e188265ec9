"""Scenarios recorded on a virtual board and swept there, each once in a session."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache

import pytest

from rig.boards import kinds, virtual
from rig.boards.board import powered
from rig.boards.inventory import VirtualBoardSection
from rig.boards.shelf import SynthesisedShelf
from rig.crash.journal import Journal
from rig.crash.record import record
from rig.crash.recording import Recording
from rig.crash.scenarios import SCENARIOS
from rig.crash.sweep import Bench, sweep
from rig.evidence.records import SweepRecord
from rig.evidence.trial import Trial
from rig.virtual import port

Recorded = Callable[..., Recording]
Swept = Callable[..., SweepRecord]
_numbers = itertools.count(1)


def section(wrong: str | None = None) -> VirtualBoardSection:
    """A virtual board on which time flies."""
    facts = {"name": f"crash{next(_numbers)}", "kind": "virtual", "time_scale": 1000.0, "wrong_bootloader": wrong}
    return VirtualBoardSection.model_validate(facts)


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """The recording of a scenario, by its name, the ESP-IDF version, and what is wrong with the bootloader."""
    folder = tmp_path_factory.mktemp("recorded")

    @cache
    def get(scenario: str, idf: str = "v5.5", wrong: str | None = None) -> Recording:
        board_section = section(wrong)
        chip = virtual.build_virtual_chip(board_section)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(virtual, "build_virtual_chip", lambda _: chip)
            board = virtual.open_board(board_section)
        shelf = SynthesisedShelf(folder / "builds", board.chip, idf)
        try:
            with powered(board):
                return record(SCENARIOS[scenario], Trial(board, shelf, folder / "evidence" / board.name))
        finally:
            chip.power_off()
            port.unplug(chip)
            assert chip.firmware_errors == []

    return get


@pytest.fixture(scope="session")
def swept(recorded: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """The sweep of such a recording, on a board with the same bootloader."""
    folder = tmp_path_factory.mktemp("swept")

    @cache
    def get(scenario: str, idf: str = "v5.5", wrong: str | None = None) -> SweepRecord:
        made = recorded(scenario, idf, wrong)
        board = section(wrong)
        bench = Bench(board.name, board.kind, lambda: kinds.image_booter(board, made.table))
        return sweep(made, bench, Journal(folder / "journal", made, board.name))

    return get
