"""docs/requirements.md: what is required, and which tests carry it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.errors import UserError
from rig.evidence.records import Requirement, RunRecord
from rig.evidence.requirements import render_requirements

SAMPLE = Path(__file__).parents[2] / "data" / "report" / "sample_run.json"
REQUIREMENTS = [
    Requirement(id="B-1", area="First boot", text="boot ota_0 | with *care*"),
    Requirement(id="R-1", area="Rollback", text="go back"),
    Requirement(id="B-2", area="First boot", text="boot factory"),
]
TESTS = {
    "B-1": ["tests/q/test_b.py::test_two[b]", "tests/q/test_b.py::test_two[a]", "tests/q/test_a.py::test_one"],
    "R-1": ["tests/q/test_r.py::test_back"],
}

EXPECTED = """\
# Requirements

Generated from the requirements and the tests that carry them; do not edit.

3 requirements, 1 of them without a test: B-2.

## First boot

| Id | Requirement | Tests |
| --- | --- | --- |
| B-1 | boot ota_0 \\| with \\*care\\* | `test_one` in tests/q/test_a.py<br>`test_two` in tests/q/test_b.py |
| B-2 | boot factory | **none** |

## Rollback

| Id | Requirement | Tests |
| --- | --- | --- |
| R-1 | go back | `test_back` in tests/q/test_r.py |
"""


def test_one_table_per_area_with_sentence_and_tests() -> None:
    assert render_requirements(REQUIREMENTS, TESTS) == EXPECTED


def test_order_in_which_tests_were_found_does_not_matter() -> None:
    shuffled = {name: list(reversed(TESTS[name])) for name in reversed(TESTS)}
    assert render_requirements(REQUIREMENTS, shuffled) == EXPECTED


def test_last_verdicts_are_added_per_board() -> None:
    run = RunRecord.model_validate_json(SAMPLE.read_text(encoding="utf-8"))
    tests = {requirement.id: ["tests/q/test_a.py::test_one"] for requirement in run.requirements}
    text = render_requirements(run.requirements, tests, run.results)
    assert "17 requirements, each with at least one test." in text
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in text.splitlines() if line.startswith("| ")}
    assert rows["RB-03"].endswith("| bench-a: firmware fail, bench fault<br>virtual-1: pass |")
    assert rows["BOOT-03"].endswith("| bench-a: pass ×3<br>virtual-1: pass ×3 |")


def test_requirement_that_did_not_run_says_so() -> None:
    assert render_requirements(REQUIREMENTS, TESTS, []).count("| not run |") == 3


def test_text_cannot_break_the_table() -> None:
    text = render_requirements([Requirement(id="X|1", area="A\n# B", text="one\ntwo | <b>`x`\\")], {})
    assert "| X\\|1 | one two \\| \\<b\\>\\`x\\`\\\\ | **none** |" in text
    assert "\n# B" not in text


def test_test_that_names_an_unknown_requirement_is_refused() -> None:
    with pytest.raises(UserError, match=r"do not exist: R-9 \(tests/q/test_r.py::test_x\)"):
        render_requirements(REQUIREMENTS, {"R-9": ["tests/q/test_r.py::test_x"]})


def test_id_used_twice_is_refused() -> None:
    with pytest.raises(UserError, match="used twice: R-1"):
        render_requirements([*REQUIREMENTS, REQUIREMENTS[1]], TESTS)
