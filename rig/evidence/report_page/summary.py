"""Sums over a run: counts, the one verdict that stands for several, what each requirement got on each board."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from rig.evidence.records import Hazard, Requirement, Retry, RunRecord, SweepRecord, TestResult
from rig.evidence.verdicts import LETTER as LETTER
from rig.evidence.verdicts import MEANING as MEANING
from rig.evidence.verdicts import PRECEDENCE as PRECEDENCE
from rig.evidence.verdicts import Verdict

NO_REQUIREMENT = "Tests without a requirement"


@dataclass(frozen=True)
class Row:
    """One requirement and its results; `results` holds one tuple per board, in the order of `boards`."""

    requirement: Requirement
    results: tuple[tuple[TestResult, ...], ...]

    @property
    def verdicts(self) -> list[Verdict]:
        """The verdicts of this requirement on all boards, worst first, each once."""
        seen = {result.verdict for cell in self.results for result in cell}
        return [verdict for verdict in PRECEDENCE if verdict in seen]


Judged = TestResult | SweepRecord
"""What has a verdict."""


def judged(run: RunRecord) -> list[Judged]:
    """All of the run that has a verdict: tests, then sweeps."""
    return [*run.results, *run.sweeps]


def count(results: Iterable[Judged]) -> dict[Verdict, int]:
    """How often each verdict occurs, in the order of `PRECEDENCE`, zeros included."""
    seen = Counter(result.verdict for result in results)
    return {verdict: seen[verdict] for verdict in PRECEDENCE}


def worst(results: Iterable[Judged]) -> Verdict | None:
    """The verdict that stands for several results by `PRECEDENCE`; None if there are none."""
    seen = {result.verdict for result in results}
    return next((verdict for verdict in PRECEDENCE if verdict in seen), None)


def overall(run: RunRecord) -> Verdict:
    """The verdict on the run; `INCONCLUSIVE` if no test or sweep ran at all (none there, or every one skipped)."""
    return worst(item for item in judged(run) if item.verdict is not Verdict.SKIPPED) or Verdict.INCONCLUSIVE


def untested(run: RunRecord) -> str | None:
    """How many requirements no test of this run carries, in words; None for none, and for a run of sweeps alone."""
    if run.sweeps and not run.results:
        return None
    carried = {name for result in run.results for name in result.requirements}
    number = sum(requirement.id not in carried for requirement in run.requirements)
    if not number:
        return None
    return "1 requirement has no test" if number == 1 else f"{number} requirements have no test"


def exit_code(run: RunRecord) -> int:
    """The process exit code of a run.

    1 if any test or sweep is a firmware fail, else 3 if any is a bench fault, else 4 if any is inconclusive or none ran
    (there was none, or every one was skipped), else 0: something passed and the rest was skipped.
    2 is left to wrong use of the command.
    """
    codes = {Verdict.PASS: 0, Verdict.FIRMWARE_FAIL: 1, Verdict.BENCH_FAULT: 3, Verdict.INCONCLUSIVE: 4}
    return codes[overall(run)]


def counts_line(results: Iterable[Judged]) -> str:
    """`12 pass, 1 firmware fail, 0 bench fault, 2 inconclusive, 3 skipped`."""
    counts = count(results)
    order = (Verdict.PASS, *(v for v in PRECEDENCE if v is not Verdict.PASS))
    return ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in order)


def split_test(test: str) -> tuple[str, str]:
    """A pytest node id as file (with class, if any) and the test's own name; what is in its brackets stays with it."""
    head, bracket, parameters = test.partition("[")
    file, _, name = head.rpartition("::")
    return file, name + bracket + parameters


def boards(run: RunRecord) -> list[str]:
    """The boards that have results, in the order in which they first appear."""
    return list(dict.fromkeys(result.board for result in run.results))


def all_boards(run: RunRecord) -> list[str]:
    """The boards that have results or sweeps, in the order in which they first appear."""
    return list(dict.fromkeys(item.board for item in judged(run)))


SPREAD = "Result"
"""Head of the only column of a run whose tests were spread over its boards."""


def columns(run: RunRecord) -> list[str]:
    """What requirements are set against: each board, or one column for all where tests were spread over them."""
    return [SPREAD] if run.spread else boards(run)


def retried(run: RunRecord) -> list[tuple[TestResult, Retry]]:
    """Every try that was a bench fault and was done again, with what came of the test in the end."""
    return [(result, retry) for result in run.results for retry in result.retries]


def bench_lines(run: RunRecord) -> list[str]:
    """What went wrong with the bench although no verdict shows it: boards taken out, tests that were done again."""
    lines = [f"board {board} was taken out: {reason}" for board, reason in run.quarantined.items()]
    if again := retried(run):
        by_board = Counter(retry.board for _, retry in again)
        where = ", ".join(f"{number} on {board}" for board, number in by_board.most_common())
        lines.append(f"done again after a bench fault: {len(again)} {'try' if len(again) == 1 else 'tries'} ({where})")
    return lines


def by_board(run: RunRecord) -> list[tuple[str, list[TestResult]]]:
    """Each board's results, in the order of `boards`."""
    return [(board, [result for result in run.results if result.board == board]) for board in boards(run)]


def instead(run: RunRecord) -> str | None:
    """What came of a run in which another build variant took the place of `rollback`; None for a usual run."""
    if run.variant is None:
        return None
    ran = [row for row in rows(run) if any(verdict is not Verdict.SKIPPED for verdict in row.verdicts)]
    failed = sum(Verdict.FIRMWARE_FAIL in row.verdicts for row in ran)
    return (
        f"{failed} of {len(ran)} requirement{'' if len(ran) == 1 else 's'} {'fails' if failed == 1 else 'fail'} with it"
    )


def rows(run: RunRecord) -> list[Row]:
    """Every requirement of the run in its order, then ids only tests know, then tests that carry no requirement."""
    names = columns(run)
    known = {requirement.id: requirement for requirement in run.requirements}
    for result in run.results:
        for name in result.requirements:
            known.setdefault(name, Requirement(id=name, area="Not described", text="(this run has no text for it)"))
    found = [
        Row(requirement, _cells(run, names, [r for r in run.results if requirement.id in r.requirements]))
        for requirement in known.values()
    ]
    loose = [result for result in run.results if not result.requirements]
    for test in dict.fromkeys(result.test for result in loose):
        cells = _cells(run, names, [result for result in loose if result.test == test])
        found.append(Row(Requirement(id="", area=NO_REQUIREMENT, text=test), cells))
    return found


def areas(found: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Rows grouped by area; areas in the order in which they first appear."""
    order = list(dict.fromkeys(row.requirement.area for row in found))
    ordered = sorted(found, key=lambda row: order.index(row.requirement.area))
    return [(area, list(group)) for area, group in groupby(ordered, key=lambda row: row.requirement.area)]


def hazards(run: RunRecord) -> list[tuple[Hazard, list[TestResult]]]:
    """Each distinct hazard once, with the results that met it; those that brick come first."""
    found: dict[Hazard, list[TestResult]] = {}
    for result in run.results:
        for hazard in dict.fromkeys(result.hazards):
            found.setdefault(hazard, []).append(result)
    return sorted(found.items(), key=lambda item: item[0].severity != "bricks")


def burnt(run: RunRecord) -> list[str]:
    """What the run has burnt for good into the eFuses of each board that is meant to be spent."""
    lines = []
    for board, results in by_board(run):
        spans = [result.burnt for result in sorted(results, key=lambda result: result.started) if result.burnt]
        if spans:
            before, after = spans[0][0], spans[-1][1]
            bits = after - before
            lines.append(
                f"eFuses of {board}: secure version {before} to {after}, "
                f"{bits} bit{'' if bits == 1 else 's'} burnt for good"
            )
    return lines


def named(hazard: Hazard) -> str:
    """What kind of hazard it is."""
    return "hazard that bricks" if hazard.severity == "bricks" else "hazard"


def skip_reasons(run: RunRecord) -> list[tuple[str, list[TestResult]]]:
    """Why tests were skipped, each reason once, with the results it holds for."""
    found: dict[str, list[TestResult]] = {}
    for result in run.results:
        if result.verdict is Verdict.SKIPPED:
            found.setdefault(result.reason or "no reason given", []).append(result)
    return list(found.items())


def _cells(run: RunRecord, names: Sequence[str], some: Sequence[TestResult]) -> tuple[tuple[TestResult, ...], ...]:
    if run.spread:
        return (tuple(some),)
    return tuple(tuple(result for result in some if result.board == board) for board in names)
