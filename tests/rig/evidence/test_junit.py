"""JUnit XML: what a CI server must see of each verdict."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.evidence.junit import render_junit
from rig.evidence.records import RunRecord, SweepRecord, TestResult, Verdict
from tests.rig.evidence.sweeps import broken_sweep, good_sweep, run_of

SAMPLE = Path(__file__).parents[2] / "data" / "report" / "sample_run.json"
RUN = RunRecord.model_validate_json(SAMPLE.read_text(encoding="utf-8"))


def of(**changes: object) -> RunRecord:
    return RUN.model_copy(update={"results": [RUN.results[0].model_copy(update=changes)]})


def case(run: RunRecord) -> Xml.Element:
    found = Xml.fromstring(render_junit(run)).find("testsuite/testcase")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("verdict", "element"),
    [
        (Verdict.PASS, None),
        (Verdict.FIRMWARE_FAIL, "failure"),
        (Verdict.BENCH_FAULT, "error"),
        (Verdict.INCONCLUSIVE, "error"),
        (Verdict.SKIPPED, "skipped"),
    ],
)
def test_each_verdict_has_its_element_with_reason_and_type(verdict: Verdict, element: str | None) -> None:
    found = case(of(verdict=verdict, reason="why\nso", details="the log"))
    outcomes = [child for child in found if child.tag in ("failure", "error", "skipped")]
    assert [child.tag for child in outcomes] == ([element] if element else [])
    for child in outcomes:
        assert child.attrib == {"message": "why so", "type": verdict.value}
        assert child.text == "why\nso\n\nthe log"
    values = {p.get("name"): p.get("value") for p in found.iter("property")}
    assert values["verdict"] == verdict.value
    assert values["board"] == RUN.results[0].board


def test_one_suite_per_board_and_sums_that_add_up() -> None:
    root = Xml.fromstring(render_junit(RUN))
    suites = root.findall("testsuite")
    assert [suite.get("name") for suite in suites] == ["virtual-1", "bench-a"]
    assert len(root.findall("testsuite/testcase")) == len(RUN.results)
    counts = {
        "tests": "testcase",
        "failures": "testcase/failure",
        "errors": "testcase/error",
        "skipped": "testcase/skipped",
    }
    for suite in suites:
        assert {name: int(suite.get(name, "")) for name in counts} == {
            name: len(suite.findall(path)) for name, path in counts.items()
        }
    assert int(root.get("failures", "")) == sum(r.verdict is Verdict.FIRMWARE_FAIL for r in RUN.results)


def test_a_suite_says_what_board_it_is_and_which_variant_ran() -> None:
    root = Xml.fromstring(render_junit(RUN.model_copy(update={"variant": "no_rollback"})))
    first = {p.get("name"): p.get("value") for p in root.findall("testsuite")[0].findall("properties/property")}
    assert first["name"] == "virtual-1"
    assert first["chip"] == "esp32c3 rev v0.4"
    assert first["variant"] == "no_rollback"
    assert "variant" not in render_junit(RUN)


def test_requirements_are_properties_of_the_case() -> None:
    found = case(of(requirements=["RB-03", "RB-05"]))
    assert [p.get("value") for p in found.iter("property") if p.get("name") == "requirement"] == ["RB-03", "RB-05"]


@pytest.mark.parametrize(
    ("test", "classname", "name"),
    [
        ("tests/q/test_a.py::test_b[x::y]", "tests.q.test_a", "test_b[x::y]"),
        ("tests/q/test_a.py::TestC::test_b", "tests.q.test_a.TestC", "test_b"),
        ("test_b", "virtual-1", "test_b"),
    ],
)
def test_case_is_named_by_its_pytest_id(test: str, classname: str, name: str) -> None:
    found = case(of(test=test))
    assert (found.get("classname"), found.get("name")) == (classname, name)


def test_colour_codes_and_forbidden_characters_are_left_out() -> None:
    found = case(
        of(verdict=Verdict.FIRMWARE_FAIL, reason="a", details="\x1b[31mE (5) boot\x1b[0m \x00\x07\ufffe]]> <b> ✓")
    )
    failure = found.find("failure")
    assert failure is not None
    assert failure.text == "a\n\nE (5) boot ]]> <b> ✓"


@settings(deadline=None)
@given(st.text(), st.text(), st.text(), st.sampled_from(Verdict))
def test_any_text_gives_xml_that_parses(reason: str, details: str, name: str, verdict: Verdict) -> None:
    run = of(reason=reason, details=details, test=name, board=name, requirements=[name], verdict=verdict)
    root = Xml.fromstring(render_junit(run).encode())
    assert len(root.findall("testsuite/testcase")) == 1


def test_hazards_and_evidence_are_in_the_output_of_the_case() -> None:
    with_hazard: TestResult = next(result for result in RUN.results if result.hazards)
    output = case(RUN.model_copy(update={"results": [with_hazard]})).findtext("system-out", "")
    assert with_hazard.hazards[0].what in output
    assert with_hazard.evidence["console.log"] in output


def test_each_sweep_is_a_case_on_its_board() -> None:
    other = good_sweep("update-ok", "qemu-c3")
    root = Xml.fromstring(render_junit(run_of([good_sweep(), broken_sweep(), other])))
    suites = {suite.get("name"): suite for suite in root.findall("testsuite")}
    assert [case.get("name") for case in suites["virtual-c3"].findall("testcase")] == ["update-ok", "update-broken"]
    assert [case.get("name") for case in suites["qemu-c3"].findall("testcase")] == ["update-ok"]
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("3", "1", "0")
    assert suites["virtual-c3"].get("failures") == "1"
    assert suites["qemu-c3"].get("timestamp") == "2025-03-14T02:00:00+00:00"


def test_a_sweep_that_deviates_is_a_failure_with_the_command_to_see_it() -> None:
    found = case(run_of([broken_sweep()]))
    failure = found.find("failure")
    assert failure is not None
    assert failure.get("type") == "firmware fail"
    assert failure.get("message", "").startswith("unbootable: 142 crash images, in the model 0; ")
    assert "rig crash replay update-broken/m0105/torn-erase-3" in (failure.text or "")
    assert "hazard: " not in (failure.text or "")
    output = found.findtext("system-out", "")
    assert "rig crash replay update-broken/m0108" in output
    assert "deviation" not in output


@pytest.mark.parametrize(
    ("verdict", "element"), [(Verdict.PASS, None), (Verdict.BENCH_FAULT, "error"), (Verdict.INCONCLUSIVE, "error")]
)
def test_a_sweep_is_green_only_if_it_passed(verdict: Verdict, element: str | None) -> None:
    sweep: SweepRecord = good_sweep().model_copy(update={"verdict": verdict})
    found = case(run_of([sweep]))
    assert [child.tag for child in found if child.tag in ("failure", "error")] == ([element] if element else [])


def test_a_board_with_tests_and_sweeps_has_one_suite() -> None:
    run = RUN.model_copy(update={"sweeps": [good_sweep(board="virtual-1")]})
    suites = Xml.fromstring(render_junit(run)).findall("testsuite")
    assert [suite.get("name") for suite in suites] == ["virtual-1", "bench-a"]
    assert all(int(suite.get("tests", "")) == len(suite.findall("testcase")) for suite in suites)
    assert suites[0].findall("testcase")[-1].get("classname") == "power cuts"
