"""Flash behind an emulated chip for one boot after another of an image, of which every access is noted."""

from __future__ import annotations

import threading
from typing import NamedTuple

from rig.emulator.disk import FlashMutation, mutations_of
from rig.idf.effects import SECTOR_SIZE, Mutation
from rig.idf.memory import FlashImage


class Looked(NamedTuple):
    """The guest looked at flash bytes [start, end)."""

    start: int
    end: int


Access = Looked | Mutation


class ImageDisk:
    """Implements `rig.emulator.nbd.Store`: flash that belongs to one process, from before its start until its end.

    Until `guest_runs` only QEMU itself reads. `impossible` says what no flash could have been made to hold.
    """

    def __init__(self, image: FlashImage) -> None:
        self._image = image
        self._lock = threading.Lock()
        self._guest_runs = False
        self.accesses: list[Looked | FlashMutation] = []
        """What passed here since `guest_runs`, in order."""
        self.pages_taken = 0
        """Reads for the guest: each is the cache taking a page."""
        self.impossible: str | None = None

    @property
    def size(self) -> int:
        return len(self._image)

    def guest_runs(self) -> None:
        """From now on what is read is read for the guest."""
        with self._lock:
            self._guest_runs = True

    def read(self, offset: int, size: int) -> bytes:
        with self._lock:
            if self._guest_runs:
                self.pages_taken += 1
                self.accesses.append(Looked(offset, offset + size))
            return self._image.read(offset, size)

    def write(self, offset: int, data: bytes) -> None:
        with self._lock:
            split = mutations_of(offset, data, self._image.read(offset, len(data)))
            if split.impossible is not None:
                self.impossible = f"a program at flash {split.impossible:#x} would set bits that are 0"
            if len(data) < SECTOR_SIZE:
                self.accesses.append(Looked(offset, offset + len(data)))
            for mutation in split.mutations:
                self._image.apply(mutation)
                self.accesses.append(mutation)
