"""What was booted already: two images that agree on every byte a boot read have the same boot.

Sound because firmware is a function of what it reads: as long as each byte read is the same, so is the next step.
"""

from __future__ import annotations

from bisect import bisect_left
from hashlib import blake2b
from typing import NamedTuple, Protocol

from rig.crash.images import Patch
from rig.idf.memory import FlashImage
from rig.idf.watched import Ranges


class Reads(NamedTuple):
    """The bytes that something rests on: flash ranges [start, end), ascending, and what each held, as a digest."""

    ranges: Ranges
    digests: tuple[bytes, ...]
    secure_version: int


class View(Protocol):
    """A flash image to be looked at."""

    @property
    def secure_version(self) -> int: ...

    def read(self, offset: int, size: int) -> bytes: ...


class Patched:
    """A flash image with a patch over it, without a copy."""

    def __init__(self, below: FlashImage, patch: Patch) -> None:
        self._below = below
        self._patch = patch
        self.secure_version = below.secure_version

    def read(self, offset: int, size: int) -> bytes:
        data = self._below.read(offset, size)
        patch = self._patch
        low, high = max(offset, patch.offset), min(offset + size, patch.end)
        if low >= high:
            return data
        return data[: low - offset] + patch.data[low - patch.offset : high - patch.offset] + data[high - offset :]


def reads_of(view: View, ranges: Ranges) -> Reads:
    """What `view` holds in `ranges`. Small ranges come first in a comparison, so they are kept by size."""
    ordered = tuple(sorted(ranges, key=lambda span: (span[1] - span[0], span)))
    return Reads(ordered, tuple(_digest(view, span) for span in ordered), view.secure_version)


def agrees(view: View, reads: Reads) -> bool:
    """Whether `view` holds the same in every byte that was read."""
    if view.secure_version != reads.secure_version:
        return False
    return all(_digest(view, span) == digest for span, digest in zip(reads.ranges, reads.digests, strict=True))


def overlaps(ranges: Ranges, start: int, end: int) -> bool:
    """Whether [start, end) has a byte in common with one of `ranges` (ascending, not overlapping each other)."""
    at = bisect_left(ranges, (start, start))
    if at and ranges[at - 1][1] > start:
        return start < end
    return at < len(ranges) and ranges[at][0] < end


def _digest(view: View, span: tuple[int, int]) -> bytes:
    return blake2b(view.read(span[0], span[1] - span[0]), digest_size=16).digest()
