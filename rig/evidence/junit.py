"""The results of a run as JUnit XML (the xunit2 family that CI servers read), one suite per board.

A firmware fail is a `failure`; a bench fault and an inconclusive test are an `error` with that type, so that a server
that knows only red and green never shows them green; skipped carries its reason. A power-cut sweep is one test case.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree as Xml

from rig.evidence.records import CutFinding, RunRecord, SweepRecord, TestResult, Verdict
from rig.evidence.report_page import sweeps
from rig.evidence.report_page.summary import Judged, all_boards, count, judged, named, split_test
from rig.evidence.report_page.text import one_line, xml_text

_ELEMENT = {
    Verdict.FIRMWARE_FAIL: "failure",
    Verdict.BENCH_FAULT: "error",
    Verdict.INCONCLUSIVE: "error",
    Verdict.SKIPPED: "skipped",
}


def render_junit(run: RunRecord) -> str:
    """The XML text of `run`; characters that XML forbids and colour codes are left out."""
    root = Xml.Element("testsuites", {"name": "rollback qualification", **_sums(judged(run))})
    for board in all_boards(run):
        results = [result for result in run.results if result.board == board]
        swept = [sweep for sweep in run.sweeps if sweep.board == board]
        first = min((result.started for result in results), default=run.started)
        facts = {"name": xml_text(board), **_sums([*results, *swept]), "timestamp": first.isoformat(timespec="seconds")}
        suite = Xml.SubElement(root, "testsuite", facts)
        _add_properties(suite, _suite_properties(run, board))
        for result in results:
            _case(suite, result)
        for sweep in swept:
            _sweep_case(suite, sweep)
    Xml.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + Xml.tostring(root, encoding="unicode") + "\n"


def _sums(results: list[Judged]) -> dict[str, str]:
    counts = count(results)
    return {
        "tests": str(len(results)),
        "failures": str(counts[Verdict.FIRMWARE_FAIL]),
        "errors": str(counts[Verdict.BENCH_FAULT] + counts[Verdict.INCONCLUSIVE]),
        "skipped": str(counts[Verdict.SKIPPED]),
        "time": f"{sum(result.duration_s for result in results):.3f}",
    }


def _case(suite: Xml.Element, result: TestResult) -> None:
    file, name = split_test(result.test)
    module = file.replace(".py", "").replace("/", ".").replace("::", ".")
    facts = {"classname": xml_text(module or result.board), "name": xml_text(name), "time": f"{result.duration_s:.3f}"}
    case = Xml.SubElement(suite, "testcase", facts)
    _add_properties(case, _properties(result))
    _say(case, result.verdict, result.reason, result.details)
    if notes := _notes(result):
        Xml.SubElement(case, "system-out").text = xml_text("\n".join(notes))


def _sweep_case(suite: Xml.Element, sweep: SweepRecord) -> None:
    facts = {"classname": "power cuts", "name": xml_text(sweep.scenario), "time": f"{sweep.duration_s:.3f}"}
    case = Xml.SubElement(suite, "testcase", facts)
    _add_properties(case, _sweep_properties(sweep))
    deviations = [_finding(finding) for finding in sweeps.deviations(sweep)]
    _say(case, sweep.verdict, sweeps.reason(sweep), "\n".join(deviations))
    outcomes = [f"{o.severity.value}: {o.name}: {o.images}, in the model {o.model_images}" for o in sweep.outcomes]
    hazards = [f"{_finding(f)}. To do: {f.remedy} ({f.source})" for f in sweep.findings if f.kind == "hazard"]
    Xml.SubElement(case, "system-out").text = xml_text("\n".join([*outcomes, *hazards]))


def _say(case: Xml.Element, verdict: Verdict, reason: str, details: str) -> None:
    if element := _ELEMENT.get(verdict):
        message = one_line(xml_text(reason)) or "no reason given"
        outcome = Xml.SubElement(case, element, {"message": message, "type": verdict.value})
        outcome.text = xml_text("\n\n".join(part for part in (reason, details) if part))


def _finding(finding: CutFinding) -> str:
    did = f"the board: {finding.board_did}; the model: {finding.model_did}"
    return f"{finding.kind}: {finding.what} ({did}): {sweeps.replay(finding.image)}"


def _sweep_properties(sweep: SweepRecord) -> list[tuple[str, str]]:
    facts = [("verdict", sweep.verdict.value), ("board", sweep.board), ("kind", sweep.kind), ("chip", sweep.chip)]
    numbers = {"images": sweep.images, "nested images": sweep.nested_images, "booted": sweep.booted}
    return [*facts, ("ESP-IDF", sweep.idf_version), *((name, str(number)) for name, number in numbers.items())]


def _add_properties(element: Xml.Element, facts: Iterable[tuple[str, str]]) -> None:
    properties = Xml.SubElement(element, "properties")
    for key, value in facts:
        Xml.SubElement(properties, "property", {"name": xml_text(key), "value": xml_text(value)})


def _suite_properties(run: RunRecord, board: str) -> list[tuple[str, str]]:
    """What is known of a board, and the build variant if it is not the usual one."""
    facts = [fact for known in run.boards if known.get("name") == board for fact in known.items()]
    return (facts or [("name", board)]) + ([("variant", run.variant)] if run.variant is not None else [])


def _properties(result: TestResult) -> list[tuple[str, str]]:
    facts = [("verdict", result.verdict.value), ("board", result.board), ("kind", result.kind), ("chip", result.chip)]
    return facts + [("requirement", name) for name in result.requirements]


def _notes(result: TestResult) -> list[str]:
    hazards = [f"{named(hazard)}: {hazard.what} To do: {hazard.remedy} ({hazard.source})" for hazard in result.hazards]
    return hazards + [f"evidence: {name}: {path}" for name, path in result.evidence.items()]
