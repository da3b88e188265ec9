"""What the rules ask of a log: for each start what ran, which images were refused and by whom, and how it ended."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from rig.evidence.agentlines import facts
from rig.evidence.boots import GAVE_UP, Boot
from rig.evidence.events import (
    AgentLine,
    AppInfo,
    AppLoaded,
    BootDecision,
    BootloaderStart,
    CallFailed,
    Decision,
    Event,
    Hint,
    HintKind,
    ImageFault,
    ImageSegment,
    OtaCall,
    OtadataReport,
    OtaLine,
    PartitionRow,
    SlotRejected,
)
from rig.evidence.observe import running_slot
from rig.evidence.records import Transition
from rig.fieldkit.log_reading import KEPT_BOOTS, Reading
from rig.idf.partitions import PartitionTable

SOFTWARE_RESETS = (3, 12)
"""Numbers of the reset reasons after esp_restart() and most panics, on every chip (rom/rtc.h)."""
_TIME = re.compile(rb"[EWIDV] \((\d+)\)")
_APP_TIME_MS = 10_000
"""A bootloader that is still looking at images after so long is none that ESP-IDF's watchdog would let live."""

_CLOCK_RAN_ON_MS = 2_000
"""Chips print the banner some 30 ms after any reset."""

OTADATA_BAD = (Decision.OTADATA_BAD_TRY_ALL, Decision.OTADATA_BAD_FACTORY, Decision.OTADATA_BAD_STOP)
OTADATA_EMPTY = (Decision.NO_FACTORY, Decision.TO_FACTORY, Decision.OTADATA_INITIAL, Decision.OTADATA_EMPTY)


class Refusal(NamedTuple):
    """An image that the bootloader looked at and did not start; `slot` and `offset` as far as the log says."""

    slot: str | None
    offset: int | None
    faults: tuple[ImageFault, ...]
    line: int

    @property
    def reasons(self) -> frozenset[str]:
        return frozenset(fault.reason for fault in self.faults)

    @property
    def lines(self) -> list[int]:
        return [*(fault.at.number for fault in self.faults), self.line]

    def __str__(self) -> str:
        where = " at ".join(word for word in (self.slot, hex_or_none(self.offset)) if word) or "an image"
        return f"{where}: {'; '.join(explain(fault) for fault in self.faults) or 'no reason printed'}"


class Start(NamedTuple):
    """One boot: `number` counts those that were kept, from 0, `ordinal` all in the log, from 1.

    `place`: the slot that ran, else its flash offset in hex, else None where nothing says it.
    """

    number: int
    ordinal: int
    boot: Boot
    place: str | None
    version: str | None
    states: tuple[tuple[str, int], ...]
    refusals: tuple[Refusal, ...]
    app_faults: tuple[ImageFault, ...]
    gave_up: BootDecision | None

    @property
    def name(self) -> str:
        """For people: slot, offset, version as far as known."""
        offset = f"{self.boot.loaded.offset:#x}" if self.boot.loaded else None
        words = [self.place or "an app"]
        if offset and offset != self.place:
            words.append(f"at {offset}")
        if self.version:
            words.append(f"(version {self.version})")
        return " ".join(words)

    @property
    def line(self) -> int:
        """The line that shows what ran, else the first one."""
        return self.boot.loaded.at.number if self.boot.loaded else self.boot.events[0].at.number

    def decisions(self, *kinds: Decision) -> list[BootDecision]:
        return [event for event in self.boot.events if isinstance(event, BootDecision) and event.kind in kinds]

    def calls(self, *kinds: OtaCall) -> list[OtaLine]:
        return calls_of(self.boot.events, *kinds)

    def hints(self, *kinds: HintKind) -> list[Hint]:
        return hints_of(self.boot.events, *kinds)


class Log(NamedTuple):
    """A reading with what every rule needs of it. `table`: the last partition table that the log lists as a whole."""

    reading: Reading
    starts: list[Start]
    events: list[Event]
    table: PartitionTable | None
    app_faults: list[ImageFault]

    @property
    def last(self) -> Start | None:
        """The last boot that came to an end of its search; one that a cut left unfinished says nothing against it."""
        for ended in (
            [start for start in self.starts if start.boot.loaded or start.version or start.gave_up],
            [start for start in self.starts if start.refusals],
            self.starts,
        ):
            if ended:
                return ended[-1]
        return None

    def after(self, start: Start) -> Start | None:
        """The boot that follows in the log, if it was kept."""
        if self.reading.left_out and start.number == KEPT_BOOTS - 1:
            return None
        return self.starts[start.number + 1] if start.number + 1 < len(self.starts) else None

    @property
    def otadata_offset(self) -> int | None:
        """Flash offset of otadata by the table or, if that is torn, by its row in the listing."""
        rows = [event for event in self.events if isinstance(event, PartitionRow)]
        return next((row.offset for row in rows if (row.type, row.subtype) == (1, 0)), None)

    @property
    def otadata_dump(self) -> str:
        """What to ask for where otadata would settle it."""
        offset = self.otadata_offset
        return "a dump of otadata" + ("" if offset is None else f" (0x2000 bytes at {offset:#x})")

    def slots(self) -> dict[str, int]:
        """App slots and their flash offsets as listed, whole table or not."""
        found: dict[str, int] = {}
        for row in self.events:
            if isinstance(row, PartitionRow) and row.type == 0:
                name = "factory" if row.subtype == 0 else f"ota_{row.subtype - 0x10}" if row.subtype >= 0x10 else "test"
                found.setdefault(name, row.offset)
        return found

    def transitions_of(self, slot: str | None, number: int) -> list[Transition]:
        return [change for change in self.reading.transitions if change.slot == slot and change.boot == number]


def view(reading: Reading) -> Log:
    """The log as the rules see it."""
    table = next((boot.table for boot in reversed(reading.boots) if boot.table), None)
    events = reading.events
    starts = [_start(number, boot, table, reading.left_out) for number, boot in enumerate(reading.boots)]
    loose = _loose_faults(reading, bool(starts))
    return Log(reading, starts, events, table, loose + [fault for start in starts for fault in start.app_faults])


def _start(number: int, boot: Boot, table: PartitionTable | None, left_out: int) -> Start:
    refusals, app_faults = _refusals(boot.events)
    info = {event.field: event.value for event in boot.events if isinstance(event, AppInfo)}
    hinted = next((e.value for e in boot.events if isinstance(e, Hint) and e.kind is HintKind.VERSION), None)
    told = next((r.version for r in boot.reports if r.role == "running" and r.version), None)
    return Start(
        number=number,
        ordinal=number + 1 + (left_out if number >= KEPT_BOOTS else 0),
        boot=boot,
        place=_place(boot, table),
        version=info.get("version") or told or hinted,
        states=tuple((r.state, r.at.number) for r in boot.reports if r.role == "running" and r.state),
        refusals=tuple(refusals),
        app_faults=tuple(app_faults),
        gave_up=next((e for e in boot.events if isinstance(e, BootDecision) and e.kind in GAVE_UP), None),
    )


def _place(boot: Boot, table: PartitionTable | None) -> str | None:
    if boot.loaded is not None:
        known = boot.slot or (table.slot_at(boot.loaded.offset) if table else None)
        return known or f"{boot.loaded.offset:#x}"
    return running_slot(boot) or next(
        (e.value for e in boot.events if isinstance(e, Hint) and e.kind is HintKind.RUNNING), None
    )


def _refusals(events: Sequence[Event]) -> tuple[list[Refusal], list[ImageFault]]:
    """What the bootloader refused, and what the app's own check of an image (esp_image_verify) refused later on."""
    found: list[Refusal] = []
    waiting: list[ImageFault] = []
    by_app: list[ImageFault] = []
    started = False
    paddr: int | None = None
    for event in events:
        if isinstance(event, ImageSegment):
            paddr = event.paddr & ~0xFFFF
        elif isinstance(event, ImageFault):
            (by_app if started else waiting).append(event)
        elif isinstance(event, SlotRejected):
            found.append(Refusal(event.slot, _offset(waiting, paddr), tuple(waiting), event.at.number))
            waiting, paddr = [], None
        elif isinstance(event, BootDecision) and event.kind in GAVE_UP:
            if waiting:
                found.append(Refusal(None, _offset(waiting, paddr), tuple(waiting), waiting[-1].at.number))
            waiting, paddr = [], None
        elif isinstance(event, AppLoaded | AppInfo | OtaLine | Hint | CallFailed) and not started:
            started, waiting = True, []
    return found, by_app


def _offset(faults: Sequence[ImageFault], paddr: int | None) -> int | None:
    return next((fault.offset for fault in faults if fault.offset is not None), paddr)


def _loose_faults(reading: Reading, booted: bool) -> list[ImageFault]:
    """Image checks of an app whose start is not in the log; a bootloader would name the slot in the next line."""
    before = reading.before
    if any(isinstance(event, BootloaderStart | SlotRejected | BootDecision | PartitionRow) for event in before):
        return []
    faults = [event for event in before if isinstance(event, ImageFault)]
    others = any(isinstance(event, OtaLine | CallFailed) for event in before)
    gone_on = bool(faults) and faults[-1].at.number < reading.counts.lines
    return [fault for fault in faults if booted or others or gone_on or app_time(fault)]


def app_time(event: Event) -> bool:
    """The line's time stamp is one of an app that has run for a while."""
    match = _TIME.search(event.at.raw)
    return match is not None and int(match[1]) >= _APP_TIME_MS


def emulated(log: Log) -> int | None:
    """Line that gives an emulator away: after a software reset its bootloader's clock runs on; a chip's starts anew."""
    for start in log.starts:
        banner, resets = start.boot.banner, start.boot.resets
        if banner is None or not resets or resets[-1].number not in SOFTWARE_RESETS:
            continue
        match = _TIME.search(banner.at.raw)
        if match and int(match[1]) >= _CLOCK_RAN_ON_MS:
            return banner.at.number
    return None


def explain(fault: ImageFault) -> str:
    """One refusal's reason with its numbers, for a person."""
    values = fault.values
    if fault.reason == "checksum" and len(values) >= 2:
        return f"checksum calculated {values[0]:#x}, stored {values[1]:#x}"
    if fault.reason == "image length" and len(values) >= 2:
        return f"image of {values[0]} bytes does not fit in the partition's {values[1]}"
    if fault.reason == "segment length" and values:
        erased = " (as in erased flash)" if values[0] == 0xFFFFFFFF else ""
        return f"segment length {values[0]:#x}{erased}"
    if fault.reason == "magic" and fault.offset is not None:
        return f"no image magic at {fault.offset:#x}"
    return fault.reason


def confirmed_in(log: Log, start: Start) -> list[int]:
    """Lines that show the running app being marked VALID in this boot."""
    lines = [hint.at.number for hint in start.hints(HintKind.CONFIRMED, HintKind.SAYS_GOOD)]
    lines += [call.at.number for call in start.calls(OtaCall.MARKED_VALID)]
    states = [state for state, _ in start.states]
    if "VALID" in states and states[0] in ("PENDING_VERIFY", "NEW"):
        lines.append(start.states[states.index("VALID")][1])
    for change in log.transitions_of(start.place, start.number):
        if change.after == "VALID" and change.by == "app":
            lines += witnesses([change])
    return lines


_LINE = re.compile(r"line (\d+):")


def witnesses(changes: Sequence[Transition]) -> list[int]:
    """Line numbers that show these transitions."""
    return [int(match[1]) for change in changes for text in change.witness if (match := _LINE.search(text))]


def entries_reported(start: Start) -> list[tuple[OtadataReport, OtadataReport]]:
    """Pairs of otadata entries as the app printed them."""
    pairs: list[tuple[OtadataReport, OtadataReport]] = []
    first: OtadataReport | None = None
    for event in start.boot.events:
        for fact in facts(event) if isinstance(event, AgentLine) else (event,):
            if isinstance(fact, OtadataReport) and fact.entry == 0:
                first = fact
            elif isinstance(fact, OtadataReport) and first is not None:
                pairs.append((first, fact))
    return pairs


def hints_of(events: Sequence[Event], *kinds: HintKind) -> list[Hint]:
    """The hints of these kinds, in order."""
    return [event for event in events if isinstance(event, Hint) and event.kind in kinds]


def calls_of(events: Sequence[Event], *kinds: OtaCall) -> list[OtaLine]:
    """The lines of esp_ota_ops of these kinds, in order."""
    return [event for event in events if isinstance(event, OtaLine) and event.kind in kinds]


def failures(events: Sequence[Event]) -> list[CallFailed]:
    """The lines that say a call failed, in order."""
    return [event for event in events if isinstance(event, CallFailed)]


def hex_or_none(number: int | None) -> str | None:
    return None if number is None else f"{number:#x}"
