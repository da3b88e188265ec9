"""Moments of a run at which, or some time after which, power is to be lost."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from rig.protocol import ANSWER_WORDS, PROGRESS_WORDS, parse_line

EVENT_WORDS = frozenset({"start", "diag", "ready", "restart", "shutdown", "bad_line"}) | ANSWER_WORDS | PROGRESS_WORDS
"""What a device may say (PROTOCOL.md, 2 and 3)."""


@dataclass(frozen=True)
class AtStart:
    """When the run begins."""

    def __str__(self) -> str:
        return "the start of the run"


@dataclass(frozen=True)
class OnLine:
    """When the end of the first console line that matches `pattern` has arrived."""

    pattern: re.Pattern[bytes]

    def search(self, line: bytes) -> object:
        """As a trigger asks (rig.boards.trigger)."""
        return self.pattern.search(line)

    def __str__(self) -> str:
        return f"a line like {self.pattern.pattern.decode('utf-8', 'backslashreplace')!r}"


@dataclass(frozen=True)
class OnEvent:
    """When the device has said a whole line of the serial contract: an event, a progress line or an answer.

    `word` is its word (PROTOCOL.md, 2 and 3), as `start`, `shutdown` or `ack`; `fields` are values that it must have.
    """

    word: str
    fields: Mapping[str, str] = field(default_factory=dict)

    def search(self, line: bytes) -> object:
        """As a trigger asks (rig.boards.trigger). A torn line is no event, nor is the echo of a request."""
        said = parse_line(line)
        if said is None or said.is_request or said.word != self.word:
            return None
        return said if self.fields.items() <= said.fields.items() else None

    def __str__(self) -> str:
        return " ".join(["the event", self.word, *(f"{name}={value}" for name, value in self.fields.items())])


@dataclass(frozen=True)
class AtMutation:
    """When flash has carried out the `number`th mutation of the run, from 1. Only for boards with a tap."""

    number: int

    def __str__(self) -> str:
        return f"flash mutation {self.number}"


Moment = AtStart | OnLine | OnEvent | AtMutation
