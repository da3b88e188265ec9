"""What the gate looks at: the build about to ship, the release before it, and what was asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from rig.errors import UserError

if TYPE_CHECKING:
    from rig.gate.pieces import Pieces
    from rig.gate.watching import Sights


class CannotTell(Exception):
    """What a check needs is missing or unreadable; the text says what."""


class Malformed(CannotTell):
    """What a check needs is there and makes no sense; unlike what is missing, that cannot be accepted as a whole."""


class NotAsked(Exception):
    """A check was left out because what it compares with was not named; the text says how to."""


class Margin(NamedTuple):
    """Room that must stay free in every slot: `percent` of the slot, or `size` in bytes."""

    percent: float = 0.0
    size: int = 0

    def of(self, slot_size: int) -> int:
        """Bytes."""
        return self.size + int(slot_size * self.percent / 100)

    def __str__(self) -> str:
        return f"{self.percent:g} %" if self.percent else f"{self.size} bytes"


def parse_margin(text: str) -> Margin:
    """`10%`, or bytes: `65536`, `0x10000`, `64K`, `1M`. UserError for anything else."""
    percent = re.fullmatch(r"(\d{1,2}(?:\.\d+)?) ?%", text)
    if percent:
        return Margin(percent=float(percent[1]))
    number = re.fullmatch(r"(0x[0-9a-fA-F]{1,8}|\d{1,9})([kKmM]?)", text)
    if number is None:
        raise UserError(f"margin {text!r} is neither a share nor a size", hint="as 10%, 65536, 0x10000 or 64K")
    unit = {"": 1, "k": 1024, "m": 1024 * 1024}[number[2].lower()]
    return Margin(size=int(number[1], 16 if number[1].startswith("0x") else 10) * unit)


@dataclass(frozen=True)
class Release:
    """`previous`: the release whose devices are to be updated; `watched`: what a board showed, or why it could not."""

    build: Pieces
    previous: Pieces | None = None
    margin: Margin = field(default_factory=Margin)
    watched: Sights | CannotTell | None = None

    @property
    def before(self) -> Pieces:
        """The previous release; NotAsked if none was named."""
        if self.previous is None:
            raise NotAsked("no previous release was named (--previous BUILD_DIR)")
        return self.previous
