"""A virtual bench for tests of what stands on a board: the board as the fixtures open it, with its chip at hand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from rig.boards import virtual
from rig.boards.board import Board, powered
from rig.boards.inventory import VirtualBoardSection
from rig.boards.shelf import SynthesisedShelf
from rig.evidence.trial import Trial
from rig.virtual import port
from rig.virtual.chip import VirtualChip

TIME_SCALE = 200.0
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Bench:
    """A powered board, the chip behind it, and a shelf of firmware for it."""

    board: Board
    chip: VirtualChip
    shelf: SynthesisedShelf
    folder: Path

    def trial(self) -> Trial:
        return Trial(self.board, self.shelf, self.folder / "evidence" / f"trial{next(_numbers)}")


def open_board(chip: str = "esp32c3") -> tuple[Board, VirtualChip]:
    """A board as `kinds.open_board` gives it, under a name of its own, and its chip."""
    made: list[VirtualChip] = []
    build = virtual.build_virtual_chip

    def remember(section: VirtualBoardSection) -> VirtualChip:
        made.append(build(section))
        return made[-1]

    section = VirtualBoardSection(
        name=f"bench{next(_numbers)}",
        kind="virtual",
        chip=chip,
        time_scale=TIME_SCALE,  # type: ignore[arg-type]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(virtual, "build_virtual_chip", remember)
        return virtual.open_board(section), made[0]


def close_board(chip: VirtualChip) -> None:
    chip.power_off()
    port.unplug(chip)


@contextmanager
def virtual_bench(folder: Path, chip: str = "esp32c3", idf: str = "v5.5") -> Iterator[Bench]:
    """A powered board whose firmware, as long as nobody changes it, is sound."""
    board, device = open_board(chip)
    try:
        with powered(board):
            yield Bench(board, device, SynthesisedShelf(folder / "builds", chip, idf), folder)
    finally:
        close_board(device)
    assert device.firmware_errors == []
