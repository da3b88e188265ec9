"""What a trace offers to a test's `assert`: plain values that explain a difference with the log lines behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex, overload

from rig.evidence.compare import Difference, compare, compare_boots
from rig.evidence.entry_words import ERASED
from rig.evidence.observe import describe_entry
from rig.evidence.records import BootRecord, Transition
from rig.evidence.witnesses import ERASED_ENTRY, Entries

ERASED_AS_NOISE = b"erased, but encrypted: noise"
"""Stands for an entry whose sector is erased in a flash that the chip deciphers; no entry has this length."""

Step = tuple[str, str, str, str]


class SeenTransitions(list[Step]):
    """Transitions as (slot, before, after, by)."""

    def __init__(self, records: Sequence[Transition]) -> None:
        super().__init__((step.slot, step.before, step.after, step.by) for step in records)
        self.records = records

    @overload
    def __getitem__(self, index: SupportsIndex) -> Step: ...

    @overload
    def __getitem__(self, index: slice) -> SeenTransitions: ...

    def __getitem__(self, index: SupportsIndex | slice) -> Step | SeenTransitions:
        return SeenTransitions(self.records[index]) if isinstance(index, slice) else super().__getitem__(index)

    def explain(self, expected: Any) -> list[str]:
        """Expected and seen side by side, for pytest."""
        return _lines(compare(expected, self.records)) if isinstance(expected, list) else []


class SeenBoots(list[str | None]):
    """The slot of each boot in order; None for a boot that started no app."""

    def __init__(self, records: Sequence[BootRecord]) -> None:
        super().__init__(boot.slot for boot in records)
        self.records = records

    def explain(self, expected: Any) -> list[str]:
        """Expected and seen side by side, for pytest."""
        return _lines(compare_boots(expected, self.records)) if isinstance(expected, list) else []


class SeenOtadata(tuple[bytes, bytes]):
    """Both select entries: empty for one that reads as blank, ERASED_AS_NOISE for one erased on an encrypted flash."""

    __slots__ = ()

    @classmethod
    def of(cls, entries: Entries, erased: Entries = (ERASED_ENTRY, ERASED_ENTRY)) -> SeenOtadata:
        """`erased`: how the chip reads erased ones."""
        return cls(
            b"" if entry == ERASED_ENTRY else ERASED_AS_NOISE if entry == noise else entry
            for entry, noise in zip(entries, erased, strict=True)
        )

    def explain(self, expected: Any) -> list[str]:
        """The entries that differ, in words, for pytest."""
        if not isinstance(expected, tuple) or len(expected) != len(self):
            return []
        return [
            f"otadata entry {number}: expected {_words(want)}, seen {_words(have)}"
            for number, (want, have) in enumerate(zip(expected, self, strict=True))
            if want != have
        ]


Seen = SeenTransitions | SeenBoots | SeenOtadata


def _words(entry: bytes) -> str:
    if entry == ERASED_AS_NOISE:
        return ERASED
    return describe_entry(entry or ERASED_ENTRY)


def _lines(difference: Difference | None) -> list[str]:
    if difference is None:
        return []
    head, *rest = difference.render().splitlines()
    first = next(row for row in difference.rows if row.differs)
    return [f"{head}: expected {first.expected or 'nothing'}, seen {first.seen or 'nothing'}", *rest]
