"""`rig requirements`: docs/requirements.md from the tests that carry the requirements."""

from __future__ import annotations

import tomllib
from pathlib import Path

from rig import qualify
from rig.errors import UserError
from rig.evidence.records import Requirement
from rig.evidence.requirements import render_requirements

UNCOVERED = "uncovered.toml"


def render() -> str:
    """The text of docs/requirements.md: what tests carry, and what the mission asks that no test carries yet."""
    folder = qualify.find_tests(Path("rig.toml"))
    tests: dict[str, list[str]] = {}
    requirements: dict[str, Requirement] = {}
    for test, carried in qualify.collect(folder).items():
        for requirement in carried.requirements:
            requirements[requirement.id] = requirement
            tests.setdefault(requirement.id, []).append(test)
    listed = sorted(requirements.values(), key=lambda requirement: (requirement.area, requirement.id))
    return render_requirements([*listed, *uncovered(folder)], tests)


def uncovered(folder: Path) -> list[Requirement]:
    """The mission's requirements that wait for a test; none without the file. UserError if the file is broken."""
    path = folder / UNCOVERED
    if not path.exists():
        return []
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        return [Requirement.model_validate(requirement) for requirement in data["requirement"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        # The errors of TOML, of UTF-8 and of pydantic are ValueErrors.
        raise UserError(f"{path}: {error}", hint="a list of [[requirement]] with id, area and text") from error
