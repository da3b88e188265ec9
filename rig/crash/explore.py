"""Boots what has to be booted of a recording's crash images, and says of every one what it leads to.

Images that agree with a booted one in every byte that was read for it are covered by it. What was read includes what
the model and the judge looked at, so a covered image has the same verdict, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from rig.boards.image_boots import ImageBooter
from rig.crash.chain import Chain, follow
from rig.crash.images import CrashImages, Point
from rig.crash.known import Digests, Index, Reads, overlaps, reads_of
from rig.crash.model import ModelBooter
from rig.crash.names import Cut
from rig.crash.outcomes import FAILED
from rig.crash.repeat import Repeater
from rig.evidence.observe import slot_states
from rig.idf.effects import Mutation
from rig.idf.memory import FlashImage, verify
from rig.idf.otadata import parse
from rig.idf.watched import Ranges, WatchedFlash, merged


class Seen(NamedTuple):
    """What board and model made of one image.

    `intact`: slots that were looked at in the end and verify; `mutations`: those of the board's first power-up;
    `board_writes` and `model_writes`: what each power-up did to otadata and eFuse (rig.crash.chain.writes_of), the
    board's empty if that was not seen.
    """

    board: Chain
    model: Chain
    intact: frozenset[str]
    repeats: bool
    mutations: tuple[Mutation, ...]
    board_writes: tuple[tuple[str, ...], ...]
    model_writes: tuple[tuple[str, ...], ...]

    @property
    def deviates(self) -> bool:
        """Whether the board did not do what the model does."""
        return self.board != self.model or bool(self.board_writes and self.board_writes != self.model_writes)


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
        modelled = follow(self._model, model_flash, self._otadata)
        intact = self._intact(flash, followed.chain) | self._intact(model_flash, modelled.chain)
        repeats = self._repeater.repeats(flash, followed.chain)
        ranges = merged((*flash.reads, *model_flash.reads))
        seen = Seen(
            followed.chain, modelled.chain, intact, repeats, followed.mutations, followed.writes, modelled.writes
        )
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


class Known:
    """What was booted, in the order in which it was; grows while crash images are explored."""

    def __init__(self) -> None:
        self.booted: list[Booted] = []
        self.index = Index()

    def add(self, booted: Iterable[Booted]) -> None:
        for one in booted:
            self.index.add(one.reads, len(self.booted))
            self.booted.append(one)

    def __len__(self) -> int:
        return len(self.booted)


class Explorer:
    """Goes through crash images in order and boots those that none of `known` covers, `at_once` side by side."""

    def __init__(self, images: CrashImages, boot: Boot, known: Known, at_once: int) -> None:
        self._images = images
        self._boot = boot
        self._known = known
        self._at_once = at_once
        self._digests = Digests()

    def explore(self) -> Iterator[Explored]:
        """Every crash image, in ascending order."""
        standing: int | None = None
        for number in self._images.numbers():
            start, end = self._images.touches(number)
            if standing is not None and start < end and not overlaps(self._known.booted[standing].ranges, start, end):
                # Whatever is left of this mutation, nobody looked there.
                for point in self._images.of_mutation(number):
                    yield Explored(point, self._known.booted[standing].seen, standing)
                self._digests.changed(start, end)
                continue
            *torn, whole = self._images.of_mutation(number)
            yield from self._explore(torn)
            self._digests.changed(start, end)
            (last,) = self._explore([whole])
            yield last
            standing = last.number

    def _explore(self, points: list[Point]) -> list[Explored]:
        """Points that share the flash image they patch."""
        numbers: dict[Cut, int] = {}
        waiting = points
        while waiting:
            waiting = [point for point in waiting if not self._look_up(point, numbers)]
            now, waiting = waiting[: self._at_once], waiting[self._at_once :]
            first = len(self._known)
            self._known.add(self._boot([self._images.build(point) for point in now]))
            numbers |= {point.cut: first + n for n, point in enumerate(now)}
        return [Explored(point, self._known.booted[number := numbers[point.cut]].seen, number) for point in points]

    def _look_up(self, point: Point, numbers: dict[Cut, int]) -> bool:
        flash = self._images.before(point)
        number = self._known.index.find(lambda span: self._digests.of(flash, span, point.patch), flash.secure_version)
        if number is None:
            return False
        numbers[point.cut] = number
        return True
