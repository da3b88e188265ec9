"""Boots one crash image until it is settled: power up, let the app finish, and again, until nothing changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from rig.boards.image_boots import BootSeen, End, ImageBooter, PowerUp
from rig.idf.effects import SECTOR_SIZE, BurnSecureVersion, Erase, Mutation
from rig.idf.memory import FlashImage
from rig.idf.otadata import ENTRY_SIZE
from rig.idf.partitions import PartitionTable
from rig.idf.watched import WatchedFlash

MOST_POWER_UPS = 5
"""Power-ups until a board has to be settled. ESP-IDF takes four at most: two NEW entries fail one after the other."""


class Record(NamedTuple):
    """What the bootloader goes by: both select entries, empty without otadata, and the anti-rollback eFuse field."""

    entries: tuple[bytes, bytes]
    secure_version: int


class Boot(NamedTuple):
    """One reset to the next: the slot that came up, the state it read, and how it ended."""

    slot: str | None
    state: str | None
    end: End


class Stage(NamedTuple):
    """One power-up: its boots, and the record it left."""

    boots: tuple[Boot, ...]
    left: Record


class Chain(NamedTuple):
    """Everything that followed from one crash image, condensed. `settled`: the last power-up changed no record."""

    stages: tuple[Stage, ...]
    settled: bool

    @property
    def last(self) -> Boot:
        """How it ended."""
        return self.stages[-1].boots[-1]

    @property
    def record(self) -> Record:
        return self.stages[-1].left

    @property
    def states(self) -> tuple[str, ...]:
        """States that apps read of themselves on the way, in order."""
        return tuple(boot.state for stage in self.stages for boot in stage.boots if boot.state)


class Followed(NamedTuple):
    """A chain, what its first power-up printed, and the flash mutations that it made.

    `writes`: what each power-up did to otadata and eFuse, in order, as `writes_of` says it; empty if nobody saw it.
    """

    chain: Chain
    log: bytes
    mutations: tuple[Mutation, ...]
    writes: tuple[tuple[str, ...], ...]


def follow(booter: ImageBooter, flash: WatchedFlash, otadata: int | None) -> Followed:
    """Power up `flash` again and again until it is settled, at most `MOST_POWER_UPS` times."""
    stages: list[Stage] = []
    writes: list[tuple[str, ...]] = []
    first: PowerUp | None = None
    before = record(flash, otadata)
    while len(stages) < MOST_POWER_UPS:
        power_up = booter.boot(flash)
        first = first or power_up
        after = record(flash, otadata)
        stages.append(Stage(tuple(map(_condensed, power_up.boots)), after))
        if power_up.watched:
            writes.append(writes_of(power_up.mutations, otadata))
        if settled := after == before:
            break
        before = after
    assert first is not None
    return Followed(Chain(tuple(stages), settled), first.log, first.mutations, tuple(writes))


def writes_of(mutations: Iterable[Mutation], otadata: int | None) -> tuple[str, ...]:
    """What was done to otadata and eFuse, in order; into how many programs a write is cut is the driver's affair."""
    found: list[str] = []
    for mutation in mutations:
        if isinstance(mutation, BurnSecureVersion):
            found.append(f"burn {mutation.after}")
        elif otadata is not None and otadata <= mutation.offset < otadata + 2 * SECTOR_SIZE:
            word = "erase" if isinstance(mutation, Erase) else "write"
            step = f"{word} otadata[{(mutation.offset - otadata) // SECTOR_SIZE}]"
            if word == "erase" or found[-1:] != [step]:
                found.append(step)
    return tuple(found)


def record(flash: FlashImage, otadata: int | None) -> Record:
    """What the bootloader goes by, at this moment."""
    if otadata is None:
        return Record((b"", b""), flash.secure_version)
    entries = flash.read(otadata, ENTRY_SIZE), flash.read(otadata + SECTOR_SIZE, ENTRY_SIZE)
    return Record(entries, flash.secure_version)


def otadata_offset(table: PartitionTable) -> int | None:
    """Flash offset of the otadata that the bootloader uses."""
    part = table.otadata_for_bootloader
    return part.offset if part else None


def _condensed(boot: BootSeen) -> Boot:
    return Boot(boot.slot, boot.state, boot.end)
