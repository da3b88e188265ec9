"""Puts the witnesses of a whole trial to the judge, boot by boot."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from rig.errors import Inconclusive
from rig.evidence import emulated
from rig.evidence.agentlines import checked, facts
from rig.evidence.app_calls import AppCall, Call, Witnessed, around, judge_call, model_call, name_of
from rig.evidence.bench import ExpectedReset
from rig.evidence.boots import Boot, MarkKind, segment
from rig.evidence.boots import Mark as LogMark
from rig.evidence.events import AgentLine, AppLoaded, Event, OtaCall, OtadataReport, OtaLine
from rig.evidence.judge import BootEvidence, Judgement, judge, worst
from rig.evidence.logwitness import log_says_confirmed
from rig.evidence.observe import Sample, describe_entry
from rig.evidence.predict import Entries, Prediction, predict
from rig.evidence.records import Verdict
from rig.evidence.secure_versions import SecureVersions, SeenVersion, possible_after, said
from rig.evidence.secure_versions import reported as reported_versions
from rig.evidence.witnesses import KnownFlash
from rig.idf.config import BootConfig
from rig.idf.ota_ops import RESTART
from rig.idf.partitions import PartitionTable

INTERRUPTIONS = (MarkKind.POWER_CUT, MarkKind.RESET_LINE)
"""What of the bench may end a boot before its app runs."""

UNASKED = "otadata changed although nothing was asked of the app"
APP_LIES = "the app reports other otadata than flash holds"


class TrialEvidence(NamedTuple):
    """Everything gathered in one trial; offsets are bytes of log. `samples` come from flash, not from the app.

    `app_silent`: the app has no serial contract, so what it did to otadata is known only where flash was read.
    """

    events: Sequence[Event]
    marks: Sequence[LogMark]
    samples: Sequence[Sample]
    flash: Sequence[tuple[int, KnownFlash]]
    calls: Sequence[AppCall]
    table: PartitionTable
    config: BootConfig
    app_silent: bool = False
    secure_versions: Sequence[SeenVersion] = ()


def judge_trial(evidence: TrialEvidence) -> Judgement:
    """The verdict on all boots, the worst first, with every hazard that was met."""
    boots = segment(evidence.events, evidence.marks, evidence.table).boots
    samples = sorted([*evidence.samples, *reported(evidence.events)], key=lambda sample: sample.offset)
    calls = sorted([*evidence.calls, *_own_calls(boots)], key=lambda call: call.start)
    versions = _versions(evidence)
    judgements = _in_order(boots, calls, samples, evidence, versions)
    if wrong := versions.contradiction():
        judgements.append(Judgement(Verdict.FIRMWARE_FAIL, *wrong))
    if contradiction := _unasked_change(boots, samples, calls):
        judgements.append(contradiction)
    judgements += emulated.crashes(boots)
    verdict = worst(judgements)
    met = dict.fromkeys(hazard for judgement in judgements for hazard in judgement.hazards)
    return verdict._replace(hazards=tuple(met))


def _in_order(
    boots: Sequence[Boot],
    calls: Sequence[AppCall],
    samples: Sequence[Sample],
    evidence: TrialEvidence,
    versions: SecureVersions,
) -> list[Judgement]:
    """Those of all boots, then those of all calls; the eFuse is followed from one to the next as they happened."""
    judgements, by_calls = [], []
    waiting = list(calls)
    left: Entries | None = None
    for number, boot in enumerate(boots):
        start = boot.events[0].at.offset
        end = boots[number + 1].events[0].at.offset if number + 1 < len(boots) else sys.maxsize
        # A call that power was lost in may have said nothing: then the next boot begins where it does.
        own = [call for call in waiting if start < call.start <= end]
        case = _boot_evidence(number, boots, samples, evidence, left, versions.before_boot(start))
        if evidence.config.anti_rollback:
            until = min([end, *(call.began for call in own)])
            case = replace(case, secure_version_after=versions.after_boot(start, until))
            versions.booted(start, f"boot {number}", _burnt_by_boot(case))
        left = case.otadata_after
        judgement = judge(case)
        judgements.append(judgement._replace(reason=f"boot {number}: {judgement.reason}"))
        by_calls += [_judge_call(call, samples, evidence, versions) for call in own]
        waiting = [call for call in waiting if call not in own]
    by_calls += [_judge_call(call, samples, evidence, versions) for call in waiting]
    return [*judgements, *(found for found in by_calls if found is not None)]


def _versions(evidence: TrialEvidence) -> SecureVersions:
    """Only a build with anti-rollback looks at the field."""
    if not evidence.config.anti_rollback:
        return SecureVersions((), evidence.config.secure_version_bits)
    seen = [*evidence.secure_versions, *reported_versions(evidence.events)]
    return SecureVersions(seen, evidence.config.secure_version_bits)


def _burnt_by_boot(case: BootEvidence) -> tuple[int, ...] | None:
    """Values it may have left; None if that is not known, as with an app that may have confirmed itself in silence."""
    prediction = None if case.app_silent else _predicted(case)
    return None if prediction is None else possible_after(prediction, cut=case.cut)


def _judge_call(
    call: AppCall, samples: Sequence[Sample], evidence: TrialEvidence, versions: SecureVersions
) -> Judgement | None:
    known = _memory(evidence, call.start)
    if known is None:
        return None
    before, after = around(call, samples)
    left_in_flash = None if after is None else _memory(evidence, after.offset)
    if before is not None and any(before.offset < other.start < call.start for other in evidence.calls):
        # An emulator's last words before a cut are not believed: who had chosen the slot by then is not known.
        left_in_flash = None
    if not evidence.config.anti_rollback:
        seen = Witnessed(flash=left_in_flash)
        return judge_call(call, samples, known, evidence.table, evidence.config, seen)
    known = known.with_secure_version(versions.before_call(call.began))
    possible = None
    if before is not None:
        with contextlib.suppress(Inconclusive):
            outcome = model_call(call, before.entries, known, evidence.table, evidence.config)
            possible = possible_after(outcome.prediction, cut=call.error is None)
    if call.since is not None and possible is not None:
        meanwhile = tuple(dict.fromkeys((known.secure_version, *possible)))
        versions.called(call.since, f"what may have been {name_of(call)}", meanwhile)
    versions.called(call.start, name_of(call), possible)
    lines = said(evidence.events, call.began, after.offset) if after is not None else []
    left = versions.after_call(call.start) if call.error is None else None
    seen = Witnessed(lines, left, left_in_flash)
    return judge_call(call, samples, known, evidence.table, evidence.config, seen)


def reported(events: Sequence[Event]) -> list[Sample]:
    """Otadata as the app reported it, from its checked lines."""
    found = []
    for event in events:
        if isinstance(event, AgentLine):
            entries = {fact.entry: fact.data for fact in facts(event) if isinstance(fact, OtadataReport)}
            if len(entries) == 2:
                found.append(Sample((entries[0], entries[1]), "app", event.at.offset, event.at.time))
    return found


def _boot_evidence(
    number: int,
    boots: Sequence[Boot],
    samples: Sequence[Sample],
    evidence: TrialEvidence,
    left: Entries | None,
    burnt: int | None,
) -> BootEvidence:
    """`left`: otadata after the boot before this one, as far as that is known; `burnt`: the eFuse before this one."""
    boot = boots[number]
    start = boot.events[0].at.offset
    end = boots[number + 1].events[0].at.offset if number + 1 < len(boots) else None
    signs_of_life = AppLoaded if evidence.app_silent else AgentLine
    app_ran = any(isinstance(event, signs_of_life) for event in boot.events)
    before = _before(number, boots, samples, left, app_silent=evidence.app_silent)
    case = BootEvidence(
        events=boot.events,
        config=evidence.config,
        otadata_before=before,
        memory_before=_memory_for_boot(evidence, start, before, burnt),
        table=evidence.table,
        expected_reset=_expected_reset(number, boots),
        app_silent=evidence.app_silent,
    )
    prediction = None if app_ran else _predicted(case)
    case = replace(case, cut=not app_ran and _cut(boot, prediction))
    sample = next(
        (sample for sample in samples if sample.offset > start and (end is None or sample.offset <= end)), None
    )
    if sample is not None:
        return replace(case, otadata_after=sample.entries, after_at=sample.offset)
    # Nobody but the bootloader could write: the read-back after the next boots speaks for this one, too.
    return replace(case, otadata_after=prediction.otadata if prediction is not None else None)


def _cut(boot: Boot, prediction: Prediction | None) -> bool:
    """Whether the bench ended the boot early. Reading flash does so only if no app was to be waited for."""
    ends = {mark.kind for mark in boot.marks if mark.offset > boot.events[0].at.offset}
    no_app = prediction is not None and prediction.result.outcome != "booted"
    return not ends.isdisjoint(INTERRUPTIONS) or (no_app and MarkKind.FLASH_READ in ends)


def _memory(evidence: TrialEvidence, position: int) -> KnownFlash | None:
    """Flash as it was known when the log had come that far."""
    return next((flash for offset, flash in reversed(evidence.flash) if offset <= position), None)


def _memory_for_boot(
    evidence: TrialEvidence, start: int, otadata: Entries | None, burnt: int | None
) -> KnownFlash | None:
    """What nobody read of otadata must not be taken from an earlier time."""
    known = _memory(evidence, start)
    if known is None:
        return None
    known = known.with_secure_version(burnt)
    part = evidence.table.otadata_for_bootloader
    return known if part is None or otadata is not None else known.with_unknown(part.offset, part.end)


def _own_calls(boots: Sequence[Boot]) -> list[AppCall]:
    """Confirmations and rejections that apps did by themselves, after their diagnostics."""
    calls = []
    for boot in boots:
        said = [(event, line) for event in boot.events if isinstance(event, AgentLine) and (line := checked(event))]
        first = next(((event.at.offset, line) for event, line in said if line.word == "start"), None)
        began, running = (None, None) if first is None else (first[0], first[1].fields.get("running"))
        cut = next((mark.offset for mark in boot.marks if mark.kind is MarkKind.POWER_CUT), None)
        over = [event.at.offset for event, line in said if line.word in ("shutdown", "ready")]
        for event, line in said:
            if line.word == "diag" and running is not None and (own := _own_call(line.fields)):
                at = event.at.offset
                # It says so before it does it: power may have been lost meanwhile.
                unknown = own[1] == RESTART and cut is not None and not any(at < end < cut for end in over)
                calls.append(AppCall(own[0], at, running, error=None if unknown else own[1], since=began))
    return calls


def _own_call(diag: Mapping[str, str]) -> tuple[Call, str] | None:
    """The call that a `diag` event tells of, and what it returned (PROTOCOL.md, 3)."""
    call: Call = "reject" if diag.get("outcome") == "fail" else "confirm"
    error = {"confirmed": "ESP_OK", "rejecting": RESTART, "error": diag.get("error")}.get(diag.get("result", ""))
    return None if error is None else (call, error)


def _before(
    number: int, boots: Sequence[Boot], samples: Sequence[Sample], left: Entries | None, *, app_silent: bool
) -> Entries | None:
    """The last otadata seen before the boot, unless an app is known to have written since."""
    start = boots[number].events[0].at.offset
    last = next((sample for sample in reversed(samples) if sample.offset <= start), None)
    if last is None or number == 0:
        return last.entries if last else None
    if last.offset <= boots[number - 1].events[0].at.offset:
        return left
    since = [event for event in boots[number - 1].events if event.at.offset > last.offset]
    if app_silent and since:
        return None
    return None if log_says_confirmed(since) or any(map(_writes, since)) else last.entries


def _writes(event: Event) -> bool:
    return isinstance(event, OtaLine) and event.kind in (OtaCall.ROLLBACK, OtaCall.MARKED_INVALID)


def _expected_reset(number: int, boots: Sequence[Boot]) -> ExpectedReset:
    marks = boots[number - 1].marks if number else boots[0].marks
    since = boots[number - 1].events[0].at.offset if number else -1
    start = boots[number].events[0].at.offset
    for mark in reversed([mark for mark in marks if since < mark.offset <= start]):
        if mark.kind is MarkKind.POWER_ON:
            return ExpectedReset.POWER_ON
        if mark.kind is MarkKind.RESET_LINE:
            return ExpectedReset.RESET_LINE
        if mark.kind is MarkKind.RESTARTED:
            return ExpectedReset.FRESH_PROCESS
    return ExpectedReset.WATCHDOG if number else ExpectedReset.ANY


def _predicted(case: BootEvidence) -> Prediction | None:
    if case.memory_before is None:
        return None
    try:
        return predict(case.memory_before, case.config, case.table, case.otadata_before, case.pins)
    except Inconclusive:
        return None


def _unasked_change(boots: Sequence[Boot], samples: Sequence[Sample], calls: Sequence[AppCall]) -> Judgement | None:
    """With no boot, no call and no power cut between two readings of otadata, they agree."""
    starts = [boot.events[0].at.offset for boot in boots]
    cuts = [mark.offset for boot in boots for mark in boot.marks if mark.kind is MarkKind.POWER_CUT]
    for first, second in pairwise(samples):
        if first.entries == second.entries:
            continue
        # A reading of flash stands where the log was when it was taken: a boot may begin right there.
        if any(first.offset <= start < second.offset for start in starts):
            continue
        if any(first.offset < call.start <= second.offset for call in calls):
            continue
        if any(first.offset <= cut <= second.offset for cut in cuts):
            continue
        reason = APP_LIES if (first.source, second.source) == ("app", "flash") else UNASKED
        rows = [f"  {WHO[sample.source]:<12} {_words(sample)}" for sample in (first, second)]
        return Judgement(Verdict.FIRMWARE_FAIL, reason, "\n".join(["otadata", *rows]))
    return None


WHO = {"app": "app reported", "flash": "flash holds"}


def _words(sample: Sample) -> str:
    return "; ".join(f"[{number}] {describe_entry(data)}" for number, data in enumerate(sample.entries))
