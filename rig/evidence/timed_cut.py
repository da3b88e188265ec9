"""Power switched off a precise time after a moment, and the times that were measured. No loop looks at a clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rig.boards.board import Board, MutationTap
from rig.boards.channel import PowerLost
from rig.boards.power import PowerSwitch
from rig.errors import BenchFault

LOOK_S = 0.0002
"""How often a tap is asked how many mutations there were, when power is to be lost some time after one of them."""
SWITCH_LIMIT_S = 60.0
"""A power switch that takes longer is broken."""


def pace(board: Board) -> float:
    """Seconds of the board's clock in one of the host's, while it works.

    Emulated time leaps only while the guest is idle (`Board.clock_rate` says how far); a guest that boots or writes
    flash takes about as long as a chip does.
    """
    return board.clock_rate if board.restarts is None else 1.0


class TimedCut:
    """One cut. All times are the host's monotonic clock in seconds, None until they are known.

    `moment`: when it was seen, in the case of a line when its last byte had arrived; `called`, `done`: when the power
    switch was called and when it returned; `last_byte`: when the last byte came after the call, if one did. A cut by
    the flash tap, within the mutation itself, needs no switch and has no times.
    """

    def __init__(self, switch_off: Callable[[], None], delay: float) -> None:
        self.delay = delay
        self.moment: float | None = None
        self.called: float | None = None
        self.done: float | None = None
        self.last_byte: float | None = None
        self._switch_off = switch_off
        self._error: Exception | None = None
        self._seen = threading.Event()
        self._over = threading.Event()
        self._called_off = threading.Event()

    def begin(self) -> None:
        """The moment is now: wait and switch, in this thread."""
        self.moment = time.monotonic()
        self._seen.set()
        try:
            while (left := self.moment + self.delay - time.monotonic()) > 0:
                if self._called_off.wait(left):
                    return
            self._switch_off()
        except Exception as error:
            self._error = error
        finally:
            self._over.set()

    def begin_after(self, tap: MutationTap, mutations: int) -> None:
        """The moment is when `tap` has recorded so many."""
        while tap.recorded < mutations:
            if self._called_off.wait(LOOK_S):
                return
        self.begin()

    def call_off(self) -> None:
        """Do not cut any more; a switch that was called already goes on."""
        self._called_off.set()

    def wait(self, timeout: float) -> bool:
        """Whether power was cut; waits at most `timeout` seconds for the moment. Raises what the switch raised."""
        if not self._seen.wait(timeout):
            return False
        if not self._over.wait(self.delay + SWITCH_LIMIT_S):
            raise BenchFault(f"the power switch was called and has not returned for {SWITCH_LIMIT_S:g} s")
        if self._error is not None:
            raise self._error
        return self.done is not None


class SharedSwitch:
    """A board's power switch, used by a test and by a cut: one at a time, and a cut stays a cut.

    `has_cut` says whether the test must not turn power on any more; then `on` raises PowerLost.
    """

    def __init__(self, switch: PowerSwitch, has_cut: Callable[[], bool]) -> None:
        self._switch = switch
        self._has_cut = has_cut
        self._lock = threading.Lock()

    def on(self) -> None:
        with self._lock:
            if self._has_cut():
                raise PowerLost
            self._switch.on()

    def off(self) -> None:
        with self._lock:
            self._switch.off()

    def cut(self, cut: TimedCut) -> None:
        """Switch off, and note when; a test that is just turning power on is waited for."""
        with self._lock:
            cut.called = time.monotonic()
            self._switch.off()
            cut.done = time.monotonic()
