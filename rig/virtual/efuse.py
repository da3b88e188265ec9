"""One-time programmable bits: they go from 0 to 1 and stay, through every reset and power cut."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rig.idf.effects import BurnSecureVersion
from rig.virtual.chips import ChipSpec, EfuseField
from rig.virtual.cpu import ChipHalted
from rig.virtual.tap import MutationTap

WRITE_OP_CODE = 0x5A5A
PROGRAM_COMMAND = 0x2
COMMAND_BITS = 0x3
CONTROLLER_SIZE = 0x200


def mac_bytes(text: str) -> bytes:
    """`aa:bb:cc:dd:ee:ff` as 6 bytes; ValueError if it is something else."""
    raw = bytes.fromhex(text.replace(":", ""))
    if len(raw) != 6:
        raise ValueError(f"{text!r} is no MAC address")
    return raw


def crc8_of_mac(mac: bytes) -> int:
    """CRC-8 (reflected 0x8C) that esp32 keeps beside its MAC (ESP-IDF esp_mac: esp_efuse_mac_get_default)."""
    crc = 0
    for byte in mac:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x8C if crc & 1 else 0)
    return crc


class Efuses:
    """The eFuse blocks of one chip, fresh from the factory with `mac` (6 bytes); implements `EfusePort`."""

    def __init__(self, spec: ChipSpec, mac: bytes, tap: MutationTap | None = None) -> None:
        self.spec = spec
        self.mac = mac
        self.tap = tap if tap is not None else MutationTap()
        self.on_power_lost: Callable[[], None] = _nothing
        self._lock = threading.RLock()
        self._blocks: list[int] = []
        self.renew()

    def renew(self) -> None:
        """Put another chip in the place of this one, fresh from the factory with its MAC. Nothing may run on it."""
        with self._lock:
            self._blocks = [0] * len(self.spec.efuse_blocks)
            self.burn_field("MAC", int.from_bytes(self.mac, "big"))
            if "MAC_CRC" in self.spec.efuse_fields:
                self.burn_field("MAC_CRC", crc8_of_mac(self.mac))
            for name, value in self.spec.efuse_factory.items():
                self.burn_field(name, value)

    @property
    def secure_version(self) -> int:
        """Bits set in the anti-rollback field."""
        return self.field("SECURE_VERSION").bit_count()

    @property
    def secure_version_limit(self) -> int:
        """Width of the anti-rollback field: the highest secure version the silicon can hold."""
        return self.spec.efuse_fields["SECURE_VERSION"].width

    def burn_secure_version(self, value: int) -> None:
        """Raise the anti-rollback field to `value` bits; a lower value changes nothing, as bits cannot be cleared.

        ValueError if the field is narrower. ESP-IDF efuse: esp_efuse_update_secure_version.
        """
        if not 0 <= value <= self.secure_version_limit:
            raise ValueError(f"secure version {value} does not fit into {self.secure_version_limit} eFuse bits")
        before = self.secure_version
        if value <= before:
            return
        verdict = self.tap.announce(BurnSecureVersion(before, value))
        if verdict.mutation is not None:
            self.burn_field("SECURE_VERSION", (1 << value) - 1)
        if verdict.power_lost:
            self.on_power_lost()
            raise ChipHalted("power lost at an eFuse burn")

    def field(self, name: str) -> int:
        """Value of a field by its name in the eFuse table."""
        place = self.spec.efuse_fields[name]
        return (self._blocks[place.block] >> place.bit) & ((1 << place.width) - 1)

    def word(self, block: int, index: int) -> int:
        """32-bit word `index` of a block, as its read register shows it."""
        return (self._blocks[block] >> (32 * index)) & 0xFFFFFFFF

    def block(self, number: int) -> int:
        """All bits of a block, also of one that software may not read; bit 0 is the lowest of its first word."""
        return self._blocks[number]

    def read_protected(self, block: int) -> bool:
        """Whether RD_DIS keeps software from reading a block of keys; it reads 0 then."""
        first = 1 if len(self._blocks) == 4 else 4  # esp32 has four blocks; later chips have their keys from the fifth
        return block >= first and bool(self.field("RD_DIS") >> (block - first) & 1)

    def burn_block(self, block: int, value: int) -> None:
        """OR `value` into a block: what the eFuse controller does on a program command."""
        mask = (1 << (32 * self.spec.efuse_blocks[block].words)) - 1
        with self._lock:
            self._blocks[block] |= value & mask

    def burn_field(self, name: str, value: int) -> None:
        """OR `value` into a field; ValueError if it is wider than the field."""
        place: EfuseField = self.spec.efuse_fields[name]
        if value >> place.width:
            raise ValueError(f"{value:#x} does not fit into eFuse field {name} of {place.width} bits")
        self.burn_block(place.block, value << place.bit)


class EfuseRegisters:
    """The controller as software sees it: blocks to read, write windows, command. Reset with the chip."""

    WINDOW_WORDS = 8

    def __init__(self, efuses: Efuses) -> None:
        self._efuses = efuses
        spec = efuses.spec
        self._readable = {
            block.read_address + 4 * index: (number, index)
            for number, block in enumerate(spec.efuse_blocks)
            for index in range(block.words)
        }
        controller = spec.efuse_controller
        self._written = {
            start + 4 * index: 0 for start in controller.write_addresses for index in range(self.WINDOW_WORDS)
        }
        self._conf = 0
        base = min(self._written)
        self._own = range(base, base + CONTROLLER_SIZE)

    def read(self, address: int) -> int | None:
        """Value of a register of the controller, None if `address` is not one."""
        if address in self._readable:
            block, index = self._readable[address]
            return 0 if self._efuses.read_protected(block) else self._efuses.word(block, index)
        controller = self._efuses.spec.efuse_controller
        if address == controller.conf:
            return self._conf
        if address == controller.command:
            return 0
        return self._written.get(address, 0 if address in self._own else None)

    def write(self, address: int, value: int) -> bool:
        """Write a register; False if `address` is not one of the controller."""
        controller = self._efuses.spec.efuse_controller
        if address == controller.conf:
            self._conf = value
        elif address == controller.command:
            self._command(value)
        elif address in self._written:
            self._written[address] = value
        else:
            return address in self._own
        return True

    def _command(self, value: int) -> None:
        if self._conf != WRITE_OP_CODE or value & COMMAND_BITS != PROGRAM_COMMAND:
            return
        addresses = self._efuses.spec.efuse_controller.write_addresses
        if len(set(addresses)) == 1:
            self._burn_window(addresses[0], (value >> 2) & 0xF)
            return
        for block, start in enumerate(addresses):
            self._burn_window(start, block)

    def _burn_window(self, start: int, block: int) -> None:
        if block >= len(self._efuses.spec.efuse_blocks):
            return
        words = (self._written.get(start + 4 * index, 0) for index in range(self.WINDOW_WORDS))
        self._efuses.burn_block(block, sum(word << (32 * index) for index, word in enumerate(words)))


def _nothing() -> None:
    pass
