"""One boot of a log, as `rig explain` tells it: what was loaded, what was refused and why, how it ended."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rig.evidence.boots import GAVE_UP, Boot
from rig.evidence.events import (
    AppInfo,
    AppLoaded,
    BootDecision,
    Decision,
    Event,
    Hint,
    HintKind,
    ImageFault,
    ImageSegment,
    OtadataLine,
    OtadataSequence,
    PartitionRow,
    SequenceChoice,
    SequencePair,
    SlotMapped,
    SlotRejected,
    TryingPartition,
)
from rig.evidence.observe import running_slot
from rig.evidence.records import Transition
from rig.evidence.trace import ended_by
from rig.fieldkit.explained import ExplainedBoot, Rejected

_COMMENTED_SLOTS = re.compile(r"only slots? 0(?: and (\d)|[-–](\d)| to (\d))")
IMAGE_HEADER = 0x20
"""From the start of an image to its first segment's data, which is what the bootloader prints (esp_image_format.c)."""
_NO_STATE = ("ESP_ERR_NOT_SUPPORTED", "ESP_ERR_NOT_FOUND")
_DECIDES = (
    Decision.TO_FACTORY,
    Decision.NO_FACTORY,
    Decision.OTADATA_BAD_FACTORY,
    Decision.OTADATA_BAD_TRY_ALL,
    Decision.OTADATA_BAD_STOP,
    Decision.TEST_FALLBACK,
    Decision.NOTHING_BOOTABLE,
)
STATE_NUMBERS = {"0": "NEW", "1": "PENDING_VERIFY", "2": "VALID", "3": "INVALID", "4": "ABORTED"}
"""esp_ota_img_states_t, as apps print it with %d."""


class Refusal(NamedTuple):
    """An image that the bootloader looked at and refused."""

    slot: str | None
    offset: int | None
    reason: str
    faults: tuple[ImageFault, ...]
    line: int

    def record(self) -> Rejected:
        return Rejected(
            slot=self.slot,
            offset=None if self.offset is None else f"{self.offset:#x}",
            reason=self.reason,
            line=self.line,
        )


def refusals(boot: Boot) -> list[Refusal]:
    """In the order of the log; an image whose refusal is only implied by what follows counts, too."""
    found: list[Refusal] = []
    faults: list[ImageFault] = []
    looked_at: int | None = None
    for event in boot.events:
        if isinstance(event, ImageSegment):
            if faults:
                # the next image is looked at, so the last one was given up
                found.append(_refusal(None, looked_at, faults, boot, found))
                faults = []
            looked_at = event.paddr - IMAGE_HEADER
        elif isinstance(event, TryingPartition):
            looked_at = event.offset
        elif isinstance(event, ImageFault):
            faults.append(event)
            looked_at = event.offset if event.offset is not None else looked_at
        elif isinstance(event, SlotRejected):
            found.append(_refusal(event, looked_at, faults, boot, found))
            faults, looked_at = [], None
        elif isinstance(event, BootDecision) and event.kind in GAVE_UP and faults:
            found.append(_refusal(None, looked_at, faults, boot, found))
            faults, looked_at = [], None
        elif event is boot.loaded:
            # whatever is refused from now on is refused by the app
            break
    return found


def _refusal(
    event: SlotRejected | None, offset: int | None, faults: Sequence[ImageFault], boot: Boot, before: list[Refusal]
) -> Refusal:
    slot = event.slot if event else _slot_at(boot, offset) or _next_slot(before)
    if offset is None and slot is not None and boot.table is not None:
        part = boot.table.slot(slot)
        offset = part.offset if part else None
    reason = faults[0].reason if faults else "not said"
    line = event.at.number if event else faults[-1].at.number
    return Refusal(slot, offset, reason, tuple(faults), line)


def _slot_at(boot: Boot, offset: int | None) -> str | None:
    return None if boot.table is None or offset is None else boot.table.slot_at(offset)


def _next_slot(before: Sequence[Refusal]) -> str | None:
    """After the slot it began with the bootloader goes down, then up (bootloader_utility_load_boot_image)."""
    numbers = [int(item.slot[4:]) for item in before if item.slot and item.slot.startswith("ota_")]
    return f"ota_{max(numbers) + 1}" if 0 in numbers else None


def explained_boot(number: int, boots: Sequence[Boot], changes: Sequence[Transition]) -> ExplainedBoot:
    """The record of boot `number`."""
    boot = boots[number]
    after = boots[number + 1] if number + 1 < len(boots) else None
    info = {event.field: event.value for event in boot.events if isinstance(event, AppInfo)}
    banner, loaded = boot.banner, boot.loaded
    return ExplainedBoot(
        lines=(boot.events[0].at.number, boot.events[-1].at.number),
        reset=boot.resets[-1].reason if boot.resets else None,
        resets=[event.reason for event in boot.resets],
        bootloader=banner.version if banner else None,
        banner=banner is not None,
        loaded_offset=f"{loaded.offset:#x}" if loaded else None,
        slot=running_slot(boot) or hinted_slot(boot),
        version=info.get("version") or said_version(boot),
        elf_sha=info.get("elf_sha"),
        states=states(number, boots, changes),
        sequence_numbers=[f"{seq:#x}" for seq in sequence_numbers(boot)],
        decision_visible=decision_visible(boot),
        fast_boot=loaded is not None and not loaded.checked,
        rejected=[item.record() for item in refusals(boot)],
        ended_by=ended_by(boot, after),
    )


def states(number: int, boots: Sequence[Boot], changes: Sequence[Transition]) -> list[str]:
    """States that the running slot was in, in order: on entry, then every change."""
    boot = boots[number]
    slot = running_slot(boot) or hinted_slot(boot)
    found: list[str] = []
    for change in changes:
        if change.boot == number and change.slot == slot:
            found += [change.before, change.after]
    if not found:
        found = [state for state in _said_states(boot, slot) if state not in _NO_STATE]
    return [state for place, state in enumerate(found) if state != "none" and (place == 0 or found[place - 1] != state)]


def _said_states(boot: Boot, slot: str | None) -> Iterator[str]:
    for report in boot.reports:
        if report.role == "running" and report.state and slot in (None, report.slot):
            yield report.state
    for event in boot.events:
        if isinstance(event, Hint) and event.kind is HintKind.STATE:
            yield state_of(event)


def state_of(hint: Hint) -> str:
    """An app prints a state by name or by number."""
    if hint.value.lower() in ("0xffffffff", "4294967295"):
        return "UNDEFINED"
    return STATE_NUMBERS.get(hint.value, hint.value)


def hinted_slot(boot: Boot) -> str | None:
    """The slot that an app says it runs from, in its own words; the last one counts."""
    said = [event.value for event in boot.events if isinstance(event, Hint) and event.kind is HintKind.RUNNING]
    return said[-1] if said else None


def said_version(boot: Boot) -> str | None:
    """By the app's reports, or in its own words."""
    reported = [report.version for report in boot.reports if report.role == "running" and report.version]
    hinted = [event.value for event in boot.events if isinstance(event, Hint) and event.kind is HintKind.VERSION]
    return next(iter([*reported, *hinted]), None)


def sequence_numbers(boot: Boot) -> list[int]:
    """Of entry 0 and 1 as the bootloader printed them; empty if it did not."""
    for event in boot.events:
        if isinstance(event, SequencePair):
            return list(event.seqs)
    seen = {event.entry: event.seq for event in boot.events if isinstance(event, OtadataSequence | OtadataLine)}
    return [seen[0], seen[1]] if len(seen) == 2 else []


def decision_visible(boot: Boot) -> bool:
    """Whether the log shows which slot the bootloader chose, or that it found none."""
    return any(_decides(event) for event in boot.events)


def _decides(event: Event) -> bool:
    if isinstance(event, BootDecision):
        return event.kind in _DECIDES
    return isinstance(event, SlotMapped | SlotRejected | SequenceChoice | AppLoaded)


def listed_rows(boot: Boot) -> list[PartitionRow]:
    """The partition listing as far as it is there."""
    return [event for event in boot.events if isinstance(event, PartitionRow)]


def slot_count(boot: Boot) -> int:
    """By the partition listing, else by what the poster wrote behind a line."""
    if boot.table is not None:
        return boot.table.ota_count_bootloader
    for event in boot.events:
        if isinstance(event, SequenceChoice) and (said := _COMMENTED_SLOTS.search(event.at.text)):
            return int(next(group for group in said.groups() if group)) + 1
    return 0
