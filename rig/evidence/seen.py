"""What a trace offers to a test's `assert`: plain lists that explain a difference with the log lines behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rig.evidence.compare import Difference, compare, compare_boots
from rig.evidence.records import BootRecord, Transition


class SeenTransitions(list[tuple[str, str, str, str]]):
    """Transitions as (slot, before, after, by)."""

    def __init__(self, records: Sequence[Transition]) -> None:
        super().__init__((step.slot, step.before, step.after, step.by) for step in records)
        self.records = records

    def explain(self, expected: Any) -> list[str]:
        """Expected and seen side by side, for pytest."""
        return _lines(compare(expected, self.records))


class SeenBoots(list[str | None]):
    """The slot of each boot in order; None for a boot that started no app."""

    def __init__(self, records: Sequence[BootRecord]) -> None:
        super().__init__(boot.slot for boot in records)
        self.records = records

    def explain(self, expected: Any) -> list[str]:
        """Expected and seen side by side, for pytest."""
        return _lines(compare_boots(expected, self.records))


def _lines(difference: Difference | None) -> list[str]:
    return [] if difference is None else difference.render().splitlines()
