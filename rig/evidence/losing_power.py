"""Losing power on purpose in a trial: at a flash mutation, at a moment, at a console line, or by the board itself."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Literal

from rig.boards.board import Board, Cut
from rig.evidence.cutting import Cutter
from rig.evidence.line_cut import patience_for
from rig.evidence.moments import Moment, OnLine
from rig.evidence.running_app import RunningApp
from rig.evidence.timed_cut import TimedCut, pace
from rig.evidence.witnesses import ENTRY
from rig.idf.effects import SECTOR_SIZE
from rig.idf.partitions import Partition
from rig.updates.agent import Agent


class LosingPower:
    """The part of a trial that cuts power; `Trial` is one."""

    board: Board
    _cutter: Cutter
    _app: RunningApp

    @property
    def agent(self) -> Agent:
        """The agent in the running app, ready for requests."""
        raise NotImplementedError

    def _partition(self, name: str) -> Partition:
        raise NotImplementedError

    @contextlib.contextmanager
    def power_lost_at(
        self,
        where: str,
        *,
        kind: Literal["erase", "program", "any"] = "any",
        nth: int = 1,
        phase: Literal["before", "torn", "after"] = "after",
    ) -> Iterator[None]:
        """Power is lost at the `nth` erase or program in partition `where`, caused by what is done inside."""
        part = self._partition(where)
        # Half a sector, or half a select entry: neither nothing nor everything of it.
        keep = SECTOR_SIZE // 2 if kind == "erase" else ENTRY // 2
        cut = Cut(part.offset, part.end, kind, nth, phase, keep)
        _ = self.agent
        try:
            with self._cutter.at(cut, f"the {kind} number {nth} in {where}"):
                yield
        finally:
            self._app.gone()

    @contextlib.contextmanager
    def power_lost_after(self, moment: Moment, delay: float = 0.0) -> Iterator[TimedCut]:
        """Power is switched off `delay` seconds of the board's clock after `moment`, caused by what is done inside.

        Gives the times that were measured. For a board whose clock runs faster than the host's the host waits that much
        less (`timed_cut.pace`). Inconclusive if the moment never comes.
        """
        try:
            with self._cutter.after(moment, delay / pace(self.board)) as cut:
                yield cut
        finally:
            self._app.gone()

    @contextlib.contextmanager
    def power_lost_on_line(self, pattern: str) -> Iterator[None]:
        """Power is switched off at the first console line that has `pattern` (a regular expression)."""
        with self.power_lost_after(OnLine(re.compile(pattern.encode()))):
            yield

    @contextlib.contextmanager
    def power_lost_by_line(self, op: str, *, in_: str = "app", nth: int = 1, delay_us: int = 0) -> Iterator[None]:
        """The board cuts its own supply in the `nth` flash operation `op` of app or bootloader (PROTOCOL.md, 9)."""
        self.agent.arm_cut_line(op, in_, nth, delay_us)
        try:
            with self._cutter.by_line(patience_for(op, delay_us), f"the {op} number {nth} of the {in_}"):
                yield
        finally:
            self._app.gone()
