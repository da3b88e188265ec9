"""What code on the virtual chip may touch. ROM, bootloader and app are written against this and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NoReturn, Protocol


class ResetReason(StrEnum):
    """Why the chip started; each chip's ROM prints its own number and name for it (see `rig.virtual.chips`)."""

    POWERON = "power on"
    EN_PIN = "EN pin"
    SOFTWARE = "software"
    BOOTLOADER = "nothing bootable"
    WATCHDOG = "watchdog"
    BROWNOUT = "brownout"


class ChipHalted(BaseException):
    """EN went low, power went away or the code restarted the chip: whatever ran on it stops here.

    A BaseException so that no `except Exception` of simulated code survives a power cut.
    """


class FlashPort(Protocol):
    """The flash as the CPU reaches it; offsets and sizes in bytes. Each call may be the one in which power is cut."""

    size: int

    def read(self, offset: int, size: int) -> bytes: ...

    def erase_sector(self, offset: int) -> None:
        """Erase the 4 KiB sector at `offset` (a multiple of 0x1000)."""

    def program(self, offset: int, data: bytes) -> None:
        """Clear bits to match `data`; split into pages of 256 bytes by the chip."""


class EfusePort(Protocol):
    """The eFuse fields the bootloader and the app use."""

    @property
    def secure_version(self) -> int: ...

    def burn_secure_version(self, value: int) -> None: ...


class Cpu(Protocol):
    """One life of the CPU, from a reset to the next. Every method raises `ChipHalted` once the life is over."""

    reset_reason: ResetReason
    flash: FlashPort
    efuse: EfusePort

    def now(self) -> float:
        """Seconds of virtual time since this reset."""

    def sleep(self, seconds: float) -> None:
        """Let virtual time pass."""

    def write(self, data: bytes) -> None:
        """Send bytes on UART0."""

    def read(self, timeout: float | None = None) -> bytes:
        """Bytes received on UART0, at least one; empty after `timeout` virtual seconds."""

    def restart(self, reason: ResetReason) -> NoReturn:
        """Reset the chip from inside."""


Firmware = Callable[[Cpu], None]
"""What runs after the ROM chose to boot from flash: second-stage bootloader and app. Returning is like hanging."""
