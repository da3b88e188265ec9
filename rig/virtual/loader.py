"""The ROM's serial loader: the commands esptool sends before, or instead of, its stub flasher.

Source of the protocol: esptool's loader.py and its serial protocol documentation.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from rig.idf.effects import SECTOR_SIZE
from rig.virtual import slip
from rig.virtual.chips import ChipSpec
from rig.virtual.cpu import ResetReason
from rig.virtual.life import Life
from rig.virtual.nor import FlashMisuse
from rig.virtual.registers import Registers
from rig.virtual.uart import Uart, same_baud

SYNC_PATTERN = b"\x07\x07\x12\x20" + 32 * b"\x55"
SYNC_VALUE = 0x20120707
SYNC_REPLIES = 8
SLOW_READ_LIMIT = 64
CHECKSUM_SEED = 0xEF
DATA_HEADER = 16


class RomError:
    """Reason codes of the ROM."""

    INVALID_MESSAGE = 0x05
    FAILED = 0x06
    BAD_CHECKSUM = 0x07
    FLASH_WRITE = 0x08
    FLASH_READ = 0x09
    BAD_LENGTH = 0x0A
    DEFLATE = 0x0B


class Refused(Exception):
    """A command failed; `code` is the reason sent to the host."""

    def __init__(self, code: int) -> None:
        super().__init__(f"reason {code:#04x}")
        self.code = code


class Exit(Enum):
    """How a loader ends."""

    RUN_RAM = "run the program in RAM"
    RUN_FLASH = "run the program in flash"
    RESTART = "restart the chip"


@dataclass(frozen=True)
class Machine:
    """What a loader works on: one life of one chip."""

    cpu: Life
    spec: ChipSpec
    registers: Registers
    uart: Uart


@dataclass(frozen=True)
class Reply:
    """Value field and extra data of a successful answer."""

    value: int = 0
    data: bytes = b""


Handler = Callable[[bytes], Reply]


def checksum(data: bytes) -> int:
    """XOR of all bytes and 0xEF."""
    bits = 8 << max(0, (len(data) - 1)).bit_length()
    value = int.from_bytes(data, "little")
    while bits > 8:
        bits //= 2
        value = (value >> bits) ^ (value & ((1 << bits) - 1))
    return value ^ CHECKSUM_SEED


def words(body: bytes, count: int) -> tuple[int, ...]:
    """The first `count` little-endian words of a command's body."""
    if len(body) < 4 * count:
        raise Refused(RomError.BAD_LENGTH)
    return struct.unpack_from(f"<{count}I", body)


class Loader:
    """The command loop that ROM and stub share; commands by number, `handlers` of the subclass added."""

    status_length: ClassVar[int]
    bad_checksum: ClassVar[int]

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.cpu = machine.cpu
        self.exit: Exit | None = None
        self.after_reply: Callable[[], None] | None = None
        self._decoder = slip.Decoder()
        self._writer: FlashWriter | None = None

    def handlers(self) -> dict[int, Handler]:
        """Commands of this loader."""
        return {
            0x02: self.flash_begin,
            0x03: self.flash_data,
            0x04: self.flash_end,
            0x05: self.mem_begin,
            0x06: self.mem_end,
            0x07: self.mem_data,
            0x08: self.sync,
            0x09: self.write_reg,
            0x0A: self.read_reg,
            0x0B: self.accept,
            0x0D: self.accept,
            0x0F: self.change_baudrate,
            0x10: self.deflate_begin,
            0x11: self.flash_data,
            0x12: self.flash_end,
            0x13: self.flash_md5,
            **({0x14: self.security_info} if self.machine.spec.has_security_info else {}),
        }

    def run(self) -> Exit:
        """Serve commands until one ends the loader."""
        handlers = self.handlers()
        while self.exit is None:
            for packet in self.receive():
                self._serve(handlers, packet)
        return self.exit

    def receive(self) -> list[bytes]:
        """Wait for bytes; the packets they complete."""
        return self._decoder.feed(self.cpu.read())

    def _serve(self, handlers: dict[int, Handler], packet: bytes) -> None:
        if len(packet) < 8 or packet[0] != 0:
            return
        _, opcode, size, _ = struct.unpack_from("<BBHI", packet)
        body = packet[8:]
        handler = handlers.get(opcode)
        if handler is None:
            self.refuse_unknown(opcode)
            return
        try:
            if len(body) != size:
                raise Refused(RomError.INVALID_MESSAGE)
            self.verify_checksum(opcode, packet)
            reply = handler(body)
        except Refused as refusal:
            self.answer(opcode, Reply(), bytes((1, refusal.code)))
        except FlashMisuse:
            self.answer(opcode, Reply(), bytes((1, RomError.FAILED)))
        else:
            self.answer(opcode, reply, b"\0\0")
        self._work_after_reply()
        if self.machine.registers.watchdog_fired:
            self.cpu.restart(ResetReason.WATCHDOG)

    def _work_after_reply(self) -> None:
        work, self.after_reply = self.after_reply, None
        if work is not None:
            work()

    def answer(self, opcode: int, reply: Reply, status: bytes) -> None:
        """Send one answer."""
        tail = reply.data + status.ljust(self.status_length, b"\0")
        self.cpu.write(slip.encode(struct.pack("<BBHI", 1, opcode, len(tail), reply.value) + tail))

    def verify_checksum(self, opcode: int, packet: bytes) -> None:
        """Data packets carry the checksum of their payload."""
        if opcode in (0x03, 0x07, 0x11):
            (expected,) = struct.unpack_from("<I", packet, 4)
            if checksum(packet[8 + DATA_HEADER :]) != expected & 0xFF:
                raise Refused(self.bad_checksum)

    def refuse_unknown(self, opcode: int) -> None:
        raise NotImplementedError

    # RAM

    def mem_begin(self, body: bytes) -> Reply:
        size, _blocks, self._ram_block, self._ram_start = words(body, 4)
        self.machine.registers.ram.open_segment(self._ram_start, size)
        return Reply()

    def mem_data(self, body: bytes) -> Reply:
        size, sequence = words(body, 2)
        data = body[DATA_HEADER : DATA_HEADER + size]
        if not self.machine.registers.ram.store(self._ram_start + sequence * self._ram_block, data):
            raise Refused(RomError.FAILED)
        return Reply()

    def mem_end(self, body: bytes) -> Reply:
        stay, entry = words(body, 2)
        if not stay:
            if self.machine.registers.ram.word(entry) is None:
                raise Refused(RomError.FAILED)
            self.exit = Exit.RUN_RAM
        return Reply()

    # registers and the like

    def accept(self, body: bytes) -> Reply:
        """Commands that set up what the model needs no set-up for."""
        return Reply()

    def sync(self, body: bytes) -> Reply:
        raise NotImplementedError

    def read_reg(self, body: bytes) -> Reply:
        return Reply(self.machine.registers.read(words(body, 1)[0]))

    def write_reg(self, body: bytes) -> Reply:
        for start in range(0, len(body), 16):
            address, value, mask, delay_us = words(body[start:], 4)
            self.machine.registers.write(address, value, mask)
            self.cpu.sleep(delay_us / 1e6)
        return Reply()

    def change_baudrate(self, body: bytes) -> Reply:
        baud = words(body, 1)[0]

        def change() -> None:
            self.machine.uart.baud = baud

        self.after_reply = change
        return Reply()

    def security_info(self, body: bytes) -> Reply:
        spec = self.machine.spec
        purposes = self.machine.registers.key_purposes
        count = self.machine.registers.crypt_count
        return Reply(data=struct.pack("<IB7BII", 0, count, *purposes, spec.chip_id, spec.api_version))

    # flash

    def flash_begin(self, body: bytes) -> Reply:
        size, _blocks, block_size, offset = words(body, 4)
        self._writer = self.begin_write(offset, size, block_size)
        return Reply()

    def deflate_begin(self, body: bytes) -> Reply:
        size, _blocks, _block_size, offset = words(body, 4)
        self._writer = self.begin_write(offset, size, None)
        return Reply()

    def begin_write(self, offset: int, size: int, block_size: int | None) -> FlashWriter:
        raise NotImplementedError

    def flash_data(self, body: bytes) -> Reply:
        raise NotImplementedError

    def flash_end(self, body: bytes) -> Reply:
        raise NotImplementedError

    def flash_md5(self, body: bytes) -> Reply:
        raise NotImplementedError

    def digest(self, body: bytes) -> hashlib._Hash:
        """MD5 of the flash range a command asks for."""
        offset, size = words(body, 2)
        if offset + size > self.cpu.flash.size:
            raise Refused(RomError.FLASH_READ)
        return hashlib.md5(self.cpu.flash.read(offset, size), usedforsecurity=False)


class FlashWriter:
    """One download to flash: where the next data goes. Plain blocks come numbered, compressed data as a stream."""

    def __init__(self, cpu: Life, offset: int, size: int, block_size: int | None) -> None:
        if offset + size > cpu.flash.size:
            raise Refused(RomError.FAILED)
        self._cpu = cpu
        self._start = offset
        self._end = offset + size
        self._block_size = block_size
        self._inflate = zlib.decompressobj()
        self._next = offset
        self._erased_to = offset - offset % SECTOR_SIZE

    def erase_all(self) -> None:
        """Erase every sector of the range at once, as the ROM does."""
        self._erase_to(self._end)

    def write(self, sequence: int, data: bytes) -> None:
        """Write one block (of plain or compressed data); padding past the end of the range is dropped."""
        if self._block_size is None:
            try:
                data = self._inflate.decompress(data)
            except zlib.error:
                raise Refused(RomError.DEFLATE) from None
        else:
            self._next = self._start + sequence * self._block_size
        data = data[: max(0, self._end - self._next)]
        if data:
            self._erase_to(self._next + len(data))
            self._cpu.flash.program(self._next, data)
            self._next += len(data)

    def _erase_to(self, end: int) -> None:
        while self._erased_to < end:
            self._cpu.flash.erase_sector(self._erased_to)
            self._erased_to += SECTOR_SIZE


class RomLoader(Loader):
    """Download mode of the mask ROM: erases at the beginning of a download, answers when the work is done."""

    status_length = 4
    bad_checksum = RomError.BAD_CHECKSUM

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self._synced = False

    def handlers(self) -> dict[int, Handler]:
        return {**super().handlers(), 0x0E: self.read_flash_slow}

    def receive(self) -> list[bytes]:
        # The ROM measures the rate of the first bytes it hears.
        if not self._synced:
            self.machine.uart.to_chip.wait(None, lambda: self.cpu.over)
            heard = self.machine.uart.to_chip.next_baud()
            if heard is not None and not same_baud(heard, self.machine.uart.baud):
                self.machine.uart.baud = heard
        return super().receive()

    def refuse_unknown(self, opcode: int) -> None:
        # The ROM says this of no command in particular, and repeats itself (esptool: drain_input_buffer).
        for _ in range(SYNC_REPLIES):
            self.answer(0, Reply(), bytes((1, RomError.INVALID_MESSAGE)))

    def sync(self, body: bytes) -> Reply:
        if body != SYNC_PATTERN:
            raise Refused(RomError.INVALID_MESSAGE)
        self._synced = True
        for _ in range(SYNC_REPLIES - 1):
            self.answer(0x08, Reply(SYNC_VALUE), b"\0\0")
        return Reply(SYNC_VALUE)

    def begin_write(self, offset: int, size: int, block_size: int | None) -> FlashWriter:
        writer = FlashWriter(self.cpu, offset, size, block_size)
        writer.erase_all()
        return writer

    def flash_data(self, body: bytes) -> Reply:
        size, sequence = words(body, 2)
        if self._writer is None:
            raise Refused(RomError.FLASH_WRITE)
        self._writer.write(sequence, body[DATA_HEADER : DATA_HEADER + size])
        return Reply()

    def flash_end(self, body: bytes) -> Reply:
        (stay_running,) = words(body, 1)
        self.exit = Exit.RUN_FLASH if stay_running else Exit.RESTART
        return Reply()

    def flash_md5(self, body: bytes) -> Reply:
        return Reply(data=self.digest(body).hexdigest().encode())

    def read_flash_slow(self, body: bytes) -> Reply:
        offset, size = words(body, 2)
        if size > SLOW_READ_LIMIT or offset + size > self.cpu.flash.size:
            raise Refused(RomError.FLASH_READ)
        return Reply(data=self.cpu.flash.read(offset, size).ljust(SLOW_READ_LIMIT, b"\0"))
