"""Loses power at a flash mutation, a line of the log or by the cut line, once, and makes sure that it happened."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator

from rig.boards.board import Board, Cut
from rig.boards.channel import PowerLost
from rig.boards.console import Chunk
from rig.boards.trigger import Trigger
from rig.errors import Inconclusive, UserError
from rig.evidence.line_cut import Silence, close_switch, is_dead
from rig.evidence.witnesses import Witnesses

CUT_TIMEOUT_S = 30.0
POLL_S = 0.02


class Cutter:
    """Arms the tap or a trigger of `board` and notes each cut in `witnesses`."""

    def __init__(self, board: Board, witnesses: Witnesses) -> None:
        self.board = board
        self.witnesses = witnesses
        self._armed = False
        self._trigger: Trigger[Chunk] | None = None
        self._silence: Silence | None = None

    def has_cut(self) -> bool:
        """Whether power is gone by a cut that is armed: nobody will answer."""
        if self._trigger is not None:
            return self._trigger.wait(0)
        if self._silence is not None:
            return self._silence.lasts()
        return self._armed and self.board.tap is not None and self.board.tap.wait_fired(0)

    @contextlib.contextmanager
    def at(self, cut: Cut, what: str) -> Iterator[None]:
        """Power is lost at `cut` by what is done inside; Inconclusive if it (`what` in words) never comes."""
        tap = self.board.tap
        if tap is None:
            raise UserError("this board cannot cut power at a flash mutation", board=self.board.name)
        called = len(self.witnesses.calls)
        tap.arm(cut)
        self._armed = True
        try:
            with contextlib.suppress(PowerLost):
                yield
            self._note(tap.wait_fired(CUT_TIMEOUT_S), what)
            if self.witnesses.emulated and len(self.witnesses.calls) > called:
                # The emulated app ran on for a moment: its answer proves nothing.
                self.witnesses.calls[-1].error = None
        finally:
            self._armed = False
            tap.disarm()

    @contextlib.contextmanager
    def on_line(self, pattern: re.Pattern[bytes]) -> Iterator[None]:
        """Power is switched off as soon as a line of the log matches, caused by what is done inside.

        How soon is up to the switch; a board without flash tap can be cut this way. Inconclusive if no line matches.
        """
        power = self.board.power
        if power is None:
            raise UserError("this board has no power switch", board=self.board.name)
        with self.board.console.trigger(pattern, power.off) as trigger:
            self._trigger = trigger
            try:
                with contextlib.suppress(PowerLost):
                    yield
                self._note(trigger.wait(CUT_TIMEOUT_S), f"a line like {pattern.pattern.decode()!r}")
            finally:
                self._trigger = None

    @contextlib.contextmanager
    def by_line(self, patience: float, what: str) -> Iterator[None]:
        """The board, armed already, cuts its own supply by what is done inside; afterwards it has none.

        It did so when it has been silent for `patience` seconds and is dead then; Inconclusive if it is not.
        """
        silence = self._silence = Silence(self.board.console, patience)
        try:
            with contextlib.suppress(PowerLost):
                yield
            while not silence.lasts():
                time.sleep(POLL_S)
            self._note(is_dead(self.board), what)
        finally:
            self._silence = None
            close_switch(self.board)

    def _note(self, happened: bool, what: str) -> None:
        if not happened:
            raise Inconclusive(
                f"{what} never came, so power was not cut there",
                board=self.board.name,
                hint="see console.log for what the board did instead",
            )
        self.board.console.drain()
        self.witnesses.mark("power cut")
