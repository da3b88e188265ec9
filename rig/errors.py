"""The three families of errors a person at the bench meets, and the case where nothing may be concluded.

Every message answers four questions: what happened, on which board, where the evidence is, what to try next.
`rig.idf` knows nothing of this module; it raises `rig.idf.errors.FormatError`, which callers wrap.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class RigError(Exception):
    """Base of all of them; never raised itself."""

    exit_code: ClassVar[int] = 1
    family: ClassVar[str] = "error"

    def __init__(
        self,
        what: str,
        *,
        board: str | None = None,
        evidence: Path | str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.board = board
        self.evidence = evidence
        self.hint = hint

    def __str__(self) -> str:
        first, *lines = self.what.split("\n")
        lines.insert(0, first if self.board is None else f"{first} (board {self.board})")
        if self.evidence is not None:
            lines.append(f"evidence: {self.evidence}")
        if self.hint is not None:
            lines.append(f"try: {self.hint}")
        return "\n".join(lines)


class UserError(RigError):
    """What was asked for cannot be done as asked: a wrong key, a broken file, an unknown board."""

    exit_code = 2
    family = "user error"


class BenchFault(RigError):
    """The bench failed, so nothing may be said about the firmware: a dead port, power that does not cut."""

    exit_code = 3
    family = "bench fault"


class FirmwareFault(RigError):
    """The board did what it must not do."""

    exit_code = 1
    family = "firmware fault"


class Inconclusive(RigError):
    """The evidence does not allow a verdict; the message says what would settle it."""

    exit_code = 4
    family = "inconclusive"


class NotApplicable(RigError):
    """The test does not fit this board, or what it needs was not built; a visible skip with this reason."""

    exit_code = 0
    family = "not applicable"
