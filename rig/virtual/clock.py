"""Virtual time: what the chip believes has passed, in seconds.

It moves only while the chip waits (sleep, UART) or its flash works; computing costs none, so a busy host cannot
trip the firmware's watchdogs.
"""

from __future__ import annotations

import threading

DEFAULT_TIME_SCALE = 20.0


class Clock:
    """A counter of virtual seconds; `time_scale` virtual seconds go by in one wall-clock second of waiting."""

    def __init__(self, time_scale: float = DEFAULT_TIME_SCALE) -> None:
        if time_scale <= 0:
            raise ValueError(f"time_scale must be positive, not {time_scale}")
        self.time_scale = time_scale
        self._now = 0.0
        self._lock = threading.Lock()

    def now(self) -> float:
        """Virtual seconds since the chip was built; runs on through resets and stands still without power."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let `seconds` of virtual time pass at once."""
        with self._lock:
            self._now += max(0.0, seconds)

    def wall(self, seconds: float) -> float:
        """Wall-clock seconds in which `seconds` of virtual time pass."""
        return seconds / self.time_scale

    def virtual(self, wall_seconds: float) -> float:
        """Virtual seconds that pass in `wall_seconds` of waiting."""
        return wall_seconds * self.time_scale
