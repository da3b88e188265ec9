"""The cut line of a virtual board: a GPIO that opens the switch in the chip's own supply (docs/cut-line.md).

Code on the chip arms it (PROTOCOL.md, section 9); it rises within a flash operation, with no host in the loop. What is
armed for the bootloader lies in RTC memory, which every reset but power-on and EN leaves alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

from rig.idf.effects import SECTOR_SIZE, Erase, Mutation, Program

OFF_S = 10.0
"""How long the switch stays open, wall-clock seconds, unless the board's supply is switched off before."""

Where = Literal["app", "bootloader"]


class Setting(NamedTuple):
    """`delay_s` after the `nth` (from 1) erase or program that touches `ranges` (flash offsets, end excluded)."""

    where: Where
    erase: bool
    ranges: Sequence[tuple[int, int]]
    nth: int
    delay_s: float

    def names(self, mutation: Mutation) -> bool:
        """Whether this is an operation to count."""
        if not isinstance(mutation, Erase if self.erase else Program):
            return False
        offset = mutation.offset
        size = len(mutation.data) if isinstance(mutation, Program) else SECTOR_SIZE
        return any(offset < end and offset + size > start for start, end in self.ranges)


class Watched(Protocol):
    """The flash whose operations the line follows."""

    line: CutLine | None


class CutLine:
    """One GPIO and one switch. `arm`, `disarm` and what follows them belong to the chip's thread, `close` to any.

    `on_closed` is called when the switch closes by itself.
    """

    def __init__(self, flash: Watched) -> None:
        self.on_closed: Callable[[], None] = _nothing
        self._flash = flash
        self._setting: Setting | None = None
        self._seen = 0
        self._lock = threading.Lock()
        self._reclosing: threading.Timer | None = None

    @property
    def is_open(self) -> bool:
        """Whether the switch keeps the supply from the chip."""
        return self._reclosing is not None

    # code on the chip

    def arm(self, setting: Setting) -> None:
        """Replaces what was armed. For the app counting begins now, for the bootloader with its next start."""
        self._setting, self._seen = setting, 0
        self._flash.line = self if setting.where == "app" else None

    def disarm(self) -> None:
        self._setting = self._flash.line = None

    @property
    def waits(self) -> bool:
        """Whether something is armed for the bootloader."""
        return self._setting is not None and self._setting.where == "bootloader"

    def count(self) -> None:
        """The bootloader takes what waits for it."""
        self._flash.line = self

    # the chip

    def reset(self, *, forgets: bool) -> None:
        """The chip starts anew; `forgets`: so did its RTC memory. What was counted for is over, reached or not."""
        if forgets or self._flash.line is self:
            self.disarm()

    def rises_in(self, mutation: Mutation) -> float | None:
        """An operation begins: seconds from here until the line rises, None if it does not.

        The code that began it waits for the line, so nothing comes after an operation that is over sooner. It rises
        once; the switch is open from then on.
        """
        setting = self._setting
        if setting is None or not setting.names(mutation):
            return None
        self._seen += 1
        if self._seen < setting.nth:
            return None
        self.disarm()
        with self._lock:
            self._reclosing = threading.Timer(OFF_S, self._close_by_itself)
            self._reclosing.daemon = True
            self._reclosing.start()
        return setting.delay_s

    # the supply

    def close(self) -> None:
        """The supply in front of the switch went away, and its timer with it."""
        with self._lock:
            if self._reclosing is not None:
                self._reclosing.cancel()
                self._reclosing = None

    def _close_by_itself(self) -> None:
        with self._lock:
            if self._reclosing is None:
                return
            self._reclosing = None
            self.on_closed()


def line_of(cpu: object) -> CutLine | None:
    """The cut line of the board this CPU is on, if it has one."""
    line: CutLine | None = getattr(cpu, "cut_line", None)
    return line


def _nothing() -> None:
    pass
