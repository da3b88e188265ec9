"""What switches a board's power. One device is one short file here, with two small classes and an example.

`Keys` are the device's keys in rig.toml; `Keys.open` gives the switch. `PowerKeys` below says what they have in common,
`command.py` is the shortest example. A package of your own adds a device by an entry point::

    [project.entry-points."rollback_rig.power"]
    shelf-relay = "our_lab.shelf_relay:Keys"
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

OFF_S = 1.0
"""Seconds without power that drain the capacitors of a development board (estimate; `rig doctor` proves it)."""
TIMED_CUT_LIMIT_S = 0.25
"""A switch that takes longer cannot cut power at a moment of a test: the next event comes first."""


class PowerSwitch(Protocol):
    """Power of one board. `off` returns when the board is without power, `on` when it has power again."""

    def on(self) -> None: ...

    def off(self) -> None: ...


@runtime_checkable
class HeldSwitch(PowerSwitch, Protocol):
    """A switch that holds its device from its first use on, so that nobody else moves it meanwhile."""

    def close(self) -> None:
        """Let go of the device, for whoever gets the board next; `on` or `off` take it again."""


class SaggingSwitch(PowerSwitch, Protocol):
    """A supply whose voltage can be lowered for a while, which a brown-out is."""

    def sag(self, millivolts: int, seconds: float) -> None:
        """Supply `millivolts` for `seconds`, then what it supplied before; power must be on. UserError for a voltage
        that this supply cannot give."""


def cycle(switch: PowerSwitch, off_s: float = OFF_S) -> None:
    """Off, `off_s` seconds, on. Whatever happens in between, power is on at the end or an error says why not."""
    try:
        switch.off()
        time.sleep(off_s)
    finally:
        switch.on()


class PowerKeys(BaseModel):
    """The keys of `power = { ... }` in rig.toml; a device adds its own.

    `CUT_LATENCY_S`: how long this device takes from the call of `off` until the board has no power, in seconds, at
    most, as somebody measured it; None if that depends on the lab. `SAGS`: whether `open` gives a `SaggingSwitch`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    CUT_LATENCY_S: ClassVar[float | None] = None
    SAGS: ClassVar[bool] = False

    cut_latency_ms: float | None = Field(
        default=None, gt=0, le=60_000, description="longest time from the call to no power, as rig doctor measured it"
    )

    def open(self, board: str) -> PowerSwitch:
        """The switch of this board; nothing is touched before `on` or `off`."""
        raise NotImplementedError

    def check(self, board: str, environ: Mapping[str, str]) -> str:
        """What can be said of the device without switching, for `rig doctor`; UserError or BenchFault if it lacks
        something."""
        return f"{self.__class__.__module__.rpartition('.')[2]} (not switched)"

    @property
    def cut_latency_s(self) -> float | None:
        """Seconds from the call of `off` to no power, at most; None if nobody knows."""
        return self.CUT_LATENCY_S if self.cut_latency_ms is None else self.cut_latency_ms / 1000
