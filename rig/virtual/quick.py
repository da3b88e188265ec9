"""The virtual chip's firmware run at once on a flash image: no thread, no port, no waiting for time to pass.

Bootloader and test app are the code that `VirtualChip` runs. Nobody talks to the app, so it ends up waiting for a
request: that is when it has finished. The ROM's lines are left out of the log.
"""

from __future__ import annotations

from typing import NamedTuple, NoReturn

from rig.idf.effects import SECTOR_SIZE, BurnSecureVersion, Erase, Mutation, Program
from rig.idf.memory import FlashImage
from rig.virtual.cpu import ChipHalted, EfusePort, Firmware, FlashPort, ResetReason
from rig.virtual.nor import ERASE_SECTOR_S, PAGE_SIZE, PROGRAM_PAGE_S

LONGEST_WAIT_S = 3600.0
"""Virtual seconds after which an app that only lets time pass is taken to hang."""


class QuickBoot(NamedTuple):
    """One reset to the next. `next_reset` is None when the app waits for requests (`waits`), or else hangs."""

    log: bytes
    mutations: tuple[Mutation, ...]
    next_reset: ResetReason | None
    waits: bool


def boot_quickly(firmware: Firmware, image: FlashImage, reset: ResetReason = ResetReason.POWERON) -> QuickBoot:
    """Run `firmware` from reset until it resets the chip, waits for a request or hangs; `image` is changed by it."""
    cpu = QuickCpu(image, reset)
    waits = False
    try:
        firmware(cpu)
    except _Waits:
        waits = True
    except ChipHalted:
        pass
    return QuickBoot(bytes(cpu.log), tuple(cpu.mutations), cpu.next_reset, waits)


class _Waits(BaseException):
    """The app has nothing to do until somebody talks to it. A BaseException for the reason that ChipHalted is one."""


class QuickCpu:
    """Implements `Cpu` on a flash image, with virtual time of its own."""

    def __init__(self, image: FlashImage, reset_reason: ResetReason) -> None:
        self.reset_reason = reset_reason
        self.log = bytearray()
        self.mutations: list[Mutation] = []
        self.next_reset: ResetReason | None = None
        self.flash: FlashPort = _QuickFlash(self, image)
        self.efuse: EfusePort = _QuickEfuse(self, image)
        self._image = image
        self._now = 0.0

    def now(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds
        if self._now > LONGEST_WAIT_S:
            raise ChipHalted("nothing but time passes")

    def write(self, data: bytes) -> None:
        self.log += data

    def read(self, timeout: float | None = None) -> bytes:
        """Nobody talks: time passes, or there is nothing left to wait for."""
        if timeout is None:
            raise _Waits
        self.sleep(max(timeout, 1e-6))
        return b""

    def restart(self, reason: ResetReason) -> NoReturn:
        self.next_reset = reason
        raise ChipHalted

    def do(self, mutation: Mutation) -> None:
        self._image.apply(mutation)
        self.mutations.append(mutation)


class _QuickFlash:
    """Implements `FlashPort`."""

    def __init__(self, cpu: QuickCpu, image: FlashImage) -> None:
        self._cpu = cpu
        self.image = image
        # flash that is watched has to see every byte that is read
        self.remembering = image if type(image) is FlashImage else None
        self.size = len(image)

    def read(self, offset: int, size: int) -> bytes:
        return self.image.read(offset, size)

    def erase_sector(self, offset: int) -> None:
        assert offset % SECTOR_SIZE == 0
        self._cpu.do(Erase(offset))
        self._cpu.sleep(ERASE_SECTOR_S)

    def program(self, offset: int, data: bytes) -> None:
        while data:
            room = PAGE_SIZE - offset % PAGE_SIZE
            self._cpu.do(Program(offset, data[:room]))
            self._cpu.sleep(PROGRAM_PAGE_S)
            offset, data = offset + room, data[room:]


class _QuickEfuse:
    """Implements `EfusePort`."""

    def __init__(self, cpu: QuickCpu, image: FlashImage) -> None:
        self._cpu = cpu
        self._image = image

    @property
    def secure_version(self) -> int:
        return self._image.secure_version

    def burn_secure_version(self, value: int) -> None:
        self._cpu.do(BurnSecureVersion(self._image.secure_version, value))
