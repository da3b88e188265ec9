"""The ordered boots of a test and every state transition, with the evidence for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rig.evidence.boots import POWER_ON_RESET, Boot, Mark, MarkKind, segment
from rig.evidence.events import (
    AppInfo,
    BootDecision,
    Brownout,
    Decision,
    Event,
    Garbled,
    Hint,
    HintKind,
    OtaCall,
    OtaLine,
    Panic,
    Reset,
    Torn,
    Watchdog,
)
from rig.evidence.observe import Sample, running_slot, slot_states
from rig.evidence.records import BootRecord, Transition
from rig.evidence.transitions import transitions
from rig.idf.partitions import PartitionTable

_SOFTWARE = (3, 12)


class Trace(NamedTuple):
    """`notes`: what could not be placed."""

    boots: list[BootRecord]
    transitions: list[Transition]
    notes: list[str]


def build(
    events: Iterable[Event],
    marks: Sequence[Mark] = (),
    samples: Sequence[Sample] = (),
    table: PartitionTable | None = None,
    began: float = 0.0,
) -> Trace:
    """Boots and transitions of a log.

    `began`: host time (seconds) that counts as 0 in the records. `table`: the partition table, if known; else the
    bootloader's listing is used, and without either no slot can be named.
    """
    log = segment(events, marks, table)
    changes = transitions(log, samples)
    boots = [_record(number, log.boots, changes, samples, began) for number in range(len(log.boots))]
    notes = [f"line {event.at.number}: {event.at} (before the first boot)" for event in log.before]
    resets = [event for event in log.stray if isinstance(event, Reset)]
    resets += [event for boot in log.boots for event in boot.stray if isinstance(event, Reset)]
    if resets:
        notes.append(f"{len(resets)} reset lines without a bootloader after them, first in line {resets[0].at.number}")
    return Trace(boots, changes, notes)


def _record(
    number: int, boots: Sequence[Boot], changes: Sequence[Transition], samples: Sequence[Sample], began: float
) -> BootRecord:
    boot = boots[number]
    after = boots[number + 1] if number + 1 < len(boots) else None
    slot = running_slot(boot)
    first, last = boot.events[0].at, boot.events[-1].at
    info = {event.field: event.value for event in boot.events if isinstance(event, AppInfo)}
    # factory and test have no state: esp_ota_get_state_partition answers ESP_ERR_NOT_SUPPORTED
    states = [
        report.state
        for report in boot.reports
        if report.role == "running" and report.slot == slot and report.state != "ESP_ERR_NOT_SUPPORTED"
    ]
    version = info.get("version") or next(
        (report.version for report in boot.reports if report.role == "running" and report.version), None
    )
    fresh = _fresh_process(boots[number - 1] if number else None)
    return BootRecord(
        index=number,
        started_s=_since(first.time, began),
        ended_s=None if after is None else _since(after.events[0].at.time, began),
        reset=boot.resets[0].reason if boot.resets else None,
        slot=slot,
        offset=f"{boot.loaded.offset:#x}" if boot.loaded else None,
        version=version or _hinted_version(boot),
        elf_sha=info.get("elf_sha"),
        state_on_entry=states[0] if states else None,
        state_on_exit=_exit_state(number, slot, boots, changes, samples) or (states[-1] if states else None),
        ended_by=ended_by(boot, after),
        log_lines=(first.number, last.number),
        notes=_notes(boot) + fresh,
        fresh_process=bool(fresh),
    )


def _since(time: float | None, began: float) -> float:
    return 0.0 if time is None else time - began


def _hinted_version(boot: Boot) -> str | None:
    return next(
        (event.value for event in boot.events if isinstance(event, Hint) and event.kind is HintKind.VERSION), None
    )


def _exit_state(
    number: int,
    slot: str | None,
    boots: Sequence[Boot],
    changes: Sequence[Transition],
    samples: Sequence[Sample],
) -> str | None:
    """By the last transition of the slot within the boot, else by the last sample taken in it."""
    found = [change.after for change in changes if change.slot == slot and change.boot == number]
    if found:
        return found[-1]
    table = boots[number].table
    start = boots[number].events[0].at.offset
    end = boots[number + 1].events[0].at.offset if number + 1 < len(boots) else None
    taken = [sample for sample in samples if sample.offset > start and (end is None or sample.offset <= end)]
    if not taken or table is None or slot is None:
        return None
    return slot_states(taken[-1].parsed, table.ota_count_bootloader).get(slot)


def ended_by(boot: Boot, after: Boot | None) -> str | None:
    """The last thing that ends a boot: what the harness did, what the app printed, or how the next one began."""
    cause: tuple[int, str] | None = None
    watchdog = False
    for event in boot.events:
        said = None
        if isinstance(event, Watchdog) and event.kind == "task":
            watchdog = True
        elif isinstance(event, Panic) and "wdt" in event.cause.lower():
            said = "watchdog (interrupt)"
        elif isinstance(event, Panic):
            said = "watchdog (task)" if watchdog else f"panic ({event.kind})"
        elif isinstance(event, Brownout):
            said = "brownout"
        elif isinstance(event, OtaLine) and event.kind is OtaCall.ROLLBACK:
            said = "rejected itself"
        elif isinstance(event, BootDecision) and event.kind is Decision.NOTHING_BOOTABLE:
            said = "nothing bootable"
        if said and not (cause and isinstance(event, Panic)):
            cause = (event.at.offset, said)
    ends = [
        mark
        for mark in boot.marks
        if mark.kind in (MarkKind.POWER_CUT, MarkKind.RESET_LINE)
        and mark.offset > boot.events[0].at.offset
        and not (boot.stray and boot.stray[0].at.offset < mark.offset)
    ]
    if ends and (cause is None or ends[-1].offset > cause[0]):
        return str(ends[-1].kind)
    if cause:
        return cause[1]
    if any(mark.kind is MarkKind.RESTARTED for mark in boot.marks):
        return "restart"
    resets = [event for event in boot.stray if isinstance(event, Reset)]
    resets += after.resets if after else []
    return _by_reset(resets[0]) if resets else None


def _by_reset(reset: Reset) -> str:
    if reset.number == POWER_ON_RESET:
        return "power loss or reset line"
    if reset.number in _SOFTWARE:
        return "restart"
    for part, cause in (("BROWN", "brownout"), ("WDT", "watchdog"), ("SLEEP", "deep sleep"), ("USB", "reset line")):
        if part in reset.name.upper():
            return cause
    return reset.reason


def _fresh_process(previous: Boot | None) -> list[str]:
    """What the reset reason of a boot does not mean, if the one before it ended in a restart on an emulator."""
    if previous is None or not previous.marks or previous.marks[-1].kind is not MarkKind.RESTARTED:
        return []
    return ["the app asked for a restart; the power-on reset is the bench's doing, which starts the emulator afresh"]


def _notes(boot: Boot) -> list[str]:
    notes = [f"reset again before the bootloader: {reset.reason}" for reset in boot.resets[1:]]
    if boot.banner is None:
        notes.append("no bootloader banner: log level, or lines lost")
    if boot.loaded is not None and boot.slot is None:
        known = "not in the partition table" if boot.table else "no partition table known"
        notes.append(f"loaded from {boot.loaded.offset:#x}: {known}")
    said = {report.slot for report in boot.reports if report.role == "running"}
    if boot.slot and said and said != {boot.slot}:
        notes.append(f"loaded {boot.slot}, but the app says it runs from {', '.join(sorted(said))}")
    damaged = [str(event.at.number) for event in boot.events if isinstance(event, Torn | Garbled)]
    if damaged:
        notes.append(f"damaged lines: {', '.join(damaged)}")
    return notes
