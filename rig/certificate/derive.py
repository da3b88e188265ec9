"""From the gate's report and the run's results to what the certificate says. Pure: the same input, the same words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rig.certificate.bootloader import board_tests, bootloader_notes, bootloader_part
from rig.certificate.gate_report import GateReport, gate_notes, gate_part
from rig.certificate.records import Facts, Found, Kept, Note, Part, RequirementRow, SweepRow
from rig.evidence.records import RunRecord, SweepRecord, Verdict
from rig.evidence.report_page import summary

MODIFIED = "modified"
"""What the fact `rig commit` ends with if the sources are not those of the commit."""


def derive(facts: Facts, gate: GateReport, run: RunRecord) -> Found:
    """Everything that can be worked out."""
    boards = board_tests(facts.release, run)
    link = bootloader_part(facts.release, run, boards, gate)
    parts = [gate_part(gate), _qualification(run), link]
    requirements = _requirements(run)
    return Found(
        verdict=overall(parts),
        headline=headline(parts),
        parts=parts,
        boards=boards,
        counts=summary.count(summary.judged(run)),
        requirements=requirements,
        sweeps=[_sweep(sweep) for sweep in run.sweeps],
        exceptions=[
            *gate_notes(gate),
            *bootloader_notes(boards, link),
            *_of_run(run, requirements),
            *_of_facts(facts),
        ],
    )


def overall(parts: Sequence[Part]) -> Verdict:
    """The worst, by the precedence of a run: a failure that was seen is not hidden by what could not be seen."""
    found = {part.verdict for part in parts}
    return next(verdict for verdict in summary.PRECEDENCE if verdict in found)


def headline(parts: Sequence[Part]) -> str:
    """The verdict in a few words; it never says `qualified` of a bootloader that was not."""
    verdict = overall(parts)
    if verdict is Verdict.PASS:
        return "Qualified"
    if verdict is Verdict.FIRMWARE_FAIL:
        return "Not qualified: the firmware failed"
    if verdict is Verdict.BENCH_FAULT:
        return "No verdict: the bench failed"
    if [part.name for part in parts if part.verdict is not Verdict.PASS] == ["bootloader"]:
        return "Inconclusive about this bootloader"
    return "Inconclusive"


def _qualification(run: RunRecord) -> Part:
    if run.variant is not None:
        text = f"variant {run.variant} took the place of rollback: not the qualification"
        return Part(name="qualification", verdict=Verdict.INCONCLUSIVE, text=text)
    return Part(name="qualification", verdict=summary.overall(run), text=summary.counts_line(summary.judged(run)))


def _requirements(run: RunRecord) -> list[RequirementRow]:
    """In the order of the run; a test without a requirement has no row, and `rig qualify` lets none pass."""
    found = []
    for row in summary.rows(run):
        cells = {cell[0].board: summary.worst(cell) for cell in row.results if cell}
        verdicts = {board: verdict for board, verdict in cells.items() if verdict is not None}
        requirement = row.requirement
        found.append(RequirementRow(id=requirement.id, area=requirement.area, text=requirement.text, verdicts=verdicts))
    return found


def _sweep(sweep: SweepRecord) -> SweepRow:
    return SweepRow(
        scenario=sweep.scenario,
        board=sweep.board,
        verdict=sweep.verdict,
        images=sweep.images,
        hazards=sum(finding.kind == "hazard" for finding in sweep.findings),
    )


def _of_run(run: RunRecord, requirements: Sequence[RequirementRow]) -> Iterator[Note]:
    for text in _run_texts(run, requirements):
        yield Note(about="qualification", text=text)


def _run_texts(run: RunRecord, requirements: Sequence[RequirementRow]) -> Iterator[str]:
    for item in summary.judged(run):
        if item.verdict not in (Verdict.PASS, Verdict.SKIPPED):
            name = f"sweep {item.scenario}" if isinstance(item, SweepRecord) else item.test
            yield f"{item.verdict.value} on {item.board}: {name}: {item.reason or 'see the report'}"
    unshown = [row.id for row in requirements if row.verdicts and set(row.verdicts.values()) == {Verdict.SKIPPED}]
    if unshown:
        yield f"skipped on every board, {_several(len(unshown), 'requirement')}: {', '.join(unshown)}"
    untested = [row.id for row in requirements if not row.verdicts]
    if untested:
        yield f"without any test, {_several(len(untested), 'requirement')}: {', '.join(untested)}"
    for reason, results in summary.skip_reasons(run):
        boards = ", ".join(dict.fromkeys(result.board for result in results))
        yield f"{_several(len(results), 'test')} skipped on {boards}: {reason}"
    if not any(sweep.verdict is not Verdict.SKIPPED for sweep in run.sweeps):
        yield "no sweep of power cuts ran"
    for hazard, results in summary.hazards(run):
        yield f"{summary.named(hazard)}, seen in {_several(len(results), 'test')}: {hazard.what}"
    retried = sum(bool(result.retries) for result in run.results)
    if retried:
        yield f"{_several(retried, 'test')} done again after a bench fault"
    for board, why in run.quarantined.items():
        yield f"{board} got no more tests: {why}"
    if run.spread:
        yield "each test ran on one of the boards, not on all of them"


def _of_facts(facts: Facts) -> Iterator[Note]:
    for artefact in facts.release.artefacts:
        if artefact.kept is Kept.HASH_ONLY:
            yield Note(about="contents", text=f"{artefact.name}: only its hash is kept")
    for text in facts.left_out:
        yield Note(about="contents", text=text)
    commit = facts.tools.get("rig commit", "")
    if commit.endswith(MODIFIED):
        yield Note(about="tools", text=f"the sources of rig are not those of a commit: {commit}")


def _several(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
