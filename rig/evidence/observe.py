"""What is known of the slots' states, and when: samples of otadata, reports of the app, lines of the bootloader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from rig.evidence.agentlines import facts
from rig.evidence.boots import Boot
from rig.evidence.events import (
    AgentLine,
    BootDecision,
    Decision,
    Event,
    Hint,
    HintKind,
    Line,
    OtaCall,
    OtadataMarked,
    OtadataReport,
    OtadataSequence,
    OtaLine,
    SlotMapped,
    SlotRejected,
    SlotReport,
)
from rig.idf.otadata import ERASED_LABEL, ERASED_SEQ, SelectEntry, parse, slot_index, state_name

NO_ENTRY = "none"
_NO_STATE = "ESP_ERR_NOT_FOUND"
_NO_SLOT_STATE = "ESP_ERR_NOT_SUPPORTED"

By = Literal["bootloader", "app", "harness"]


class Sample(NamedTuple):
    """Both otadata entries (32 bytes each) as the app reported them or the ROM loader read them from flash.

    `offset`: bytes of raw log that had arrived by then; `time` in seconds of the host's clock.
    """

    entries: tuple[bytes, bytes]
    source: Literal["app", "flash"]
    offset: int
    time: float | None = None

    @property
    def parsed(self) -> tuple[SelectEntry, SelectEntry]:
        return parse(self.entries[0]), parse(self.entries[1])

    def describe(self) -> str:
        return f"otadata ({self.source}): " + "; ".join(
            f"[{number}] {describe_entry(data)}" for number, data in enumerate(self.entries)
        )


class Observation(NamedTuple):
    """`slot` was in `state`. `by`: who is seen changing it, None if only the state is seen. `boot` -1: before any."""

    slot: str
    state: str
    boot: int
    by: By | None
    before: str | None
    witness: str
    offset: int


def describe_entry(data: bytes) -> str:
    """One entry for a person; two that differ read differently."""
    entry = parse(data)
    if data == b"\xff" * 32:
        return "erased"
    crc = "" if entry.crc_ok else f", CRC {entry.crc:#010x} wrong"
    label = "" if entry.label == ERASED_LABEL else f", label {entry.label.hex()}"
    return f"seq {entry.seq:#x} {state_name(entry.state)}{crc}{label}"


def slot_states(entries: tuple[SelectEntry, SelectEntry], app_count: int) -> dict[str, str]:
    """State by OTA slot. Of two entries for one slot the newer counts, entry 0 on a tie."""
    states = {f"ota_{number}": NO_ENTRY for number in range(app_count)}
    order = (1, 0) if entries[0].seq >= entries[1].seq else (0, 1)
    for number in order:
        entry = entries[number]
        if entry.crc_ok and entry.seq != ERASED_SEQ and app_count:
            states[f"ota_{slot_index(entry.seq, app_count)}"] = state_name(entry.state)
    return states


def one_slot_twice(entries: tuple[SelectEntry, SelectEntry], app_count: int) -> str | None:
    """The slot that both entries select, if they do."""
    usable = [entry for entry in entries if entry.crc_ok and entry.seq != ERASED_SEQ]
    slots = {slot_index(entry.seq, app_count) for entry in usable} if app_count else set()
    return f"ota_{slots.pop()}" if len(usable) == 2 and len(slots) == 1 else None


def running_slot(boot: Boot) -> str | None:
    """The slot that runs: by load offset, else by the app's report, else by the bootloader's DEBUG choice."""
    if boot.slot:
        return boot.slot
    for report in boot.reports:
        if report.role == "running":
            return report.slot
    mapped = [event.slot for event in boot.events if isinstance(event, SlotMapped)]
    if mapped and not any(isinstance(event, SlotRejected) for event in boot.events):
        return mapped[-1]
    return None


def witness(at: Line) -> str:
    """The log line, for a person."""
    return f"line {at.number}: {at}"


def observations(
    before: Sequence[Event], boots: Sequence[Boot], samples: Sequence[Sample]
) -> Iterator[Observation | Sample]:
    """Everything that shows a state, in the order of the log; samples are passed through where they belong."""
    waiting = sorted(samples, key=lambda sample: sample.offset)
    spans: list[tuple[int, Sequence[Event], Boot | None]] = [(-1, before, None)]
    spans += [(number, boot.events, boot) for number, boot in enumerate(boots)]
    for number, events, boot in spans:
        last: dict[int, OtadataReport] = {}
        for event in events:
            while waiting and waiting[0].offset <= event.at.offset:
                yield waiting.pop(0)
            if boot is None:
                continue
            for fact in facts(event) if isinstance(event, AgentLine) else (event,):
                if isinstance(fact, OtadataReport):
                    last[fact.entry] = fact
                    if fact.entry == 1 and 0 in last:
                        yield Sample((last[0].data, fact.data), "app", fact.at.offset, fact.at.time)
                else:
                    yield from _observed(fact, number, boot)
    yield from waiting


def _observed(event: Event, number: int, boot: Boot) -> Iterator[Observation]:
    slot: str | None = None
    state, before = "", None
    by: By | None = None
    if isinstance(event, OtadataMarked):
        slot, state, by = _slot_of_entry(boot, event), event.state, "bootloader"
        before = "NEW" if state == "PENDING_VERIFY" else "PENDING_VERIFY"
    elif isinstance(event, BootDecision) and event.kind is Decision.SEQ_SET and event.value:
        if boot.table and boot.table.ota_count_bootloader:
            slot = f"ota_{slot_index(event.value, boot.table.ota_count_bootloader)}"
        state, by, before = "VALID", "bootloader", NO_ENTRY
    elif isinstance(event, OtaLine) and event.kind in (OtaCall.ROLLBACK, OtaCall.MARKED_INVALID):
        slot, state, by = running_slot(boot), "INVALID", "app"
    elif (isinstance(event, OtaLine) and event.kind is OtaCall.MARKED_VALID) or (
        isinstance(event, Hint) and event.kind is HintKind.CONFIRMED
    ):
        slot, state, by = running_slot(boot), "VALID", "app"
    elif isinstance(event, SlotReport) and event.state and event.state != _NO_SLOT_STATE:
        partition = boot.table.by_label(event.slot) if boot.table else None
        slot = (partition.slot if partition else None) or event.slot
        state = NO_ENTRY if event.state == _NO_STATE else event.state
        if state.startswith("ESP_ERR"):
            slot = None
    if slot and slot.startswith("ota_"):
        yield Observation(slot, state, number, by, before, witness(event.at), event.at.offset)


def _slot_of_entry(boot: Boot, marked: OtadataMarked) -> str | None:
    """By the sequence value that the same boot prints for the entry; what it prints need not come first."""
    count = boot.table.ota_count_bootloader if boot.table else 0
    for event in boot.events:
        if isinstance(event, OtadataSequence) and event.entry == marked.entry and count:
            return f"ota_{slot_index(event.seq, count)}"
    if marked.state == "PENDING_VERIFY":
        return next((event.slot for event in boot.events if isinstance(event, SlotMapped)), None)
    return None
