"""The same test on several boards: where verdicts differ, where boots differ, and what cannot be compared.

Boots are compared as sequences of slots booted, changes of image states and resets. Times are not: boards differ in
speed.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cached_property

from rig.evidence.records import BootRecord, RunRecord, TestResult, Transition, Verdict
from rig.evidence.report_page.summary import Row, boards, rows

COMPARABLE = (Verdict.PASS, Verdict.FIRMWARE_FAIL, Verdict.INCONCLUSIVE)
"""Verdicts on a board. A skip and a bench fault say nothing of it."""
DIFFERS, BOOTS, PARTLY = "differs", "other boots", "not comparable"
WORD = {
    Verdict.PASS: "passes",
    Verdict.FIRMWARE_FAIL: "firmware fail",
    Verdict.BENCH_FAULT: "bench fault",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.SKIPPED: "skipped",
}

_RESET = re.compile(r"(0x[0-9a-fA-F]+) \((.*)\)")
_POWER_ON, _SOFTWARE = 1, (3, 12)
"""Numbers that the ROMs of all chips agree on (esp_rom/<chip>/include/<chip>/rom/rtc.h)."""


@dataclass(frozen=True)
class Step:
    """A boot, or a change of an image state in one; `key` is what is compared."""

    key: Hashable
    text: str
    record: BootRecord | Transition


@dataclass(frozen=True)
class Deviation:
    """A place where two boards did not do the same; a side is empty where its board did nothing."""

    left: tuple[Step, ...]
    right: tuple[Step, ...]


@dataclass(frozen=True)
class Pair:
    """How the boots of one test on one board deviate from those on another."""

    left: TestResult
    right: TestResult
    deviations: tuple[Deviation, ...]


@dataclass(frozen=True)
class Comparison:
    """One test and its results, one for each board that has one, in the order of the boards."""

    test: str
    results: tuple[TestResult, ...]

    @property
    def comparable(self) -> list[TestResult]:
        """Results that say something of their board."""
        return [result for result in self.results if result.verdict in COMPARABLE]

    @property
    def several(self) -> bool:
        return len(self.results) > 1

    @property
    def verdicts_differ(self) -> bool:
        return len({result.verdict for result in self.comparable}) > 1

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """Each board against the first one, where their boots deviate."""
        pairs = [
            Pair(self.comparable[0], other, deviations(self.comparable[0], other)) for other in self.comparable[1:]
        ]
        return tuple(pair for pair in pairs if pair.deviations)

    @property
    def mark(self) -> str:
        """`DIFFERS`, `BOOTS`, `PARTLY` or nothing, the first that holds."""
        if self.verdicts_differ:
            return DIFFERS
        if self.pairs:
            return BOOTS
        return PARTLY if self.several and 0 < len(self.comparable) < len(self.results) else ""

    @property
    def words(self) -> str:
        """`virtual-c3 passes, qemu-c3 firmware fail`."""
        return ", ".join(f"{result.board} {WORD[result.verdict]}" for result in self.results)

    @cached_property
    def odd(self) -> frozenset[int]:
        """`id()` of every boot and every transition that deviates."""
        sides = [side for pair in self.pairs for d in pair.deviations for side in (d.left, d.right)]
        return frozenset(id(step.record) for side in sides for step in side)


def comparisons(run: RunRecord) -> list[Comparison]:
    """Every test of the run with its results on all boards, tests in the order in which they first appear."""
    order = {board: number for number, board in enumerate(boards(run))}
    found: dict[str, list[TestResult]] = {}
    for result in run.results:
        found.setdefault(result.test, []).append(result)
    return [Comparison(test, tuple(sorted(some, key=lambda r: order[r.board]))) for test, some in found.items()]


def marks(found: Sequence[Row], compared: Iterable[Comparison]) -> list[str]:
    """The mark of each row: the most serious one of its tests."""
    of_test: Mapping[str, str] = {comparison.test: comparison.mark for comparison in compared}
    result = []
    for row in found:
        seen = {of_test[test.test] for cell in row.results for test in cell}
        result.append(next((mark for mark in (DIFFERS, BOOTS, PARTLY) if mark in seen), ""))
    return result


def sums(run: RunRecord) -> str | None:
    """`2 of 90 requirements differ between boards, 5 more in their boots alone, 3 not comparable`.

    None for one board, and where each test ran on one of them only.
    """
    if run.spread or len(boards(run)) < 2:
        return None
    compared = comparisons(run)
    shared = {comparison.test for comparison in compared if comparison.several and comparison.comparable}
    common = [row for row in rows(run) if any(result.test in shared for cell in row.results for result in cell)]
    if not common:
        return "no requirement can be compared between boards"
    seen = marks(common, compared)
    differing = seen.count(DIFFERS)
    text = f"{differing or 'none'} of {_requirements(len(common))} {_differ(differing)} between boards"
    text += f", {seen.count(BOOTS)}{' more' if differing else ''} in their boots alone" if BOOTS in seen else ""
    return text + (f", {seen.count(PARTLY)} not comparable" if PARTLY in seen else "")


def _requirements(number: int) -> str:
    return f"{number} requirement{'' if number == 1 else 's'}"


def _differ(number: int) -> str:
    return "differ" if number > 1 else "differs"


def reset_class(reset: str | None) -> str | None:
    """What a reset was, in words that hold for every chip; the ROM's own words if they are unknown."""
    if not reset or (match := _RESET.fullmatch(reset)) is None:
        return reset
    number, name = int(match[1], 16), match[2].upper()
    if number in _SOFTWARE:
        return "software"
    for part, said in (("BROWN", "brown-out"), ("WDT", "watchdog"), ("SLEEP", "deep sleep"), ("USB", "reset line")):
        if part in name:
            return said
    # EN and power-on look alike to the ROM.
    return "power-on or EN" if number == _POWER_ON else reset


def steps(result: TestResult) -> list[Step]:
    """Boots and changes of a test in their order.

    A bootloader that finds nothing resets for ever; how often until the bench stops it says nothing of the board.
    """
    known = [boot.index for boot in result.boots]
    found = [_change(change) for change in result.transitions if change.boot not in known]
    for boot in result.boots:
        text = " ".join([f"boot {boot.index}:", boot.slot or "no app", boot.version or ""]).strip()
        step = Step(("boot", boot.slot, boot.version), text, boot)
        if boot.slot is not None or not found or found[-1].key != step.key:
            found.append(step)
        found += [_change(change) for change in result.transitions if change.boot == boot.index]
    return found


def _change(change: Transition) -> Step:
    return Step(("change", change.slot, change.before, change.after, change.by), str(change), change)


def deviations(left: TestResult, right: TestResult) -> tuple[Deviation, ...]:
    """Where the boots and changes of two results are not the same."""
    ours, theirs = steps(left), steps(right)
    matcher = SequenceMatcher(None, [step.key for step in ours], [step.key for step in theirs], autojunk=False)
    found = []
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag != "equal":
            found.append(Deviation(tuple(ours[i1:i2]), tuple(theirs[j1:j2])))
            continue
        for one, other in zip(ours[i1:i2], theirs[j1:j2], strict=True):
            found += _other_reset(one, other)
    return tuple(found)


def _other_reset(left: Step, right: Step) -> list[Deviation]:
    ours, theirs = _reset_of(left), _reset_of(right)
    if ours is None or theirs is None or reset_class(ours) == reset_class(theirs):
        return []
    named = [replace(step, text=f"{step.text}, reset {reset}") for step, reset in ((left, ours), (right, theirs))]
    return [Deviation((named[0],), (named[1],))]


def _reset_of(step: Step) -> str | None:
    """None for a change, and for a reset of which nothing is known: the log lost it, or it was the bench's doing."""
    return step.record.reset if isinstance(step.record, BootRecord) and not step.record.fresh_process else None
