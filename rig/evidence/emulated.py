"""What must be known of an emulator before its log is believed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rig.emulator.faults import restart_announced
from rig.evidence.agentlines import checked, word
from rig.evidence.app_calls import AppCall
from rig.evidence.boots import Boot, Mark, MarkKind
from rig.evidence.events import (
    AgentLine,
    AppLoaded,
    BootloaderStart,
    Event,
    NotSigned,
    OtaLine,
    Panic,
    Reset,
    RomBanner,
)
from rig.evidence.judge import Judgement
from rig.evidence.records import Verdict

AFTERGLOW_S = 0.3
"""QEMU writes to flash while the guest goes on, so an app that loses power at a mutation prints for a moment more."""
CRASHED_UNASKED = (
    "the app ended without announcing a restart and without being asked to crash: on an emulator that may be the "
    "emulator's fault; repeat the test, or run it on hardware"
)


def believable(
    events: Iterable[Event], cuts: Sequence[Mark], calls: Sequence[AppCall], restarts: Sequence[int] = ()
) -> list[Event]:
    """Without what an emulated app said when it had lost its power already. `cuts`: those at a flash mutation.

    That is whatever came right before the cut, and from the beginning of the call that it interrupted, but nothing of
    an earlier boot. `restarts`: bytes of log after which the guest had reset itself, though the next boot may have said
    nothing yet.
    """
    kept = list(events)
    for cut in cuts:
        starts = [event.at.offset for event in kept if isinstance(event, _STARTS) and event.at.offset < cut.offset]
        starts += [offset for offset in restarts if offset <= cut.offset]
        boot = max(starts, default=0)
        interrupted = [call.start for call in calls if call.error is None and boot <= call.start <= cut.offset]
        since = min(interrupted, default=cut.offset)
        kept = [event for event in kept if event.at.offset < boot or not _said_too_late(event, since, cut)]
    return kept


_STARTS = (RomBanner, Reset, BootloaderStart)


def _said_too_late(event: Event, since: int, cut: Mark) -> bool:
    if not isinstance(event, AgentLine | OtaLine) or event.at.offset >= cut.offset:
        return False
    if isinstance(event, AgentLine) and word(event) == "start":
        return False
    if event.at.offset >= since:
        return True
    return event.at.time is not None and cut.time is not None and event.at.time >= cut.time - AFTERGLOW_S


def crashes(boots: Sequence[Boot]) -> list[Judgement]:
    """Known faults of QEMU look like firmware that crashes, so an unasked crash there says nothing of the firmware,
    unless the firmware said why.
    """
    return [
        Judgement(Verdict.BENCH_FAULT, f"boot {number}: {CRASHED_UNASKED}", _last_words(boot))
        for number, boot in enumerate(boots)
        if any(mark.kind is MarkKind.RESTARTED for mark in boot.marks)
        and not any(mark.kind is MarkKind.CRASH_ASKED for mark in boot.marks)
        and any(isinstance(event, AppLoaded | AgentLine) for event in boot.events)
        and not any(isinstance(event, NotSigned) for event in boot.events)
        and not _announced(boot)
    ]


def _last_words(boot: Boot) -> str:
    return "\n".join(f"line {event.at.number}: {event.at}" for event in boot.events if isinstance(event, Panic))


def _announced(boot: Boot) -> bool:
    said = [line for event in boot.events if isinstance(event, AgentLine) and (line := checked(event))]
    return restart_announced(said)
