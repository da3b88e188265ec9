"""The release on a board: a seeded NEW entry, and an update whose image is torn, booted and watched.

Pure but for the booter that is given: flash content in, what became of the otadata entry out.
"""

from __future__ import annotations

from typing import NamedTuple

from rig.boards.firmware import FirmwareBuild
from rig.boards.image_boots import ImageBooter, PowerUp
from rig.boards.install import flash_content
from rig.errors import RigError, UserError
from rig.gate.release import CannotTell
from rig.idf.effects import SECTOR_SIZE
from rig.idf.memory import FlashImage
from rig.idf.otadata import ENTRY_SIZE, ERASED_SEQ, ImageState, make_entry, parse, state_name
from rig.idf.watched import WatchedFlash

KEPT = 0x1000
"""Bytes of the torn image that are there: its descriptor, as an interrupted download leaves it."""


class Sight(NamedTuple):
    """One power-up. `states`: those of the new entry, in order, `none` where it is gone; `slots`: what was loaded.

    `complete`: every write was seen; else only what the app said of itself, and what was left in the end.
    """

    states: tuple[str, ...]
    slots: tuple[str | None, ...]
    complete: bool = True


class Sights(NamedTuple):
    """`update`: ota_1 is chosen and NEW. `fallback`: the same with a torn image in ota_1."""

    board: str
    update: Sight
    fallback: Sight


def watch(board: str, build: FirmwareBuild, booter: ImageBooter) -> Sights:
    """Boot both on the board called `board`. CannotTell if the build or the board does not allow it."""
    if build.table.slot("ota_0") is None or build.table.slot("ota_1") is None:
        raise CannotTell("it takes ota_0 and ota_1 to watch an update")
    app = build.app_path.read_bytes()
    try:
        update = _power_up(build, booter, app)
        fallback = _power_up(build, booter, app[:KEPT])
    except UserError as error:
        raise CannotTell(str(error)) from error
    except RigError as error:
        raise CannotTell(f"board {board}: {error}") from error
    return Sights(board, update, fallback)


def _power_up(build: FirmwareBuild, booter: ImageBooter, new: bytes) -> Sight:
    entries = (make_entry(1, ImageState.VALID).pack(), make_entry(2, ImageState.NEW).pack())
    old = build.app_path.read_bytes()
    content = flash_content(build, build, entries, {"ota_0": old, "ota_1": new})
    flash = WatchedFlash(content)
    done = booter.boot(flash)
    first = done.boots[0]
    if first.slot is None and first.end != "nothing bootable":
        raise CannotTell("the log does not say which slot was started, as below INFO without the component rig_agent")
    at = build.otadata_offset + SECTOR_SIZE
    states = _written(done, FlashImage(content), at) if done.watched else _said(done, flash, at)
    # Consecutive ones only: the way matters, not how often it was looked at.
    distinct = tuple(state for number, state in enumerate(states) if number == 0 or state != states[number - 1])
    return Sight(distinct, tuple(boot.slot for boot in done.boots), done.watched)


def _written(done: PowerUp, flash: FlashImage, entry: int) -> list[str]:
    states = [_state(flash, entry)]
    for mutation in done.mutations:
        flash.apply(mutation)
        states.append(_state(flash, entry))
    return states


def _said(done: PowerUp, left: FlashImage, entry: int) -> list[str]:
    said = [boot.state for boot in done.boots if boot.slot == "ota_1" and boot.state]
    return [ImageState.NEW.name, *said, _state(left, entry)]


def _state(flash: FlashImage, entry: int) -> str:
    found = parse(flash.read(entry, ENTRY_SIZE))
    return "none" if found.seq == ERASED_SEQ or not found.crc_ok else state_name(found.state)
