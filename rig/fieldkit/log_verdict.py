"""What may be said of a serial log: rules from its reading to findings, weightiest first. Pure.

Each rule claims only what the log's own lines show; where the decisive line is missing, the finding is
`inconclusive` and names what would settle it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

from rig.evidence.events import AppLoaded, Decision, HintKind, Panic, PartitionRow, RomFault
from rig.fieldkit import log_verdict_boot as boot
from rig.fieldkit import log_verdict_otadata as otadata
from rig.fieldkit import log_verdict_probation as probation
from rig.fieldkit import log_verdict_update as update
from rig.fieldkit.explained import Finding
from rig.fieldkit.log_reading import Reading
from rig.fieldkit.log_verdict_facts import Log, emulated, hints_of, view
from rig.fieldkit.verdicts import WEIGHT, FieldVerdict

Rule = Callable[[Log], Finding | None]

RULES: tuple[Rule, ...] = (
    boot.rom_only,
    boot.held_in_download,
    boot.unstable_flash,
    boot.flashed_wrong,
    boot.does_not_fit,
    boot.broken_table,
    boot.unbootable,
    boot.fell_back,
    boot.degraded,
    otadata.wrong_slot,
    otadata.no_otadata,
    otadata.not_signed,
    otadata.bad_table,
    otadata.not_armed,
    otadata.foreign,
    otadata.target_lost,
    probation.reported,
    probation.rejected_itself,
    probation.confirmed,
    update.rejected,
)
_ALIKE = 5
"""So many findings with one verdict are told one by one."""

_EFFECTS = {
    FieldVerdict.UNBOOTABLE_HARDWARE: (FieldVerdict.BENCH_FAULT, FieldVerdict.UNBOOTABLE),
    FieldVerdict.BENCH_FAULT: (FieldVerdict.UNBOOTABLE,),
    FieldVerdict.MISCONFIGURATION: (FieldVerdict.BENCH_FAULT, FieldVerdict.UNBOOTABLE),
    FieldVerdict.OTADATA_FOREIGN: (FieldVerdict.UNBOOTABLE,),
}
"""What explains what: where the cause is found, its effect is no finding of its own."""


def findings(reading: Reading) -> list[Finding]:
    """Everything that the log shows, weightiest first; at least one."""
    log = view(reading)
    found = [finding for rule in RULES if (finding := rule(log)) is not None]
    found += probation.went_back(log)
    found = _without_effects(found)
    if not found:
        found = [healthy(log) or inconclusive(log)]
    return _few(sorted(found, key=lambda finding: WEIGHT[finding.verdict]))


def _few(found: list[Finding]) -> list[Finding]:
    """Of many findings with one verdict the first ones, the last of which says how many more there are."""
    kept: list[Finding] = []
    for verdict, alike in groupby(found, key=lambda finding: finding.verdict):
        same = list(alike)
        if len(same) > _ALIKE:
            last = same[_ALIKE - 1]
            more = (
                f"and {len(same) - _ALIKE} more times {verdict}, the last at line {max(same[-1].evidence, default=0)}"
            )
            same = [*same[: _ALIKE - 1], last.model_copy(update={"reasons": [*last.reasons, more]})]
        kept += same
    return kept


def _without_effects(found: list[Finding]) -> list[Finding]:
    effects = {effect for finding in found for effect in _EFFECTS.get(finding.verdict, ())}
    return [finding for finding in found if finding.verdict not in effects]


def healthy(log: Log) -> Finding | None:
    """An app was loaded and went on; nothing changed an image state but the bootloader's first entry."""
    started = [start for start in log.starts if start.boot.loaded]
    if not started or started[-1] is not log.starts[-1]:
        return None
    last = started[-1]
    loaded = last.boot.loaded
    assert loaded is not None
    after = [event for event in last.boot.events if event.at.offset > loaded.at.offset]
    if not after or any(isinstance(event, Panic) for event in log.events):
        return None
    if hints_of(log.reading.before, HintKind.RESTARTS):
        return None
    first = last.decisions(Decision.SEQ_SET)
    reasons = [f"boot {start.ordinal}: {start.name} was loaded" for start in started[:3]]
    if not loaded.checked:
        reasons.append("out of deep sleep by the bootloader's fast path, which starts the app it started before")
    faults = [event for event in log.events if isinstance(event, RomFault)]
    if faults:
        reasons.append(f"before it the ROM could not start the bootloader ({faults[-1].at}); the next try did")
    if last.states:
        reasons.append(f"state of the running slot: {last.states[-1][0]}")
    if first:
        reasons.append("first boot: the bootloader wrote sequence number 1 to otadata[0]")
    return Finding(
        verdict=FieldVerdict.NO_TRANSITION,
        reasons=reasons,
        evidence=[*(start.line for start in started[:3]), *(event.at.number for event in first)],
    )


def inconclusive(log: Log) -> Finding:
    """What is there, and what would settle it."""
    reasons: list[str] = []
    unknown: list[str] = []
    lines: list[int] = []
    last = log.starts[-1] if log.starts else None
    faults = [event for event in log.events if isinstance(event, RomFault)]
    if faults:
        reasons.append(f"the ROM could not start the bootloader at first ({faults[-1].at})")
        lines.append(faults[-1].at.number)
        unknown.append("whether it comes again at every power-on: supply, flash, and time after the reset")
    panics = [event for event in log.events if isinstance(event, Panic)]
    if panics:
        reasons.append(f"an app ended in: {panics[-1].cause}")
        lines.append(panics[-1].at.number)
        unknown.append("the app's lines before it, and the next boot's lines up to 'Loaded app from partition'")
    restarts = hints_of(log.reading.before, HintKind.RESTARTS)
    if restarts:
        reasons.append(f"an app restarted itself: {restarts[-1].at}")
        lines.append(restarts[-1].at.number)
        unknown.append("which slot it ran from and in which state: the lines of its start")
    if last is not None and last.refusals and not last.boot.loaded:
        reasons += [f"the bootloader refused {refusal}" for refusal in last.refusals]
        lines += [line for refusal in last.refusals for line in refusal.lines]
        unknown.append("the bootloader's next lines: which image it loaded then, or none")
    elif last is not None and not last.boot.loaded:
        place = "the partition table" if any(isinstance(e, PartitionRow) for e in last.boot.events) else "its beginning"
        reasons.append(f"the log shows a boot up to {place}, and the choice of the app is not in it")
        lines.append(last.boot.events[-1].at.number)
        unknown.append("the bootloader's lines after it, at log level DEBUG")
    elif last is not None and any(isinstance(event, AppLoaded) for event in last.boot.events):
        reasons.append(f"{last.name} was loaded, and nothing more is known of it")
        lines.append(last.line)
        unknown.append("the app's own lines after its start")
        if emulated(log):
            reasons.append(probation.EMULATOR)
            unknown.append("the same update with a fresh emulator process for each boot, or on hardware")
    unknown.append(log.otadata_dump)
    return Finding(
        verdict=FieldVerdict.INCONCLUSIVE,
        reasons=reasons or ["no line of this log decides anything about an update or a boot"],
        evidence=sorted(set(lines)),
        unknown=unknown,
    )
