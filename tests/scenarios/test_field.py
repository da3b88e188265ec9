"""The catalogue of field bugs on the board under test: `rig qualify --suite field`. docs/field-bugs.md lists them."""

from pathlib import Path

import pytest

from rig.fieldkit.scenario import load


def case(path):
    scenario = load(path)
    marks = [pytest.mark.requirement(f"FLD-{scenario.name}", scenario.summary), pytest.mark.needs(*scenario.needs)]
    return pytest.param(path, id=scenario.name, marks=marks)


@pytest.mark.parametrize("path", [case(path) for path in sorted(Path(__file__).parent.glob("*.toml"))])
def test_field_bug(replay_scenario, path):
    assert replay_scenario(path) == []
