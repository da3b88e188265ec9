"""A scenario checked before it costs a board's time: by its own words, and by playing it at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rig.boards.shelf import FirmwareShelf
from rig.errors import Inconclusive, NotApplicable, UserError
from rig.fieldkit.at_once import at_once_subject
from rig.fieldkit.firmware import MadeToMeasure
from rig.fieldkit.play import Played, Told, differences, play
from rig.fieldkit.scenario import Scenario
from rig.fieldkit.steps import Step
from rig.virtual.firmware import VirtualFirmware

USUAL_CHIP = "esp32c3"


class Checked(NamedTuple):
    """For one ESP-IDF version. `wrong`: it contradicts itself, in words; `otherwise`: what right firmware does not do.

    A scenario of a fault is expected to have something in `otherwise`.
    """

    idf_version: str
    wrong: str | None
    otherwise: list[str]


def contradictions(scenario: Scenario) -> Iterator[str]:
    """What no board is needed for."""
    about = set(scenario.idf_versions)
    covered: set[str] = set()
    for number, expect in enumerate(scenario.expect, 1):
        versions = set(expect.idf_versions)
        if foreign := sorted(versions - about):
            yield f"expectation {number} is about {', '.join(foreign)}, the scenario is not"
        if covered >= (versions or about):
            yield f"expectation {number} never counts: others come first for every version that it is about"
        covered |= versions or about
    if scenario.start.dump is not None and (scenario.start.slots or scenario.start.otadata != ("erased", "erased")):
        yield "it begins from a dump, so start.otadata and start.slots never count"
    if not scenario.steps:
        yield "it has no steps"


def checked(scenario: Scenario, idf_version: str, scratch: Path) -> Checked:
    """Play it on the virtual chip at once, for one ESP-IDF version."""
    number = 0

    def told(place: int, step: Step) -> None:
        nonlocal number
        number = place

    shelf = MadeToMeasure(scenario.firmware, scenario.firmware.chip or USUAL_CHIP, idf_version, scratch)
    try:
        played = _played(scenario, shelf, idf_version, told)
    except (UserError, NotApplicable, Inconclusive) as error:
        where = f"step {number}, {scenario.steps[number - 1].do}: " if number else ""
        return Checked(idf_version, where + error.what, [])
    expect = scenario.expected(idf_version)
    return Checked(idf_version, played.broke_off, [] if expect is None else differences(played, expect))


def _played(scenario: Scenario, shelf: FirmwareShelf, idf_version: str, told: Told) -> Played:
    subject = at_once_subject(VirtualFirmware(), shelf)
    try:
        return play(scenario, subject, idf_version, told)
    finally:
        subject.close()
