"""Loses power at one flash mutation, once, and sees to it that this really happened."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rig.boards.board import Board, Cut
from rig.boards.channel import PowerLost
from rig.errors import Inconclusive, UserError
from rig.evidence.witnesses import Witnesses

CUT_TIMEOUT_S = 30.0


class Cutter:
    """Arms the tap of `board` and notes each cut in `witnesses`."""

    def __init__(self, board: Board, witnesses: Witnesses) -> None:
        self.board = board
        self.witnesses = witnesses
        self._armed = False

    def has_cut(self) -> bool:
        """Whether power is gone by a cut that is armed: nobody will answer."""
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
            if not tap.wait_fired(CUT_TIMEOUT_S):
                raise Inconclusive(
                    f"{what} never came, so power was not cut there",
                    board=self.board.name,
                    hint="see console.log for what the board did instead",
                )
            self.board.console.drain()
            self.witnesses.mark("power cut")
            if self.witnesses.emulated and len(self.witnesses.calls) > called:
                # The emulated app ran on for a moment: its answer proves nothing.
                self.witnesses.calls[-1].error = None
        finally:
            self._armed = False
            tap.disarm()
