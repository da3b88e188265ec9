"""Scenarios as files: written whole or not at all, and one step on one line."""

from __future__ import annotations

from pathlib import Path

from rig.errors import BenchFault
from rig.fieldkit.scenario import Scenario, dumps, inline, plain_table
from rig.fieldkit.steps import Step


def save(scenario: Scenario, folder: Path) -> Path:
    """Write `<name>.toml` into `folder`, which is made if need be. BenchFault if that cannot be done."""
    return save_as(scenario, folder / f"{scenario.name}.toml")


def save_as(scenario: Scenario, path: Path) -> Path:
    """The same under a name of one's own; an older file of it is replaced."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(dumps(scenario), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise BenchFault(f"{path}: the scenario cannot be written: {error.strerror}") from error
    return path


def step_words(step: Step) -> str:
    """A step on one line, as scenario.toml has it."""
    return inline(plain_table(step))
