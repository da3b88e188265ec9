"""Which boots a replay would count, from the console of the test that it repeats. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from rig.evidence.power_up import PowerUp
from rig.fieldkit.subject import SeenBoot
from rig.idf.partitions import PartitionTable

UNKNOWN = "-"
BY_THE_BENCH = ("boot", "boot_without_app", "power_on", "power_up", "reset", "power_cycle")
_LINE = re.compile(rb"[^\n]*\n")
_RESET = re.compile(rb"[^\n]*rst:0x[0-9a-f]+ \(")


class Window(NamedTuple):
    """Bytes of console log in which a step waits for what comes up; `end` None: until the end of the log."""

    start: int
    end: int | None = None


class SeenConsole(NamedTuple):
    """The console since the board was installed. `starts`: bytes of it at which the bench started the board."""

    log: bytes
    starts: tuple[int, ...]
    table: PartitionTable

    def window(self, name: str, began: int) -> Window:
        """That of the step `name`, asked for when `began` bytes were there: it opens when the chip is reset."""
        if name in BY_THE_BENCH:
            return Window(next((start for start in self.starts if start >= began), began))
        reset = _RESET.search(self.log, began)
        return Window(began if reset is None else reset.start())

    def boots(self, window: Window) -> tuple[SeenBoot, ...]:
        """What a replay sees there: until an app has finished its start, or nothing more is to be expected."""
        seen = PowerUp(self.table)
        end = len(self.log) if window.end is None else window.end
        over = any(seen.take(line[0]) for line in _LINE.finditer(self.log, window.start, end))
        boots = seen.boots if over else seen.given_up()
        return tuple(SeenBoot(boot.slot, boot.version, boot.state) for boot in boots)
