"""The judge of what the app writes: each `esp_ota_*` call against the model, by its error, by otadata and eFuse read
back, and by its lines about the eFuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rig.errors import Inconclusive
from rig.evidence.download_call import download
from rig.evidence.entry_words import words
from rig.evidence.hazards import call_hazards
from rig.evidence.judge import Judgement
from rig.evidence.observe import Sample, describe_entry
from rig.evidence.predict import Entries, Overlay, Prediction, entries_at, left_by_cut
from rig.evidence.records import Verdict
from rig.idf import ota_ops
from rig.idf.bootloader import BootResult
from rig.idf.config import BootConfig
from rig.idf.effects import SECTOR_SIZE, Effect, Erase, Log, Memory, Program, Steps
from rig.idf.flash_cipher import is_plain
from rig.idf.image_check import DESC_AT
from rig.idf.image_desc import APP_DESC_SIZE, AppDesc, app_config
from rig.idf.ota_ops import AppContext
from rig.idf.partitions import Partition, PartitionTable
from rig.idf.secure_version import update_secure_version

Call = Literal["update", "download", "begin", "confirm", "reject", "set_boot", "erase_previous", "burn"]


@dataclass
class AppCall:
    """A call the app made. `start` is the position in the console log, in bytes, when it was asked for.

    `error` is the ESP-IDF name it returned, or `esp_restart`; None when power was lost before it returned. `data` is
    what was sent for an update, `version` what was to be burnt. `since`: where a call may have begun of which the app
    told only afterwards. `came`: bytes of a failed download that are in the slot, None if nothing was touched.
    """

    call: Call
    start: int
    running: str
    slot: str | None = None
    data: bytes = b""
    error: str | None = None
    version: int = 0
    since: int | None = None
    came: int | None = None

    @property
    def began(self) -> int:
        """The first place in the log where it may have begun."""
        return self.start if self.since is None else self.since


class Witnessed(NamedTuple):
    """What is seen around one call: lines about the eFuse, that field when power was lost in it, and flash after it."""

    lines: Sequence[str] = ()
    left: int | None = None
    flash: Memory | None = None


NOTHING_SEEN = Witnessed()


class Outcome(NamedTuple):
    """What the model says of a call: its error, and otadata after 0, 1, 2 … of its mutations."""

    error: str
    prediction: Prediction


def around(call: AppCall, samples: Sequence[Sample]) -> tuple[Sample | None, Sample | None]:
    """The last sample before a call, and the first one after it."""
    before = next((sample for sample in reversed(samples) if sample.offset < call.start), None)
    return before, next((sample for sample in samples if sample.offset >= call.start), None)


def judge_call(
    call: AppCall,
    samples: Sequence[Sample],
    memory: Memory,
    table: PartitionTable,
    config: BootConfig,
    witnessed: Witnessed = NOTHING_SEEN,
) -> Judgement | None:
    """The verdict on one call, None when it is as it must be. `samples` are all of the trial, in order."""
    before, after = around(call, samples)
    if before is None or after is None:
        return Judgement(Verdict.INCONCLUSIVE, f"otadata around {name_of(call)} was not read back")
    try:
        outcome = model_call(call, before.entries, memory, table, config)
    except Inconclusive as unknown:
        return Judgement(Verdict.INCONCLUSIVE, f"the model cannot follow {name_of(call)}: {unknown.what}")
    verdict, reason = Verdict.FIRMWARE_FAIL, ""
    if call.error is None:
        part = table.otadata_for_app
        assert part is not None
        trust = left_by_cut(outcome.prediction, after.entries, part.offset, witnessed.left)
        if trust == "torn":
            verdict = Verdict.INCONCLUSIVE
            reason = f"otadata after {name_of(call)} is explained only by a torn erase or write: repeat the cut"
        elif trust == "no":
            reason = f"no power cut in {name_of(call)} leaves this otadata"
            reason += "" if witnessed.left is None else f" with an eFuse of {witnessed.left}"
        elif _chosen_too_early(call, after.entries, outcome.prediction, table, witnessed.flash):
            reason = f"{name_of(call)} had chosen the slot when power was lost, and not all of the image was in it"
    elif call.error != outcome.error:
        reason = f"{name_of(call)} returned {call.error}, the model {outcome.error}"
    elif after.entries != outcome.prediction.otadata:
        reason = f"{name_of(call)} left other otadata than the model{_in_flash(after.entries, outcome, table)}"
    if not reason:
        verdict, reason = _lines_about_efuse(call, outcome.prediction, list(witnessed.lines))
    met = tuple(call_hazards(call.call, call.running, table, config, before.entries, outcome.error))
    if reason:
        return Judgement(verdict, reason, _side_by_side(call, before, after, outcome), met)
    return Judgement(Verdict.PASS, f"{name_of(call)} did what the model does", "", met) if met else None


def _in_flash(seen: Entries, outcome: Outcome, table: PartitionTable) -> str:
    """On encrypted flash what the first entry that is not the model's really is."""
    if is_plain(outcome.prediction.cipher):
        return ""
    part, wanted = table.otadata_for_app, outcome.prediction.otadata
    assert part is not None
    assert wanted is not None
    number = 0 if seen[0] != wanted[0] else 1
    return f": entry {number} is {words(seen, number, outcome.prediction.cipher, part.offset)}"


def _chosen_too_early(
    call: AppCall, seen: Entries, prediction: Prediction, table: PartitionTable, flash: Memory | None
) -> bool:
    """Whether otadata is further than a cut before the image's last byte can leave it, and `flash` has not got that."""
    slot, otadata = table.slot_for_app(call.slot or ""), table.otadata_for_app
    if flash is None or slot is None or otadata is None or not call.data or not prediction.states:
        return False
    try:
        if flash.read(slot.offset, len(call.data)) == call.data:
            return False
    except Inconclusive:
        return False
    filled = [at for at, effect in enumerate(prediction.effects) if _is_in(slot, effect)]
    if not filled:
        return False
    effects = prediction.effects[: filled[-1] + 1]
    count = sum(not isinstance(effect, Log) for effect in effects)
    until = prediction._replace(effects=effects, states=prediction.states[: count + 1])
    return left_by_cut(until, seen, otadata.offset) == "no"


def _is_in(slot: Partition, effect: Effect) -> bool:
    return isinstance(effect, Erase | Program) and slot.offset <= effect.offset < slot.end


def _lines_about_efuse(call: AppCall, prediction: Prediction, seen: list[str]) -> tuple[Verdict, str]:
    """A verdict and its reason, which is empty if the lines are those of the model; a cut may end them early."""
    wanted = [log.text for log in prediction.logs if log.tag == "efuse"]
    if seen == wanted or (call.error is None and seen == wanted[: len(seen)]):
        return Verdict.PASS, ""
    if extra := [line for line in seen if line not in wanted]:
        return Verdict.FIRMWARE_FAIL, f"'{extra[0]}' in {name_of(call)} is not what the model prints"
    return Verdict.INCONCLUSIVE, f"lines of the app are missing in {name_of(call)} (efuse: {wanted[0]})"


def model_call(call: AppCall, otadata: Entries, memory: Memory, table: PartitionTable, config: BootConfig) -> Outcome:
    """Run the model's version of a call on a copy; raises Inconclusive where flash is not known."""
    part = table.otadata_for_app
    assert part is not None
    copy = Overlay(memory)
    for number, data in enumerate(otadata):
        copy.put(part.offset + number * SECTOR_SIZE, data)
    rules = _rules_of(call.running, memory, table, config)
    context = AppContext(copy, table, rules, call.running, encrypted=not is_plain(copy.cipher))
    effects: list[Effect] = []
    states = [entries_at(copy, part.offset)]
    steps = _STEPS[call.call](context, call)
    while True:
        try:
            effect = next(steps)
        except StopIteration as stop:
            result = BootResult("booted", None, None, ())
            burnt = copy.secure_version if config.anti_rollback else 0
            return Outcome(stop.value, Prediction(result, tuple(effects), tuple(states), burnt, copy.cipher))
        effects.append(effect)
        if not isinstance(effect, Log):
            copy.apply(effect)
            states.append(entries_at(copy, part.offset))


def _rules_of(running: str, memory: Memory, table: PartitionTable, bootloader: BootConfig) -> BootConfig:
    """Those of the app that makes the call, which may be built with another ESP-IDF than its bootloader."""
    slot = table.slot_for_app(running)
    try:
        found = None if slot is None else AppDesc.find(memory.read(slot.offset + DESC_AT, APP_DESC_SIZE))
    except Inconclusive:
        found = None
    return bootloader if found is None else app_config(bootloader, found)


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


def _burn(context: AppContext, call: AppCall) -> Steps[str]:
    return (yield from update_secure_version(context.memory, context.config, call.version))


_STEPS: dict[Call, Callable[[AppContext, AppCall], Steps[str]]] = {
    "update": _update,
    "download": lambda context, call: download(context, call.slot, call.data, call.error, call.came),
    "begin": _begin,
    "confirm": lambda context, _: ota_ops.esp_ota_mark_app_valid_cancel_rollback(context),
    "reject": lambda context, _: ota_ops.esp_ota_mark_app_invalid_rollback_and_reboot(context),
    "set_boot": lambda context, call: ota_ops.esp_ota_set_boot_partition(context, call.slot),
    "erase_previous": lambda context, _: ota_ops.esp_ota_erase_last_boot_app_partition(context),
    "burn": _burn,
}


def name_of(call: AppCall) -> str:
    """The call, for a person."""
    what = f" {call.slot}" if call.slot else f" {call.version}" if call.call == "burn" else ""
    return f"{call.call}{what} (app in {call.running})"


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
