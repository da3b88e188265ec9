"""Power that the board cuts itself, by its cut line (docs/cut-line.md): nobody tells the bench, so it looks.

A board that has lost its power prints nothing, and goes on printing nothing when its reset line is moved.
"""

from __future__ import annotations

import time

from rig.boards.board import Board
from rig.boards.console import Console

SILENCE_S = {"otadata": 1.0, "slot": 5.0}
"""How long a board may be silent although it works, seconds: a whole slot is erased before an update's first answer."""
BANNER_S = 0.5
"""Until the ROM of a chip with power has printed something after a reset, seconds."""
CLOSED_S = 20.0
"""After so many seconds the switch of a board without power switch has closed by itself (docs/cut-line.md)."""


class Silence:
    """Notices when nothing was printed for `patience` seconds, as far as it is asked now and then."""

    def __init__(self, console: Console, patience: float) -> None:
        self._console = console
        self._patience = patience
        self._seen = -1
        self._since = 0.0

    def lasts(self) -> bool:
        """Whether it has lasted that long."""
        position, now = self._console.position, time.monotonic()
        if position != self._seen:
            self._seen, self._since = position, now
        return now - self._since >= self._patience


def patience_for(op: str, delay_us: int) -> float:
    """How long to wait for the next word of a board that is armed like this, seconds."""
    return SILENCE_S[op.partition("_")[0]] + delay_us / 1e6


def is_dead(board: Board) -> bool:
    """Whether the chip has no power: it says nothing after a pulse on its reset line."""
    before = board.console.position
    board.reset_line.pulse()
    deadline = time.monotonic() + BANNER_S
    while time.monotonic() < deadline:
        if board.console.position != before:
            return False
        time.sleep(BANNER_S / 10)
    return True


def close_switch(board: Board) -> None:
    """Have the switch closed again, with nothing running: power is off, or the chip is held in reset."""
    if board.power is not None:
        board.power.off()
        return
    board.reset_line.hold()
    time.sleep(CLOSED_S)
