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
from rig.idf.effects import SECTOR_SIZE, Effect, Log, Memory, Steps
from rig.idf.flash_cipher import is_plain
from rig.idf.ota_ops import AppContext
from rig.idf.partitions import PartitionTable
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
    """What is seen of the eFuse around one call: lines of the log, and the field when power was lost in it."""

    lines: Sequence[str] = ()
    left: int | None = None


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
    efuse: Witnessed = NOTHING_SEEN,
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
        trust = left_by_cut(outcome.prediction, after.entries, part.offset, efuse.left)
        if trust == "torn":
            verdict = Verdict.INCONCLUSIVE
            reason = f"otadata after {name_of(call)} is explained only by a torn erase or write: repeat the cut"
        elif trust == "no":
            reason = f"no power cut in {name_of(call)} leaves this otadata"
            reason += "" if efuse.left is None else f" with an eFuse of {efuse.left}"
    elif call.error != outcome.error:
        reason = f"{name_of(call)} returned {call.error}, the model {outcome.error}"
    elif after.entries != outcome.prediction.otadata:
        reason = f"{name_of(call)} left other otadata than the model{_in_flash(after.entries, outcome, table)}"
    if not reason:
        verdict, reason = _lines_about_efuse(call, outcome.prediction, list(efuse.lines))
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
    context = AppContext(copy, table, config, call.running, encrypted=not is_plain(copy.cipher))
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
