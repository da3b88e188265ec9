"""Cutting a stream of events into boots.

A boot is one start of the second-stage bootloader: its banner, or where that is missing (log level, lost lines) the
first thing that only a new start can print. Reset lines do not count boots: the ROM may reset again before the
bootloader runs. Time stamps of the log are never looked at: they run on over soft resets and can jump back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from rig.evidence.agentlines import facts, word
from rig.evidence.events import (
    ActiveEntry,
    AgentLine,
    AppInfo,
    AppLoaded,
    BootDecision,
    BootloaderStart,
    Decision,
    DownloadMode,
    EfuseChange,
    Event,
    Garbled,
    Hint,
    ImageFault,
    ImageSegment,
    OtadataLine,
    OtadataMarked,
    OtadataReport,
    OtadataSequence,
    OtaLine,
    PartitionRow,
    Reset,
    ResetReason,
    RomBanner,
    RomEntry,
    RomFault,
    SequenceChoice,
    SequencePair,
    SlotMapped,
    SlotRejected,
    SlotReport,
    Torn,
    TryingPartition,
)
from rig.idf.partitions import Partition, PartitionTable

_ROM = (RomBanner, Reset, RomEntry, RomFault, DownloadMode)
_SELECTION = (
    BootDecision,
    OtadataSequence,
    OtadataLine,
    OtadataMarked,
    ActiveEntry,
    SlotMapped,
    TryingPartition,
    SequencePair,
    SequenceChoice,
    SlotRejected,
)
_EITHER = (ImageSegment, ImageFault, EfuseChange, Torn, Garbled)
_APP = (AppInfo, OtaLine, SlotReport, OtadataReport, ResetReason, AgentLine, Hint)
POWER_ON_RESET = 1
"""Number of the reset reason after power-on, and after the reset line, on every chip (rom/rtc.h)."""
GAVE_UP = (Decision.NOTHING_BOOTABLE, Decision.OTADATA_BAD_STOP)
_AFTER_LOADING = (Decision.SEQ_SET, Decision.TEST_FALLBACK)


class MarkKind(StrEnum):
    """What the harness did to the board."""

    POWER_CUT = "power cut"
    POWER_ON = "power restored"
    RESET_LINE = "reset line"
    FLASH_WRITTEN = "flash written"
    FLASH_READ = "flash read"
    CRASH_ASKED = "crash asked for"
    RESTARTED = "restart by a fresh emulator process"


class Mark(NamedTuple):
    """`offset`: bytes of raw log that had arrived by then; `time` in seconds of the host's clock."""

    kind: MarkKind
    offset: int
    time: float | None = None
    text: str = ""


class Phase(StrEnum):
    """How far a boot has come, as its log shows."""

    ROM = "ROM"
    BOOTLOADER = "bootloader"
    TABLE = "partition table"
    SELECTION = "selection"
    LOADED = "app loaded"
    APP = "app"


_ORDER = {phase: number for number, phase in enumerate(Phase)}


@dataclass
class Boot:
    """The events of one boot, in the order of the log.

    `marks`: what the harness did from its start to the next one's. `stray`: lines of later resets that came to no boot.
    """

    events: list[Event] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    stray: list[Event] = field(default_factory=list)
    phase: Phase = Phase.ROM
    over: bool = False
    table: PartitionTable | None = None

    @property
    def resets(self) -> list[Reset]:
        return [event for event in self.events if isinstance(event, Reset)]

    @property
    def banner(self) -> BootloaderStart | None:
        return next((event for event in self.events if isinstance(event, BootloaderStart)), None)

    @property
    def loaded(self) -> AppLoaded | None:
        return next((event for event in self.events if isinstance(event, AppLoaded)), None)

    @property
    def slot(self) -> str | None:
        """Slot at the offset that the bootloader says it loaded; None if it did not say, or no app slot is there."""
        if self.loaded is None or self.table is None:
            return None
        return self.table.slot_at(self.loaded.offset)

    @property
    def reports(self) -> list[SlotReport]:
        """What the app said about slots, in its own lines or the agent's, with slots by name."""
        return [
            report._replace(slot=self._slot_of(report.slot))
            for event in self.events
            for report in (facts(event) if isinstance(event, AgentLine) else [event])
            if isinstance(report, SlotReport)
        ]

    def reach(self, phase: Phase) -> None:
        if _ORDER[phase] > _ORDER[self.phase]:
            self.phase = phase

    def past(self, phase: Phase) -> bool:
        return _ORDER[self.phase] > _ORDER[phase]

    def _slot_of(self, label: str) -> str:
        partition = self.table.by_label(label) if self.table else None
        return (partition.slot if partition else None) or label


class Segmented(NamedTuple):
    """`before`: events ahead of the first boot. `stray`: ROM lines at the end that no bootloader followed."""

    before: list[Event]
    boots: list[Boot]
    stray: list[Event]


class BootStream:
    """Boots of a log that is too long to keep: events in, finished boots out."""

    def __init__(self) -> None:
        self._cutter = _Cutter(None)

    def feed(self, events: Iterable[Event]) -> list[Boot]:
        """The boots that these events have ended."""
        for event in events:
            self._cutter.add(event)
        boots = self._cutter.boots
        done, boots[:-1] = boots[:-1], []
        return self._cutter.with_tables(done)

    @property
    def current(self) -> Boot | None:
        """The boot that is not over yet."""
        return self._cutter.boots[-1] if self._cutter.boots else None

    @property
    def waiting(self) -> list[Event]:
        """Events of no boot yet: to be kept short by whoever feeds a log without boots."""
        return self._cutter.before

    def finish(self) -> Segmented:
        """What is left: the last boot, and what belongs to none."""
        return self._cutter.finish(given=None)


def segment(events: Iterable[Event], marks: Sequence[Mark] = (), table: PartitionTable | None = None) -> Segmented:
    """Boots of a log. `table` is the partition table if it is known; else the bootloader's listing is taken."""
    cutter = _Cutter(table)
    waiting = sorted(marks, key=lambda mark: mark.offset)
    for event in events:
        while waiting and waiting[0].offset <= event.at.offset:
            cutter.mark(waiting.pop(0))
        cutter.add(event)
    for mark in waiting:
        cutter.mark(mark)
    return cutter.finish(given=table)


class _Cutter:
    def __init__(self, table: PartitionTable | None) -> None:
        self.table = table
        self.before: list[Event] = []
        self.boots: list[Boot] = []
        self.boot: Boot | None = None
        self.loose: list[Event] = []
        self.early_marks: list[Mark] = []

    def mark(self, mark: Mark) -> None:
        if mark.kind is MarkKind.POWER_CUT:
            self._set_aside()
        (self.boots[-1].marks if self.boots else self.early_marks).append(mark)

    def add(self, event: Event) -> None:
        if isinstance(event, _ROM):
            self._rom(event)
        elif isinstance(event, _EITHER):
            (self.boot.events if self.boot else self.loose).append(event)
        elif isinstance(event, BootloaderStart):
            self._enter(event, Phase.BOOTLOADER, self.boot is None or self.boot.past(Phase.ROM))
        elif isinstance(event, PartitionRow):
            self._enter(event, Phase.TABLE, self.boot is None or self._second_table(self.boot, event))
        elif isinstance(event, _SELECTION):
            self._selection(event)
        elif isinstance(event, AppLoaded):
            self._enter(event, Phase.LOADED, self.boot is None or self.boot.past(Phase.SELECTION))
        elif isinstance(event, _APP):
            self._app(event)
        else:
            self._keep(event)

    def finish(self, given: PartitionTable | None) -> Segmented:
        self.with_tables(self.boots, known=given is not None)
        if not self.boots:
            return Segmented(self.before + [e for e in self.loose if not isinstance(e, _ROM)], [], self._rom_lines())
        return Segmented(self.before, self.boots, self._rom_lines())

    def with_tables(self, boots: list[Boot], known: bool = False) -> list[Boot]:
        """Each with the table of its own listing, else with the last one known."""
        for boot in boots:
            listed = None if known else _listed(boot.events)
            if listed is not None:
                self.table = listed
            boot.table = self.table
        return boots

    def _rom_lines(self) -> list[Event]:
        return [event for event in self.loose if isinstance(event, _ROM)]

    def _rom(self, event: Event) -> None:
        if self.boot is not None:
            self.boot = None
        elif not any(isinstance(loose, _ROM) for loose in self.loose):
            self.before += self.loose if not self.boots else []
            self.loose = []
        if isinstance(event, Reset) and event.number == POWER_ON_RESET:
            self._set_aside()
        self.loose.append(event)
        if isinstance(event, RomEntry):
            self._open()

    def _set_aside(self) -> None:
        """Power was lost after a reset and before its bootloader: what the ROM printed belongs to no boot."""
        resets = [place for place, event in enumerate(self.loose) if isinstance(event, Reset)]
        if resets:
            count = resets[-1] + 1
            (self.boots[-1].stray if self.boots else self.before).extend(self.loose[:count])
            self.loose = self.loose[count:]

    def _open(self) -> Boot:
        boot = Boot(events=self.loose)
        if not self.boots:
            boot.marks += self.early_marks
        self.loose = []
        self.boots.append(boot)
        self.boot = boot
        return boot

    def _enter(self, event: Event, phase: Phase, anew: bool) -> None:
        boot = self._open() if anew or self.boot is None else self.boot
        boot.events.append(event)
        boot.reach(phase)

    def _second_table(self, boot: Boot, event: PartitionRow) -> bool:
        if boot.past(Phase.TABLE):
            return True
        return event.number == 0 and any(isinstance(seen, PartitionRow) for seen in boot.events)

    def _selection(self, event: Event) -> None:
        boot = self.boot
        after_loading = isinstance(event, BootDecision) and event.kind in _AFTER_LOADING
        anew = boot is None or boot.over or (boot.past(Phase.SELECTION) and not after_loading) or _repeats(boot, event)
        self._enter(event, Phase.SELECTION, anew)
        if isinstance(event, BootDecision) and event.kind in GAVE_UP and self.boot:
            self.boot.over = True

    def _app(self, event: Event) -> None:
        if isinstance(event, AppInfo):
            again = self.boot is not None and any(
                isinstance(seen, AppInfo) and seen.field == event.field for seen in self.boot.events
            )
            self._enter(event, Phase.APP, self.boot is None or again)
        elif isinstance(event, AgentLine) and word(event) == "start":
            again = self.boot is not None and any(
                isinstance(seen, AgentLine) and word(seen) == "start" for seen in self.boot.events
            )
            self._enter(event, Phase.APP, self.boot is None or again)
        elif self.boot is not None:
            self._enter(event, Phase.APP, False)
        else:
            self._keep(event)

    def _keep(self, event: Event) -> None:
        """Lines that do not start a boot by themselves, but show that one began if a reset came before."""
        if self.boot is None and self._rom_lines():
            self._open()
        if self.boot is not None:
            self.boot.events.append(event)
        elif not self.boots:
            self.before.append(event)
        else:
            self.boots[-1].events.append(event)


def _repeats(boot: Boot, event: Event) -> bool:
    """The bootloader reads otadata once, and again only after a factory reset."""
    if isinstance(event, SequencePair):
        return any(isinstance(seen, SequencePair) for seen in boot.events)
    if not isinstance(event, OtadataSequence):
        return False
    for seen in reversed(boot.events):
        if isinstance(seen, BootDecision) and seen.kind is Decision.FACTORY_RESET:
            return False
        if isinstance(seen, OtadataSequence) and seen.entry == event.entry:
            return True
    return False


def _listed(events: Sequence[Event]) -> PartitionTable | None:
    """The table a listing shows, if it is whole."""
    rows = [event for event in events if isinstance(event, PartitionRow)]
    ended = any(isinstance(event, BootDecision) and event.kind is Decision.TABLE_END for event in events)
    if not ended or not rows or [row.number for row in rows] != list(range(len(rows))):
        return None
    return PartitionTable(tuple(Partition(row.label, row.type, row.subtype, row.offset, row.size) for row in rows))
