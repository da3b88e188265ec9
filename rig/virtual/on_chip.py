"""Runs decisions of `rig.idf` on the chip: each effect reaches flash, eFuse or console before the next is asked for.

A power cut therefore falls between any two of them, or inside one, as the flash decides.
"""

from __future__ import annotations

from typing import TypeVar

from rig.idf.effects import BurnSecureVersion, Erase, Log, Program, Steps
from rig.idf.memory import FlashImage
from rig.virtual.console_log import ConsoleLog
from rig.virtual.cpu import Cpu
from rig.virtual.encrypted_flash import cached

T = TypeVar("T")


class ChipMemory:
    """`rig.idf.effects.Memory` over what the CPU reaches; flash through the cache."""

    def __init__(self, cpu: Cpu) -> None:
        self._cpu = cpu
        self._flash = cached(cpu)
        self.image: FlashImage | None = getattr(self._flash, "remembering", None)
        """Flash that can tell which of its images have not changed, where there is one."""

    @property
    def secure_version(self) -> int:
        return self._cpu.efuse.secure_version

    def read(self, offset: int, size: int) -> bytes:
        flash = self._flash
        if offset >= flash.size:
            return b"\xff" * size
        return flash.read(offset, min(size, flash.size - offset)).ljust(size, b"\xff")


def perform(steps: Steps[T], cpu: Cpu, log: ConsoleLog) -> T:
    """Run `steps` to the end and return what they decided; raises ChipHalted where the chip stops."""
    flash = cached(cpu)
    while True:
        try:
            effect = next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result
        match effect:
            case Log():
                log.effect(effect)
            case Erase(offset):
                flash.erase_sector(offset)
            case Program(offset, data):
                flash.program(offset, data)
            case BurnSecureVersion(_, after):
                cpu.efuse.burn_secure_version(after)
