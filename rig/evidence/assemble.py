"""Puts the witnesses of a whole trial to the judge, boot by boot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from rig.errors import Inconclusive
from rig.evidence.agentlines import checked, facts
from rig.evidence.app_calls import AppCall, Call, judge_call
from rig.evidence.bench import ExpectedReset
from rig.evidence.boots import Boot, MarkKind, segment
from rig.evidence.boots import Mark as LogMark
from rig.evidence.events import AgentLine, Event, OtaCall, OtadataReport, OtaLine
from rig.evidence.judge import BootEvidence, Judgement, judge, worst
from rig.evidence.logwitness import log_says_confirmed
from rig.evidence.observe import Sample, describe_entry
from rig.evidence.predict import Entries, predict
from rig.evidence.records import Verdict
from rig.evidence.witnesses import KnownFlash
from rig.idf.config import BootConfig
from rig.idf.ota_ops import RESTART
from rig.idf.partitions import PartitionTable

INTERRUPTIONS = (MarkKind.POWER_CUT, MarkKind.RESET_LINE, MarkKind.FLASH_READ)
"""What of the bench ends a boot before its app runs."""


OWN_CALLS: dict[str, Call] = {"confirmed": "confirm", "rejecting": "reject"}
"""By the `result` of the `diag` event (PROTOCOL.md, 3)."""


class TrialEvidence(NamedTuple):
    """Everything gathered in one trial; offsets are bytes of log. `samples` come from flash, not from the app."""

    events: Sequence[Event]
    marks: Sequence[LogMark]
    samples: Sequence[Sample]
    flash: Sequence[tuple[int, KnownFlash]]
    calls: Sequence[AppCall]
    table: PartitionTable
    config: BootConfig


def judge_trial(evidence: TrialEvidence) -> Judgement:
    """The verdict on all boots, the worst first, with every hazard that was met."""
    boots = segment(evidence.events, evidence.marks, evidence.table).boots
    samples = sorted([*evidence.samples, *reported(evidence.events)], key=lambda sample: sample.offset)
    judgements = []
    for number in range(len(boots)):
        judgement = judge(_boot_evidence(number, boots, samples, evidence))
        judgements.append(judgement._replace(reason=f"boot {number}: {judgement.reason}"))
    for call in [*evidence.calls, *_own_calls(boots)]:
        known = _memory(evidence, call.start)
        if known is not None and (found := judge_call(call, samples, known, evidence.table, evidence.config)):
            judgements.append(found)
    if contradiction := _app_against_flash(boots, samples):
        judgements.append(contradiction)
    verdict = worst(judgements)
    met = dict.fromkeys(hazard for judgement in judgements for hazard in judgement.hazards)
    return verdict._replace(hazards=tuple(met))


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
    number: int, boots: Sequence[Boot], samples: Sequence[Sample], evidence: TrialEvidence
) -> BootEvidence:
    boot = boots[number]
    start = boot.events[0].at.offset
    end = boots[number + 1].events[0].at.offset if number + 1 < len(boots) else None
    app_ran = any(isinstance(event, AgentLine) for event in boot.events)
    before = _before(number, boots, samples)
    case = BootEvidence(
        events=boot.events,
        config=evidence.config,
        otadata_before=before,
        memory_before=_memory_for_boot(evidence, start, before),
        table=evidence.table,
        expected_reset=_expected_reset(number, boots),
        cut=not app_ran and any(mark.kind in INTERRUPTIONS and mark.offset > start for mark in boot.marks),
    )
    after = next((s.entries for s in samples if s.offset > start and (end is None or s.offset <= end)), None)
    if after is None and not app_ran:
        # Nobody but the bootloader could write: the read-back after the next boots speaks for this one, too.
        after = _predicted(case)
    return replace(case, otadata_after=after)


def _memory(evidence: TrialEvidence, position: int) -> KnownFlash | None:
    """Flash as it was known when the log had come that far."""
    return next((flash for offset, flash in reversed(evidence.flash) if offset <= position), None)


def _memory_for_boot(evidence: TrialEvidence, start: int, otadata: Entries | None) -> KnownFlash | None:
    """What nobody read of otadata must not be taken from an earlier time."""
    known = _memory(evidence, start)
    part = evidence.table.otadata_for_bootloader
    if known is None or part is None or otadata is not None:
        return known
    return known.with_unknown(part.offset, part.end)


def _own_calls(boots: Sequence[Boot]) -> list[AppCall]:
    """Confirmations and rejections that apps did by themselves, after their diagnostics."""
    calls = []
    for boot in boots:
        said = [(event, line) for event in boot.events if isinstance(event, AgentLine) and (line := checked(event))]
        start = next((event for event, line in said if line.word == "start"), None)
        for _, line in said:
            call = OWN_CALLS.get(line.fields.get("result", "")) if line.word == "diag" else None
            if call is not None and start is not None and boot.slot is not None:
                error = RESTART if call == "reject" else "ESP_OK"
                calls.append(AppCall(call, start.at.offset + 1, boot.slot, error=error))
    return calls


def _before(number: int, boots: Sequence[Boot], samples: Sequence[Sample]) -> Entries | None:
    """The last otadata seen before the boot, unless the app is known to have written since."""
    start = boots[number].events[0].at.offset
    last = next((sample for sample in reversed(samples) if sample.offset <= start), None)
    if last is None or number == 0:
        return last.entries if last else None
    since = [event for event in boots[number - 1].events if event.at.offset > last.offset]
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
    return ExpectedReset.WATCHDOG if number else ExpectedReset.ANY


def _predicted(case: BootEvidence) -> Entries | None:
    if case.memory_before is None:
        return None
    try:
        return predict(case.memory_before, case.config, case.table, case.otadata_before, case.pins).otadata
    except Inconclusive:
        return None


def _app_against_flash(boots: Sequence[Boot], samples: Sequence[Sample]) -> Judgement | None:
    """Nothing runs between an app's last report and the ROM loader's reading, unless power was cut: both agree."""
    if not boots:
        return None
    for app, flash in pairwise(samples):
        if app.source != "app" or flash.source != "flash" or app.entries == flash.entries:
            continue
        between = [boot for boot in boots if app.offset < boot.events[0].at.offset <= flash.offset]
        cuts = [mark for boot in boots for mark in boot.marks if mark.kind is MarkKind.POWER_CUT]
        if between or any(app.offset <= mark.offset <= flash.offset for mark in cuts):
            continue
        lines = ["otadata", f"  {'app reported':<12} {_words(app)}", f"  {'flash holds':<12} {_words(flash)}"]
        return Judgement(Verdict.FIRMWARE_FAIL, "the app reports other otadata than flash holds", "\n".join(lines))
    return None


def _words(sample: Sample) -> str:
    return "; ".join(f"[{number}] {describe_entry(data)}" for number, data in enumerate(sample.entries))
