"""What esptool's stub flasher does once it runs: faster commands, and some the ROM does not have.

The uploaded code is not executed: any program that is loaded into RAM and started is taken for the stub. It differs
from the ROM in three ways that a host can see: it acknowledges data before writing it (errors come with the next
command), erases just ahead of the data, and answers with two status bytes and raw MD5 digests.
Source: esptool loader.py, and the behaviour of its stub as documented there.
"""

from __future__ import annotations

import hashlib
import struct
from collections import deque
from functools import partial

from rig.virtual import slip
from rig.virtual.loader import (
    DATA_HEADER,
    SYNC_REPLIES,
    Exit,
    FlashWriter,
    Handler,
    Loader,
    Machine,
    Refused,
    Reply,
    words,
)

GREETING = b"OHAI"


class StubError:
    """Reason codes of the stub."""

    BAD_DATA_LENGTH = 0xC0
    BAD_DATA_CHECKSUM = 0xC1
    INVALID_COMMAND = 0xC3
    FAILED_SPI_OP = 0xC4
    NOT_IN_FLASH_MODE = 0xC6


class StubLoader(Loader):
    """The stub flasher; `run` greets first."""

    status_length = 2
    bad_checksum = StubError.BAD_DATA_CHECKSUM

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self._late_error: int | None = None
        self._packets: deque[bytes] = deque()

    def handlers(self) -> dict[int, Handler]:
        return {
            **super().handlers(),
            0xD0: self.erase_flash,
            0xD1: self.erase_region,
            0xD2: self.read_flash,
            0xD3: self.run_user_code,
        }

    def run(self) -> Exit:
        self.cpu.write(slip.encode(GREETING))
        return super().run()

    def receive(self) -> list[bytes]:
        if self._packets:
            return [self._packets.popleft()]
        return super().receive()

    def refuse_unknown(self, opcode: int) -> None:
        self.answer(opcode, Reply(), bytes((1, StubError.INVALID_COMMAND)))

    def sync(self, body: bytes) -> Reply:
        for _ in range(SYNC_REPLIES - 1):
            self.answer(0x08, Reply(), b"\0\0")
        return Reply()

    def begin_write(self, offset: int, size: int, block_size: int | None) -> FlashWriter:
        self._late_error = None
        return FlashWriter(self.cpu, offset, size, block_size)

    def flash_data(self, body: bytes) -> Reply:
        size, sequence = words(body, 2)
        if self._writer is None:
            raise Refused(StubError.NOT_IN_FLASH_MODE)
        self._raise_late_error()
        data = body[DATA_HEADER : DATA_HEADER + size]
        if len(data) != size:
            raise Refused(StubError.BAD_DATA_LENGTH)
        self.after_reply = partial(self._write, self._writer, sequence, data)
        return Reply()

    def _write(self, writer: FlashWriter, sequence: int, data: bytes) -> None:
        try:
            writer.write(sequence, data)
        except Refused as refusal:
            self._late_error = refusal.code

    def _raise_late_error(self) -> None:
        code, self._late_error = self._late_error, None
        if code is not None:
            raise Refused(code)

    def flash_end(self, body: bytes) -> Reply:
        (stay,) = words(body, 1)
        if self._writer is None:
            raise Refused(StubError.NOT_IN_FLASH_MODE)
        self._raise_late_error()
        self._writer = None
        if not stay:
            self.exit = Exit.RESTART
        return Reply()

    def flash_md5(self, body: bytes) -> Reply:
        return Reply(data=self.digest(body).digest())

    def erase_flash(self, body: bytes) -> Reply:
        FlashWriter(self.cpu, 0, self.cpu.flash.size, None).erase_all()
        return Reply()

    def erase_region(self, body: bytes) -> Reply:
        offset, size = words(body, 2)
        FlashWriter(self.cpu, offset, size, None).erase_all()
        return Reply()

    def run_user_code(self, body: bytes) -> Reply:
        self.exit = Exit.RUN_FLASH
        return Reply()

    def read_flash(self, body: bytes) -> Reply:
        offset, size, block_size, in_flight = words(body, 4)
        if offset + size > self.cpu.flash.size:
            raise Refused(StubError.FAILED_SPI_OP)
        self.after_reply = partial(self._stream, offset, size, block_size, in_flight)
        return Reply()

    def _stream(self, offset: int, size: int, block_size: int, in_flight: int) -> None:
        """Send blocks, at most `in_flight` of them unacknowledged, then the MD5 of all."""
        digest = hashlib.md5(usedforsecurity=False)
        sent = acknowledged = 0
        while acknowledged < size:
            while sent < size and sent - acknowledged < in_flight * block_size:
                block = self.cpu.flash.read(offset + sent, min(block_size, size - sent))
                digest.update(block)
                self.cpu.write(slip.encode(block))
                sent += len(block)
            acknowledged = self._next_acknowledgement()
        self.cpu.write(slip.encode(digest.digest()))

    def _next_acknowledgement(self) -> int:
        while not self._packets:
            self._packets.extend(super().receive())
        packet = self._packets.popleft()
        (received,) = struct.unpack("<I", packet.ljust(4, b"\0")[:4])
        return int(received)
