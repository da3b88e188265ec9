"""Flash that notes which of its bytes were looked at: the read set of a decision."""

from __future__ import annotations

from collections.abc import Iterable

from rig.idf.config import BootConfig
from rig.idf.effects import SECTOR_SIZE, Effect, Erase
from rig.idf.memory import FlashImage, Verdict

Ranges = tuple[tuple[int, int], ...]


class WatchedFlash(FlashImage):
    """A flash image that keeps the ranges [start, end) that were read and do not lie in a sector erased before.

    What was erased here is the same whatever flash held; what was only programmed still depends on it. A verdict on an
    image counts as the whole span it rests on, also when it is given from memory.
    """

    def __init__(self, content: bytes | bytearray, secure_version: int = 0) -> None:
        super().__init__(content, secure_version)
        self._read: set[tuple[int, int]] = set()
        self._erased: set[int] = set()

    @classmethod
    def of(cls, image: FlashImage) -> WatchedFlash:
        """A copy of `image`, with what it knows of the images in it."""
        watched = cls(image._data, image.secure_version)
        watched._checks = dict(image._checks)
        return watched

    @property
    def reads(self) -> Ranges:
        """Merged and ascending."""
        return merged(self._read)

    def note(self, start: int, end: int) -> None:
        """Count [start, end) as read."""
        if not self._erased:
            self._read.add((start, end))
            return
        for sector in range(start - start % SECTOR_SIZE, end, SECTOR_SIZE):
            if sector not in self._erased:
                self._read.add((max(start, sector), min(end, sector + SECTOR_SIZE)))

    def read(self, offset: int, size: int) -> bytes:
        self.note(offset, offset + size)
        return super().read(offset, size)

    def verdict(self, offset: int, size: int, config: BootConfig) -> Verdict:
        found = super().verdict(offset, size, config)
        rests_on = self._checks[offset]
        self.note(rests_on.low, rests_on.high)
        return found

    def apply(self, effect: Effect) -> None:
        super().apply(effect)
        if isinstance(effect, Erase):
            self._erased.add(effect.offset)


def merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """The same bytes as few ascending ranges."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        elif start < end:
            found.append((start, end))
    return tuple(found)
