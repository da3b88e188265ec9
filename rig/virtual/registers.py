"""The memory map as the ROM loader's read and write commands reach it: peripherals, RAM, and a count of the unknown."""

from __future__ import annotations

from collections import Counter

from rig.virtual.chips import ChipSpec
from rig.virtual.efuse import EfuseRegisters, Efuses
from rig.virtual.efuse_keys import KEY_BLOCKS, crypt_count, key_purposes
from rig.virtual.spi import SpiRegisters
from rig.virtual.uart import Uart

MAGIC_ADDRESS = 0x40001000
WATCHDOG_ENABLE = 1 << 31


class Ram:
    """RAM that was written by the loader, as segments; the rest reads 0."""

    def __init__(self) -> None:
        self._segments: list[tuple[int, bytearray]] = []

    def open_segment(self, address: int, size: int) -> None:
        """Take over `size` zero bytes at `address`."""
        self._segments.insert(0, (address, bytearray(size)))

    def store(self, address: int, data: bytes) -> bool:
        """Write `data`; False unless one segment holds all of it."""
        for start, content in self._segments:
            offset = address - start
            if offset >= 0 and offset + len(data) <= len(content):
                content[offset : offset + len(data)] = data
                return True
        return False

    def word(self, address: int) -> int | None:
        """Little-endian word at `address`, None if nothing was loaded there."""
        for start, content in self._segments:
            if 0 <= address - start < len(content):
                return int.from_bytes(content[address - start : address - start + 4], "little")
        return None


class Registers:
    """All registers of one life of the chip; unknown ones read 0, ignore writes and are counted."""

    def __init__(self, spec: ChipSpec, efuses: Efuses, flash_size: int, uart: Uart) -> None:
        self.ram = Ram()
        self.unknown_reads: Counter[int] = Counter()
        self.unknown_writes: Counter[int] = Counter()
        self.watchdog_fired = False
        """The RTC watchdog was started and locked: the chip resets once the answer is out."""
        self._spec = spec
        self._uart = uart
        self._fixed = {MAGIC_ADDRESS: spec.magic, **spec.registers}
        self._efuses = efuses
        self._efuse = EfuseRegisters(efuses)
        self._spi = SpiRegisters(spec, flash_size)
        self._watchdog_config = 0

    @property
    def crypt_count(self) -> int:
        """The eFuse field that switches flash encryption on, as the ROM tells it."""
        return crypt_count(self._efuses)

    @property
    def key_purposes(self) -> tuple[int, ...]:
        """Purposes of the key blocks, as the ROM tells them; the last of the seven is no block's."""
        return (*key_purposes(self._efuses), *self._spec.key_purposes[KEY_BLOCKS:])

    def read(self, address: int) -> int:
        """The word at `address`."""
        if address == self._spec.uart_clkdiv:
            return self._spec.xtal_hz // self._uart.baud
        watchdog = self._spec.watchdog
        if watchdog is not None and address == watchdog.config0:
            return self._watchdog_config
        for value in (self._fixed.get(address), self._efuse.read(address), self._spi.read(address)):
            if value is not None:
                return value
        loaded = self.ram.word(address)
        if loaded is None:
            self.unknown_reads[address] += 1
            return 0
        return loaded

    def write(self, address: int, value: int, mask: int = 0xFFFFFFFF) -> None:
        """Write the bits of `mask`."""
        if mask != 0xFFFFFFFF:
            value = (self.read(address) & ~mask) | (value & mask)
        if self._write_watchdog(address, value) or self._efuse.write(address, value):
            return
        if self._spi.write(address, value) or self.ram.store(address, value.to_bytes(4, "little")):
            return
        self.unknown_writes[address] += 1

    def _write_watchdog(self, address: int, value: int) -> bool:
        watchdog = self._spec.watchdog
        if watchdog is None or address not in (watchdog.config0, watchdog.protect):
            return False
        if address == watchdog.config0:
            self._watchdog_config = value
        elif value == 0 and self._watchdog_config & WATCHDOG_ENABLE:
            self.watchdog_fired = True
        return True
