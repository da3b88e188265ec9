"""Boots what has to be booted of a recording's crash images, and says of every one what it leads to.

Images that agree with a booted one in every byte that was read for it are covered by it. What was read includes what
the model and the judge looked at, so a covered image has the same verdict, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import NamedTuple

from rig.boards.image_boots import ImageBooter
from rig.crash.chain import Chain, follow
from rig.crash.images import CrashImages, Point, touched
from rig.crash.known import Patched, Reads, agrees, overlaps, reads_of
from rig.crash.model import ModelBooter
from rig.crash.outcomes import FAILED
from rig.crash.repeat import Repeater
from rig.evidence.observe import slot_states
from rig.idf.effects import BurnSecureVersion, Mutation
from rig.idf.memory import FlashImage, verify
from rig.idf.otadata import parse
from rig.idf.watched import Ranges, WatchedFlash, merged


class Seen(NamedTuple):
    """What board and model made of one image.

    `intact`: slots that were looked at in the end and verify; `mutations`: those of the board's first power-up.
    """

    board: Chain
    model: Chain
    intact: frozenset[str]
    repeats: bool
    mutations: tuple[Mutation, ...]


class Booted(NamedTuple):
    """One image that was really booted, and the bytes that this rests on; `ranges` in ascending order."""

    seen: Seen
    ranges: Ranges
    reads: Reads


class Explored(NamedTuple):
    """One crash image and what it leads to. `number`: of the booted image that stands for it, from 0."""

    point: Point
    seen: Seen
    number: int


Boot = Callable[[list[FlashImage]], list[Booted]]
"""Boots several images, side by side where it can."""


class Lab:
    """Boots one image on a board and on the model, and looks at what is left."""

    def __init__(self, booter: ImageBooter, model: ModelBooter, repeater: Repeater, otadata: int | None) -> None:
        self._booter = booter
        self._model = model
        self._repeater = repeater
        self._otadata = otadata

    def boot(self, image: FlashImage) -> Booted:
        """`image` is not changed. Raises what the booter raises: BenchFault."""
        flash, model_flash = WatchedFlash.of(image), WatchedFlash.of(image)
        followed = follow(self._booter, flash, self._otadata)
        model = follow(self._model, model_flash, self._otadata).chain
        intact = self._intact(flash, followed.chain)
        repeats = self._repeater.repeats(flash, followed.chain)
        ranges = merged((*flash.reads, *model_flash.reads))
        seen = Seen(followed.chain, model, intact, repeats, followed.mutations)
        return Booted(seen, ranges, reads_of(image, ranges))

    def close(self) -> None:
        self._booter.close()

    def _intact(self, flash: WatchedFlash, chain: Chain) -> frozenset[str]:
        """Of the slot that runs; of the others only if that one is barred, for each byte looked at has its price."""
        table, running = self._model.table, chain.last.slot
        looked_at = [part for part in table.app_slots if part.slot == running]
        entries = chain.record.entries
        if entries[0] and running:
            states = slot_states((parse(entries[0]), parse(entries[1])), table.ota_count_bootloader)
            if states.get(running) in FAILED:
                looked_at = list(table.app_slots)
        config = self._model.config
        good = (part.slot for part in looked_at if verify(flash, part.offset, part.size, config).check.ok)
        return frozenset(slot for slot in good if slot)


class Explorer:
    """Goes through crash images in order and boots those that none of `known` covers.

    `boot` gets at most `at_once` images at a time; `known` grows with what it boots and may hold what an earlier,
    interrupted exploration booted.
    """

    def __init__(self, images: CrashImages, boot: Boot, known: list[Booted], at_once: int) -> None:
        self._images = images
        self._boot = boot
        self._known = known
        self._at_once = at_once

    def explore(self) -> Iterator[Explored]:
        """Every crash image, in ascending order."""
        standing: int | None = None
        for number, group in groupby(self._images.points(), key=lambda point: point.cut.number):
            mutation = self._images.mutations[number - 1] if number else None
            points = list(group)
            found = self._of_one_mutation(points, mutation, standing)
            yield from found
            standing = found[-1].number

    def _of_one_mutation(self, points: list[Point], mutation: Mutation | None, standing: int | None) -> list[Explored]:
        """`standing`: who covers the image before the mutation; only bytes that it touches can make a difference."""
        numbers: dict[Point, int] = {}
        waiting = points
        in_flash = mutation is not None and not isinstance(mutation, BurnSecureVersion)
        if standing is not None and mutation is not None and in_flash:
            booted = self._known[standing]
            if not overlaps(booted.ranges, *touched(mutation)):
                return [Explored(point, booted.seen, standing) for point in points]
        while waiting:
            waiting = [point for point in waiting if not self._look_up(point, numbers)]
            now, waiting = waiting[: self._at_once], waiting[self._at_once :]
            for point, booted in zip(now, self._boot([self._images.build(point) for point in now]), strict=True):
                numbers[point] = len(self._known)
                self._known.append(booted)
        return [Explored(point, self._known[numbers[point]].seen, numbers[point]) for point in points]

    def _look_up(self, point: Point, numbers: dict[Point, int]) -> bool:
        before = self._images.before(point)
        view = before if point.patch is None else Patched(before, point.patch)
        # The latest first: neighbours are alike.
        for number in range(len(self._known) - 1, -1, -1):
            if agrees(view, self._known[number].reads):
                numbers[point] = number
                return True
        return False
