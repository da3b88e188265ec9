"""The log as a witness: the bootloader's lines that state a decision, against those of the model, in order."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from typing import NamedTuple

from rig.evidence.agentlines import facts
from rig.evidence.events import (
    ActiveEntry,
    AgentLine,
    AppInfo,
    AppLoaded,
    BootDecision,
    Decision,
    EfuseChange,
    Event,
    Hint,
    HintKind,
    ImageFault,
    OtaCall,
    OtadataMarked,
    OtadataReport,
    OtadataSequence,
    OtaLine,
    ResetReason,
    SlotMapped,
    SlotRejected,
    SlotReport,
    TryingPartition,
)
from rig.evidence.logparse import parse
from rig.idf.config import BootConfig
from rig.idf.effects import Log

_COMPARED = (
    BootDecision,
    OtadataSequence,
    OtadataMarked,
    ActiveEntry,
    SlotMapped,
    TryingPartition,
    ImageFault,
    SlotRejected,
    AppLoaded,
    EfuseChange,
)
_APP = (AppInfo, OtaLine, SlotReport, OtadataReport, ResetReason, AgentLine, Hint)
_NOT_DECISIONS = (Decision.TABLE_END,)
_DEBUG_LEVELS = ("DEBUG", "VERBOSE")


class LogComparison(NamedTuple):
    """Lines as `tag: text`. `contradictions`: what the log says and the model does not, or in another order."""

    expected: tuple[str, ...]
    seen: tuple[str, ...]
    contradictions: tuple[str, ...]
    missing: tuple[str, ...]


def compare_log(events: Sequence[Event], model: Sequence[Log], config: BootConfig, cut: bool) -> LogComparison:
    """Compare a boot's decision lines with the model's; in a boot that was cut, the model may have gone on."""
    expected = tuple(f"{log.tag}: {log.text}" for log in model if _states_decision(log.level, log.tag, log.text))
    seen = tuple(_seen(events, config))
    extra: list[str] = []
    missing: list[str] = []
    for tag, left, left_end, right, right_end in SequenceMatcher(None, expected, seen, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        extra += seen[right:right_end]
        if not (cut and left_end == len(expected) and right_end == len(seen)):
            missing += expected[left:left_end]
    return LogComparison(expected, seen, tuple(_contradiction(line, expected) for line in extra), tuple(missing))


def log_says_confirmed(events: Sequence[Event]) -> bool:
    """The app marked itself VALID in this boot."""
    for event in _facts(events):
        if isinstance(event, OtaLine) and event.kind is OtaCall.MARKED_VALID:
            return True
        if isinstance(event, Hint) and event.kind is HintKind.CONFIRMED:
            return True
    states = [event.state for event in _facts(events) if isinstance(event, SlotReport) and event.role == "running"]
    return "VALID" in states and states[0] != "VALID"


def log_says_rejected(events: Sequence[Event]) -> bool:
    """The app marked itself INVALID in this boot."""
    return any(
        isinstance(event, OtaLine) and event.kind in (OtaCall.ROLLBACK, OtaCall.MARKED_INVALID) for event in events
    )


def _facts(events: Sequence[Event]) -> list[Event]:
    return [fact for event in events for fact in (facts(event) if isinstance(event, AgentLine) else [event])]


def _seen(events: Sequence[Event], config: BootConfig) -> list[str]:
    """Up to the app's first word: later lines of the same tags are the app's own image checks."""
    lines: list[str] = []
    for event in events:
        if isinstance(event, _APP):
            break
        if not isinstance(event, _COMPARED) or (isinstance(event, BootDecision) and event.kind in _NOT_DECISIONS):
            continue
        if event.at.level == "D" and config.log_level not in _DEBUG_LEVELS:
            continue
        lines.append(f"{event.at.tag}: {event.at.text}")
    return lines


@lru_cache(maxsize=1024)
def _states_decision(level: str, tag: str, text: str) -> bool:
    """Whether the parser would make one of the compared events of this line."""
    events = parse(f"{level} (0) {tag}: {text}\n".encode())
    return any(
        isinstance(event, _COMPARED) and not (isinstance(event, BootDecision) and event.kind in _NOT_DECISIONS)
        for event in events
    )


def _contradiction(line: str, expected: Sequence[str]) -> str:
    return f"'{line}' comes at another place" if line in expected else f"'{line}' is not what the model prints"
