"""How a boot ended: by its own last words, or by the reset that the ROM printed next."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from rig.emulator.faults import restart_announced
from rig.evidence.agentlines import checked
from rig.evidence.boots import POWER_ON_RESET
from rig.evidence.events import (
    AgentLine,
    Brownout,
    Garbled,
    Hint,
    HintKind,
    OtaCall,
    Panic,
    Rebooting,
    Reset,
    ResetReason,
    Watchdog,
)
from rig.fieldkit.log_verdict_facts import SOFTWARE_RESETS, Log, Start


class End(StrEnum):
    """What ended a boot."""

    REJECTED = "rejected itself"
    CRASH = "crash"
    WATCHDOG = "watchdog"
    BROWNOUT = "brownout"
    POWER = "power-on reset"
    LINE = "reset from outside"
    SLEEP = "deep sleep"
    RESTART = "restart"


_NAMES = (
    ("BROWN", End.BROWNOUT),
    ("WDT", End.WATCHDOG),
    ("WATCHDOG", End.WATCHDOG),
    ("PANIC", End.CRASH),
    ("EXCEPTION", End.CRASH),
    ("SLEEP", End.SLEEP),
    ("USB", End.LINE),
)


class Ending(NamedTuple):
    kind: End
    text: str
    lines: list[int]


def ending(log: Log, start: Start) -> Ending | None:
    """How a boot ended, by its own last words, else by the reset that the ROM printed next."""
    for call in start.calls(OtaCall.ROLLBACK, OtaCall.MARKED_INVALID):
        return Ending(End.REJECTED, f"it marked itself INVALID: {call.at}", [call.at.number])
    for hint in start.hints(HintKind.REJECTED):
        return Ending(End.REJECTED, f"it rejected itself: {hint.at}", [hint.at.number])
    panics = [event for event in start.boot.events if isinstance(event, Panic)]
    if panics:
        watched = [event for event in start.boot.events if isinstance(event, Watchdog) and event.kind == "task"]
        kind = End.WATCHDOG if watched or "wdt" in panics[0].cause.lower() else End.CRASH
        lines = [*(event.at.number for event in watched[:3]), panics[0].at.number]
        return Ending(kind, f"it ended in: {_what(panics[0])}", lines)
    if (barked := _rebooted_by(start)) is not None:
        return Ending(End.WATCHDOG, f"the task watchdog reset it: {barked.at}", [barked.at.number])
    for event in start.boot.events:
        if isinstance(event, Brownout):
            return Ending(End.BROWNOUT, "brownout detector triggered", [event.at.number])
    return _by_reset(log, start)


def _what(panic: Panic) -> str:
    return panic.cause if panic.cause.startswith(panic.kind) else f"{panic.kind}: {panic.cause}"


def _by_reset(log: Log, start: Start) -> Ending | None:
    after = log.after(start)
    resets = [event for event in start.boot.stray if isinstance(event, Reset)]
    if after:
        resets += after.boot.resets
    elif start is log.starts[-1]:
        resets += [event for event in log.reading.stray if isinstance(event, Reset)]
    found = _by_name(resets[0].name, f"next reset: {resets[0].reason}", resets[0].at.number) if resets else None
    for event in after.boot.events if after and found is None else []:
        if isinstance(event, ResetReason):
            found = found or _by_name(event.name, f"the next boot reports the reset: {event.name}", event.at.number)
        elif isinstance(event, Hint) and event.kind is HintKind.RESET_CAUSE:
            found = found or _by_name(event.value, f"the next boot reports the reset: {event.value}", event.at.number)
    if found or not resets:
        return found
    first, text = resets[0], f"next reset: {resets[0].reason}"
    if first.number in SOFTWARE_RESETS and (barked := _last_word(start)) is not None:
        return Ending(End.WATCHDOG, f"the task watchdog reset it: {barked.at}", [barked.at.number, first.at.number])
    if first.number in SOFTWARE_RESETS:
        said = start.hints(HintKind.RESTARTS)
        text = f"it restarted itself: {said[-1].at}" if said else text
        return Ending(End.RESTART, text, [*(hint.at.number for hint in said[-1:]), first.at.number])
    if first.number == POWER_ON_RESET and not _announced(start):
        watched = [event for event in start.boot.events if isinstance(event, Watchdog) and event.kind == "task"]
        if watched:
            text += f"; before it the task watchdog had triggered {len(watched)} times without a reset"
        return Ending(End.POWER, text, [*(event.at.number for event in watched[:1]), first.at.number])
    return None


def _rebooted_by(start: Start) -> Watchdog | None:
    """The task watchdog, if the panic handler said after it that it reboots."""
    events = start.boot.events
    last = max((number for number, event in enumerate(events) if isinstance(event, Rebooting)), default=0)
    found = [event for event in events[:last] if isinstance(event, Watchdog) and event.kind == "task"]
    return found[-1] if found else None


def _last_word(start: Start) -> Watchdog | None:
    """The task watchdog, if nothing else was said before the reset: its panic handler prints no cause of its own."""
    said = [event for event in start.boot.events if not isinstance(event, Garbled)]
    return said[-1] if said and isinstance(said[-1], Watchdog) and said[-1].kind == "task" else None


def ended_before(start: Start) -> Ending | None:
    """How the boot before this one ended, which is not in the log: by this one's reset line."""
    resets = start.boot.resets
    if not resets:
        return None
    first = resets[0]
    text = f"reset: {first.reason}"
    if first.number == POWER_ON_RESET:
        return Ending(End.POWER, text, [first.at.number])
    return _by_name(first.name, text, first.at.number)


def _by_name(name: str, text: str, line: int) -> Ending | None:
    """What a reset's name says, the ROM's or an app's (esp_reset_reason); power-on and software say too little."""
    return next((Ending(kind, text, [line]) for part, kind in _NAMES if part in name.upper()), None)


def _announced(start: Start) -> bool:
    """The test agent said that it restarts: on an emulator every boot then begins like a power-on."""
    said = [line for event in start.boot.events if isinstance(event, AgentLine) and (line := checked(event))]
    return restart_announced(said)
