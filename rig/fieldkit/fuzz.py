"""Walks by chance over a board and the model at the same time, until they disagree or somebody says stop."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from rig.errors import Inconclusive, NotApplicable, UserError
from rig.fieldkit.chance import Choices, some_start, some_step
from rig.fieldkit.lockstep import Disagreement, Walk, disagreement, walk_of
from rig.fieldkit.minimise import Shows, Told, minimised
from rig.fieldkit.on_model import ModelSubject
from rig.fieldkit.scenario import Scenario
from rig.fieldkit.subject import Subject

STEPS_A_WALK = 20

Pair = Callable[[Scenario], tuple[Subject, ModelSubject]]
"""What is under test and the model, both for the builds of this scenario."""


class Progress(NamedTuple):
    """So far. `erases`: of the sector that was erased most."""

    walks: int
    steps: int
    erases: int


class Found(NamedTuple):
    """`scenario` has every step of the walk up to the one that ended otherwise; it expects what was seen."""

    scenario: Scenario
    disagreement: Disagreement


def explore(
    pair: Pair, idf_version: str, choices: Choices, seed: int, go_on: Callable[[Progress], bool]
) -> Found | None:
    """The first disagreement, or None when `go_on` says no. The same seed makes the same walks."""
    walks = steps = 0
    worn: dict[int, int] = {}
    while True:
        chance = random.Random(f"{seed}/{walks}")
        name = f"fuzz-{seed}-{walks}"
        scenario = some_start(chance, choices, name)
        subject, model = pair(scenario)
        walk = Walk(scenario, idf_version, subject, model)
        try:
            walk.begin()
            # of a board with built firmware it is the build that says it
            walk.idf_version = model.idf_version
            for _ in range(STEPS_A_WALK):
                erases = max((worn.get(sector, 0) + count for sector, count in model.erased.items()), default=0)
                if not go_on(Progress(walks, steps, max(erases, max(worn.values(), default=0)))):
                    return None
                found = walk.step(some_step(chance, choices, scenario, model))
                steps += 1
                if found is not None:
                    return Found(walk.told(name, _summary(found)), found)
        finally:
            subject.close()
        for sector, count in model.erased.items():
            worn[sector] = worn.get(sector, 0) + count
        walks += 1


def shortest(found: Found, pair: Pair, idf_version: str, told: Told) -> Found | None:
    """The same disagreement with the fewest steps; None if it does not come again with `pair`."""

    shows = still_shows(found.disagreement.what, pair, idf_version)
    if not shows(found.scenario):
        return None
    return replayed(minimised(found.scenario, shows, told), pair, idf_version)


def first_of(scenario: Scenario, pair: Pair, idf_version: str) -> Disagreement | None:
    """What the scenario shows with `pair`; None if nothing, or if it cannot be played."""
    subject, model = pair(scenario)
    try:
        return disagreement(scenario, idf_version, subject, model)
    finally:
        subject.close()


def still_shows(what: str, pair: Pair, idf_version: str) -> Shows:
    """Whether the first disagreement is of that kind."""

    def shows(candidate: Scenario) -> bool:
        seen = first_of(candidate, pair, idf_version)
        return seen is not None and seen.what == what

    return shows


def replayed(scenario: Scenario, pair: Pair, idf_version: str) -> Found | None:
    """What the scenario shows with `pair`, with what was seen as its expectation; None if there is no disagreement."""
    subject, model = pair(scenario)
    try:
        walk, seen = walk_of(scenario, idf_version, subject, model)
    except (UserError, NotApplicable, Inconclusive):
        return None
    finally:
        subject.close()
    return None if seen is None else Found(walk.told(scenario.name, _summary(seen)), seen)


def _summary(found: Disagreement) -> str:
    return f"Found by chance, {found.what}: ESP-IDF has {found.model}, seen {found.seen}."
