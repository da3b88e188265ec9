"""SPI NOR flash: programming only clears bits, erasing sets whole sectors, and power can go away in the middle.

Typical times are those of Winbond's W25Q32JV datasheet: sector erase 45 ms, page program 0.7 ms.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from rig.idf.effects import SECTOR_SIZE, Erase, Mutation, Program
from rig.virtual.clock import Clock
from rig.virtual.cpu import ChipHalted
from rig.virtual.cut_line import CutLine
from rig.virtual.tap import MutationTap, Verdict

PAGE_SIZE = 0x100
ERASE_SECTOR_S = 0.045
PROGRAM_PAGE_S = 0.0007
ERASED_SECTOR = b"\xff" * SECTOR_SIZE


class FlashMisuse(ValueError):
    """A flash operation that no code on the chip would issue: misaligned, or outside the flash."""


class NorFlash:
    """`size` bytes of NOR flash, all erased at first; its content and wear survive power cuts.

    Each operation is told to `tap` before it happens. If the tap cuts power, `on_power_lost` is called after whatever
    part of the operation still took place, and `ChipHalted` is raised.
    """

    def __init__(self, size: int, clock: Clock | None = None, tap: MutationTap | None = None) -> None:
        if size <= 0 or size % SECTOR_SIZE:
            raise FlashMisuse(f"flash size {size:#x} is not a multiple of {SECTOR_SIZE:#x}")
        self.size = size
        self.clock = clock if clock is not None else Clock()
        self.tap = tap if tap is not None else MutationTap()
        self.wear = [0] * (size // SECTOR_SIZE)
        """Erases of each sector, complete or torn."""
        self.on_power_lost: Callable[[], None] = _nothing
        self.line: CutLine | None = None
        """The cut line while it is armed."""
        self._cells = bytearray(b"\xff") * size
        self._lock = threading.RLock()

    def read(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes at flash `offset`; past the end reads 0xFF."""
        if offset < 0 or size < 0:
            raise FlashMisuse(f"cannot read {size} bytes at {offset:#x}")
        with self._lock:
            data = bytes(self._cells[offset : offset + size])
        return data + b"\xff" * (size - len(data))

    def erase_sector(self, offset: int) -> None:
        """Erase the 4 KiB sector at `offset` (a multiple of 0x1000)."""
        self._check(offset, SECTOR_SIZE)
        if offset % SECTOR_SIZE:
            raise FlashMisuse(f"sector erase at {offset:#x} is not aligned to {SECTOR_SIZE:#x}")
        with self._lock:
            verdict, seconds = self._begin(Erase(offset), ERASE_SECTOR_S)
            if verdict.mutation is not None:
                self._cells[offset : offset + SECTOR_SIZE] = ERASED_SECTOR
            elif verdict.scramble is not None:
                start, data = verdict.scramble
                self._cells[start : start + len(data)] = data
            if verdict.mutation is not None or verdict.scramble is not None:
                self.wear[offset // SECTOR_SIZE] += 1
        self._finish(seconds, verdict.power_lost)

    def erase_range(self, offset: int, size: int) -> None:
        """Erase every sector that `size` bytes at `offset` touch, in ascending order; a block erase is this."""
        for sector in range(offset - offset % SECTOR_SIZE, offset + size, SECTOR_SIZE):
            self.erase_sector(sector)

    def program(self, offset: int, data: bytes) -> None:
        """Clear bits to match `data`, page by page of 256 bytes as the flash controller issues them."""
        self._check(offset, len(data))
        while data:
            room = PAGE_SIZE - offset % PAGE_SIZE
            self._program_page(offset, data[:room])
            offset, data = offset + room, data[room:]

    def load(self, offset: int, data: bytes) -> None:
        """Put `data` in place from outside the chip (a flash image given by the harness): no wear, time or record."""
        self._check(offset, len(data))
        with self._lock:
            self._cells[offset : offset + len(data)] = data

    def _program_page(self, offset: int, data: bytes) -> None:
        with self._lock:
            verdict, seconds = self._begin(Program(offset, data), PROGRAM_PAGE_S)
            if isinstance(verdict.mutation, Program):
                self._clear_bits(offset, verdict.mutation.data)
        self._finish(seconds, verdict.power_lost)

    def _begin(self, mutation: Mutation, seconds: float) -> tuple[Verdict, float]:
        """What happens of an operation that takes `seconds`, and how long the code that began it is busy with it."""
        rises_in = None if self.line is None else self.line.rises_in(mutation)
        if rises_in is None:
            return self.tap.announce(mutation), seconds
        return self.tap.interrupt(mutation, rises_in / seconds), rises_in

    def _clear_bits(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        old = int.from_bytes(self._cells[offset:end], "little")
        self._cells[offset:end] = (old & int.from_bytes(data, "little")).to_bytes(len(data), "little")

    def _finish(self, seconds: float, power_lost: bool) -> None:
        self.clock.advance(seconds)
        if power_lost:
            self.on_power_lost()
            raise ChipHalted("power lost during a flash operation")

    def _check(self, offset: int, size: int) -> None:
        if offset < 0 or offset + size > self.size:
            raise FlashMisuse(f"{size} bytes at {offset:#x} are outside the flash of {self.size:#x} bytes")


class UnerasedProgram(RuntimeError):
    """A bit that was already 0 should have become 1: the code forgot to erase."""


class StrictNorFlash(NorFlash):
    """NorFlash for hunting bugs: programming a bit from 0 to 1 is an error instead of being ignored."""

    def _clear_bits(self, offset: int, data: bytes) -> None:
        before = self.read(offset, len(data))
        for index, (old, new) in enumerate(zip(before, data, strict=True)):
            if new & ~old:
                raise UnerasedProgram(f"byte {offset + index:#x} is {old:#04x}, cannot become {new:#04x}")
        super()._clear_bits(offset, data)


def _nothing() -> None:
    pass
