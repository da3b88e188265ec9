"""The flash chip behind an emulated board: QEMU's writes seen as sector erases and page programs, and cut at one.

QEMU's flash model (hw/block/m25p80.c) sends an erase as a write of the erased range and a program as a write of its
whole 256-byte page, so what was really changed is found by comparing with what flash held before.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rig.emulator.nbd_server import Gone
from rig.idf.effects import SECTOR_SIZE, Erase, Program
from rig.idf.memory import FlashImage

PAGE_SIZE = 0x100
LATE_WRITES = 64
"""An erase may come behind so many writes at most: QEMU has 16 requests under way (block/nbd.c, MAX_NBD_REQUESTS)."""
ERASED_SECTOR = b"\xff" * SECTOR_SIZE

FlashMutation = Erase | Program
Kind = Literal["erase", "program", "any"]
Phase = Literal["before", "torn", "after"]


@dataclass(frozen=True)
class DiskCut:
    """Where power is lost: at the `nth` mutation (from 1) of `kind` that touches flash bytes `start` to `end`.

    `before`: it does not happen; `torn`: its first `keep` bytes do, the rest stays as it was; `after`: it is complete.
    """

    start: int
    end: int
    kind: Kind = "any"
    nth: int = 1
    phase: Phase = "after"
    keep: int = 16


class Split(NamedTuple):
    """A write as flash mutations, in order; `impossible`: the first flash offset where a bit would go from 0 to 1."""

    mutations: tuple[FlashMutation, ...]
    impossible: int | None


def mutations_of(offset: int, data: bytes, before: bytes) -> Split:
    """What a write of `data` at flash `offset` does to flash that held `before` there.

    A whole sector is an erase (of a block: one for each sector), since programs never come in more than a page. What
    it holds besides 0xFF was programmed while the erase waited behind other requests: QEMU sends what its flash holds
    when it is their turn. Everything else is programs, one for each page, from its first changed byte to its last. A
    program that changes nothing is none.
    """
    found: list[FlashMutation] = []
    impossible = None
    position = offset
    while position < offset + len(data):
        end = min(position - position % SECTOR_SIZE + SECTOR_SIZE, offset + len(data))
        new, old = data[position - offset : end - offset], before[position - offset : end - offset]
        if len(new) == SECTOR_SIZE:
            found.append(Erase(position))
            old = ERASED_SECTOR
        raised = _first_raised(old, new)
        if raised is not None and impossible is None:
            impossible = position + raised
        found += _programs(position, new, old)
        position = end
    return Split(tuple(found), impossible)


def _programs(offset: int, new: bytes, old: bytes) -> Iterator[Program]:
    position = 0
    while position < len(new):
        end = min(position + PAGE_SIZE - (offset + position) % PAGE_SIZE, len(new))
        page, was = new[position:end], old[position:end]
        if page != was:
            first = next(index for index, (a, b) in enumerate(zip(page, was, strict=True)) if a != b)
            last = next(index for index in range(len(page) - 1, -1, -1) if page[index] != was[index])
            yield Program(offset + position + first, page[first : last + 1])
        position = end


def _first_raised(old: bytes, new: bytes) -> int | None:
    """Index of the first byte in which a bit goes from 0 to 1."""
    raised = int.from_bytes(new, "little") & ~int.from_bytes(old, "little")
    return None if not raised else ((raised & -raised).bit_length() - 1) // 8


class Disk:
    """`size` bytes of NOR flash, all erased at first; implements `rig.emulator.nbd.Store`.

    It outlives the processes that use it. At a cut it freezes: the request is not answered, no later one is carried
    out until `thaw`, and `on_cut` is called before `wait_fired` returns. `on_impossible` is told of a program that
    would set bits, which no flash does. `observer` sees every mutation that was carried out, in order, a torn one as
    that part of it that was. All three are called with the flash locked, from the connection's thread.
    """

    def __init__(self, size: int) -> None:
        if size <= 0 or size % SECTOR_SIZE:
            raise ValueError(f"flash size {size:#x} is not a multiple of {SECTOR_SIZE:#x}")
        self._size = size
        self._image = FlashImage.erased(size)
        self._lock = threading.RLock()
        self._cut: DiskCut | None = None
        self._matched = 0
        self._fired = threading.Event()
        self._frozen = False
        self._early: dict[int, tuple[int, int]] = {}
        """Sectors programmed before their erase came: number of that write, and the offset that shows it."""
        self.counts: Counter[str] = Counter()
        """Mutations carried out, in full or in part: `erase`, `program`; further `write` for all write requests."""
        self.on_cut: Callable[[], None] = _nothing
        self.on_impossible: Callable[[str], None] = _ignore
        self.observer: Callable[[FlashMutation], None] = _ignore

    @property
    def size(self) -> int:
        return self._size

    @property
    def frozen(self) -> bool:
        """Whether a cut has happened since the last `thaw`."""
        return self._frozen

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes at flash `offset`, also while frozen."""
        with self._lock:
            return self._image.read(offset, size)

    def write(self, offset: int, data: bytes) -> None:
        """A write request of the emulated chip; Gone when power is lost during it, or was before."""
        with self._lock:
            if self._frozen:
                raise Gone("flash has no power")
            self.counts["write"] += 1
            self._complain_of_erases_that_never_came()
            split = mutations_of(offset, data, self._image.read(offset, len(data)))
            if len(data) < SECTOR_SIZE and self._is_early(offset, split):
                return
            if split.impossible is not None:
                self.on_impossible(_said(split.impossible))
            for mutation in split.mutations:
                if isinstance(mutation, Erase):
                    self._early.pop(mutation.offset, None)
                self._carry_out(mutation)

    def _is_early(self, offset: int, split: Split) -> bool:
        """Whether the erase of that sector is still under way: it will bring what this write programs, too.

        Requests that had to wait may overtake each other in QEMU; each then has what its flash holds by that time.
        """
        sector = offset - offset % SECTOR_SIZE
        if split.impossible is not None:
            self._early.setdefault(sector, (self.counts["write"], split.impossible))
        return sector in self._early

    def _complain_of_erases_that_never_came(self) -> None:
        for sector, (number, impossible) in list(self._early.items()):
            if self.counts["write"] - number > LATE_WRITES:
                del self._early[sector]
                self.on_impossible(_said(impossible))

    def load(self, offset: int, data: bytes) -> None:
        """Put `data` in place from outside the chip: neither counted nor observed."""
        with self._lock:
            self._image.load(offset, data)

    def thaw(self) -> None:
        """Power is back."""
        with self._lock:
            self._frozen = False
            self._early.clear()

    def arm(self, cut: DiskCut) -> None:
        """Lose power at `cut`; counting starts now. Replaces an earlier cut."""
        if cut.nth < 1:
            raise ValueError(f"nth counts from 1, not {cut.nth}")
        with self._lock:
            self._cut = cut
            self._matched = 0
            self._fired.clear()

    def disarm(self) -> None:
        """No cut any more."""
        with self._lock:
            self._cut = None

    def wait_fired(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for the cut that was armed last to have happened."""
        return self._fired.wait(timeout)

    def _carry_out(self, mutation: FlashMutation) -> None:
        cut = self._due(mutation)
        if cut is None:
            self._apply(mutation)
            return
        if cut.phase == "after":
            self._apply(mutation)
        elif cut.phase == "torn":
            self._tear(mutation, cut.keep)
        self._cut = None
        self._frozen = True
        self.on_cut()
        self._fired.set()
        raise Gone("power was cut at a flash mutation")

    def _due(self, mutation: FlashMutation) -> DiskCut | None:
        if self._cut is None or not _matches(self._cut, mutation):
            return None
        self._matched += 1
        return self._cut if self._matched == self._cut.nth else None

    def _apply(self, mutation: FlashMutation) -> None:
        self._image.apply(mutation)
        self._note(mutation)

    def _tear(self, mutation: FlashMutation, keep: int) -> None:
        self._image.tear(mutation, keep)
        self._note(mutation if isinstance(mutation, Erase) else Program(mutation.offset, mutation.data[:keep]))

    def _note(self, mutation: FlashMutation) -> None:
        self.counts["erase" if isinstance(mutation, Erase) else "program"] += 1
        self.observer(mutation)


def _matches(cut: DiskCut, mutation: FlashMutation) -> bool:
    kind, size = ("erase", SECTOR_SIZE) if isinstance(mutation, Erase) else ("program", len(mutation.data))
    return cut.kind in (kind, "any") and mutation.offset + size > cut.start and mutation.offset < cut.end


def _said(impossible: int) -> str:
    return f"a program at flash {impossible:#x} would set bits that are 0"


def _nothing() -> None:
    pass


def _ignore(_: object) -> None:
    pass
