"""What a live board does after power-on, boot by boot, until its app has finished or nothing more is to be expected."""

from __future__ import annotations

import re
import time

from rig.boards.board import Board
from rig.boards.image_boots import BootSeen, End, is_over, seen_in
from rig.errors import BenchFault
from rig.idf.partitions import PartitionTable
from rig.protocol import Line, parse_line

_LINE = re.compile(rb"[^\n]*\n")
_RESET = re.compile(rb"rst:0x[0-9a-f]+ \(")
"""The ROM of every chip says why it was reset, once for each reset."""
_GAVE_UP = re.compile(rb"No bootable app partitions")
_SIGN = re.compile(rb"rst:0x[0-9a-f]+ \(| boot: |@rig - start ")
"""What only a boot prints; its first lines are lost where the serial bridge hangs on the supply that was cut."""


def watch(board: Board, table: PartitionTable, patience: float) -> tuple[BootSeen, ...]:
    """The boots that follow in the console, at least one.

    `patience`: seconds (the host's) from a reset until its app must have finished; one that takes longer hangs.
    BenchFault when the board does not say one word.
    """
    seen, said = PowerUp(table), board.console.position
    deadline = time.monotonic() + patience
    while (left := deadline - time.monotonic()) > 0:
        match = board.console.expect(_LINE, left)
        if match is None:
            break
        before = seen.resets
        if seen.take(match[0]):
            return tuple(seen.boots)
        if seen.resets != before:
            deadline = time.monotonic() + patience
    if board.console.position == said and not seen.resets:
        raise BenchFault(
            f"no output for {patience:g} s after power-on",
            board=board.name,
            hint="does the power switch turn on again, and is the console still that of this board?",
        )
    return tuple(seen.given_up())


class PowerUp:
    """Takes the lines of one power-up. `boots`: those that are over; `resets`: how many began, as the ROM says."""

    def __init__(self, table: PartitionTable) -> None:
        self._table = table
        self._lines: list[bytes] = []
        self._finished_late = False
        self.boots: list[BootSeen] = []
        self.resets = 0

    def take(self, line: bytes) -> bool:
        """Whether nothing new is to be expected after this line."""
        if _RESET.search(line):
            self.resets += 1
            if any(map(_SIGN.search, self._lines)):
                self._close("nothing bootable" if any(map(_GAVE_UP.search, self._lines)) else "restarts")
                if is_over(self.boots):
                    return True
        self._lines.append(line)
        said = parse_line(line)
        if said is not None and self._has_finished(said):
            self._close("runs")
            return True
        return False

    def given_up(self) -> list[BootSeen]:
        """The boots, when the last one was waited for in vain."""
        self._close("hangs")
        return self.boots

    def _close(self, end: End) -> None:
        self.boots.append(BootSeen(*seen_in(b"".join(self._lines), self._table), end, ()))
        self._lines = []

    def _has_finished(self, said: Line) -> bool:
        """An app whose diagnostics take their time is ready before they have ended (PROTOCOL.md, 3)."""
        if said.word == "start":
            fields = said.fields
            self._finished_late = (fields.get("state"), fields.get("diag")) == ("PENDING_VERIFY", "delay")
        return said.word == ("diag" if self._finished_late else "ready") and said.is_event
