"""The SPI flash controller that esptool drives by registers for identification and status.

Source: esptool loader.py, run_spiflash_command.
"""

from __future__ import annotations

from rig.virtual.chips import ChipSpec

USER_COMMAND = 1 << 18
WRITE_WORDS = 16

READ_ID = 0x9F
READ_SFDP = 0x5A
READ_STATUS = (0x05, 0x35, 0x15)
WRITE_STATUS = {0x31: 1, 0x11: 2}
WRITE_STATUS_1 = 0x01
WRITE_ENABLE = (0x06, 0x50)
WRITE_DISABLE = 0x04

# JESD216: signature, revision 1.6, one parameter header with the JEDEC id 0x00, 16 words at 0x80.
_SFDP = b"SFDP" + bytes((6, 1, 0, 0xFF)) + bytes((0, 6, 1, 16, 0x80, 0, 0, 0xFF))


def flash_id_for(spec: ChipSpec, flash_size: int) -> int:
    """JEDEC id with its capacity byte (log2 of the size in bytes) set to the flash that is fitted."""
    return (spec.flash_id & 0xFFFF) | (flash_size.bit_length() - 1) << 16


class SpiRegisters:
    """Registers of the controller and the command set of the flash behind it. Reset with the chip."""

    def __init__(self, spec: ChipSpec, flash_size: int) -> None:
        self._spi = spec.spi
        self._flash_id = flash_id_for(spec, flash_size)
        self._registers: dict[int, int] = {}
        self._status = [0, 0x02, 0x60]
        self._write_enabled = False

    def read(self, address: int) -> int | None:
        """Value of a register of the controller, None if `address` is not one."""
        offset = address - self._spi.base
        return self._registers.get(offset, 0) if 0 <= offset < 0x100 else None

    def write(self, address: int, value: int) -> bool:
        """Write a register; False if `address` is not one of the controller."""
        offset = address - self._spi.base
        if not 0 <= offset < 0x100:
            return False
        if offset == 0 and value & USER_COMMAND:
            self._run()
        else:
            self._registers[offset] = value
        return True

    def _run(self) -> None:
        opcode = self._registers.get(self._spi.usr2, 0) & 0xFF
        result = self._answer(opcode)
        if result is not None:
            bits = self._registers.get(self._spi.miso_dlen, 31) + 1
            self._registers[self._spi.w0] = result & ((1 << bits) - 1)

    def _answer(self, opcode: int) -> int | None:
        if opcode == READ_ID:
            return self._flash_id
        if opcode == READ_SFDP:
            address = self._registers.get(self._spi.address, 0)
            return self._sfdp(address >> 8 if self._spi.address_msb_first else address)
        if opcode in READ_STATUS:
            return self._status[READ_STATUS.index(opcode)]
        if opcode in WRITE_ENABLE:
            self._write_enabled = True
        elif opcode == WRITE_DISABLE:
            self._write_enabled = False
        elif opcode == WRITE_STATUS_1 or opcode in WRITE_STATUS:
            self._write_status(opcode)
        return None

    def _write_status(self, opcode: int) -> None:
        if not self._write_enabled:
            return
        self._write_enabled = False
        data = self._registers.get(self._spi.w0, 0)
        self._status[WRITE_STATUS.get(opcode, 0)] = data & 0xFF

    @staticmethod
    def _sfdp(address: int) -> int:
        return int.from_bytes(_SFDP[address : address + 4].ljust(4, b"\xff"), "little")
