"""Loses power at a flash mutation, some time after a moment, or by the cut line, once, and makes sure it happened."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from rig.boards.board import Board, Capability, Cut, MutationTap
from rig.boards.channel import PowerLost
from rig.boards.trigger import quick_threads
from rig.errors import Inconclusive, NotApplicable, RigError, UserError
from rig.evidence.line_cut import Silence, close_switch, is_dead
from rig.evidence.moments import AtMutation, Moment, OnEvent, OnLine
from rig.evidence.timed_cut import SharedSwitch, TimedCut
from rig.evidence.witnesses import Witnesses

CUT_TIMEOUT_S = 30.0
POLL_S = 0.02
WHOLE_FLASH = 1 << 32


class Cutter:
    """Arms the tap or a trigger of `board` and notes each cut in `witnesses`."""

    def __init__(self, board: Board, witnesses: Witnesses) -> None:
        self.board = board
        self.witnesses = witnesses
        self.power = None if board.power is None else SharedSwitch(board.power, self.has_cut)
        """The board's switch, for whoever uses it besides."""
        self._armed = False
        self._timed: TimedCut | None = None
        self._silence: Silence | None = None

    def has_cut(self) -> bool:
        """Whether power is gone, or going, by a cut that is armed: nobody will answer."""
        if self._timed is not None and self._timed.called is not None:
            return True
        if self._silence is not None:
            return self._silence.lasts()
        return self._armed and self.board.tap is not None and self.board.tap.wait_fired(0)

    @contextlib.contextmanager
    def at(self, cut: Cut, what: str) -> Iterator[None]:
        """Power is lost at `cut` by what is done inside; Inconclusive if it (`what` in words) never comes."""
        tap = self._tap()
        called = len(self.witnesses.calls)
        tap.arm(cut)
        self._armed = True
        try:
            with contextlib.suppress(PowerLost):
                yield
            self._note(tap.wait_fired(CUT_TIMEOUT_S), what)
            self._forget_answer(called)
        finally:
            self._armed = False
            tap.disarm()

    @contextlib.contextmanager
    def after(self, moment: Moment, delay: float) -> Iterator[TimedCut]:
        """Power is switched off `delay` seconds (the host's) after `moment`, which comes by what is done inside.

        How soon power is gone then is up to the switch; NotApplicable for one that is known to be slow. Right at a
        flash mutation it is the tap that cuts, as `at` does. Inconclusive if the moment never comes; what is done
        inside may fail once power is cut.
        """
        power = self.power
        if power is None:
            raise UserError("this board has no power switch", board=self.board.name)
        if isinstance(moment, AtMutation) and delay <= 0:
            with self.at(Cut(0, WHOLE_FLASH, "any", moment.number, "after"), str(moment)):
                yield TimedCut(_nothing, 0.0)
            return
        if (slow := self.board.missing.get(Capability.TIMED_CUT)) is not None:
            raise NotApplicable(f"board {self.board.name} cannot cut power at a moment: {slow}")
        cut = self._timed = TimedCut(lambda: power.cut(cut), max(0.0, delay))
        called = len(self.witnesses.calls)
        try:
            with self._watched(moment, cut):
                try:
                    yield cut
                except (PowerLost, RigError):
                    # Of a board that is losing its power anything may be said.
                    if cut.called is None:
                        raise
                happened = cut.wait(CUT_TIMEOUT_S)
            self._note(happened, str(moment))
            self._forget_answer(called)
            cut.last_byte = self._last_byte(cut)
        finally:
            self._timed = None

    @contextlib.contextmanager
    def _watched(self, moment: Moment, cut: TimedCut) -> Iterator[None]:
        """Something looks out for the moment."""
        if isinstance(moment, (OnLine, OnEvent)):
            with self.board.console.trigger(moment, cut.begin) as trigger:
                try:
                    yield
                finally:
                    cut.call_off()
            if trigger.read is not None:
                cut.moment = trigger.read.time
            return
        with self._recording(moment) as tap, quick_threads():
            number = moment.number if isinstance(moment, AtMutation) else 0
            work = cut.begin if tap is None else lambda: cut.begin_after(tap, number)
            thread = threading.Thread(target=work, name=f"cut-{self.board.name}", daemon=True)
            thread.start()
            try:
                yield
            finally:
                cut.call_off()
                thread.join()

    @contextlib.contextmanager
    def _recording(self, moment: Moment) -> Iterator[MutationTap | None]:
        """The tap, counting mutations, if the moment is one of them."""
        if not isinstance(moment, AtMutation):
            yield None
            return
        tap = self._tap()
        tap.start_recording()
        try:
            yield tap
        finally:
            tap.stop_recording()

    @contextlib.contextmanager
    def by_line(self, patience: float, what: str) -> Iterator[None]:
        """The board, armed already, cuts its own supply by what is done inside; afterwards it has none.

        It did so when it has been silent for `patience` seconds and is dead then; Inconclusive if it is not.
        """
        silence = self._silence = Silence(self.board.console, patience)
        try:
            with contextlib.suppress(PowerLost):
                yield
            deadline = time.monotonic() + patience + CUT_TIMEOUT_S
            while not silence.lasts() and time.monotonic() < deadline:
                time.sleep(POLL_S)
            self._note(is_dead(self.board), what)
        finally:
            self._silence = None
            close_switch(self.board)

    def _tap(self) -> MutationTap:
        if self.board.tap is None:
            raise UserError("this board cannot cut power at a flash mutation", board=self.board.name)
        return self.board.tap

    def _forget_answer(self, called: int) -> None:
        """An emulated app runs on for a moment: what a call after the first `called` returned proves nothing."""
        if self.witnesses.emulated and len(self.witnesses.calls) > called:
            self.witnesses.calls[-1].error = None

    def _last_byte(self, cut: TimedCut) -> float | None:
        """When the last byte came that came after the switch was called."""
        chunks = self.witnesses.chunks
        return chunks[-1].time if chunks and cut.called is not None and chunks[-1].time > cut.called else None

    def _note(self, happened: bool, what: str) -> None:
        if not happened:
            raise Inconclusive(
                f"{what} never came, so power was not cut there",
                board=self.board.name,
                hint="see console.log for what the board did instead",
            )
        self.board.console.drain()
        self.witnesses.mark("power cut")


def _nothing() -> None:
    pass
