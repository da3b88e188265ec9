"""A judgement for a person: log, otadata and model side by side, then what follows from them."""

from __future__ import annotations

import textwrap
from difflib import SequenceMatcher
from typing import NamedTuple

from rig.evidence.boots import Boot
from rig.evidence.compare import WIDTH, Difference, Row
from rig.evidence.entry_words import words
from rig.evidence.events import AppInfo
from rig.evidence.logwitness import LogComparison
from rig.evidence.observe import running_slot
from rig.evidence.predict import Entries, Prediction, otadata_offset
from rig.idf.flash_cipher import PLAIN

_LABEL = 16
_COLUMN = (WIDTH - _LABEL - 9) // 3
_UNKNOWN = "(not seen)"


class Findings(NamedTuple):
    """What the judge had and what it found."""

    boot: Boot
    before: Entries | None
    after: Entries | None
    prediction: Prediction | None
    log: LogComparison | None
    signs: tuple[str, ...]
    faults: tuple[str, ...]
    doubts: tuple[str, ...]
    burnt: tuple[int | None, int | None] | None = None
    """The eFuse's secure version before and after; None where it does not matter."""


def explain(found: Findings) -> str:
    """Plain text of at most 120 columns."""
    lines = [_row("", "log", "otadata read back", "model"), "-" * WIDTH]
    lines += [_row(*row) for row in _witnesses(found)]
    if found.log is not None and found.log.expected != found.log.seen:
        lines += ["", _lines_difference(found).render()]
    for title, texts in (
        ("signs of the bench", found.signs),
        ("disagreements", found.faults),
        ("unknown", found.doubts),
    ):
        if texts:
            lines += ["", f"{title}:"]
            lines += [
                wrapped for text in texts for wrapped in textwrap.wrap(f"- {text}", WIDTH, subsequent_indent="  ")
            ]
    return "\n".join(line.rstrip() for line in lines)


def _witnesses(found: Findings) -> list[tuple[str, str, str, str]]:
    boot, prediction = found.boot, found.prediction
    reports = [report for report in boot.reports if report.role == "running"]
    version = next(
        (event.value for event in boot.events if isinstance(event, AppInfo) and event.field == "version"), ""
    )
    loaded = f"{boot.loaded.offset:#x}" if boot.loaded else _UNKNOWN
    result = prediction.result if prediction else None
    model_offset = f"{result.offset:#x}" if result and result.offset is not None else "-"
    rows = [
        ("reset", boot.resets[0].reason if boot.resets else _UNKNOWN, "", ""),
        ("slot", running_slot(boot) or _UNKNOWN, "", _result(prediction)),
        ("load offset", loaded, "", model_offset if prediction else _UNKNOWN),
        ("app version", version or _UNKNOWN, "", ""),
        ("state on entry", (reports[0].state or _UNKNOWN) if reports else _UNKNOWN, "", ""),
    ]
    for number in (0, 1):
        start = found.before or (prediction.states[0] if prediction and prediction.states else None)
        before = _entry(start, number, found)
        after = _entry(found.after, number, found)
        model = _entry(prediction.otadata if prediction else None, number, found)
        rows.append((f"entry {number} before", "", before, ""))
        rows.append((f"entry {number} after", "", after, model))
    if found.burnt is not None:
        was, now = (_UNKNOWN if version is None else str(version) for version in found.burnt)
        rows.append(("eFuse before", was, "", ""))
        rows.append(("eFuse after", now, "", str(prediction.secure_version) if prediction else _UNKNOWN))
    return rows


def _entry(entries: Entries | None, number: int, found: Findings) -> str:
    if entries is None:
        return _UNKNOWN
    cipher = found.prediction.cipher if found.prediction else PLAIN
    return words(entries, number, cipher, otadata_offset(found.boot.table) or 0)


def _result(prediction: Prediction | None) -> str:
    if prediction is None:
        return _UNKNOWN
    result = prediction.result
    return result.slot or {"reset": "nothing bootable, reset", "exception": "bootloader crash"}.get(result.outcome, "-")


def _lines_difference(found: Findings) -> Difference:
    """The model's lines left, the log's right; a line and its counterpart share a row."""
    expected, seen = (found.log.expected, found.log.seen) if found.log else ((), ())
    where = {f"{event.at.tag}: {event.at.text}": f"line {event.at.number}: {event.at}" for event in found.boot.events}
    rows: list[Row] = []
    for tag, left, left_end, right, right_end in SequenceMatcher(None, expected, seen, autojunk=False).get_opcodes():
        for step in range(max(left_end - left, right_end - right)):
            one = expected[left + step] if left + step < left_end else None
            other = seen[right + step] if right + step < right_end else None
            witness = (where[other],) if tag != "equal" and other in where else ()
            rows.append(Row(one, other, witness))
    return Difference("lines of the bootloader, model against log", tuple(rows))


def _row(label: str, *columns: str) -> str:
    return f"{label:<{_LABEL}} | " + " | ".join(f"{_fit(column):<{_COLUMN}}" for column in columns)


def _fit(text: str) -> str:
    return text if len(text) <= _COLUMN else text[: _COLUMN - 1] + "…"
