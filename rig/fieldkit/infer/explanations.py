"""All explanations of a log, likeliest first, as scenarios that have been played and do show what the log shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from rig.evidence.events import AppInfo, BootDecision, Decision
from rig.fieldkit.infer.layout import Layout, layouts
from rig.fieldkit.infer.retold import retold
from rig.fieldkit.infer.search import MOST_BOOTS, Way, ways
from rig.fieldkit.infer.sighting import Sighting, sightings
from rig.fieldkit.infer.world import World
from rig.fieldkit.log_case import Case
from rig.fieldkit.play import Played
from rig.fieldkit.scenario import Expect, Scenario
from rig.fieldkit.subject import SeenBoot
from rig.idf.chips import chip
from rig.idf.config import IDF_VERSIONS, BootConfig, idf_family
from rig.idf.errors import FormatError

ALIKE = {"v4.4": "v5.1", "v6.1": "v6.0"}
"""Versions whose calls treat otadata as those of another do, as far as a search goes."""
PLAYED = 8
"""Explanations that are told, the likeliest ones."""
MOST_PLAYED = 40
"""So many are played at most until enough came about."""
_MIXED = 1.0
"""How odd a bootloader is that was built without the rollback its apps count on."""
CHIP = "esp32c3"

Player = Callable[[Scenario, str], Played | None]
"""Plays a scenario for an ESP-IDF version at once; None for one that cannot be."""


class Explained(NamedTuple):
    """One explanation. `cost`: how odd it is, 0 for nothing odd at all; `scenario` expects what the log shows."""

    cost: float
    rollback: str
    layout: str
    idf_versions: tuple[str, ...]
    scenario: Scenario


class Inferred(NamedTuple):
    """`found`: how many beginnings explain the log; the likeliest are told. `why_none`: in words, where there are none.

    `boots`: so many boots of the log were gone through.
    """

    explanations: list[Explained]
    found: int
    tried: int
    boots: int
    why_none: str | None


class _Candidate(NamedTuple):
    layout: Layout
    config: BootConfig
    app_config: BootConfig
    way: Way


def infer(case: Case, name: str, play: Player) -> Inferred:
    """Everything that explains the boots of a log, by the model; `name` is that of the scenarios."""
    seen = sightings(case)[:MOST_BOOTS]
    if (why := _hopeless(case, seen)) is not None:
        return Inferred([], 0, 0, len(seen), why)
    candidates: list[_Candidate] = []
    tried = 0
    for layout in layouts(case.boots, seen):
        for config, app_config in configurations(case):
            world = World(layout, config, app_config)
            tried += 1
            odd = _MIXED if config != app_config else 0.0
            candidates += [
                _Candidate(layout, config, app_config, way._replace(cost=way.cost + odd)) for way in ways(world, seen)
            ]
    merged = _merged(candidates)
    told: list[Explained] = []
    for cost, versions, candidate in merged[:MOST_PLAYED]:
        if len(told) == PLAYED:
            break
        layout, config, app_config, way = candidate
        scenario = retold(layout, config, app_config, way, seen, f"{name}-{len(told) + 1}", versions)
        if (checked := _checked(scenario, versions, seen, layout, play)) is not None:
            shown = checked.firmware.idf_versions
            told.append(Explained(cost, _mode(config, app_config), layout.name, shown, checked))
    why = None if told else "no otadata, configuration or ESP-IDF version of the model shows these boots in this order"
    if merged and not told:
        why = f"{len(merged)} beginnings explain these boots in the search, but none of them came about when played"
    return Inferred(told, len(merged), tried, len(seen), why)


def _hopeless(case: Case, seen: Sequence[Sighting]) -> str | None:
    if not seen:
        return "the log shows no boot with a decision or a slot"
    kinds = {event.kind for event in case.all(BootDecision)}
    if Decision.ANTI_ROLLBACK in kinds:
        return "with anti-rollback the eFuse decides, too, and no log says what every image asks for: give a flash dump"
    if not any(item.slot for item in seen):
        return "no app was started in any boot: otadata cannot be told from that; give a flash dump"
    return None


def _mode(config: BootConfig, app_config: BootConfig) -> str:
    if config != app_config:
        return "app rollback, but not in the bootloader"
    return "app rollback" if config.rollback else "no app rollback"


def configurations(case: Case) -> list[tuple[BootConfig, BootConfig]]:
    """Of bootloader and apps, with and without rollback, for each ESP-IDF version that the log does not rule out."""
    base = BootConfig(chip=CHIP, chip_revision=chip(CHIP).revision)
    told = {_family(boot.bootloader) for boot in case.told} | {
        _family(event.value) for event in case.all(AppInfo) if event.field == "idf_version"
    }
    known = [version for version in IDF_VERSIONS if version in told]
    versions = known if len(known) == 1 else [version for version in IDF_VERSIONS if version not in ALIKE]
    found = []
    for version in versions:
        on, off = (replace(base, idf_version=version, rollback=rollback) for rollback in (True, False))
        found += [(on, on), (off, off), (off, on)]
    return found


def _family(version: str | None) -> str | None:
    try:
        return idf_family(version) if version else None
    except FormatError:
        return None


def _merged(candidates: Sequence[_Candidate]) -> list[tuple[float, tuple[str, ...], _Candidate]]:
    """The same story under several ESP-IDF versions told once; cheapest first."""
    stories: dict[tuple[object, ...], list[_Candidate]] = {}
    for item in candidates:
        stories.setdefault(
            (item.layout, item.config.rollback, item.app_config.rollback, item.way.begin, item.way.acts), []
        ).append(item)
    found = [
        (group[0].way.cost, tuple(item.config.idf_version for item in group), group[0]) for group in stories.values()
    ]
    return sorted(found, key=lambda item: (item[0], not item[2].config.rollback))


def _checked(
    scenario: Scenario, versions: Sequence[str], seen: Sequence[Sighting], layout: Layout, play: Player
) -> Scenario | None:
    """About those versions on which the log's boots come up, and come up alike; with them as its expectation."""
    came: dict[str, tuple[SeenBoot, ...]] = {}
    for version in versions:
        played = play(scenario, version)
        if played is not None and _shows(played.boots, seen, layout):
            came[version] = played.boots
    if not came:
        return None
    boots = next(iter(came.values()))
    expect = Expect(
        booted=tuple(boot.slot or "none" for boot in boots), states=tuple(boot.state or "-" for boot in boots)
    )
    alike = tuple(version for version, others in came.items() if others == boots)
    firmware = scenario.firmware.model_copy(update={"idf_versions": alike})
    return scenario.model_copy(update={"firmware": firmware, "expect": (expect,)})


def _shows(boots: Sequence[SeenBoot], seen: Sequence[Sighting], layout: Layout) -> bool:
    """Whether the boots of the log are among those that were played, in their order; there may be more."""
    left = iter(boots)
    for item in seen:
        slot = layout.named(item.slot)
        if slot is not None and not any(boot.slot == slot for boot in left):
            return False
    return True
