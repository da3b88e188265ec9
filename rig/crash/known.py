"""What was booted already: two images that agree on every byte a boot read have the same boot.

Sound because firmware is a function of what it reads: as long as each byte read is the same, so is the next step.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from rig.crash.images import Patch
from rig.idf.memory import FlashImage
from rig.idf.watched import Ranges

Span = tuple[int, int]


class Reads(NamedTuple):
    """The bytes that something rests on: ranges [start, end) of flash, the small ones first, and a digest of each."""

    ranges: Ranges
    digests: tuple[bytes, ...]
    secure_version: int


class Digests:
    """Digests of ranges of a flash image that changes now and then; what did not change is not looked at again."""

    def __init__(self) -> None:
        self._known: dict[Span, bytes] = {}

    def of(self, flash: FlashImage, span: Span, patch: Patch | None = None) -> bytes:
        """The digest of [start, end) of `flash` with `patch` over it."""
        if patch is not None and patch.offset < span[1] and patch.end > span[0]:
            return _digest(_patched(flash, span, patch))
        digest = self._known.get(span)
        if digest is None:
            digest = self._known[span] = _digest(flash.read(span[0], span[1] - span[0]))
        return digest

    def changed(self, start: int, end: int) -> None:
        """The image changed in [start, end)."""
        self._known = {span: digest for span, digest in self._known.items() if span[1] <= start or span[0] >= end}


@dataclass
class _Node:
    """All that agree so far: the number of one that rests on nothing more, and by the range that is looked at next."""

    number: int | None = None
    further: dict[Span, dict[bytes, _Node]] = field(default_factory=dict)


class Index:
    """Booted images by what they rest on. A tree, so that images with many bytes in common are told apart by the few
    in which they differ.
    """

    def __init__(self) -> None:
        self._roots: dict[int, _Node] = {}

    def add(self, reads: Reads, number: int) -> None:
        """Remember it; of two with equal reads the first stays."""
        node = self._roots.setdefault(reads.secure_version, _Node())
        for span, digest in zip(reads.ranges, reads.digests, strict=True):
            node = node.further.setdefault(span, {}).setdefault(digest, _Node())
        if node.number is None:
            node.number = number

    def find(self, digest_of: Callable[[Span], bytes], secure_version: int) -> int | None:
        """The number of one that agrees with an image in every byte that was read for it."""
        waiting = [self._roots[secure_version]] if secure_version in self._roots else []
        while waiting:
            node = waiting.pop()
            if node.number is not None:
                return node.number
            for span, by_digest in node.further.items():
                found = by_digest.get(digest_of(span))
                if found is not None:
                    waiting.append(found)
        return None


def reads_of(flash: FlashImage, ranges: Ranges) -> Reads:
    """What `flash` holds in `ranges`. Small ranges come first: they are quickly compared, and differ most."""
    ordered = tuple(sorted(ranges, key=lambda span: (span[1] - span[0], span)))
    digests = tuple(_digest(flash.read(start, end - start)) for start, end in ordered)
    return Reads(ordered, digests, flash.secure_version)


def overlaps(ranges: Ranges, start: int, end: int) -> bool:
    """Whether [start, end) has a byte in common with one of `ranges` (ascending, not overlapping each other)."""
    at = bisect_left(ranges, (start, start))
    if at and ranges[at - 1][1] > start:
        return start < end
    return at < len(ranges) and ranges[at][0] < end


def _patched(flash: FlashImage, span: Span, patch: Patch) -> bytes:
    start, end = span
    data = flash.read(start, end - start)
    low, high = max(start, patch.offset), min(end, patch.end)
    return data[: low - start] + patch.data[low - patch.offset : high - patch.offset] + data[high - start :]


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()
