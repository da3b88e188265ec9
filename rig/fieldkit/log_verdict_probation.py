"""Rules about a new app's first boot: confirmed, gone back from, and what ended it."""

from __future__ import annotations

import re
from typing import NamedTuple

from rig.evidence.events import (
    Decision,
    Event,
    HintKind,
    ImageSegment,
    OtaCall,
    OtadataMarked,
    Panic,
)
from rig.fieldkit.explained import Finding
from rig.fieldkit.log_verdict_ending import End, Ending, ended_before, ending
from rig.fieldkit.log_verdict_facts import Log, Start, calls_of, confirmed_in, emulated, hints_of, witnesses
from rig.fieldkit.verdicts import FieldVerdict

EMULATOR = (
    "the log is an emulator's (its bootloader's clock runs on over resets), where an app may hang or end in an "
    "exception after a soft reset through no fault of its own"
)
_FAILURE = re.compile(r"(?i)time ?out|timed out|\bfail|watchdog|no (?:connection|network|session)")
_UPDATE = re.compile(r"(?i)\bota\b|update|upgrade|firmware")
_CRASHES = (End.CRASH, End.WATCHDOG)
_OWN_FAULT = (End.REJECTED, End.CRASH, End.WATCHDOG, End.SLEEP)
_OUTSIDE = (End.BROWNOUT, End.POWER, End.LINE)
_VERDICTS = {
    **{kind: FieldVerdict.ROLLBACK_CORRECT for kind in _OWN_FAULT},
    **{kind: FieldVerdict.ROLLBACK_ENVIRONMENT_FAULT for kind in _OUTSIDE},
}


class Return(NamedTuple):
    """The bootloader went back from an app on probation. `tried` is None if the log does not show it running."""

    slot: str
    tried: Start | None
    back: Start | None
    cause: Ending | None
    lines: list[int]


def went_back(log: Log) -> list[Finding]:
    """One finding for each way in which a probation ended."""
    return [_finding(log, episode) for episode in returns(log)]


def returns(log: Log) -> list[Return]:
    """Every return that the log shows, in its order."""
    found = _at_the_beginning(log)
    homes = _homes(log)
    for start in log.starts:
        after = log.after(start)
        cause = ending(log, start)
        lines = _shown(log, start, after, cause, homes[start.number])
        if lines is not None:
            slot = start.place or "the new app"
            found.append(Return(slot, start, after, cause, [*lines, *(cause.lines if cause else [])]))
    return found or _unseen(log)


def _shown(log: Log, start: Start, after: Start | None, cause: Ending | None, home: str | None) -> list[int] | None:
    """Lines that show a return from `start` to `after`; None if it is none. `home`: what ran before `start`."""
    if start.calls(OtaCall.ROLLBACK):
        return [start.line, *([after.line] if after else [])]
    if after is None or confirmed_in(log, start) or not (start.boot.loaded or start.place or start.version):
        return None
    if start.refusals or any(refusal.slot == start.place for refusal in after.refusals):
        return None
    if after.states and after.states[0][0] in ("PENDING_VERIFY", "NEW"):
        return None
    marks = [event for event in after.boot.events if isinstance(event, OtadataMarked)]
    if any(mark.state == "ABORTED" for mark in marks):
        return [start.line, *(mark.at.number for mark in marks), after.line]
    if start.place is None or after.place is None or start.place == after.place or marks:
        return None
    ended = log.transitions_of(start.place, start.number) + log.transitions_of(start.place, after.number)
    if any(change.after in ("ABORTED", "INVALID") and change.before == "PENDING_VERIFY" for change in ended):
        return [start.line, after.line, *witnesses(ended)]
    states = [state for state, _ in start.states] + [hint.value for hint in start.hints(HintKind.STATE)]
    if states and states[-1] in ("PENDING_VERIFY", "1"):
        return [start.line, after.line, *(line for _, line in start.states)]
    if states or _chosen_by_app(start, after):
        return None
    if after.place == home or _downwards(start, after, cause) or _gave_up_waiting(log, start):
        return [start.line, after.line]
    return None


def _chosen_by_app(start: Start, after: Start) -> bool:
    """The app checked that image itself, as esp_ota_set_boot_partition does before it names the slot."""
    loaded, next_loaded = start.boot.loaded, after.boot.loaded
    if loaded is None or next_loaded is None:
        return False
    return any(
        isinstance(event, ImageSegment)
        and event.at.offset > loaded.at.offset
        and event.paddr & ~0xFFFF == next_loaded.offset
        for event in start.boot.events
    )


def _homes(log: Log) -> list[str | None]:
    """For each boot the place that ran before it for good: the log's first, until another is confirmed or stays."""
    homes: list[str | None] = []
    home: str | None = None
    before: str | None = None
    for start in log.starts:
        if start.number and log.after(log.starts[start.number - 1]) is None:
            home, before = None, None
        homes.append(home)
        if start.place is None:
            continue
        stayed = start.place == before or "VALID" in [state for state, _ in start.states]
        if home is None or stayed or confirmed_in(log, start):
            home = start.place
        before = start.place
    return homes


def _downwards(start: Start, after: Start, cause: Ending | None) -> bool:
    """Without the boot before: a crash or rejection, and then factory, or an older version."""
    if cause is None or cause.kind not in (End.CRASH, End.WATCHDOG, End.BROWNOUT, End.REJECTED):
        return False
    if after.decisions(Decision.TO_FACTORY) or after.place == "factory":
        return True
    return bool(start.version and after.version and _number(after.version) < _number(start.version))


def _gave_up_waiting(log: Log, start: Start) -> bool:
    """Without the boot before: an app that restarts itself because something failed does not choose another slot."""
    said = start.hints(HintKind.RESTARTS)
    if not said or start.states or any(other.place for other in log.starts[: start.number]):
        return False
    return bool(_FAILURE.search(said[-1].at.text)) and not _UPDATE.search(said[-1].at.text)


def _number(version: str) -> list[int]:
    words = version.lstrip("v").replace("-", ".").split(".")
    return [int(word) for word in words if word.isdigit()]


def _at_the_beginning(log: Log) -> list[Return]:
    """The log's first boot is the return itself: the bootloader marks the entry of the app before it ABORTED."""
    if not log.starts or log.starts[0].refusals:
        return []
    first = log.starts[0]
    marks = [event for event in first.boot.events if isinstance(event, OtadataMarked) and event.state == "ABORTED"]
    if not marks:
        return []
    slots = [change.slot for change in log.reading.transitions if change.boot == 0 and change.after == "ABORTED"]
    slot = slots[0] if slots else f"the app of otadata[{marks[0].entry}]"
    return [Return(slot, None, first, ended_before(first), [*(mark.at.number for mark in marks), first.line])]


def _unseen(log: Log) -> list[Return]:
    """A new app that was lost before it said a word: only otadata tells (a power cut in its bootloader)."""
    found = []
    changes = log.reading.transitions
    for change in changes:
        if change.after != "ABORTED" or change.before != "PENDING_VERIFY" or change.by == "harness":
            continue
        if any(refusal.slot == change.slot for start in log.starts for refusal in start.refusals):
            continue
        earlier = [other for other in changes if other.slot == change.slot and other is not change]
        if any(other.before in ("VALID", "UNDEFINED") and other.after == "NEW" for other in earlier):
            continue
        back = log.starts[change.boot] if 0 <= change.boot < len(log.starts) else None
        if back is not None and back.place == change.slot:
            # the same slot ran again: nothing came back
            continue
        before = log.starts[back.number - 1] if back and back.number else None
        cause = ending(log, before) if before and before.place is None else None
        found.append(Return(change.slot, None, back, cause, witnesses([*earlier, change])))
    return found


def _finding(log: Log, episode: Return) -> Finding:
    cause = episode.cause
    kind = _kind(log, episode)
    tried = f"boot {episode.tried.ordinal}: {episode.tried.name}" if episode.tried else f"{episode.slot}"
    states = {state for state, _ in episode.tried.states} if episode.tried else set()
    watched = not states or bool(states & {"PENDING_VERIFY", "NEW", "INVALID", "ABORTED"})
    reasons = [f"{tried} was on probation: started and not confirmed" if watched else f"{tried} ran, and did not stay"]
    unknown: list[str] = []
    if cause is not None:
        reasons.append(cause.text)
    if kind is FieldVerdict.ROLLBACK_CAUSE_UNKNOWN and cause and cause.kind in _CRASHES:
        reasons.append(EMULATOR)
        unknown.append("the same update with a fresh emulator process for each boot, or on hardware")
    elif kind is FieldVerdict.ROLLBACK_CAUSE_UNKNOWN:
        unknown.append("the lines between the new app's start and the reset: a panic, a watchdog, the reset reason")
    if episode.back is not None and episode.back.place:
        reasons.append(f"then {episode.back.name} was loaded")
    elif returned := hints_of(log.events, HintKind.RETURNED_TO):
        reasons.append(f"then it returned to {returned[-1].value}")
    else:
        unknown.append("the next boot: which app the bootloader loaded")
    return Finding(verdict=kind, reasons=reasons, evidence=sorted(set(episode.lines)), unknown=unknown)


def _kind(log: Log, episode: Return) -> FieldVerdict:
    cause = episode.cause
    if cause and cause.kind in _CRASHES and episode.tried and _emulators_own(log, episode.tried):
        return FieldVerdict.ROLLBACK_CAUSE_UNKNOWN
    if cause is None:
        return FieldVerdict.ROLLBACK_CAUSE_UNKNOWN
    if cause.kind is End.RESTART and episode.tried and episode.tried.hints(HintKind.RESTARTS):
        return FieldVerdict.ROLLBACK_CORRECT
    return _VERDICTS.get(cause.kind, FieldVerdict.ROLLBACK_CAUSE_UNKNOWN)


def _emulators_own(log: Log, tried: Start) -> bool:
    """An emulator may run stale code after a soft reset into another app, and then ends in an exception early on."""
    panic = next((event for event in tried.boot.events if isinstance(event, Panic)), None)
    return bool(emulated(log) and panic and panic.kind == "exception" and not tried.states)


def reported(log: Log) -> Finding | None:
    """ESPHome's safe_mode names the slot and never the cause, save for a brownout (esphome#14113)."""
    hints = hints_of(log.events, HintKind.ROLLED_BACK_FROM)
    if not hints:
        return None
    last = hints[-1]
    power = [hint for hint in hints_of(log.events, HintKind.RESET_CAUSE) if "brown" in hint.value.lower()]
    after = hints_of(log.events, HintKind.CONFIRM_AFTER)
    reasons = [f"the running app reports that the update in '{last.value}' was given up"]
    if after:
        reasons.append(f"an app counts as good after {after[-1].value} s; the new one was reset before")
    else:
        reasons.append("the new one was reset before it was marked successful")
    if power:
        reasons.append(f"and the last reset was due to {power[-1].value}")
    return Finding(
        verdict=FieldVerdict.ROLLBACK_ENVIRONMENT_FAULT if power else FieldVerdict.ROLLBACK_CAUSE_UNKNOWN,
        reasons=reasons,
        evidence=[event.at.number for event in (*hints[-1:], *power[-1:], *after[-1:])],
        unknown=[] if power else ["the new app's own serial log from its first boot to the reset"],
    )


def rejected_itself(log: Log) -> Finding | None:
    """An app that rejects itself, in a log without the bootloader's lines."""
    calls = calls_of(log.reading.before, OtaCall.ROLLBACK)
    if not calls:
        return None
    said = hints_of(log.reading.before, HintKind.REJECTED)
    to = hints_of(log.events, HintKind.RETURNED_TO)
    ran = hints_of(log.reading.before, HintKind.RUNNING)
    back = log.starts[0] if log.starts and log.starts[0].place else None
    slot = f" in {ran[-1].value}" if ran else ""
    reasons = [f"the app{slot} rejected itself: {(said or calls)[-1].at}", f"{calls[-1].at}"]
    if to:
        reasons.append(f"then it returned to {to[-1].value}")
    elif back:
        reasons.append(f"then {back.name} was loaded")
    lines: list[Event] = [*said, *calls, *to, *ran[-1:]]
    return Finding(
        verdict=FieldVerdict.ROLLBACK_CORRECT,
        reasons=reasons,
        evidence=sorted({event.at.number for event in lines} | ({back.line} if back else set())),
        unknown=[] if to or back else ["the next boot: which app the bootloader loaded"],
    )


def confirmed(log: Log) -> Finding | None:
    """A new app marked itself VALID (esp_ota_mark_app_valid_cancel_rollback), or says so in its own words."""
    lines: list[int] = []
    names: list[str] = []
    for start in log.starts:
        if found := confirmed_in(log, start):
            lines += found
            names.append(f"boot {start.ordinal}: {start.name}")
    before: list[Event] = [*hints_of(log.reading.before, HintKind.CONFIRMED, HintKind.SAYS_GOOD)]
    before += calls_of(log.reading.before, OtaCall.MARKED_VALID)
    if not lines and not before:
        return None
    what = "; ".join(names) if names else "the running app"
    lines += [event.at.number for event in before]
    return Finding(
        verdict=FieldVerdict.CONFIRMED,
        reasons=[f"{what}: confirmed at line {min(lines)}; a reset before that line would have ended its probation"],
        evidence=sorted(set(lines)),
    )
