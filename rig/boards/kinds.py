"""The kinds of board there are: one line each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from rig.boards import qemu, serial, virtual
from rig.boards.board import Board
from rig.boards.image_boots import ImageBooter
from rig.boards.inventory import BoardSection, SerialBoardSection
from rig.errors import NotApplicable, UserError
from rig.idf.partitions import PartitionTable


class Kind(Protocol):
    """What a module of a kind offers, each for a section of its own type. `FLASHING`: how flash is written."""

    FLASHING: str

    def open_board(self, section: Any) -> Board: ...

    def missing(self, section: Any) -> Mapping[str, str]: ...


@runtime_checkable
class BootsImages(Protocol):
    """What a kind offers besides if its boards are programs."""

    def image_booter(self, section: Any, table: PartitionTable) -> ImageBooter: ...


KINDS: Mapping[str, Kind] = {"virtual": virtual, "qemu": qemu, "serial": serial}


def open_board(section: BoardSection) -> Board:
    """The board that a section of rig.toml describes; its console is not open yet."""
    return KINDS[section.kind].open_board(section)


def with_burning(board: Board, section: BoardSection) -> Board:
    """The board with its eFuses to be burnt for good; UserError for one that is not meant to be spent."""
    if isinstance(section, SerialBoardSection):
        return serial.with_burning(board, section)
    raise UserError(
        f"--burn-efuses names board {section.name}, whose eFuses are not real", hint="leave the option out for it"
    )


def image_booter(section: BoardSection, table: PartitionTable) -> ImageBooter:
    """Boots flash images one after another as the board of that section would; NotApplicable for a kind that cannot.

    `table` is the partition table of the images.
    """
    kind = KINDS[section.kind]
    if not isinstance(kind, BootsImages):
        raise NotApplicable(
            f"board {section.name} cannot boot thousands of flash images",
            hint="sweep on a virtual or QEMU board; rig crash replay shows single ones on this board",
        )
    return kind.image_booter(section, table)


def booters_at_once(section: BoardSection) -> int:
    """How many image booters of that board one process can usefully drive: emulators are programs of their own."""
    return 1 if section.kind == "virtual" else os.cpu_count() or 1


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
