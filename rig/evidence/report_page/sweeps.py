"""Power-cut sweeps as the report tells them: classes with their signs, reasons, windows and findings, put together."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count

from rig.evidence.records import CutFinding, RiskyWindow, RunRecord, Severity, SweepRecord
from rig.evidence.report_page.text import one_line

SEVERITIES = {
    Severity.GOOD: "the device is as it should be after a power cut",
    Severity.HAZARD: "what ESP-IDF does there, and it hurts",
    Severity.BROKEN: "must not happen",
}
"""Mildest first, with their meaning."""

TIMES = (
    "Milliseconds are an estimate: the flash operations in which a cut is risky, by Winbond's W25Q32JV data sheet: "
    "sector erase (4 KiB) 45 ms typical, 400 ms maximum; page program 0.7 ms typical, 3 ms maximum."
)
COVERED = (
    "Covered images were not booted: each agrees with a booted one in every byte that was read for it, "
    "so it boots the same way."
)
BITS_ONLY = "Only if single bits of one program stay as they were"
_COLOURS = {Severity.GOOD: ("g", 6), Severity.HAZARD: ("h", 9), Severity.BROKEN: ("b", 6)}


@dataclass
class Shown:
    """A class of outcomes in the legend. `sign`: its letter in the map; `colour`: the style variable of its colour."""

    name: str
    severity: Severity
    meaning: str
    sign: str
    colour: str
    images: int = 0


@dataclass
class SharedWindow:
    """A risky window that several sweeps have in common, in all but the names of its crash images."""

    window: RiskyWindow
    sweeps: list[SweepRecord] = field(default_factory=list)


@dataclass
class SharedHazard:
    """Hazards of one sweep against which the same helps."""

    remedy: str
    source: str
    findings: list[CutFinding] = field(default_factory=list)


def legend(sweeps: Iterable[SweepRecord]) -> dict[str, Shown]:
    """Every class that occurs, mildest first, with the images of all sweeps; those in cells without a sum, too."""
    found: dict[str, Shown] = {}
    for sweep in sweeps:
        for outcome in sweep.outcomes:
            shown = found.setdefault(outcome.name, Shown(outcome.name, outcome.severity, outcome.meaning, "", ""))
            shown.images += outcome.images
        for name in (name for mutation in sweep.mutations for name in (mutation.outcome, mutation.worst)):
            found.setdefault(name, Shown(name, Severity.GOOD, "", "", ""))
    order = list(SEVERITIES)
    ordered = sorted(found.values(), key=lambda shown: order.index(shown.severity))
    used = {severity: count() for severity in order}
    for number, shown in enumerate(ordered):
        letter, colours = _COLOURS[shown.severity]
        shown.sign = _sign(number)
        shown.colour = f"--{letter}{next(used[shown.severity]) % colours}"
    return {shown.name: shown for shown in ordered}


def for_script(classes: dict[str, Shown]) -> str:
    """Sign, name, severity and colour of each class as JSON, in the order that the map refers to."""
    rows = [[shown.sign, one_line(shown.name), shown.severity.value, shown.colour] for shown in classes.values()]
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False)


def covered(sweep: SweepRecord) -> int:
    """Crash images that a booted one stands for."""
    return max(0, sweep.images + sweep.nested_images - sweep.booted)


def images_of(run: RunRecord) -> int:
    """Crash images of all sweeps, those of second cuts included."""
    return sum(sweep.images + sweep.nested_images for sweep in run.sweeps)


def in_short(run: RunRecord) -> str:
    """`4 power-cut sweeps, 9,480 crash images: 679 at a hazard, 0 broken`."""
    found: Counter[Severity] = Counter()
    for outcome in (outcome for sweep in run.sweeps for outcome in sweep.outcomes):
        found[outcome.severity] += outcome.images
    images = number(images_of(run), "crash image")
    hurt = f"{found[Severity.HAZARD]:,} at a hazard, {found[Severity.BROKEN]:,} broken"
    return f"{number(len(run.sweeps), 'power-cut sweep')}, {images}: {hurt}"


def deviations(sweep: SweepRecord) -> list[CutFinding]:
    """What the board did otherwise than the model."""
    return [finding for finding in sweep.findings if finding.kind == "deviation"]


def hazards(sweep: SweepRecord) -> list[SharedHazard]:
    """What board and model agree on, and what hurts; together where the same helps."""
    found: dict[tuple[str, str], SharedHazard] = {}
    for finding in (finding for finding in sweep.findings if finding.kind == "hazard"):
        key = finding.remedy, finding.source
        found.setdefault(key, SharedHazard(*key)).findings.append(finding)
    return list(found.values())


def told(finding: CutFinding, sweep: SweepRecord) -> str:
    """What was found, without the meaning of its class, which the table of outcomes tells."""
    text = finding.what
    for outcome in sweep.outcomes:
        text = text.removesuffix(f": {outcome.meaning}") if outcome.meaning else text
    return text


def windows(sweeps: Iterable[SweepRecord]) -> list[SharedWindow]:
    """The risky windows of all sweeps, each once."""
    found: dict[str, SharedWindow] = {}
    for sweep in sweeps:
        for window in sweep.windows:
            key = window.model_dump_json(exclude={"first", "last"})
            found.setdefault(key, SharedWindow(window)).sweeps.append(sweep)
    return list(found.values())


def shared_by_bytes(found: Iterable[SharedWindow]) -> list[SharedWindow]:
    """As `by_bytes`."""
    return [shared for shared in found if not shared.window.single_bits]


def shared_by_bits(found: Iterable[SharedWindow]) -> list[SharedWindow]:
    """As `by_bits`."""
    return [shared for shared in found if shared.window.single_bits]


def by_bytes(found: Iterable[RiskyWindow]) -> list[RiskyWindow]:
    """Those that a cut reaches when flash writes its bytes one after the other, as far as it goes."""
    return [window for window in found if not window.single_bits]


def by_bits(found: Iterable[RiskyWindow]) -> list[RiskyWindow]:
    """Those that only single bits reach which a cut leaves as they were, in the middle of one program."""
    return [window for window in found if window.single_bits]


def reason(sweep: SweepRecord) -> str:
    """Why its verdict is no pass, in a line; empty if nothing is wrong."""
    if sweep.reason:
        return sweep.reason
    parts = [
        f"{outcome.name}: {number(outcome.images, 'crash image')}, in the model {outcome.model_images:,}"
        for outcome in reversed(sweep.outcomes)
        if outcome.severity is Severity.BROKEN and outcome.images
    ]
    if images := sum(finding.images for finding in deviations(sweep)):
        do = "does" if images == 1 else "do"
        parts.append(f"{number(images, 'crash image')} {do} otherwise than the model of ESP-IDF {sweep.idf_version}")
    return "; ".join(parts)


def replay(image: str) -> str:
    """The command that boots a crash image to look at it."""
    return f"rig crash replay {image}"


def width(window: RiskyWindow) -> str:
    """Of a window in mutations, in words."""
    if window.mutations:
        return number(window.mutations, "mutation")
    return "within one mutation" if _cut(window.first) == _cut(window.last) else "within the mutations"


def number(value: int, what: str) -> str:
    """`1 crash image`, `2,342 crash images`."""
    return f"{value:,} {what}{'' if value == 1 else 's'}"


def by_severity(shown: Iterable[Shown]) -> list[tuple[Severity, list[Shown]]]:
    """Classes grouped, mildest first; severities without a class are left out."""
    found = list(shown)
    groups = [(severity, [one for one in found if one.severity is severity]) for severity in SEVERITIES]
    return [(severity, some) for severity, some in groups if some]


def _cut(name: str) -> str:
    return name.partition("/torn-")[0]


def _sign(place: int) -> str:
    """A to Z, then AA, AB, …"""
    first, second = divmod(place, 26)
    return (chr(ord("A") + first - 1) if first else "") + chr(ord("A") + second)
