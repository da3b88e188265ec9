"""Expected against seen transitions (or boots), side by side with the log lines that witness what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from rig.evidence.records import BootRecord, Transition

WIDTH = 120
"""Columns of the rendered text."""

Expected = tuple[str, str, str, str]
"""A transition as a person states it: slot, state before, state after, by whom."""


class Row(NamedTuple):
    """One line of the comparison; None where a side has nothing. `witness` belongs to the seen side."""

    expected: str | None
    seen: str | None
    witness: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        return self.expected != self.seen


class Difference(NamedTuple):
    """What was expected and what was seen; built only when they differ."""

    what: str
    rows: tuple[Row, ...]

    def render(self) -> str:
        """Plain text of at most 120 columns."""
        half = (WIDTH - 5) // 2
        wrong = sum(row.differs for row in self.rows)
        lines = [f"{self.what}: {wrong} of {len(self.rows)} differ", f"  {'expected':<{half}} | seen"]
        for row in self.rows:
            mark = "! " if row.differs else "  "
            lines.append(
                f"{mark}{_fit(row.expected or '(nothing)', half):<{half}} | {_fit(row.seen or '(nothing)', half)}"
            )
            if row.differs:
                lines += [_fit(f"      {text}", WIDTH) for text in row.witness]
        return "\n".join(line.rstrip() for line in lines)

    def __str__(self) -> str:
        return self.render()


def compare(expected: Sequence[Expected], seen: Sequence[Transition]) -> Difference | None:
    """None if the transitions are the expected ones in the expected order."""
    wanted = [_sentence(*step) for step in expected]
    found = [_sentence(step.slot, step.before, step.after, step.by) for step in seen]
    notes = [(f"boot {step.boot}", *step.witness) for step in seen]
    return _difference("transitions", wanted, found, notes)


def compare_boots(expected: Sequence[str | None], seen: Sequence[BootRecord]) -> Difference | None:
    """None if the boots ran the expected slots in order; None in `expected` is a boot that started no app."""
    wanted = [_boot(slot) for slot in expected]
    found = [_boot(boot.slot) for boot in seen]
    return _difference("boots", wanted, found, [_about(boot) for boot in seen])


def _difference(
    what: str, wanted: Sequence[str], found: Sequence[str], notes: Sequence[tuple[str, ...]]
) -> Difference | None:
    if list(wanted) == list(found):
        return None
    rows: list[Row] = []
    for tag, left, left_end, right, right_end in SequenceMatcher(None, wanted, found, autojunk=False).get_opcodes():
        if tag == "equal":
            rows += [
                Row(wanted[left + step], found[right + step], notes[right + step]) for step in range(left_end - left)
            ]
            continue
        for step in range(max(left_end - left, right_end - right)):
            have_left, have_right = left + step < left_end, right + step < right_end
            rows.append(
                Row(
                    wanted[left + step] if have_left else None,
                    found[right + step] if have_right else None,
                    notes[right + step] if have_right else (),
                )
            )
    return Difference(what, tuple(rows))


def _sentence(slot: str, before: str, after: str, by: str) -> str:
    return f"{slot}: {before} → {after} by {by}"


def _boot(slot: str | None) -> str:
    return slot or "(no app)"


def _about(boot: BootRecord) -> tuple[str, ...]:
    lines = f"lines {boot.log_lines[0]}-{boot.log_lines[1]} of the log" if boot.log_lines else "no log lines"
    facts = (
        f"reset {boot.reset or 'not seen'}",
        f"loaded from {boot.offset or 'not seen'}",
        f"version {boot.version or 'not seen'}",
        f"ended by {boot.ended_by or 'not seen'}",
    )
    return (f"boot {boot.index}, {lines}: {', '.join(facts)}", *boot.notes)


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
