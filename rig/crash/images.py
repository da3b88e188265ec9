"""Crash images of a recording: every prefix and every torn last mutation, by name; built one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rig.crash import torn
from rig.crash.names import Cut, Name
from rig.crash.recording import Recording
from rig.errors import UserError
from rig.idf.effects import SECTOR_SIZE, BurnSecureVersion, Erase, Mutation, Program
from rig.idf.memory import FlashImage
from rig.idf.otadata import ENTRY_SIZE


class Patch(NamedTuple):
    """Flash content that takes the place of what is at `offset`."""

    offset: int
    data: bytes

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


class Point(NamedTuple):
    """One crash image: the first `prefix` mutations are whole, then `patch` (a torn one) or nothing."""

    cut: Cut
    prefix: int
    patch: Patch | None


def touched(mutation: Mutation) -> tuple[int, int]:
    """Flash range [start, end) that a mutation may change; empty for an eFuse burn."""
    if isinstance(mutation, Erase):
        return mutation.offset, mutation.offset + SECTOR_SIZE
    if isinstance(mutation, Program):
        return mutation.offset, mutation.offset + len(mutation.data)
    return 0, 0


class Prefixes:
    """Flash after the first k mutations. Going up is cheap, going down starts again from the base."""

    def __init__(self, start: FlashImage, mutations: tuple[Mutation, ...]) -> None:
        self._start = start
        self._mutations = mutations
        self._flash = start.copy()
        self._done = 0

    def at(self, number: int) -> FlashImage:
        """The image itself, to be read and copied, not changed."""
        if number < self._done:
            self._flash = self._start.copy()
            self._done = 0
        for mutation in self._mutations[self._done : number]:
            self._flash.apply(mutation)
        self._done = number
        return self._flash


class CrashImages:
    """The crash images of `mutations` applied to `start`, in ascending order. `seed` draws what is torn at random.

    `fine` ranges, as the otadata entries, are torn at every byte.
    """

    def __init__(
        self, start: FlashImage, mutations: tuple[Mutation, ...], otadata: int | None, seed: str, first: int = 0
    ) -> None:
        self.mutations = mutations
        self.first = first
        self._prefixes = Prefixes(start, mutations)
        self._seed = seed
        entries = () if otadata is None else (otadata, otadata + SECTOR_SIZE)
        self._fine = tuple((offset, offset + ENTRY_SIZE) for offset in entries)

    @classmethod
    def of(cls, recording: Recording) -> CrashImages:
        part = recording.table.otadata_for_bootloader
        offset = part.offset if part else None
        return cls(recording.start(), recording.mutations, offset, recording.name, recording.header.begin)

    def __len__(self) -> int:
        """How many there are."""
        tears = sum(len(self.forms(mutation)) for mutation in self.mutations[self.first :])
        return tears + len(self.mutations) - self.first + 1

    def points(self) -> Iterator[Point]:
        """All of them; of each mutation first its torn forms, then the whole one."""
        for number in self.numbers():
            yield from self.of_mutation(number)

    def numbers(self) -> range:
        """The mutations in question, and the one before them, which stands for the beginning."""
        return range(self.first, len(self.mutations) + 1)

    def of_mutation(self, number: int) -> Iterator[Point]:
        """Those of one mutation, the whole one last; none is torn of what came before the beginning."""
        if number > self.first:
            for form in self.forms(self.mutations[number - 1]):
                yield self.point(Cut(number, form))
        yield Point(Cut(number), number, None)

    def touches(self, number: int) -> tuple[int, int]:
        """Flash range [start, end) that mutation `number` may change; empty for an eFuse burn and for none."""
        return touched(self.mutations[number - 1]) if number else (0, 0)

    def forms(self, mutation: Mutation) -> tuple[str, ...]:
        """The torn forms of one mutation."""
        start, end = touched(mutation)
        return torn.forms(mutation, any(start < stop and begin < end for begin, stop in self._fine))

    def point(self, cut: Cut) -> Point:
        """The crash image of that cut. UserError for a mutation or form that there is not."""
        if not 0 <= cut.number <= len(self.mutations):
            raise UserError(
                f"there is no mutation {cut.number}", hint=f"this run made {len(self.mutations)}; m0000 is before them"
            )
        if not cut.form:
            return Point(cut, cut.number, None)
        mutation = self.mutations[cut.number - 1] if cut.number else None
        if mutation is None or isinstance(mutation, BurnSecureVersion) or cut.form not in self.forms(mutation):
            known = ", ".join(self.forms(mutation)) if mutation is not None else ""
            raise UserError(f"mutation {cut.number} has no form {cut.form!r}", hint=f"one of: {known or 'none'}")
        start, end = touched(mutation)
        old = self._prefixes.at(cut.number - 1).read(start, end - start)
        return Point(cut, cut.number - 1, Patch(start, torn.tear(mutation, cut.form, old, f"{self._seed}/{cut}")))

    def before(self, point: Point) -> FlashImage:
        """Flash after the whole mutations of `point`, without its patch; to be read, not changed."""
        return self._prefixes.at(point.prefix)

    def build(self, point: Point) -> FlashImage:
        """The crash image itself, a copy of its own."""
        flash = self.before(point).copy()
        if point.patch is not None:
            flash.load(point.patch.offset, point.patch.data)
        return flash


def name_of(recording: Recording, point: Point) -> str:
    """The stable name of a first-level crash image."""
    return str(Name(recording.name, (point.cut,)))
