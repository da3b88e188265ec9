"""How the next diagnostics end: an outcome in NVS that outlives resets and updates (PROTOCOL.md, 4)."""

from __future__ import annotations

from rig.virtual.nvs import Nvs

OUTCOMES = ("pass", "fail", "hang", "panic", "watchdog", "reboot", "delay", "manual")


class Diagnostics:
    """The outcome that is set. Without an `nvs` partition it is kept in RAM and lost with the next reset."""

    def __init__(self, nvs: Nvs | None) -> None:
        self.nvs = nvs
        self._outcome: str | None = None
        self._seconds = 0

    @property
    def outcome(self) -> str | None:
        """None when nothing is set; diagnostics then pass."""
        if self.nvs is None:
            return self._outcome
        outcome = self._parts()[0]
        return outcome if outcome in OUTCOMES else None

    @property
    def seconds(self) -> int:
        """For `delay`: seconds until the app confirms; else 0."""
        if self.nvs is None:
            return self._seconds
        text = self._parts()[1]
        return int(text) if text.isdigit() else 0

    def set(self, outcome: str, seconds: int) -> None:
        self._outcome, self._seconds = outcome, seconds
        if self.nvs is not None:
            # One record, so that a power cut cannot leave an outcome with another one's seconds.
            self.nvs.set("diag", f"{outcome} {seconds}")

    def clear(self) -> None:
        self._outcome, self._seconds = None, 0
        if self.nvs is not None:
            self.nvs.erase("diag")

    def _parts(self) -> tuple[str, str]:
        text = (self.nvs.get("diag") if self.nvs is not None else None) or ""
        outcome, _, seconds = text.partition(" ")
        return outcome, seconds
