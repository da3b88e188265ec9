"""The console as a channel of lines, which notices when power was cut on purpose instead of waiting for an answer."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from rig.boards.console import Console

_LINE = re.compile(rb"[^\n]*\n")
SLICE_S = 0.05


class PowerLost(Exception):
    """The armed power cut has happened: no answer will come."""


class ConsoleChannel:
    """Implements `rig.updates.agent.LineChannel`; `power_lost` says whether an armed cut has happened."""

    def __init__(self, console: Console, power_lost: Callable[[], bool]) -> None:
        self._console = console
        self._power_lost = power_lost

    def write(self, data: bytes) -> None:
        """Send bytes; PowerLost when nobody is there to take them."""
        if self._power_lost():
            raise PowerLost
        self._console.write(data)

    def expect_line(self, accept: Callable[[bytes], bool], timeout: float) -> bytes:
        """The next line that `accept` takes, without its line end; TimeoutError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            match = self._console.expect(_LINE, min(SLICE_S, max(0.0, deadline - time.monotonic())))
            if match is not None:
                line = match[0].rstrip(b"\r\n")
                if accept(line):
                    return line
            elif self._power_lost():
                raise PowerLost
            # also of a board that never falls silent
            if time.monotonic() >= deadline:
                raise TimeoutError
