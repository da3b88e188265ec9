"""Who is to blame for a test that does not pass: firmware, board or bench, by comparing boards and builds. Pure.

Nothing is guessed: where the runs do not tell these apart the answer is `unknown`, and says which run would.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from rig.evidence.history.stats import more_often
from rig.evidence.verdicts import Verdict

CHANCE = 0.01
"""A difference that comes about by chance less often than this is believed."""
MANY = 3
"""A board has to be bad in so many different tests, that pass on all others, to be blamed for them."""
BOARD_CHANCE = 0.05
"""And by chance less often than this, shared among the boards: each is asked, and one of many may look bad."""


class Outcome(NamedTuple):
    """One try of one test. `build`: app and bootloader in short, empty if not known. `run` grows with time."""

    test: str
    board: str
    build: str
    run: int
    verdict: Verdict

    @property
    def bad(self) -> bool:
        return self.verdict in (Verdict.FIRMWARE_FAIL, Verdict.BENCH_FAULT, Verdict.INCONCLUSIVE)


class Culprit(StrEnum):
    FIRMWARE = "firmware"
    BOARD = "board"
    BENCH = "bench"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Blame:
    """`what`: the build or the board that is meant. `why`: the counts it rests on, which anybody can check."""

    culprit: Culprit
    what: str
    why: str


@dataclass(frozen=True)
class Share:
    """How many of how many tries went wrong."""

    bad: int = 0
    tries: int = 0

    def __str__(self) -> str:
        return f"{self.bad} of {self.tries}"


@dataclass(frozen=True)
class Suspects:
    """Boards, and builds, that do badly in many tests, and the counts that say so."""

    boards: Mapping[str, str]
    builds: Mapping[str, str]


def suspects_of(outcomes: Sequence[Outcome]) -> Suspects:
    """What all outcomes together say of boards and builds."""
    boards = bad_boards(outcomes)
    return Suspects(boards, bad_builds([outcome for outcome in outcomes if outcome.board not in boards]))


def blame(test: str, outcomes: Sequence[Outcome], known: Suspects) -> Blame | None:
    """Who is to blame for what `test` did wrong with the build it ran last; None if it did nothing wrong with it.

    `outcomes`: those of this test, in any order.
    """
    suspects = known.boards
    own = [outcome for outcome in outcomes if outcome.test == test and outcome.verdict is not Verdict.SKIPPED]
    if not own:
        return None
    build = max(own, key=lambda outcome: outcome.run).build
    wrong = [outcome for outcome in own if outcome.build == build and outcome.bad]
    if not wrong:
        return None
    culprits = list(dict.fromkeys(outcome.board for outcome in wrong))
    if set(culprits) <= set(suspects):
        return Blame(Culprit.BOARD, ", ".join(culprits), suspects[culprits[0]])
    # What a bad board did says nothing of the firmware.
    own = [outcome for outcome in own if outcome.board not in suspects]
    wrong = [outcome for outcome in wrong if outcome.board not in suspects]
    now = [outcome for outcome in own if outcome.build == build]
    boards = _shares(now, lambda outcome: outcome.board)
    bad = [board for board, share in boards.items() if share.bad]
    good = [board for board, share in boards.items() if not share.bad]
    if all(outcome.verdict is Verdict.BENCH_FAULT for outcome in wrong):
        return _of_bench_faults(boards, bad)
    if good and len(bad) == 1 and boards[bad[0]].bad == boards[bad[0]].tries:
        share, others = boards[bad[0]], _sum(boards[name] for name in good)
        if more_often(share.bad, share.tries, others.bad, others.tries) < CHANCE:
            why = f"with build {build or '?'} it goes wrong on {bad[0]} in {share} tries, on other boards in {others}"
            return Blame(Culprit.BOARD, bad[0], why)
    before = [outcome for outcome in own if outcome.build != build]
    earlier = Share(sum(outcome.bad for outcome in before), len(before))
    if build in known.builds and not good and not earlier.bad:
        return Blame(Culprit.FIRMWARE, build, known.builds[build])
    return _of_builds(build, boards, bad, good, earlier)


def _of_bench_faults(boards: Mapping[str, Share], bad: Sequence[str]) -> Blame:
    counts = "; ".join(f"{board}: {boards[board]}" for board in boards)
    if len(bad) > 1:
        return Blame(
            Culprit.BENCH, "", f"bench faults on {len(bad)} boards, none of which does badly elsewhere: {counts}"
        )
    return Blame(
        Culprit.BENCH, bad[0], f"bench faults on {bad[0]} alone, which does not do badly in other tests: {counts}"
    )


def _of_builds(
    build: str, boards: Mapping[str, Share], bad: Sequence[str], good: Sequence[str], earlier: Share
) -> Blame:
    now = _sum(boards.values())
    counts = f"with build {build or '?'} {now} tries go wrong, on {', '.join(bad)}"
    if good:
        counts += f", and pass on {', '.join(good)}"
    if not earlier.tries:
        return Blame(Culprit.UNKNOWN, "", f"{counts}; it never ran with another build: run the last good one, too")
    counts += f"; with builds before {earlier}"
    if earlier.bad and more_often(now.bad, now.tries, earlier.bad, earlier.tries) >= CHANCE:
        return Blame(
            Culprit.UNKNOWN, "", f"{counts}: it went wrong before this build, too; more runs of both builds would tell"
        )
    if len(boards) == 1:
        if earlier.tries >= MANY and now.bad == now.tries and now.tries > 1:
            return Blame(Culprit.FIRMWARE, build, f"{counts}: again and again with this build, and not before")
        return Blame(
            Culprit.UNKNOWN, "", f"{counts}: only one board ran this build; run it on another, or again on this one"
        )
    if not good:
        return Blame(Culprit.FIRMWARE, build, f"{counts}: every board that ran this build")
    return Blame(Culprit.UNKNOWN, "", f"{counts}: repeat it on both kinds of boards (rig qualify --board A --board B)")


def bad_boards(outcomes: Iterable[Outcome]) -> dict[str, str]:
    """Boards that do badly in several tests in which the others do well with the same build, and the counts.

    Only what other boards ran as well, with the same build, is compared: else a bad build that one board happened to
    get would look like a bad board.
    """
    cells: dict[tuple[str, str], dict[str, list[bool]]] = {}
    for outcome in outcomes:
        if outcome.verdict is not Verdict.SKIPPED:
            cell = cells.setdefault((outcome.test, outcome.build), {})
            cell.setdefault(outcome.board, []).append(outcome.bad)
    own: dict[str, Share] = {}
    others: dict[str, Share] = {}
    wrong_tests: dict[str, set[str]] = {}
    for (test, _), cell in cells.items():
        if len(cell) < 2 or all(all(seen) for seen in cell.values()):
            # One board alone shows nothing, and what goes wrong on all of them is not the boards' fault.
            continue
        for board, seen in cell.items():
            rest = [bad for other, some in cell.items() if other != board for bad in some]
            own[board] = _sum([own.get(board, Share()), Share(sum(seen), len(seen))])
            others[board] = _sum([others.get(board, Share()), Share(sum(rest), len(rest))])
            if any(seen) and not any(rest):
                wrong_tests.setdefault(board, set()).add(test)
    found = {}
    for board, share in own.items():
        rest_ = others[board]
        chance = more_often(share.bad, share.tries, rest_.bad, rest_.tries)
        if len(wrong_tests.get(board, ())) >= MANY and chance < BOARD_CHANCE / len(own):
            found[board] = (
                f"{board} goes wrong in {share} tries, in {len(wrong_tests[board])} tests that pass elsewhere with the "
                f"same build; other boards in {rest_} (by chance once in {_once_in(chance)})"
            )
    return found


def bad_builds(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Builds that do badly, on several boards, in several tests that passed with every build before, and the counts.

    Before is meant test by test: what a test brings on purpose (as a build without rollback) runs every night, and may
    be what all tests run on one day.
    """
    ran = [outcome for outcome in outcomes if outcome.verdict is not Verdict.SKIPPED]
    builds = dict.fromkeys(outcome.build for outcome in ran)
    found = {}
    for build in builds:
        began: dict[str, int] = {}
        for outcome in ran:
            if outcome.build == build:
                began[outcome.test] = min(outcome.run, began.get(outcome.test, outcome.run))
        before = [outcome for outcome in ran if outcome.run < began.get(outcome.test, 0)]
        compared = {outcome.test for outcome in before}
        now = [outcome for outcome in ran if outcome.build == build and outcome.test in compared]
        good_before = compared - {outcome.test for outcome in before if outcome.bad}
        # A bench fault says nothing of a build.
        wrong = [o for o in now if o.bad and o.verdict is not Verdict.BENCH_FAULT and o.test in good_before]
        share, earlier = Share(len(wrong), len(now)), Share(sum(outcome.bad for outcome in before), len(before))
        if len({outcome.test for outcome in wrong}) < MANY or len({outcome.board for outcome in wrong}) < 2:
            continue
        chance = more_often(share.bad, share.tries, earlier.bad, earlier.tries)
        if chance < CHANCE / len(builds):
            found[build] = (
                f"build {build or '?'} goes wrong in {share} tries, in {len({o.test for o in wrong})} tests on "
                f"{', '.join(sorted({o.board for o in wrong}))}; the same tests with builds before in {earlier} "
                f"(by chance once in {_once_in(chance)})"
            )
    return found


def _once_in(chance: float) -> str:
    return f"{1 / chance:,.0f}" if chance > 1e-9 else "more than a billion"


def _shares(outcomes: Iterable[Outcome], key: object) -> dict[str, Share]:
    assert callable(key)
    found: dict[str, Share] = {}
    for outcome in outcomes:
        seen = found.get(name := key(outcome), Share())
        found[name] = Share(seen.bad + outcome.bad, seen.tries + 1)
    return found


def _sum(shares: Iterable[Share]) -> Share:
    listed = list(shares)
    return Share(sum(share.bad for share in listed), sum(share.tries for share in listed))
