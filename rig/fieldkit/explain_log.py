"""From a serial log to an `Explanation`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rig.evidence.events import OtadataReport
from rig.evidence.records import Transition
from rig.fieldkit.entries import explained_entry
from rig.fieldkit.explained import (
    ExplainedEntry,
    ExplainedPartition,
    ExplainedTransition,
    Explanation,
)
from rig.fieldkit.log_boot import sequence_numbers
from rig.fieldkit.log_case import Case
from rig.fieldkit.log_facts import facts
from rig.fieldkit.log_reading import Reading, read_log
from rig.fieldkit.log_verdict import findings
from rig.fieldkit.verdicts import MEANINGS
from rig.idf.otadata import parse
from rig.idf.partitions import PartitionTable

_LINE = re.compile(r"line (\d+):")


def explain_log(log: bytes | Iterable[bytes], source: str) -> Explanation:
    """Explain a log, whole or in pieces; `source` is what it is called."""
    return explain_reading(read_log([log] if isinstance(log, bytes) else log), source)


def explain_reading(reading: Reading, source: str) -> Explanation:
    """The same for a log that was read already."""
    case = Case(reading)
    found = findings(reading)
    table = next((boot.table for boot in reversed(case.boots) if boot.table), None)
    return Explanation(
        source=source,
        kind="serial log",
        verdict=found[0].verdict,
        meaning=MEANINGS[found[0].verdict],
        reasons=found[0].reasons,
        evidence=found[0].evidence,
        unknown=found[0].unknown,
        findings=found,
        counts=reading.counts,
        boots=case.told,
        boots_left_out=reading.left_out,
        transitions=[_transition(change) for change in case.changes],
        otadata=_otadata(case, table),
        table=partitions(table),
        facts=facts(case),
    )


def _transition(change: Transition) -> ExplainedTransition:
    lines = sorted({int(number) for text in change.witness for number in _LINE.findall(text)})
    return ExplainedTransition(
        slot=change.slot,
        before=change.before,
        after=change.after,
        by=change.by,
        boot=change.boot,
        lines=lines,
        inferred=any(text.startswith("inferred") for text in change.witness),
    )


def _otadata(case: Case, table: PartitionTable | None) -> list[ExplainedEntry]:
    """The entries as they were last shown: by an app, byte for byte, or at least their sequence numbers."""
    count = table.ota_count_bootloader if table else 0
    last = {event.entry: event for event in case.all(OtadataReport)}
    if last:
        return [explained_entry(entry, parse(report.data), count) for entry, report in sorted(last.items())]
    for boot in reversed(case.boots):
        if seqs := sequence_numbers(boot):
            return [ExplainedEntry(entry=entry, seq=seq) for entry, seq in enumerate(seqs)]
    return []


def partitions(table: PartitionTable | None) -> list[ExplainedPartition]:
    """The rows of a table, for people."""
    return [
        ExplainedPartition(
            label=part.label,
            type=part.type_name,
            subtype=part.subtype_name,
            offset=f"{part.offset:#x}",
            size=f"{part.size:#x}",
        )
        for part in (table.entries if table else ())
    ]
