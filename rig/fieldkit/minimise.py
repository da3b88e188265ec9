"""A scenario made as short as it can be while it still shows the same: delta debugging over its steps, then arguments.

Zeller and Hildebrandt's ddmin. Whoever calls says what still shows it; nothing here plays anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from rig.fieldkit import steps
from rig.fieldkit.scenario import Scenario
from rig.fieldkit.steps import Image, Step, Table

Shows = Callable[[Scenario], bool]
Told = Callable[[Scenario], None]
"""Told of each shorter scenario that is found."""
T = TypeVar("T", bound=Table)
ERASED = ("erased", "erased")
USUAL = ("seq 1 VALID", "erased")


def minimised(scenario: Scenario, shows: Shows, told: Told = lambda shorter: None) -> Scenario:
    """The shortest that `shows` is true of, as far as ddmin and one change at a time lead; `scenario` must show it."""
    while True:
        shorter = _fewest_steps(scenario, shows, told)
        shorter = _simplest(shorter, shows, told)
        if shorter == scenario:
            return scenario
        scenario = shorter


def _fewest_steps(scenario: Scenario, shows: Shows, told: Told) -> Scenario:
    chunk = max(1, len(scenario.steps) // 2)
    while True:
        for start in range(0, len(scenario.steps), chunk):
            kept = scenario.steps[:start] + scenario.steps[start + chunk :]
            candidate = _with(scenario, steps=kept)
            if shows(candidate):
                told(candidate)
                scenario = candidate
                break
        else:
            if chunk == 1:
                return scenario
            chunk //= 2


def _simplest(scenario: Scenario, shows: Shows, told: Told) -> Scenario:
    while True:
        for candidate in _simpler(scenario):
            if candidate != scenario and shows(candidate):
                told(candidate)
                scenario = candidate
                break
        else:
            return scenario


def _simpler(scenario: Scenario) -> Iterator[Scenario]:
    """Each with one thing less to look at."""
    yield from _simpler_starts(scenario)
    for index, step in enumerate(scenario.steps):
        for simpler in _simpler_steps(step):
            yield _with(scenario, steps=(*scenario.steps[:index], simpler, *scenario.steps[index + 1 :]))


def _simpler_starts(scenario: Scenario) -> Iterator[Scenario]:
    start, firmware = scenario.start, scenario.firmware
    if start.otadata not in (ERASED, USUAL):
        for otadata in (ERASED, USUAL, ("erased", start.otadata[1]), (start.otadata[0], "erased")):
            if otadata != start.otadata:
                yield _with(scenario, start=_with(start, otadata=otadata))
    elif start.otadata == USUAL:
        yield _with(scenario, start=_with(start, otadata=ERASED))
    for name in start.slots:
        rest = {other: image for other, image in start.slots.items() if other != name}
        yield _with(scenario, start=_with(start, slots=rest))
    for key in ("partitions", "log_level", "anti_rollback", "rollback", "bootloader"):
        if getattr(firmware, key) is not None:
            yield _with(scenario, firmware=_with(firmware, **{key: None}))


def _simpler_steps(step: Step) -> Iterator[Step]:
    match step:
        case steps.Cut():
            yield step.during
            yield from _changed(step, nth=1)
            yield from _changed(step, phase="after")
            yield from _changed(step, kind="any")
            yield from (_with(step, during=simpler) for simpler in _simpler_steps(step.during))
        case steps.CutAtLine():
            yield step.during
        case steps.Update():
            yield from _changed(step, stop_after=None)
            yield from _changed(step, slot="next")
            yield from (_with(step, image=image) for image in _simpler_images(step.image))
        case steps.Cable():
            yield from (_with(step, image=image) for image in _simpler_images(step.image))
        case steps.Corrupt():
            yield from _changed(step, bits=1)
            yield from _changed(step, seed=0)
        case steps.Reset():
            yield steps.Boot()
        case steps.Diagnose():
            # a panic is over at once, a hang has to be waited for
            if step.outcome in ("hang", "watchdog", "delay"):
                yield step.model_copy(update={"outcome": "panic", "seconds": None})
        case steps.Crash():
            yield from _changed(step, how="panic")
        case _:
            pass


def _simpler_images(image: Image) -> Iterator[Image]:
    for key, usual in (("variant", None), ("chip", "same"), ("flip", ()), ("keep", 1.0), ("version", "2.0.0")):
        yield from _changed(image, **{key: usual})


def _changed(table: T, **usual: object) -> Iterator[T]:
    if any(getattr(table, key) != value for key, value in usual.items()):
        yield table.model_copy(update=usual)


def _with(table: T, **change: object) -> T:
    return table.model_copy(update=change)
