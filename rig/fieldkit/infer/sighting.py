"""What one boot of a log says that an explanation must agree with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rig.evidence.agentlines import facts as agent_facts
from rig.evidence.boots import GAVE_UP, Boot
from rig.evidence.events import (
    AgentLine,
    BootDecision,
    Decision,
    Event,
    Hint,
    HintKind,
    OtaCall,
    OtadataMarked,
    OtadataReport,
    OtaLine,
    Panic,
    Watchdog,
)
from rig.fieldkit.explained import ExplainedBoot
from rig.fieldkit.log_boot import hinted_slot, sequence_numbers, state_of
from rig.fieldkit.log_case import Case
from rig.idf.otadata import SelectEntry, parse

DECISIONS = frozenset(
    {
        Decision.TO_FACTORY,
        Decision.NO_FACTORY,
        Decision.OTADATA_BAD_FACTORY,
        Decision.OTADATA_BAD_TRY_ALL,
        Decision.OTADATA_INITIAL,
        Decision.SEQ_SET,
        Decision.NOTHING_BOOTABLE,
    }
)
"""Those that the model's bootloader prints at INFO or above."""
POWER_ON = "0x1 (POWERON"


class Sighting(NamedTuple):
    """One boot. None: the log does not say.

    `decisions`: those of DECISIONS that its bootloader printed; `complete`: it printed no others, the log shows it from
    the partition listing on.
    `state`: of the running slot as the app said first; `entries`: otadata as the app printed it; `seqs`: sequence
    numbers as the bootloader printed them; `marked`: entries that it says it rewrote, None where it would not say.
    `ends`: how the boot ended, as far as a step of a scenario can do it again.
    """

    number: int
    slot: str | None
    gave_up: bool
    version: str | None
    decisions: frozenset[Decision]
    complete: bool
    rejected: frozenset[str]
    state: str | None
    entries: tuple[SelectEntry | None, SelectEntry | None]
    seqs: tuple[int, int] | None
    marked: frozenset[tuple[int, str]] | None
    confirms: bool
    rejects: bool
    ends: str | None
    powered: bool


def sightings(case: Case) -> list[Sighting]:
    """One for each boot that the log shows to have come to a decision or to an app."""
    found = [_sighting(number, case) for number in range(len(case.boots))]
    return [item for item in found if item.slot or item.gave_up or item.decisions or item.state]


def _sighting(number: int, case: Case) -> Sighting:
    boot, told = case.boots[number], case.told[number]
    kinds = [event.kind for event in boot.events if isinstance(event, BootDecision)]
    seqs = sequence_numbers(boot)
    calls = {event.kind for event in boot.events if isinstance(event, OtaLine)}
    hints = {event.kind for event in boot.events if isinstance(event, Hint)}
    after = case.boots[number + 1] if number + 1 < len(case.boots) else None
    return Sighting(
        number=number,
        slot=_slot(boot, told),
        gave_up=any(kind in GAVE_UP for kind in kinds),
        version=told.version,
        decisions=frozenset(kinds) & DECISIONS,
        complete=Decision.TABLE_END in kinds and (boot.loaded is not None or bool(set(kinds) & set(GAVE_UP))),
        rejected=frozenset(item.slot for item in told.rejected if item.slot),
        state=_state(boot, told.slot),
        entries=_entries(boot),
        seqs=(seqs[0], seqs[1]) if len(seqs) == 2 else None,
        marked=_marked(boot) if seqs else None,
        confirms=OtaCall.MARKED_VALID in calls or HintKind.CONFIRMED in hints or _diagnosed(boot, "confirmed"),
        rejects=OtaCall.ROLLBACK in calls or HintKind.REJECTED in hints or _diagnosed(boot, "rejecting"),
        ends=_ends(boot),
        powered=after is not None and bool(after.resets) and after.resets[0].reason.startswith(POWER_ON),
    )


def _slot(boot: Boot, told: ExplainedBoot) -> str | None:
    """Where the table is not listed, an offset stands for its slot until the layout is known."""
    return told.slot or hinted_slot(boot) or told.loaded_offset


def _state(boot: Boot, slot: str | None) -> str | None:
    for event in boot.events:
        for report in agent_facts(event) if isinstance(event, AgentLine) else [event]:
            role, state = getattr(report, "role", None), getattr(report, "state", None)
            if role == "running" and state:
                return str(state)
        if isinstance(event, Hint) and event.kind is HintKind.STATE:
            return state_of(event)
    return None


def _entries(boot: Boot) -> tuple[SelectEntry | None, SelectEntry | None]:
    """As they were first shown in this boot."""
    found: dict[int, SelectEntry] = {}
    for report in _reports(boot.events):
        found.setdefault(report.entry, parse(report.data))
    return found.get(0), found.get(1)


def _reports(events: Sequence[Event]) -> list[OtadataReport]:
    found: list[OtadataReport] = []
    for event in events:
        shown = agent_facts(event) if isinstance(event, AgentLine) else [event]
        found += [item for item in shown if isinstance(item, OtadataReport)]
    return found


def _marked(boot: Boot) -> frozenset[tuple[int, str]]:
    return frozenset((event.entry, event.state) for event in boot.events if isinstance(event, OtadataMarked))


def _diagnosed(boot: Boot, result: str) -> bool:
    """By the test app's agent."""
    return any(
        isinstance(event, AgentLine) and b" diag " in event.at.raw and f"result={result}".encode() in event.at.raw
        for event in boot.events
    )


def _ends(boot: Boot) -> str | None:
    if any(isinstance(event, Panic) for event in boot.events):
        return "panic"
    if any(isinstance(event, Watchdog) and event.kind == "task" for event in boot.events):
        return "watchdog"
    return None
