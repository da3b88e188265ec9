"""Power through labgrid: whatever its coordinator knows as a power port of a place.

Example for rig.toml::

    [[board]]
    name = "lab-c3"
    kind = "serial"
    chip = "esp32c3"
    place = { name = "c3-1", coordinator = "lab-a:20408" }
    power = { driver = "labgrid" }

Within a board that has a `place` it is that place's power port; elsewhere write `place` (and `coordinator`, else
LG_COORDINATOR) here. `name` picks one of several power ports. The place has to be acquired. One call of
`labgrid-client power` takes about a second, mostly to start: fine to cycle power, too slow to cut it at a moment.
labgrid's `delay` plays no role: it is between off and on of `power cycle` alone (driver/powerdriver.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from rig.boards.power import PowerKeys
from rig.errors import BenchFault, UserError
from rig.labgrid.client import Address, Client, Refused, default_coordinator
from rig.labgrid.places import show

CANNOT_TELL = ("AttributeError", "NotImplementedError")
"""How a call of `power get` ends for a device that labgrid cannot ask."""


class Keys(PowerKeys):
    """The place, and how to reach it."""

    CUT_LATENCY_S: ClassVar[float | None] = 5.0
    """Measured: a call takes 1.1 s on an idle host, and 4.6 s pass to the cut on a busy one (docs/labgrid.md)."""

    place: str | None = Field(default=None, min_length=1, description="of labgrid; default: the board's own")
    coordinator: str = Field(default_factory=default_coordinator, min_length=1, description="HOST:PORT")
    name: str | None = Field(default=None, min_length=1, description="of the power port, if the place has several")
    program: Path | None = Field(default=None, description="path of labgrid-client")

    def open(self, board: str) -> LabgridPower:
        return LabgridPower(Client(self._address(board), board), self.name)

    def check(self, board: str, environ: Mapping[str, str]) -> str:
        """That the place is there; it need not be acquired for that."""
        place = show(Client(self._address(board), board))
        ports = [item.name for item in place.resources if item.kind not in ("NetworkSerialPort",)]
        if not ports or (self.name is not None and self.name not in ports):
            raise BenchFault(
                f"place {place.name} has no power port" + (f" called {self.name}" if self.name else ""),
                board=board,
                evidence=f"it has: {', '.join(item.name for item in place.resources) or 'nothing'}",
                hint="does its exporter run, and does a match of the place include the power port?",
            )
        return f"labgrid, {self._address(board)}: {', '.join(ports)} (not switched)"

    def _address(self, board: str) -> Address:
        if self.place is None:
            raise UserError(
                "power has driver labgrid, but no place is named",
                board=board,
                hint='give the board `place = { name = "..." }`, or power its own `place = "..."`',
            )
        return Address(self.place, self.coordinator, self.program)


class LabgridPower:
    """Switches by `labgrid-client power`, and asks afterwards where the device can tell."""

    def __init__(self, client: Client, name: str | None) -> None:
        self._client = client
        self._options = ("--name", name) if name else ()
        self._known = False
        self._tells = True

    def on(self) -> None:
        self._switch("on")

    def off(self) -> None:
        self._switch("off")

    def _switch(self, which: Literal["on", "off"]) -> None:
        """BenchFault with what labgrid said if it does not obey, or if the device says that it did not."""
        if not self._known:
            # labgrid takes a part of a name for a place: not another board's power, by mistake.
            show(self._client)
            self._known = True
        self._client.run("power", *self._options, which)
        if not self._tells:
            return
        try:
            said = self._client.run("power", *self._options, "get")
        except Refused as error:
            if not error.said.startswith(CANNOT_TELL):
                raise
            self._tells = False
            return
        if not said.rstrip().endswith(f"is {which}"):
            raise BenchFault(
                f"power was switched {which} by labgrid, {self._client.address}, and the device says otherwise",
                board=self._client.board,
                evidence=f"it said: {said.strip()}",
                hint="is somebody else switching it? Is `index` in the exporter's file the right port?",
            )
