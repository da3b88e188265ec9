"""History put together for a person: a row for each requirement, board and build. Pure; `read.Reader` has the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rig.evidence.history.blame import Blame, Culprit, Outcome, Share, blame, suspects_of
from rig.evidence.history.stats import interval
from rig.evidence.verdicts import LETTER, PRECEDENCE, Verdict

NOT_RUN = " "


@dataclass(frozen=True)
class Rate:
    """A flake rate: of `tries` that were repeated alike, `hits` went the rarer way."""

    hits: int
    tries: int

    @property
    def range(self) -> tuple[float, float]:
        return interval(self.hits, self.tries)

    def __str__(self) -> str:
        if not self.tries:
            return "-"
        low, high = self.range
        return f"{self.hits / self.tries:.1%} ({low:.1%} to {high:.1%})"


@dataclass(frozen=True)
class Row:
    """One requirement, board or build. `trend`: its worst verdict in each run, by number of the run.

    `first_bad` and `last_good` are runs: where the present trouble began, and the last one without it; None if it does
    well, or never did. A board that is to blame for other things does not count in them.
    """

    name: str
    text: str
    trend: Mapping[int, Verdict]
    flakes: Rate
    first_bad: int | None
    last_good: int | None
    blames: tuple[Blame, ...] = ()

    @property
    def last(self) -> Verdict | None:
        """Its verdict in the last run that had it."""
        return self.trend[max(self.trend)] if self.trend else None

    def letters(self, runs: Sequence[int]) -> str:
        """A letter a run: P F B ? and - as in the report, a blank where it did not run."""
        return "".join(LETTER[self.trend[run]] if run in self.trend else NOT_RUN for run in runs)


@dataclass(frozen=True)
class Analysis:
    """All rows; what does badly comes first."""

    requirements: tuple[Row, ...]
    boards: tuple[Row, ...]
    builds: tuple[Row, ...]

    @property
    def troubles(self) -> list[tuple[Blame, list[Row]]]:
        """Each blame once, with the requirements it explains, the most serious first."""
        found: dict[Blame, list[Row]] = {}
        for row in self.requirements:
            for one in row.blames:
                found.setdefault(one, []).append(row)
        return sorted(found.items(), key=lambda item: min(map(_urgency, item[1])))


def analyse(
    outcomes: Sequence[Outcome],
    flakes: Mapping[str, tuple[int, int]],
    requirements: Mapping[str, tuple[str, list[str]]],
) -> Analysis:
    """`flakes` by test and `requirements` as `Reader` gives them; a test without a requirement is its own row."""
    suspects = suspects_of(outcomes)
    by_test: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_test.setdefault(outcome.test, []).append(outcome)
    blames = {test: found for test, some in by_test.items() if (found := blame(test, some, suspects)) is not None}
    rows = []
    for name, (text, tests) in requirements.items():
        some = [outcome for test in tests for outcome in by_test.get(test, ())]
        if some:
            rate = Rate(*map(sum, zip(*(flakes.get(test, (0, 0)) for test in tests), strict=True)))
            blamed = _distinct(blames[test] for test in tests if test in blames)
            row = _row(name, text, some, rate, blamed)
            if any(one.culprit is not Culprit.BOARD for one in blamed):
                # When the firmware began to fail is not told by a board that always does.
                first_bad, last_good = _turning_point(_trend([o for o in some if o.board not in suspects.boards]))
                row = replace(row, first_bad=first_bad, last_good=last_good)
            rows.append(row)
    return Analysis(
        tuple(sorted(rows, key=_urgency)),
        tuple(sorted(_grouped(outcomes, "board", Culprit.BOARD, suspects.boards), key=_urgency)),
        tuple(_grouped(outcomes, "build", Culprit.FIRMWARE, suspects.builds)),
    )


def _grouped(outcomes: Sequence[Outcome], key: str, culprit: Culprit, suspects: Mapping[str, str]) -> Iterable[Row]:
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(getattr(outcome, key), []).append(outcome)
    for name, some in groups.items():
        blamed = (Blame(culprit, name, suspects[name]),) if name in suspects else ()
        yield _row(name or "not known", str(_share(some)), some, _spread(some), blamed)


def _spread(some: Iterable[Outcome]) -> Rate:
    """Of what ran alike several times: how often it went the rarer way."""
    alike: dict[tuple[str, str, str], list[Verdict]] = {}
    for outcome in some:
        if outcome.verdict not in (Verdict.SKIPPED, Verdict.BENCH_FAULT):
            alike.setdefault((outcome.test, outcome.board, outcome.build), []).append(outcome.verdict)
    hits = tries = 0
    for verdicts in alike.values():
        if len(verdicts) > 1:
            good = verdicts.count(Verdict.PASS)
            hits, tries = hits + min(good, len(verdicts) - good), tries + len(verdicts)
    return Rate(hits, tries)


def _share(some: Iterable[Outcome]) -> Share:
    ran = [outcome for outcome in some if outcome.verdict is not Verdict.SKIPPED]
    return Share(sum(outcome.bad for outcome in ran), len(ran))


def _row(name: str, text: str, some: Sequence[Outcome], flakes: Rate, blames: tuple[Blame, ...]) -> Row:
    trend = _trend(some)
    return Row(name, text, trend, flakes, *_turning_point(trend), blames)


def _trend(some: Iterable[Outcome]) -> dict[int, Verdict]:
    """The worst verdict of each run."""
    trend: dict[int, Verdict] = {}
    for outcome in some:
        seen = trend.get(outcome.run, outcome.verdict)
        trend[outcome.run] = min(seen, outcome.verdict, key=PRECEDENCE.index)
    return trend


def _turning_point(trend: Mapping[int, Verdict]) -> tuple[int | None, int | None]:
    ran = [(run, trend[run]) for run in sorted(trend) if trend[run] is not Verdict.SKIPPED]
    if not ran or ran[-1][1] is Verdict.PASS:
        return None, None
    good = [run for run, verdict in ran if verdict is Verdict.PASS]
    last_good = good[-1] if good else None
    return next(run for run, _ in ran if last_good is None or run > last_good), last_good


def _urgency(row: Row) -> tuple[int, float]:
    last = PRECEDENCE.index(row.last) if row.last is not None else len(PRECEDENCE)
    return last, -row.flakes.hits / max(row.flakes.tries, 1)


def _distinct(blames: Iterable[Blame]) -> tuple[Blame, ...]:
    return tuple(dict.fromkeys(blames))
