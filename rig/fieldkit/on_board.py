"""A board of any kind, open and powered, as a subject for scenarios: console, flash, reset, power, nothing else."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager

from rig.boards.board import Board, Cut, EfuseState
from rig.boards.channel import ConsoleChannel
from rig.boards.image_boots import BootSeen
from rig.boards.shelf import FirmwareShelf
from rig.errors import NotApplicable
from rig.evidence.cutting import Cutter
from rig.evidence.handling import Handling
from rig.evidence.moments import OnLine
from rig.evidence.power_up import watch
from rig.evidence.witnesses import Witnesses
from rig.fieldkit.beginning import Beginning
from rig.fieldkit.stepped import SteppedSubject
from rig.idf.partitions import Partition, PartitionTable
from rig.updates.agent import Agent

PATIENCE_S = 30.0
"""From a reset until the app must have finished; the host's seconds."""


def board_subject(board: Board, shelf: FirmwareShelf) -> SteppedSubject:
    """For scenarios with firmware from `shelf`."""
    return SteppedSubject(BoardHands(board), shelf)


class BoardHands:
    """Implements `Hands`."""

    def __init__(self, board: Board) -> None:
        self.name = board.name
        self.board = board
        self._witnesses = Witnesses(board.console, board.restarts)
        self._cutter = Cutter(board, self._witnesses)
        self._handling = Handling(board, self._witnesses)
        self._start = board.console.position
        self.agent = Agent(
            ConsoleChannel(board.console, self._cutter.has_cut), board=board.name, clock_rate=board.clock_rate
        )

    def install(self, begin: Beginning) -> None:
        """NotApplicable for a build that may burn eFuses which are to stay."""
        self._install(begin, None)

    def install_but(self, begin: Beginning, kept: Partition) -> None:
        self._install(begin, kept)

    def _install(self, begin: Beginning, kept: Partition | None) -> None:
        if begin.build.boot_config.anti_rollback and self.board.efuse is None:
            raise NotApplicable("this board's eFuses are not to be burnt", board=self.name)
        if self.board.encryption_key is not None:
            raise NotApplicable("this board's flash is encrypted, and scenarios know no keys", board=self.name)
        self._handling.restore(begin.build, begin.content, kept, EfuseState(begin.secure_version, None))
        self._start = self.board.console.position

    def demand_harmless(self, image: bytes) -> None:
        self.board.demand_harmless(image)

    def start(self) -> None:
        self._handling.start_from_flash()

    def pulse(self) -> None:
        self._handling.reset_line()

    def power_cycle(self) -> None:
        self._handling.power_cycle()

    def watch(self, table: PartitionTable) -> tuple[BootSeen, ...]:
        return watch(self.board, table, PATIENCE_S)

    def stop(self) -> None:
        self._handling.hold_in_reset()

    def read(self, offset: int, size: int) -> bytes:
        self.stop()
        return self.board.flash.read(offset, size)

    def write(self, regions: Mapping[int, bytes]) -> None:
        self.stop()
        self.board.flash.restore(regions)

    def secure_version(self) -> int | None:
        self.stop()
        return None if self.board.efuse is None else self.board.efuse.secure_version()

    def cut(self, cut: Cut, what: str) -> AbstractContextManager[object]:
        return self._cutter.at(cut, what)

    def cut_at_line(self, line: re.Pattern[bytes]) -> AbstractContextManager[object]:
        return self._cutter.after(OnLine(line), 0.0)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds / self.board.clock_rate)

    def console(self) -> bytes:
        return b"".join(chunk.data for chunk in self.board.console.chunks_since(self._start))
