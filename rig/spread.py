"""Which board runs which test, when tests are spread over several boards: no processes here, only the decisions.

Each test runs on a board that can do what it needs, slow tests first. A bench fault says nothing of the firmware, so
its test is done again, on another board if there is one; no other verdict is ever done again. A firmware fail stands;
its test runs on a second board besides, as evidence for or against the first one. A board that had a bench fault in
several tests one after the other gets no more of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from rig.evidence.records import Verdict

TRIES = 3
"""How often a test may run in all."""
FAULTS_IN_A_ROW = 2
"""Bench faults in so many different tests, with none between them that went well, make a board unfit."""


@dataclass(frozen=True)
class SpreadTest:
    """A test to be run: what it needs of a board (capabilities), and how long it took before, in seconds."""

    name: str
    needs: frozenset[str] = frozenset()
    seconds: float | None = None


@dataclass
class Spread:
    """The tests that are left, and what is known of the boards. `lacks`: what each board cannot do."""

    tests: Sequence[SpreadTest]
    lacks: Mapping[str, Collection[str]]
    quarantined: dict[str, str] = field(default_factory=dict)
    """Boards that get no more tests, and why."""
    _tried: dict[str, list[str]] = field(default_factory=dict)
    """By test: the boards on which it was a bench fault."""
    _failed: dict[str, str] = field(default_factory=dict)
    """By test: the board on which it was the first firmware fail."""
    _faults: dict[str, list[str]] = field(default_factory=dict)
    """By board: tests that were bench faults one after the other."""
    _waiting: list[SpreadTest] = field(default_factory=list)
    _running: dict[str, SpreadTest] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = [test.seconds for test in self.tests if test.seconds is not None]
        typical = sum(known) / len(known) if known else 0.0
        # A stable sort: tests that are equally slow stay in pytest's order.
        self._waiting = sorted(self.tests, key=lambda test: -(typical if test.seconds is None else test.seconds))

    @property
    def fit(self) -> list[str]:
        """The boards that still get tests."""
        return [board for board in self.lacks if board not in self.quarantined]

    @property
    def over(self) -> bool:
        """Whether nothing runs, and nothing that is left could run."""
        return not self._running and not any(self._suits(test, board) for test in self._waiting for board in self.fit)

    @property
    def left(self) -> list[str]:
        """Tests without a verdict that no board has taken yet."""
        return [test.name for test in self._waiting if test.name not in self._failed]

    def take(self, board: str) -> str | None:
        """The next test for this board, which runs from now on; None if there is none for it at the moment."""
        if board in self.quarantined or board in self._running:
            return None
        for test in self._waiting:
            if self._suits(test, board):
                self._waiting.remove(test)
                self._running[board] = test
                return test.name
        return None

    def ended(self, board: str, verdict: Verdict, reason: str = "") -> bool:
        """The board's test is over. Whether this was no result yet, as it is to be done again.

        A worker that died counts as bench fault.
        """
        test = self._running.pop(board)
        if verdict is not Verdict.BENCH_FAULT:
            if verdict is not Verdict.SKIPPED:
                self._faults[board] = []
            if verdict is Verdict.FIRMWARE_FAIL and test.name not in self._failed:
                self._failed[test.name] = board
                if self._others(test, board):
                    self._waiting.append(test)
            return False
        tried = self._tried.setdefault(test.name, [])
        if any(other != board for other in tried):
            # On two boards: then it is not the boards, and neither is held to account.
            for faults in self._faults.values():
                faults[:] = [name for name in faults if name != test.name]
        elif test.name not in (faults := self._faults.setdefault(board, [])):
            faults.append(test.name)
            if len(faults) >= FAULTS_IN_A_ROW:
                self.quarantine(board, f"bench fault in {len(faults)} tests one after the other; the last: {reason}")
        tried.append(board)
        if len(tried) >= TRIES or not self.fit or test.name in self._failed:
            return False
        self._waiting.insert(0, test)
        return True

    def quarantine(self, board: str, reason: str) -> None:
        """No more tests for this board."""
        self.quarantined.setdefault(board, reason)

    def _suits(self, test: SpreadTest, board: str) -> bool:
        if test.name in self._failed:
            return board in self._others(test, self._failed[test.name])
        able = self._able(test)
        if able and board not in able:
            return False
        # Where no board can, any of them says so by a visible skip.
        tried = self._tried.get(test.name, [])
        fresh = [name for name in able or self.fit if name not in tried]
        return board in fresh or not fresh

    def _able(self, test: SpreadTest) -> list[str]:
        return [name for name in self.fit if not test.needs & set(self.lacks[name])]

    def _others(self, test: SpreadTest, board: str) -> list[str]:
        return [name for name in self._able(test) if name != board]
