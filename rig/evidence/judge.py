"""The judge of one boot: a boot is believed only when log, raw otadata and reference model agree.

Verdicts in order of rank; the first that applies is given, and everything found is in the details:
1. bench fault: signs that the bench, not the firmware, made the boot what it is; the firmware cannot be judged.
2. firmware fail: any two witnesses contradict each other.
3. inconclusive: no contradiction, but a witness is missing or damaged; the reason says what would settle it.
4. pass.
Pure: data in, data out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rig.errors import Inconclusive
from rig.evidence.agentlines import word
from rig.evidence.bench import ExpectedReset, bench_signs, reset_doubts
from rig.evidence.boots import Boot
from rig.evidence.encryption_hazards import encryption_hazards
from rig.evidence.entry_words import words
from rig.evidence.events import AgentLine, AppInfo, Event, OtaLine, ResetReason, SlotReport
from rig.evidence.explain import Findings, explain
from rig.evidence.hazards import hazards
from rig.evidence.logwitness import LogComparison, compare_log, log_says_confirmed, log_says_rejected
from rig.evidence.observe import describe_entry, slot_states
from rig.evidence.predict import Entries, Prediction, left_by_cut, otadata_offset, predict, read_table
from rig.evidence.records import Hazard, Verdict
from rig.idf.bootloader import NONE, Pins
from rig.idf.config import BootConfig
from rig.idf.effects import Memory
from rig.idf.image_desc import AppDesc
from rig.idf.otadata import ImageState, active_index, parse
from rig.idf.partitions import PartitionTable

DESCRIPTOR_OFFSET = 32
"""Bytes from the start of an app image to its descriptor: image header 24, segment header 8."""

ROLLBACK_OFF = "rollback is not enabled in this bootloader: an app was entered in state NEW"

_APP_EVENTS = (AppInfo, SlotReport, AgentLine, OtaLine, ResetReason)


@dataclass(frozen=True)
class BootEvidence:
    """All that is known of one boot.

    `events`: those of this boot only (`Boot.events`). `otadata_after`: read back before the app wrote otadata again,
    except that confirming or rejecting in this boot is understood if the log shows it before `after_at`, the bytes of
    raw log that had arrived at that reading (default: all). `memory_before`: flash and eFuse at power-on, which may
    raise Inconclusive for what nobody knows; `otadata_before`, if given, goes before it.
    `cut`: power was lost before the app ran. `table` defaults to the one in `memory_before`.
    `app_silent`: the app has no serial contract, so that it may confirm or reject itself without a word.
    """

    events: Sequence[Event]
    config: BootConfig
    otadata_before: Entries | None = None
    otadata_after: Entries | None = None
    memory_before: Memory | None = None
    table: PartitionTable | None = None
    pins: Pins = NONE
    expected_reset: ExpectedReset = ExpectedReset.ANY
    secure_version_after: int | None = None
    cut: bool = False
    app_silent: bool = False
    after_at: int | None = None


class Judgement(NamedTuple):
    """`reason` in one sentence; `details` the three witnesses side by side, plain text of at most 120 columns."""

    verdict: Verdict
    reason: str
    details: str = ""
    hazards: tuple[Hazard, ...] = ()


@dataclass
class _Case:
    """The evidence with what follows from it."""

    evidence: BootEvidence
    boot: Boot
    table: PartitionTable | None
    prediction: Prediction | None = None
    log: LogComparison | None = None
    faults: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    @property
    def app_seen(self) -> bool:
        return any(isinstance(event, _APP_EVENTS) for event in self.boot.events)

    @property
    def reports(self) -> list[SlotReport]:
        """The app's words on the slot it runs from and that slot's state."""
        return [report for report in self.boot.reports if report.role == "running"]

    @property
    def entry_reports(self) -> list[SlotReport]:
        """Those before the app can have changed anything: its first word, and the agent's `start`."""
        starts = {e.at.offset for e in self.boot.events if isinstance(e, AgentLine) and word(e) == "start"}
        return [report for n, report in enumerate(self.reports) if n == 0 or report.at.offset in starts]


def judge(evidence: BootEvidence) -> Judgement:
    """The verdict on one boot."""
    table = evidence.table
    if table is None and evidence.memory_before is not None:
        table = _table_of(evidence.memory_before, evidence.config)
    case = _Case(evidence, Boot(events=list(evidence.events), table=table), table)
    signs = bench_signs(evidence.events, evidence.expected_reset)
    _predict(case)
    if evidence.events:
        _check_rollback(case)
        _check_log(case)
        _check_app(case)
    _check_otadata(case)
    _check_efuse(case)
    case.doubts += reset_doubts(evidence.events, evidence.expected_reset)
    return _conclude(case, signs)


def worst(judgements: Sequence[Judgement]) -> Judgement:
    """The one that speaks for several boots: by rank, the first of equals; INCONCLUSIVE if there is none."""
    rank = (Verdict.BENCH_FAULT, Verdict.FIRMWARE_FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
    if not judgements:
        return Judgement(Verdict.INCONCLUSIVE, "no boot was seen; settle it with a log that begins before power-on")
    return min(judgements, key=lambda judgement: rank.index(judgement.verdict))


def _table_of(memory: Memory, config: BootConfig) -> PartitionTable | None:
    try:
        return read_table(memory, config)
    except Inconclusive:
        return None


def _predict(case: _Case) -> None:
    evidence = case.evidence
    if evidence.memory_before is None:
        case.doubts.append("the flash content before the boot is unknown: read it back, or give the images flashed")
        return
    try:
        case.prediction = predict(
            evidence.memory_before, evidence.config, case.table, evidence.otadata_before, evidence.pins
        )
    except Inconclusive as unknown:
        case.doubts.append(f"the model cannot run: {unknown.what}")


def _check_rollback(case: _Case) -> None:
    """A bootloader without rollback under an app that has it: NEW stays NEW."""
    evidence = case.evidence
    if not evidence.config.rollback:
        return
    for report in case.entry_reports:
        if report.state == "NEW" and _predicted_state(case, report.slot) != "NEW":
            case.faults.insert(0, ROLLBACK_OFF)
            return
    if evidence.otadata_after is None or case.prediction is None or case.prediction.otadata is None:
        return
    wanted, seen = case.prediction.otadata, evidence.otadata_after
    for number in (0, 1):
        states = parse(wanted[number]).state, parse(seen[number]).state
        untouched = case.app_seen and seen == evidence.otadata_before
        if states == (ImageState.PENDING_VERIFY, ImageState.NEW) and untouched:
            case.faults.insert(0, ROLLBACK_OFF)


def _predicted_state(case: _Case, slot: str) -> str | None:
    if case.prediction is None or case.prediction.otadata is None or case.table is None:
        return None
    first, second = case.prediction.otadata
    return slot_states((parse(first), parse(second)), case.table.ota_count_bootloader).get(slot)


def _check_log(case: _Case) -> None:
    if case.prediction is None:
        return
    case.log = compare_log(case.boot.events, case.prediction.logs, case.evidence.config, case.evidence.cut)
    if case.log.contradictions:
        case.faults.append(f"log and model disagree: {case.log.contradictions[0]}")
    elif case.log.missing:
        case.doubts.append(
            f"lines of the bootloader are missing ({case.log.missing[0]}): "
            "repeat with a console that was open before the reset and the log level of the build"
        )


def _check_app(case: _Case) -> None:
    evidence, prediction = case.evidence, case.prediction
    if prediction is None:
        if not case.app_seen and not evidence.cut:
            case.doubts.append("the app was never seen: wait longer, or until it reports itself")
        return
    result = prediction.result
    if result.outcome != "booted":
        if case.app_seen:
            case.faults.append("an app ran although the model finds nothing to boot")
        return
    if not case.app_seen:
        if not evidence.cut:
            case.doubts.append(f"the app in {result.slot} was never seen: wait longer, or until it reports itself")
        return
    elsewhere = [report.slot for report in case.reports if report.slot != result.slot]
    if elsewhere:
        case.faults.append(f"the app says it runs from {elsewhere[0]}, the model boots {result.slot}")
    for report in case.entry_reports:
        if report.slot == result.slot and report.slot.startswith("ota_"):
            _check_entry_state(case, report)
    _check_version(case)


def _check_entry_state(case: _Case, report: SlotReport) -> None:
    predicted = _predicted_state(case, report.slot)
    if predicted is None or not report.state:
        return
    seen = "none" if report.state == "ESP_ERR_NOT_FOUND" else report.state
    # an app that reports late may have confirmed before
    earlier = [event for event in case.boot.events if event.at.offset < report.at.offset]
    if seen == predicted or (seen == "VALID" and log_says_confirmed(earlier)):
        return
    case.faults.append(f"{report.slot} is {seen} for the app, {predicted} for the model")


def _check_version(case: _Case) -> None:
    prediction, memory = case.prediction, case.evidence.memory_before
    if prediction is None or memory is None or prediction.result.offset is None:
        return
    try:
        image = AppDesc.find(memory.read(prediction.result.offset + DESCRIPTOR_OFFSET, 256))
    except Inconclusive:
        return
    said = {event.field: event.value for event in case.boot.events if isinstance(event, AppInfo)}
    if image is None:
        return
    versions = [said.get("version"), *(report.version for report in case.reports)]
    other = next((version for version in versions if version not in (None, image.version)), None)
    if other is not None:
        case.faults.append(f"version {other} runs, {prediction.result.slot} holds version {image.version}")
    elif "elf_sha" in said and any(image.elf_sha) and not image.elf_sha.hex().startswith(said["elf_sha"]):
        case.faults.append(f"the ELF SHA-256 of the running app is not that of the image in {prediction.result.slot}")


def _check_otadata(case: _Case) -> None:
    evidence, prediction = case.evidence, case.prediction
    if evidence.otadata_after is None:
        if prediction is None or prediction.states is not None:
            case.doubts.append("otadata was not read back after the boot: read it with the ROM loader or ask the app")
        return
    if prediction is None or prediction.otadata is None:
        return
    offset = otadata_offset(case.table)
    if evidence.cut and offset is not None:
        trust = left_by_cut(prediction, evidence.otadata_after, offset, evidence.secure_version_after)
        if trust == "no":
            with_fuse = "" if evidence.secure_version_after is None else " and this secure version in the eFuse"
            case.faults.append(f"otadata and model disagree: no power cut in this boot leaves these entries{with_fuse}")
        elif trust == "torn":
            case.doubts.append("otadata is explained only by a torn erase or write: repeat the cut")
        return
    for number, (wanted, seen) in enumerate(zip(prediction.otadata, evidence.otadata_after, strict=True)):
        if wanted != seen and not _app_did(case, number, wanted, seen):
            case.faults.append(
                f"otadata and model disagree: entry {number} is "
                f"{words(evidence.otadata_after, number, prediction.cipher, offset or 0)}, "
                f"the model has {describe_entry(wanted)}"
            )


def _app_did(case: _Case, number: int, wanted: bytes, seen: bytes) -> bool:
    """The app confirmed or rejected itself in this boot, as its log shows, and changed nothing else."""
    if case.prediction is None or case.prediction.otadata is None:
        return False
    first, second = case.prediction.otadata
    was, now = parse(wanted), parse(seen)
    if active_index((parse(first), parse(second))) != number or was._replace(state=now.state) != now:
        return False
    if case.evidence.app_silent and case.app_seen:
        return now.state in (ImageState.VALID, ImageState.INVALID)
    until = case.evidence.after_at
    earlier = [event for event in case.boot.events if until is None or event.at.offset < until]
    if now.state == ImageState.VALID:
        return log_says_confirmed(earlier)
    return now.state == ImageState.INVALID and log_says_rejected(earlier)


def _check_efuse(case: _Case) -> None:
    after, prediction = case.evidence.secure_version_after, case.prediction
    if after is None or prediction is None or not case.evidence.config.anti_rollback or case.evidence.cut:
        return
    confirmed = case.evidence.app_silent or log_says_confirmed(case.boot.events)
    if after < prediction.secure_version or (after > prediction.secure_version and not confirmed):
        case.faults.append(f"eFuse secure version is {after}, the model has {prediction.secure_version}")


def _burnt(evidence: BootEvidence) -> tuple[int | None, int | None] | None:
    if not evidence.config.anti_rollback or evidence.memory_before is None:
        return None
    try:
        return evidence.memory_before.secure_version, evidence.secure_version_after
    except Inconclusive:
        return None, evidence.secure_version_after


def _conclude(case: _Case, signs: Sequence[str]) -> Judgement:
    evidence = case.evidence
    after = evidence.otadata_after or (case.prediction.otadata if case.prediction else None)
    found = (
        *hazards(case.table, evidence.config, after, case.prediction),
        *encryption_hazards(evidence.memory_before, case.table, case.prediction),
    )
    details = explain(
        Findings(
            boot=case.boot,
            before=evidence.otadata_before,
            after=evidence.otadata_after,
            prediction=case.prediction,
            log=case.log,
            signs=tuple(signs),
            faults=tuple(case.faults),
            doubts=tuple(case.doubts),
            burnt=_burnt(evidence),
        )
    )
    if signs:
        return Judgement(Verdict.BENCH_FAULT, signs[0], details, found)
    if case.faults:
        return Judgement(Verdict.FIRMWARE_FAIL, case.faults[0], details, found)
    if case.doubts:
        return Judgement(Verdict.INCONCLUSIVE, case.doubts[0], details, found)
    return Judgement(Verdict.PASS, "log, otadata and model agree", details, found)
