"""Booting one flash image after another, without console, port or loader between: what a kind of board offers for it.

A kind gives one by `image_booter`. It has a chip of its own, so a board of the same section can be in use meanwhile.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, Protocol

from rig.idf.effects import Mutation
from rig.idf.partitions import PartitionTable
from rig.idf.watched import WatchedFlash
from rig.protocol import parse_line

End = Literal["runs", "restarts", "nothing bootable", "hangs"]
"""How a boot ended: its app waits for requests, it reset itself, its bootloader gave up, or it is stuck."""

MOST_BOOTS = 8
"""Resets after one power-on until it is taken to restart for ever."""
MOST_GIVEN_UP = 2
"""Times a bootloader may find nothing bootable until it is taken to do so for ever."""

_LOADED = re.compile(rb"boot: Loaded app from partition at offset 0x([0-9a-f]+)")


class BootSeen(NamedTuple):
    """One reset to the next. `slot` was loaded, its app says `version` and the `state` it reads; None if it does not.

    `mutations`: what bootloader and app did to flash and eFuse, in order.
    """

    slot: str | None
    version: str | None
    state: str | None
    end: End
    mutations: tuple[Mutation, ...]


class PowerUp(NamedTuple):
    """From power-on until the app had finished its start and diagnostics, or nothing more was to be expected.

    `log`: the console, as it came; `watched`: whether mutations were seen at all.
    """

    boots: tuple[BootSeen, ...]
    log: bytes
    watched: bool = True

    @property
    def mutations(self) -> tuple[Mutation, ...]:
        """Those of all its boots, in order."""
        return tuple(mutation for boot in self.boots for mutation in boot.mutations)


class ImageBooter(Protocol):
    """Boots flash images on one chip; not for several threads at once."""

    def boot(self, flash: WatchedFlash) -> PowerUp:
        """Power on with this flash and eFuse field; afterwards `flash` holds what was left and knows what was read.

        Where the read set is not known all of `flash` counts as read. BenchFault if the bench cannot.
        """

    def close(self) -> None:
        """Give back what it holds: processes, files. Safe to call twice."""


def seen_in(log: bytes, table: PartitionTable) -> tuple[str | None, str | None, str | None]:
    """Slot, version and state of the app that came up in one boot's log, by the bootloader's line and its own."""
    slot = version = state = None
    if loaded := _LOADED.search(log):
        offset = int(loaded[1], 16)
        slot = next((part.slot for part in table.app_slots if part.offset == offset), None)
    for raw in log.splitlines():
        line = parse_line(raw)
        if line is not None and line.word == "start":
            slot = line.fields.get("running", slot)
            version, state = line.fields.get("version"), line.fields.get("state")
    return slot, version, state


def is_over(boots: list[BootSeen]) -> bool:
    """Whether nothing new is to be expected of this power-up."""
    if boots[-1].end in ("runs", "hangs") or len(boots) >= MOST_BOOTS:
        return True
    given_up = [boot for boot in boots if boot.end == "nothing bootable"]
    return len(given_up) >= MOST_GIVEN_UP and boots[-1].end == "nothing bootable"
