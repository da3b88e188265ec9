"""What changed from one run to another. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rig.evidence.verdicts import Verdict

_RANK: Mapping[str | None, int] = {
    Verdict.PASS: 0,
    Verdict.SKIPPED: 1,
    None: 2,
    Verdict.BENCH_FAULT: 3,
    Verdict.INCONCLUSIVE: 3,
    Verdict.FIRMWARE_FAIL: 4,
}
"""How little good is known of the firmware; None: it did not run."""
Verdicts = Mapping[tuple[str, str], tuple[str, str, float]]
"""By test and board: verdict, reason and seconds (`Reader.verdicts_of`)."""
MUCH = 2.0
"""A test that takes so many times as long, or as short, is shown."""
LEAST_S = 1.0
"""Shorter ones change by chance alone."""


@dataclass(frozen=True)
class Change:
    """One test on one board; None where it did not run."""

    test: str
    board: str
    before: str | None
    after: str | None
    reason: str

    @property
    def worse(self) -> bool:
        """A test that is new is measured against a pass, one that is gone against its verdict before."""
        return _RANK[self.after] > _RANK[self.before or (Verdict.PASS if self.after else None)]


@dataclass(frozen=True)
class Slower:
    """A test that takes much longer, or much less, than before; seconds."""

    test: str
    board: str
    before: float
    after: float


def changes(before: Verdicts, after: Verdicts) -> list[Change]:
    """Every test and board whose verdict differs, that is new, or is gone.

    A test that ran on another board in each run, as spread tests do, is one test: its boards are not compared.
    """
    old_boards, new_boards = _boards(before), _boards(after)
    spread = {test for test in {*old_boards, *new_boards} if old_boards.get(test, 0) < 2 > new_boards.get(test, 0)}
    old, new = _keyed(before, spread), _keyed(after, spread)
    found = []
    for key in sorted({*old, *new}):
        was, is_ = old.get(key), new.get(key)
        if was is None or is_ is None or was[1] != is_[1]:
            board = (is_ or was or ("", "", ""))[0]
            found.append(
                Change(key[0], board, was[1] if was else None, is_[1] if is_ else None, (is_ or ("", "", ""))[2])
            )
    return found


def slower(before: Verdicts, after: Verdicts) -> list[Slower]:
    """Tests that passed both times on the same board and took much longer, or much less."""
    found = []
    for key, (verdict, _, seconds) in after.items():
        was = before.get(key)
        if was is None or {verdict, was[0]} != {Verdict.PASS.value} or max(seconds, was[2]) < LEAST_S:
            continue
        if max(seconds, was[2]) > MUCH * max(min(seconds, was[2]), 1e-9):
            found.append(Slower(*key, was[2], seconds))
    return found


def exit_code(found: list[Change]) -> int:
    """1 if a test became a firmware fail, else 4 if anything else got worse or is gone, else 0."""
    if any(change.worse and change.after == Verdict.FIRMWARE_FAIL for change in found):
        return 1
    return 4 if any(change.worse for change in found) else 0


def _boards(run: Verdicts) -> dict[str, int]:
    count: dict[str, int] = {}
    for test, _ in run:
        count[test] = count.get(test, 0) + 1
    return count


def _keyed(run: Verdicts, spread: set[str]) -> dict[tuple[str, str], tuple[str, str, str]]:
    return {
        (test, "" if test in spread else board): (board, verdict, reason)
        for (test, board), (verdict, reason, _) in run.items()
    }
