"""Rules about otadata and configuration: foreign entries, lost records, wrong choices, options that do not match."""

from __future__ import annotations

import re

from rig.evidence.events import (
    CallFailed,
    Decision,
    Event,
    Hint,
    HintKind,
    NotSigned,
    OtaCall,
    OtadataLine,
    OtadataSequence,
    OtaLine,
    SequenceChoice,
    SequencePair,
    SlotMapped,
)
from rig.fieldkit.explained import Finding
from rig.fieldkit.log_verdict_ending import End, ending
from rig.fieldkit.log_verdict_facts import (
    OTADATA_BAD,
    OTADATA_EMPTY,
    Log,
    Start,
    calls_of,
    confirmed_in,
    entries_reported,
    failures,
    hints_of,
)
from rig.fieldkit.verdicts import FieldVerdict
from rig.idf.otadata import ERASED_LABEL, ERASED_SEQ, ImageState, parse, slot_index

_STATES = frozenset(int(state) for state in ImageState)
_TOO_MANY = 10_000_000
"""No device was ever updated so often: a sequence number above is somebody else's data."""
_USUAL_SLOTS = 2
_SEQUENCE = re.compile(r"([01])\]\.ota_seq ?= ?(\d+)")
_NEW = ("NEW", "0", "0x0")
_LOOK = 50
"""So many boots are searched for the beginning of a crash loop."""


def wrong_slot(log: Log) -> Finding | None:
    """A slot that (sequence number - 1) mod n does not give (bootloader_utility.c; esp-idf#955 of 2017)."""
    known = log.table.ota_count_bootloader if log.table else 0
    count = known or _USUAL_SLOTS
    for start in log.starts:
        pair = next((event for event in start.boot.events if isinstance(event, SequencePair)), None)
        choice = next((event for event in start.boot.events if isinstance(event, SequenceChoice)), None)
        if pair and choice:
            usable = [seq for seq in pair.seqs if seq != ERASED_SEQ]
            if usable and choice.slot != (max(usable) - 1) % count:
                return _wrong(start, max(usable), choice.slot, count, known, [pair, choice])
        mapped = next((event for event in start.boot.events if isinstance(event, SlotMapped)), None)
        if known and mapped and mapped.slot != f"ota_{mapped.seq % known}":
            return _wrong(start, mapped.seq + 1, int(mapped.slot[4:]), known, known, [mapped])
    return None


def _wrong(start: Start, seq: int, slot: int, count: int, known: int, shown: list[Event]) -> Finding:
    right = (seq - 1) % count
    reasons = [
        f"boot {start.ordinal}: the highest sequence number is {seq}, so slot ({seq} - 1) mod {count} = {right}; "
        f"the bootloader took slot {slot}"
    ]
    if not known:
        reasons.append(f"{count} OTA slots are assumed, as in ESP-IDF's own tables: the log does not list the table")
    return Finding(
        verdict=FieldVerdict.BOOTLOADER_BUG,
        reasons=reasons,
        evidence=[event.at.number for event in shown],
        unknown=[] if known else ["the partition table: how many ota_ slots it has"],
    )


def foreign(log: Log) -> Finding | None:
    """Entries that ESP-IDF never writes: other states, label bytes in use, sequence numbers out of this world.

    `ota_state` is NEW 0, PENDING_VERIFY 1, VALID 2, INVALID 3, ABORTED 4 or 0xffffffff (esp_flash_partitions.h).
    """
    reasons: list[str] = []
    lines: list[int] = []
    for event in log.events:
        if isinstance(event, OtadataLine) and event.state not in _STATES:
            reasons.append(
                f"otadata entry {event.entry} (seq {event.seq:#x}) has state {event.state:#x}; "
                "ESP-IDF writes 0 to 4 or 0xffffffff"
            )
            lines.append(event.at.number)
        elif isinstance(event, OtadataSequence) and _TOO_MANY < event.seq < ERASED_SEQ:
            reasons.append(f"otadata entry {event.entry} has sequence number {event.seq:#x}: data of something else")
            lines.append(event.at.number)
    for start in log.starts:
        for pair in entries_reported(start):
            for report in pair:
                entry = parse(report.data)
                if entry.state not in _STATES or (entry.label != ERASED_LABEL and entry.crc_ok):
                    reasons.append(f"otadata entry {report.entry}: state {entry.state:#x}, label {entry.label.hex()}")
                    lines.append(report.at.number)
    if not reasons:
        return None
    bad = [event for start in log.starts for event in start.decisions(*OTADATA_BAD)]
    if bad:
        reasons.append(f"the bootloader then says: {bad[-1].kind}")
    return Finding(
        verdict=FieldVerdict.OTADATA_FOREIGN,
        reasons=list(dict.fromkeys(reasons))[:6],
        evidence=sorted({*lines, *(event.at.number for event in bad)}),
        unknown=["which firmware wrote otadata before; a dump of its two sectors"],
    )


def target_lost(log: Log) -> Finding | None:
    """Both entries stand for one slot: before v6.0 a second set_boot for the slot of the active entry overwrites the
    record of the running app (esp_ota_ops.c, esp_rewrite_ota_data; esp-idf#14688).
    """
    for start in reversed(log.starts):
        twice = _one_slot_twice(log, start)
        if twice is None:
            continue
        slot, seqs, lines = twice
        fine = bool(confirmed_in(log, start)) or "VALID" in [state for state, _ in start.states]
        reasons = [
            f"both otadata entries stand for {slot} (sequence numbers {seqs[0]} and {seqs[1]}): "
            "the record of the other slot is gone"
        ]
        chosen = [hint for hint in hints_of(log.events, HintKind.CHOSEN) if hint.at.number < lines[0]]
        if chosen:
            reasons.append(f"as a second set_boot for the same slot leaves it before ESP-IDF v6.0: {chosen[-1].at}")
        if fine:
            reasons.append(f"{start.name} came up and was confirmed")
        return Finding(
            verdict=FieldVerdict.UPDATED_TARGET_LOST if fine else FieldVerdict.ROLLBACK_TARGET_LOST,
            reasons=reasons,
            evidence=sorted({*lines, *(hint.at.number for hint in chosen[-1:])}),
        )
    return _no_way_back(log)


def _one_slot_twice(log: Log, start: Start) -> tuple[str, tuple[int, int], list[int]] | None:
    count = log.table.ota_count_bootloader if log.table else 0
    if log.table and log.table.slot("factory") is not None:
        return None
    seen = {event.entry: event for event in start.boot.events if isinstance(event, OtadataSequence)}
    pairs = [(seen[0].seq, seen[1].seq, [seen[0].at.number, seen[1].at.number])] if len(seen) == 2 else []
    for first, second in entries_reported(start)[-1:]:
        entries = parse(first.data), parse(second.data)
        if all(entry.crc_ok for entry in entries):
            pairs.append((entries[0].seq, entries[1].seq, [first.at.number, second.at.number]))
    for one, other, lines in pairs:
        if ERASED_SEQ in (one, other):
            continue
        if one == other or (count > 1 and slot_index(one, count) == slot_index(other, count)):
            slot = f"ota_{slot_index(one, count or _USUAL_SLOTS)}"
            return slot, (one, other), lines
    return None


def _no_way_back(log: Log) -> Finding | None:
    """The app asked to go back and no other slot could take over, or its own slot has no entry."""
    shown: list[OtaLine | CallFailed] = [*calls_of(log.events, OtaCall.ROLLBACK_IMPOSSIBLE)]
    shown += [event for event in failures(log.events) if "ROLLBACK_FAILED" in event.error]
    if shown:
        return Finding(
            verdict=FieldVerdict.ROLLBACK_TARGET_LOST,
            reasons=[f"ESP-IDF finds no other slot that could take over: {shown[0].at}"],
            evidence=[event.at.number for event in shown],
            unknown=["a dump of otadata and of the other slot: entry gone, image damaged, or secure version too low"],
        )
    missing = [
        event
        for event in failures(log.events)
        if event.call == "esp_ota_get_state_partition" and event.error in ("ESP_ERR_NOT_FOUND", "0x105", "261")
    ]
    empty = [event for start in log.starts for event in start.decisions(*OTADATA_BAD, *OTADATA_EMPTY)]
    sequences = hints_of(log.events, HintKind.SEQUENCE)
    if (not missing or empty) and not _printed_twice(sequences):
        return None
    own = [f"the running app's slot has no otadata entry: {missing[0].at}"] if missing else []
    return Finding(
        verdict=FieldVerdict.ROLLBACK_TARGET_LOST,
        reasons=[
            *own,
            *(f"the app reads otadata[{hint.value}" for hint in sequences[-2:]),
            "as two updates without a reboot leave it before ESP-IDF v6.0: both entries stand for the new slot",
        ],
        evidence=[*(event.at.number for event in missing[:5]), *(hint.at.number for hint in sequences[-2:])],
        unknown=[log.otadata_dump],
    )


def _printed_twice(sequences: list[Hint]) -> bool:
    """The app prints both entries' sequence numbers, and they stand for one slot of two."""
    read = [match for hint in sequences if (match := _SEQUENCE.match(hint.value))]
    last = {match[1]: int(match[2]) for match in read[-2:]}
    if len(last) < 2:
        return False
    first, second = last.values()
    return 0 < first < ERASED_SEQ and 0 < second < ERASED_SEQ and (first - second) % _USUAL_SLOTS == 0


def no_otadata(log: Log) -> Finding | None:
    """esp_ota_ops finds no partition of type data, subtype ota."""
    calls = calls_of(log.events, OtaCall.NO_OTADATA)
    if not calls:
        return None
    return Finding(
        verdict=FieldVerdict.MISCONFIGURATION,
        reasons=[f"the partition table has no otadata partition: {calls[0].at}"],
        evidence=[event.at.number for event in calls],
        unknown=["the partition table in flash"],
    )


def not_signed(log: Log) -> Finding | None:
    """The app demands signed updates and is itself unsigned: it aborts before app_main (secure_boot.c)."""
    events = [event for event in log.events if isinstance(event, NotSigned)]
    if not events:
        return None
    return Finding(
        verdict=FieldVerdict.MISCONFIGURATION,
        reasons=["the app demands signed updates and is not signed itself, so it aborts at every start"],
        evidence=[event.at.number for event in events[:5]],
    )


def bad_table(log: Log) -> Finding | None:
    """Decisions that only a wrong table explains."""
    kinds = (Decision.OTADATA_SMALL, Decision.TEST_MISSING)
    found = [event for start in log.starts for event in start.decisions(*kinds)]
    if not found:
        return None
    return Finding(
        verdict=FieldVerdict.MISCONFIGURATION,
        reasons=[f"{event.kind}" for event in found[:1]],
        evidence=[event.at.number for event in found[:5]],
    )


def not_armed(log: Log) -> Finding | None:
    """The bootloader was built without CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE and the app counts on it.

    Such a bootloader starts an app in state NEW and leaves it NEW (esp-idf#5950, esp-idf#14042).
    """
    for start in log.starts:
        first = start.states[0] if start.states else None
        hinted = start.hints(HintKind.STATE)
        state, line = first or ((hinted[0].value, hinted[0].at.number) if hinted else ("", 0))
        if state in _NEW and not hints_of(start.boot.events, HintKind.CHOSEN):
            return _unarmed(
                [f"boot {start.ordinal}: {start.name} runs and its entry is still NEW",
                 "a bootloader with rollback turns NEW into PENDING_VERIFY before it starts the app"],
                [line],
            )  # fmt: skip
    before = hints_of(log.reading.before, HintKind.STATE)
    if before and before[0].value in _NEW:
        return _unarmed([f"the running app's state is NEW: {before[0].at}"], [before[0].at.number])
    return _job_rejected(log) or _loops_unarmed(log)


def _unarmed(reasons: list[str], lines: list[int]) -> Finding:
    return Finding(
        verdict=FieldVerdict.MISCONFIGURATION,
        reasons=reasons,
        evidence=sorted(set(lines)),
        unknown=["the sdkconfig of the bootloader that is on the device, or its version and build date"],
    )


def _job_rejected(log: Log) -> Finding | None:
    """AWS: the agent finds no image on probation after its own update and fails the job (esp-aws-iot#177)."""
    jobs = hints_of(log.events, HintKind.JOB_REJECTED)
    flags = [hint for hint in hints_of(log.events, HintKind.FLAGS) if hint.value.startswith("0xffffffff/")]
    if not jobs or not flags:
        return None
    return _unarmed(
        [
            f"the active entry has no state ({flags[-1].value}), so the update agent finds no app on probation",
            f"and fails the job: rejected {jobs[-1].value}",
            "as with CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE off",
        ],
        [flags[-1].at.number, jobs[-1].at.number],
    )


def _loops_unarmed(log: Log) -> Finding | None:
    """A new app crashes at every boot and stays, and its entry shows that it was never on probation."""
    for start in log.starts[:_LOOK]:
        following = log.starts[start.number : start.number + 3]
        if len(following) < 3 or start.place is None or any(other.place != start.place for other in following):
            continue
        if not all((end := ending(log, other)) and end.kind in (End.CRASH, End.WATCHDOG) for other in following):
            continue
        written = [
            (report.at.number, parse(report.data))
            for other in log.starts[: start.number]
            for pair in entries_reported(other)
            for report in pair
        ]
        count = log.table.ota_count_bootloader if log.table else 0
        mine = [
            (line, entry)
            for line, entry in written
            if entry.crc_ok
            and entry.seq != ERASED_SEQ
            and count
            and f"ota_{slot_index(entry.seq, count)}" == start.place
        ]
        if mine and mine[-1][1].state in (ImageState.UNDEFINED, ImageState.NEW):
            state = ImageState(mine[-1][1].state).name
            return _unarmed(
                [
                    f"{start.name} crashes in {len(following)} boots in a row and is started again each time",
                    f"its otadata entry was written with state {state}: it was never on probation",
                ],
                [mine[-1][0], *(other.line for other in following)],
            )
    return None
