"""The kinds of board there are: one line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from rig.boards import qemu, serial, virtual
from rig.boards.board import Board
from rig.boards.inventory import BoardSection


class Kind(Protocol):
    """What a module of a kind offers, each for a section of its own type. `FLASHING`: how flash is written."""

    FLASHING: str

    def open_board(self, section: Any) -> Board: ...

    def missing(self, section: Any) -> Mapping[str, str]: ...


KINDS: Mapping[str, Kind] = {"virtual": virtual, "qemu": qemu, "serial": serial}


def open_board(section: BoardSection) -> Board:
    """The board that a section of rig.toml describes; its console is not open yet."""
    return KINDS[section.kind].open_board(section)


def describe(section: BoardSection) -> dict[str, Any]:
    """Name, kind, chip, tags, and what it cannot do, without touching the board."""
    lacks = KINDS[section.kind].missing(section)
    return {
        "name": section.name,
        "kind": section.kind,
        "chip": section.chip,
        "how": KINDS[section.kind].FLASHING,
        "tags": list(section.tags),
        "missing": {str(capability): reason for capability, reason in lacks.items()},
    }
