"""`rig requirements`: docs/requirements.md from the tests that carry the requirements."""

from __future__ import annotations

import tomllib
from pathlib import Path

from rig import qualify
from rig.evidence.records import Requirement
from rig.evidence.requirements import render_requirements

UNCOVERED = "uncovered.toml"


def render() -> str:
    """The text of docs/requirements.md: what tests carry, and what the mission asks that no test carries yet."""
    folder = qualify.find_tests(Path("rig.toml"))
    tests: dict[str, list[str]] = {}
    requirements: dict[str, Requirement] = {}
    for test, carried in qualify.collect(folder):
        for requirement in carried:
            requirements[requirement.id] = requirement
            tests.setdefault(requirement.id, []).append(test)
    listed = sorted(requirements.values(), key=lambda requirement: (requirement.area, requirement.id))
    return render_requirements([*listed, *uncovered(folder)], tests)


def uncovered(folder: Path) -> list[Requirement]:
    """The mission's requirements that wait for a test."""
    data = tomllib.loads((folder / UNCOVERED).read_text(encoding="utf-8"))
    return [Requirement.model_validate(requirement) for requirement in data["requirement"]]
