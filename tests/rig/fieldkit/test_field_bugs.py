"""docs/field-bugs.md and tests/scenarios/ hold each other: what one has, the other has too."""

import re
from pathlib import Path

import pytest

from rig.fieldkit.scenario import load

ROOT = Path(__file__).parents[3]
SCENARIOS = {path.stem: path for path in (ROOT / "tests" / "scenarios").glob("*.toml")}
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "field-bugs.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("|") and not line.startswith("| ---")
]
REPORTS = [row for row in ROWS if len(row) == 4 and row[0].isdigit()]
CORNERS = [row for row in ROWS if len(row) == 3 and re.fullmatch(r"[a-z0-9-]+", row[0]) and "-" in row[0]]
TEXT = " ".join(cell for row in ROWS for cell in row)
NAME = re.compile(r"(?<![\w./`#-])[a-z0-9]+(?:-[a-z0-9]+)+(?![\w./`#-])")


def named():
    """Every scenario that a table names."""
    cells = [row[3] for row in REPORTS] + [row[0] for row in CORNERS]
    return {name for cell in cells for name in NAME.findall(cell)}


def test_every_scenario_is_named_in_the_document():
    assert sorted(set(SCENARIOS) - named()) == []


def test_every_scenario_that_the_document_names_exists():
    assert sorted(named() - set(SCENARIOS)) == []


def test_the_document_has_all_sixty_reports():
    assert [int(row[0]) for row in REPORTS] == list(range(1, 61))
    assert all(row[1] and row[2] and row[3] for row in REPORTS)


def test_a_report_has_a_scenario_or_a_reason():
    assert [row[0] for row in REPORTS if not NAME.findall(row[3]) and not row[3].startswith("none: ")] == []


def test_there_are_forty_scenarios_at_least():
    assert len(SCENARIOS) >= 40


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_a_scenario_says_what_it_is_about(name):
    scenario = load(SCENARIOS[name])
    assert scenario.name == name
    assert scenario.issue
    assert "#" not in scenario.issue or scenario.issue in TEXT
    assert scenario.summary.endswith(".")
    assert scenario.expect
