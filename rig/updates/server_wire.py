"""One answer onto one connection, byte for byte as a fault wants it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
import sys
import termios
from collections.abc import Iterator

from rig.updates.answers import Answer, Ending

PIECE = 256 * 1024
"""Bytes of one write: large, so that few are needed; not the whole, so that many clients share memory and time."""

WHEN_FULL = 16 * 1024
"""Bytes that Python keeps for a connection whose buffers in the system are full."""

TICK_S = 0.02
"""How often a body that drips gets its next bytes."""

RESET_S = 5.0
"""How long a reset waits for the client's acknowledgement of what was sent before."""

_POLL_S = 0.002


class Gone(Exception):
    """The client left, or the server stops."""


class Wire:
    """A connection. `plain` is the TCP transport, `transport` the one to write to: the same, or TLS over it."""

    def __init__(self, plain: asyncio.Transport, transport: asyncio.Transport) -> None:
        self.sent = 0
        """Body bytes of the present answer that the operating system has."""
        self.closed = asyncio.Event()
        self._plain = plain
        self._transport = transport
        self._writable = asyncio.Event()
        self._writable.set()
        # Nothing stays in Python: what was written is with the system when `_flush` returns. With a limit of 0
        # asyncio's TLS would pause before anything was written.
        plain.set_write_buffer_limits(high=1, low=0)
        transport.set_write_buffer_limits(high=1, low=0)

    # --- told by the protocol --------------------------------------------------------------------------------------

    def pause(self) -> None:
        self._writable.clear()

    def resume(self) -> None:
        self._writable.set()

    def lost(self) -> None:
        self.closed.set()
        self._writable.set()

    # --- sending ---------------------------------------------------------------------------------------------------

    async def send(self, head: bytes, answer: Answer, source: int | None = None) -> str:
        """Send it all; how it ended, in words. `source`: an open file with the bytes of `answer.file`. Raises Gone."""
        self.sent = 0
        whole = answer.to_send == len(answer.body) or not answer.has_body
        with self._in_full_packets() if answer.rate is None else contextlib.nullcontext():
            await self._write(head)
            await self._body(answer, 0, answer.to_send, source)
        if answer.pause is not None:
            await self._silence(answer.pause)
        if answer.pause is not None and not whole:
            await self._body(answer, answer.to_send, len(answer.body), source)
        return await self._end(answer.ending)

    @contextlib.contextmanager
    def _in_full_packets(self) -> Iterator[None]:
        """What is sent meanwhile does not wake the client for the head alone (Linux: TCP_CORK, tcp(7))."""
        connection: socket.socket = self._plain.get_extra_info("socket")
        if sys.platform != "linux":
            yield
            return
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)

    async def _body(self, answer: Answer, start: int, stop: int, source: int | None) -> None:
        """Body bytes `start` to `stop`, framed and paced as the answer says."""
        if source is not None and answer.rate is None and answer.chunk is None and self._transport is self._plain:
            await self._from_file(answer, start, stop, source)
            return
        loop = asyncio.get_running_loop()
        started, here = loop.time(), 0
        for data, size in pieces(answer, start, stop):
            if answer.rate is not None:
                late = started + (here + size) / answer.rate - loop.time()
                if late > 0:
                    await self._silence(late)
            await self._write(data)
            here += size
            self.sent += size

    async def _from_file(self, answer: Answer, at: int, stop: int, source: int) -> None:
        """The same without copying: the system sends from the file until its buffers are full, then a small piece
        goes the usual way, which waits until there is room again.
        """
        body, connection = memoryview(answer.body), self._plain.get_extra_info("socket")
        while at < stop:
            if self.closed.is_set() or self._transport.is_closing():
                raise Gone
            try:
                count = os.sendfile(connection.fileno(), source, answer.start + at, stop - at)
            except BlockingIOError:
                piece = body[at : min(at + WHEN_FULL, stop)]
                await self._write(piece)
                count = len(piece)
            at += count
            self.sent += count

    async def _write(self, data: bytes | memoryview) -> None:
        if self.closed.is_set() or self._transport.is_closing():
            raise Gone
        self._transport.write(data)
        await self._flush()

    async def _flush(self) -> None:
        """Until the system has all that was written."""
        while True:
            if not self._writable.is_set():
                await self._writable.wait()
            if self.closed.is_set():
                raise Gone
            if self._writable.is_set() and not self._plain.get_write_buffer_size():
                return
            # TLS knows nothing of what waits below it.
            await asyncio.sleep(_POLL_S)

    async def until(self, event: asyncio.Event) -> None:
        """Wait for `event`. Raises Gone when the client leaves first."""
        waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(self.closed.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self.closed.is_set():
            raise Gone

    async def _silence(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.closed.wait(), seconds)
            raise Gone

    async def _end(self, ending: Ending) -> str:
        if ending is Ending.STALL:
            await self.closed.wait()
            return "stalled until the client left"
        if ending is Ending.CUT:
            self._plain.close()
            return "disconnected"
        if ending is Ending.RESET:
            await self._acknowledged()
            _lingers_not(self._plain.get_extra_info("socket"))
            self._plain.abort()
            return "reset"
        return "complete"

    async def _acknowledged(self) -> None:
        """Until the client's TCP has all bytes: a reset throws away what still waits here."""
        connection: socket.socket = self._plain.get_extra_info("socket")
        for _ in range(int(RESET_S / _POLL_S)):
            if self.closed.is_set() or not _unacknowledged(connection):
                return
            await asyncio.sleep(_POLL_S)


def pieces(answer: Answer, start: int, stop: int) -> Iterator[tuple[bytes | memoryview, int]]:
    """What goes onto the wire for body bytes `start` to `stop`, and how many of them each piece holds.

    In chunks, the size of a chunk is said in full even if the body stops within it; the last chunk follows only when
    the body is whole.
    """
    body = memoryview(answer.body)
    step = PIECE if answer.rate is None else max(1, int(answer.rate * TICK_S))
    at = start
    while at < stop:
        end = min(at + step, stop)
        if answer.chunk is None:
            yield body[at:end], end - at
            at = end
            continue
        begin = at - at % answer.chunk
        whole = min(begin + answer.chunk, len(body))
        end = min(end, whole)
        head = f"{whole - begin:x}\r\n".encode() if at == begin else b""
        yield head + body[at:end] + (b"\r\n" if end == whole else b""), end - at
        at = end
    if answer.chunk is not None and answer.has_body and stop == len(body):
        yield b"0\r\n\r\n", 0


def _unacknowledged(connection: socket.socket) -> int:
    """Bytes that the client's TCP has not acknowledged (Linux: SIOCOUTQ, tcp(7)); 0 where the system cannot say."""
    if sys.platform != "linux":
        return 0
    try:
        return int(struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))[0])
    except OSError:
        return 0


def _lingers_not(connection: socket.socket) -> None:
    """Closing sends RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
