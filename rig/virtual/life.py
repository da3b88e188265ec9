"""One life of the CPU, from a reset to the next: the `Cpu` that code on the chip is given."""

from __future__ import annotations

import threading
import time
from typing import NoReturn

from rig.virtual.clock import Clock
from rig.virtual.cpu import ChipHalted, EfusePort, FlashPort, ResetReason
from rig.virtual.cut_line import CutLine
from rig.virtual.efuse import Efuses
from rig.virtual.efuse_keys import FlashEncryption, flash_encryption
from rig.virtual.network import Network
from rig.virtual.nor import NorFlash
from rig.virtual.uart import Uart

SHORTEST_WAIT_S = 0.001
"""Sleeps are saved up to this many wall-clock seconds: the host cannot wait for less with any precision."""
TICK_S = 1e-6
"""The least virtual time that waiting takes."""


class Life:
    """Implements `Cpu`. `finish` may be called from any thread; everything else belongs to the chip's own."""

    def __init__(self, reset_reason: ResetReason, flash: NorFlash, efuse: Efuses, uart: Uart, clock: Clock) -> None:
        self.reset_reason = reset_reason
        self.flash: FlashPort = LifeFlash(self, flash)
        self.efuse: EfusePort = LifeEfuse(self, efuse)
        self.next_reset: ResetReason | None = None
        """Set when the code restarted the chip itself."""
        self.cut_line: CutLine | None = None
        """The GPIO that cuts the board's supply, if the board has one; see `rig.virtual.cut_line.line_of`."""
        self.network = Network(self.check, clock)
        """The host's, as long as the life lasts; see `rig.virtual.network.network_of`."""
        self._uart = uart
        self._clock = clock
        self._born = clock.now()
        self._over = threading.Event()
        self._owed = 0.0

    @property
    def over(self) -> bool:
        """Whether power, EN or a restart has ended this life."""
        return self._over.is_set()

    def finish(self) -> None:
        """End this life: its code gets ChipHalted from the next call, or from the one it waits in."""
        with self._uart.changed:
            self._over.set()
            self._uart.changed.notify_all()

    def check(self) -> None:
        """Raise ChipHalted once the life is over."""
        if self._over.is_set():
            raise ChipHalted

    def now(self) -> float:
        self.check()
        return self._clock.now() - self._born

    def sleep(self, seconds: float) -> None:
        self.check()
        self._owed += self._clock.wall(max(0.0, seconds))
        if self._owed >= SHORTEST_WAIT_S:
            self._over.wait(self._owed)
            self._owed = 0.0
        self.check()
        self._clock.advance(seconds)

    def write(self, data: bytes) -> None:
        with self._uart.changed:
            self.check()
            self._uart.to_host.put(data, self._uart.baud)

    def read(self, timeout: float | None = None) -> bytes:
        self.check()
        pipe = self._uart.to_chip
        if not len(pipe):
            began = time.monotonic()
            pipe.wait(None if timeout is None else self._clock.wall(timeout), self._over.is_set)
            waited = self._clock.virtual(time.monotonic() - began)
            if timeout is None:
                self._clock.advance(waited)
            else:
                # Nothing came: the whole time has passed, and never so little that a sum of floats swallows it.
                self._clock.advance(min(waited, timeout) if len(pipe) else max(timeout, TICK_S))
        self.check()
        return pipe.take(None, self._uart.baud)

    def hang(self) -> NoReturn:
        """Do nothing until the life is over."""
        self._over.wait()
        raise ChipHalted

    def restart(self, reason: ResetReason) -> NoReturn:
        self.check()
        self.next_reset = reason
        self.finish()
        raise ChipHalted


class LifeFlash:
    """The flash as long as the life lasts; implements `FlashPort`."""

    def __init__(self, life: Life, flash: NorFlash) -> None:
        self._life = life
        self._flash = flash
        self.size = flash.size

    def read(self, offset: int, size: int) -> bytes:
        self._life.check()
        return self._flash.read(offset, size)

    def erase_sector(self, offset: int) -> None:
        self._life.check()
        self._flash.erase_sector(offset)

    def program(self, offset: int, data: bytes) -> None:
        self._life.check()
        self._flash.program(offset, data)


class LifeEfuse:
    """The eFuses as long as the life lasts; implements `EfusePort`."""

    def __init__(self, life: Life, efuse: Efuses) -> None:
        self._life = life
        self._efuse = efuse

    @property
    def secure_version(self) -> int:
        self._life.check()
        return self._efuse.secure_version

    def burn_secure_version(self, value: int) -> None:
        self._life.check()
        self._efuse.burn_secure_version(value)

    @property
    def flash_encryption(self) -> FlashEncryption | None:
        """What the cache does to all it reads; see `rig.virtual.encrypted_flash.cached`."""
        return flash_encryption(self._efuse)
