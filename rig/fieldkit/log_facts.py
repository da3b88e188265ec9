"""Single facts of a log by name, for `rig explain --json`: what a person would look for first. docs/explain.md."""

from __future__ import annotations

from typing import Any

from rig.evidence.boots import GAVE_UP
from rig.evidence.events import (
    BootDecision,
    CallFailed,
    Decision,
    FlashEncryption,
    HintKind,
    ImageFault,
    OtaCall,
    OtaLine,
    PartitionRow,
    Reset,
    SequenceChoice,
    SequencePair,
)
from rig.evidence.events import Panic as PanicEvent
from rig.evidence.observe import running_slot
from rig.fieldkit.log_boot import Refusal, hinted_slot, sequence_numbers, slot_count
from rig.fieldkit.log_case import Case
from rig.idf.otadata import ERASED_SEQ, slot_index
from rig.idf.partitions import Partition

_ERRORS = {
    Decision.OTADATA_BAD_TRY_ALL: "otadata invalid, no factory",
    Decision.OTADATA_BAD_STOP: "otadata invalid, no factory",
    Decision.OTADATA_BAD_FACTORY: "otadata invalid",
    Decision.TABLE_ERROR: "partition table not loaded",
}
_VERIFIES = ("signature", "key digest", "hash", "checksum")


def facts(case: Case) -> dict[str, Any]:
    """By the names of docs/explain.md; what the log does not show is absent."""
    found: dict[str, Any] = {}
    for part in (_boots, _sequences, _images, _slots, _said, _errors):
        found |= {name: value for name, value in part(case).items() if value not in (None, [], {})}
    return found


def _boots(case: Case) -> dict[str, Any]:
    told, counts = case.told, case.reading.counts
    loaded = [boot.loaded_offset for boot in told if boot.loaded_offset]
    names = [event.name for event in case.all(Reset)]
    versions = [boot.version for boot in told if boot.version]
    gave_up = bool(case.boots) and case.gave_up(len(case.boots) - 1) is not None
    return {
        "boots": len(told) + case.reading.left_out,
        "bootloader_boots": counts.bootloader_banners,
        "rst_lines": counts.rst_lines,
        "reset": names[0] if len(names) == 1 else names,
        "loaded_offsets": loaded,
        "loaded_offset": loaded[-1] if loaded else None,
        "versions": versions,
        "app_version": versions[-1] if versions else None,
        "decision_visible": any(boot.decision_visible for boot in told) if told else None,
        "fast_boot": True if any(boot.fast_boot for boot in told) else None,
        "final": "no bootable" if gave_up else None,
    }


def _sequences(case: Case) -> dict[str, Any]:
    pairs = [[f"{seq:#x}" for seq in event.seqs] for event in case.all(SequencePair)]
    last = sequence_numbers(case.boots[-1]) if case.boots else []
    found: dict[str, Any] = {"seq_pairs": pairs, "seq": last}
    if pairs:
        count = max((slot_count(boot) for boot in case.boots), default=0)
        numbers = [[seq for seq in sequence_numbers(boot) if seq not in (0, ERASED_SEQ)] for boot in case.boots]
        chosen = [[event.slot for event in boot.events if isinstance(event, SequenceChoice)] for boot in case.boots]
        if count:
            found["expected_slots"] = [slot_index(max(seqs), count) if seqs else None for seqs in numbers]
        found["reported_slots"] = [slots[0] if slots else None for slots in chosen]
    return found


def _images(case: Case) -> dict[str, Any]:
    refused = [item for items in case.refused for item in items]
    sums = [[f"{value:#x}" for value in event.values] for event in case.all(ImageFault) if event.reason == "checksum"]
    from_app = [event for event in case.from_apps if isinstance(event, ImageFault)]
    offsets = [f"{event.offset:#x}" for event in from_app if event.offset is not None]
    calls = [event for event in case.from_apps if isinstance(event, CallFailed)]
    verified = [event for event in from_app if event.reason in _VERIFIES]
    stage = next((event.call for event in calls if event.call), None)
    return {
        "rejected": [_rejected(item) for item in refused],
        "checksum": sums,
        "rejected_offset": offsets[0] if offsets else None,
        # esp_ota_end is the first to verify what was written (esp_ota_ops.c)
        "stage": stage or ("esp_ota_end" if verified and not calls else None),
        "set_boot": "refused" if any("set_boot" in event.call for event in calls) else None,
        "err": next((event.error for event in reversed(calls) if event.error), None),
    }


def _rejected(item: Refusal) -> dict[str, Any]:
    found = {"slot": _number(item.slot), "offset": item.record().offset, "reason": item.reason}
    return {name: value for name, value in found.items() if value is not None}


def _number(slot: str | None) -> int | str | None:
    """OTA slots by number, as the bootloader prints them."""
    return int(slot[4:]) if slot and slot.startswith("ota_") else slot


def _slots(case: Case) -> dict[str, Any]:
    found: dict[str, Any] = {}
    last = case.boots[-1] if case.boots else None
    slot = (running_slot(last) or hinted_slot(last)) if last else None
    found["slot"] = _number(slot)
    states = [state for boot in case.told for state in boot.states if boot.slot == slot]
    steps = [state for place, state in enumerate(states) if place == 0 or states[place - 1] != state]
    changes = [change for change in case.changes if change.slot == slot]
    if len(steps) > 1 and changes:
        found["transition"] = "->".join(steps)
    rows = [event for boot in case.boots for event in boot.events if isinstance(event, PartitionRow)]
    parts = [Partition(row.label, row.type, row.subtype, row.offset, row.size) for row in rows]
    table = {part.slot or ("otadata" if part.is_otadata else ""): f"{part.offset:#x}" for part in parts}
    table.pop("", None)
    found["table"] = table
    if any(case.decisions(number, Decision.TABLE_END) for number in range(len(case.boots))):
        found["factory"] = "factory" in table
    running = [hint.value for hint in case.hints(HintKind.RUNNING)]
    found["previous_running"] = running[0] if len(set(running)) > 1 else None
    return found


def _said(case: Case) -> dict[str, Any]:
    rejects = [e for e in case.all(OtaLine) if e.kind in (OtaCall.ROLLBACK, OtaCall.MARKED_INVALID)]
    after = [after for after in case.hints(HintKind.CONFIRM_AFTER) if after.value.isdigit()]
    returned = [hint.value for hint in case.hints(HintKind.RETURNED_TO)]
    running = [hint.value for hint in case.hints(HintKind.RUNNING)]
    marked = [event for event in case.all(OtaLine) if event.kind is OtaCall.MARKED_VALID]
    confirms = bool(marked or list(case.hints(HintKind.CONFIRMED, HintKind.SAYS_GOOD)))
    first = [event for event in case.all(BootDecision) if event.kind is Decision.SEQ_SET]
    crypt = case.all(FlashEncryption)
    return {
        "explicit": True if rejects else None,
        "from": running[-1] if returned and running else None,
        "to": returned[-1] if returned else None,
        "rolled_back_from": next((hint.value for hint in case.hints(HintKind.ROLLED_BACK_FROM)), None),
        "confirm_after_s": int(after[0].value) if after else None,
        "event": "marked-valid" if confirms else "otadata-initialised" if first else None,
        "flash_encryption": crypt[-1].mode if crypt else None,
    }


def _errors(case: Case) -> dict[str, Any]:
    panics = case.all(PanicEvent)
    exceptions = [event.cause for event in panics if event.kind == "exception"]
    bytes_seen = [e.value for e in case.all(OtaLine) if e.kind is OtaCall.BAD_MAGIC and e.value is not None]
    said = [_ERRORS[event.kind] for event in case.all(BootDecision) if event.kind in _ERRORS]
    if any(event.kind is OtaCall.NO_OTADATA for event in case.all(OtaLine)):
        said.append("not found ota data")
    if not said and any(event.kind in GAVE_UP for event in case.all(BootDecision)):
        said.append("no bootable app partition")
    return {
        "abort": True if any(event.kind == "abort" for event in panics) else None,
        "panic": exceptions[-1] if exceptions else None,
        "first_byte": f"{bytes_seen[0]:#04x}" if bytes_seen else None,
        "error": said[0] if said else None,
    }
