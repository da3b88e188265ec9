"""The judge of what the app writes: each `esp_ota_*` call against the model, by its error and by otadata read back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rig.errors import Inconclusive
from rig.evidence.judge import Judgement
from rig.evidence.observe import Sample, describe_entry
from rig.evidence.predict import Entries, Overlay, Prediction, entries_at, left_by_cut
from rig.evidence.records import Verdict
from rig.idf import ota_ops
from rig.idf.bootloader import BootResult
from rig.idf.config import BootConfig
from rig.idf.effects import SECTOR_SIZE, Effect, Log, Memory, Steps
from rig.idf.ota_ops import AppContext
from rig.idf.partitions import PartitionTable

Call = Literal["update", "begin", "confirm", "reject", "set_boot", "erase_previous"]


@dataclass
class AppCall:
    """A call the app made. `start` is the position in the console log, in bytes, when it was asked for.

    `error` is the ESP-IDF name it returned, or `esp_restart`; None when power was lost before it returned. `data` is
    what was sent for an update.
    """

    call: Call
    start: int
    running: str
    slot: str | None = None
    data: bytes = b""
    error: str | None = None


class Outcome(NamedTuple):
    """What the model says of a call: its error, and otadata after 0, 1, 2 … of its mutations."""

    error: str
    prediction: Prediction


def judge_call(
    call: AppCall, samples: Sequence[Sample], memory: Memory, table: PartitionTable, config: BootConfig
) -> Judgement | None:
    """The verdict on one call, None when it is as it must be. `samples` are all of the trial, in order."""
    before = next((sample for sample in reversed(samples) if sample.offset < call.start), None)
    after = next((sample for sample in samples if sample.offset >= call.start), None)
    if before is None or after is None:
        return Judgement(Verdict.INCONCLUSIVE, f"otadata around {_name(call)} was not read back")
    try:
        outcome = model_call(call, before.entries, memory, table, config)
    except Inconclusive as unknown:
        return Judgement(Verdict.INCONCLUSIVE, f"the model cannot follow {_name(call)}: {unknown.what}")
    if call.error is None:
        part = table.otadata_for_app
        assert part is not None
        trust = left_by_cut(outcome.prediction, after.entries, part.offset)
        if trust == "whole":
            return None
        if trust == "torn":
            reason = f"otadata after {_name(call)} is explained only by a torn erase or write: repeat the cut"
            return Judgement(Verdict.INCONCLUSIVE, reason, _side_by_side(call, before, after, outcome))
        reason = f"no power cut in {_name(call)} leaves this otadata"
    elif call.error != outcome.error:
        reason = f"{_name(call)} returned {call.error}, the model {outcome.error}"
    elif after.entries != outcome.prediction.otadata:
        reason = f"{_name(call)} left other otadata than the model"
    else:
        return None
    return Judgement(Verdict.FIRMWARE_FAIL, reason, _side_by_side(call, before, after, outcome))


def model_call(call: AppCall, otadata: Entries, memory: Memory, table: PartitionTable, config: BootConfig) -> Outcome:
    """Run the model's version of a call on a copy; raises Inconclusive where flash is not known."""
    part = table.otadata_for_app
    assert part is not None
    copy = Overlay(memory)
    for number, data in enumerate(otadata):
        copy.put(part.offset + number * SECTOR_SIZE, data)
    context = AppContext(copy, table, config, call.running)
    effects: list[Effect] = []
    states = [entries_at(copy, part.offset)]
    steps = _STEPS[call.call](context, call)
    while True:
        try:
            effect = next(steps)
        except StopIteration as stop:
            result = BootResult("booted", None, None, ())
            return Outcome(stop.value, Prediction(result, tuple(effects), tuple(states), copy.secure_version))
        effects.append(effect)
        if not isinstance(effect, Log):
            copy.apply(effect)
            states.append(entries_at(copy, part.offset))


def _update(context: AppContext, call: AppCall) -> Steps[str]:
    error, handle = yield from ota_ops.esp_ota_begin(context, call.slot, ota_ops.OTA_SIZE_UNKNOWN)
    if handle is None or error != "ESP_OK":
        return error
    error = yield from ota_ops.esp_ota_write(context, handle, call.data)
    if error == "ESP_OK":
        error = yield from ota_ops.esp_ota_end(context, handle)
    if error == "ESP_OK":
        error = yield from ota_ops.esp_ota_set_boot_partition(context, call.slot)
    return error


def _begin(context: AppContext, call: AppCall) -> Steps[str]:
    error, _ = yield from ota_ops.esp_ota_begin(context, call.slot, ota_ops.OTA_SIZE_UNKNOWN)
    return error


_STEPS: dict[Call, Callable[[AppContext, AppCall], Steps[str]]] = {
    "update": _update,
    "begin": _begin,
    "confirm": lambda context, _: ota_ops.esp_ota_mark_app_valid_cancel_rollback(context),
    "reject": lambda context, _: ota_ops.esp_ota_mark_app_invalid_rollback_and_reboot(context),
    "set_boot": lambda context, call: ota_ops.esp_ota_set_boot_partition(context, call.slot),
    "erase_previous": lambda context, _: ota_ops.esp_ota_erase_last_boot_app_partition(context),
}


def _name(call: AppCall) -> str:
    slot = f" {call.slot}" if call.slot else ""
    return f"{call.call}{slot} (app in {call.running})"


def _side_by_side(call: AppCall, before: Sample, after: Sample, outcome: Outcome) -> str:
    model = outcome.prediction.otadata
    rows = [("", "board", "model"), ("returned", call.error or "(power lost)", outcome.error)]
    for number in (0, 1):
        rows.append((f"entry {number} before", describe_entry(before.entries[number]), ""))
        rows.append(
            (
                f"entry {number} after",
                describe_entry(after.entries[number]),
                describe_entry(model[number]) if model is not None else "-",
            )
        )
    return "\n".join(f"{name:<16} | {seen:<34} | {wanted}".rstrip() for name, seen, wanted in rows)
