"""A board's serial console: one reader for the whole session, which loses nothing and timestamps every chunk.

The port is opened once. esptool borrows the very same port object (`Console.lent`), so no boot line falls between two
openings and no second opening toggles DTR or RTS.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import serial

from rig.errors import BenchFault

OpenPort = Callable[[], serial.SerialBase]
Listener = Callable[["Chunk"], None]

READ_TIMEOUT_S = 0.05
RETRY_S = 0.1
# Longer than the latency timer of common USB bridges (FTDI: 16 ms).
QUIET_S = 0.03
SILENCE_LIMIT_S = 3.0


class Chunk(NamedTuple):
    """Bytes as they arrived together; `time` is the host's monotonic clock in seconds."""

    time: float
    data: bytes


def open_quietly(url: str, baudrate: int = 115200) -> serial.SerialBase:
    """Open a port, or a pyserial URL, without moving DTR or RTS, so that the board is not reset.

    pyserial asserts both lines on opening unless they are set to False before (serialposix.Serial.open).
    """
    port = serial.serial_for_url(url, baudrate=baudrate, timeout=READ_TIMEOUT_S, do_not_open=True, exclusive=None)
    port.dtr = False
    port.rts = False
    port.open()
    return port


class Console:
    """Reads a board's port in a thread, keeps every byte with its time, and lets callers wait for text."""

    def __init__(self, board: str, open_port: OpenPort) -> None:
        self.board = board
        self._open_port = open_port
        self._port: serial.SerialBase | None = None
        self._changed = threading.Condition()
        self._raw = bytearray()
        self._chunks: list[Chunk] = []
        self._cursor = 0
        self._listeners: list[Listener] = []
        self._wanted = threading.Event()
        self._reading = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self.lost: Exception | None = None

    def open(self) -> None:
        """Open the port and start reading; BenchFault if the port is absent or busy."""
        try:
            self._port = self._open_port()
        except (OSError, ValueError) as error:
            raise BenchFault(
                f"the serial port cannot be opened: {error}",
                board=self.board,
                hint="is it plugged in, powered, and not held by a monitor?",
            ) from error
        self._closing.clear()
        self._wanted.set()
        self._thread = threading.Thread(target=self._read_loop, name=f"console-{self.board}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading and close the port; safe to call twice."""
        self._closing.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._port is not None:
            self._port.close()
            self._port = None

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` with every further chunk, from the reading thread."""
        with self._changed:
            self._listeners.append(listener)

    def unsubscribe(self, listener: Listener) -> None:
        with self._changed:
            self._listeners.remove(listener)

    @property
    def position(self) -> int:
        """Bytes received so far."""
        with self._changed:
            return len(self._raw)

    def chunks_since(self, position: int) -> list[Chunk]:
        """The chunks that arrived after the first `position` bytes; `position` must be a chunk boundary."""
        with self._changed:
            found, end = [], len(self._raw)
            for chunk in reversed(self._chunks):
                if end <= position:
                    break
                found.append(chunk)
                end -= len(chunk.data)
            return found[::-1]

    def write(self, data: bytes) -> None:
        """Send bytes to the board; BenchFault if the port is gone."""
        try:
            self.port.write(data)
        except OSError as error:
            raise BenchFault(f"writing to the serial port failed: {error}", board=self.board) from error

    def skip(self) -> None:
        """Forget what has arrived so far as far as `expect` is concerned."""
        with self._changed:
            self._cursor = len(self._raw)

    def drain(self, quiet: float = QUIET_S) -> None:
        """Wait until nothing has arrived for `quiet` seconds; what was printed before a power loss is then here.

        BenchFault if there is no end of it: a board without power, or held in reset, prints nothing.
        """
        seen = -1
        deadline = time.monotonic() + SILENCE_LIMIT_S
        while seen != self.position:
            if time.monotonic() > deadline:
                raise BenchFault(
                    "the board goes on printing although it should have no power or be held in reset",
                    board=self.board,
                    hint="check the power switch, and the wire from RTS to EN",
                )
            seen = self.position
            time.sleep(quiet)

    def expect(self, pattern: re.Pattern[bytes], timeout: float) -> re.Match[bytes] | None:
        """The first match after the previous one, or None when `timeout` seconds have passed."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                match = pattern.search(bytes(self._raw[self._cursor :]))
                if match is not None:
                    self._cursor += match.end()
                    return match
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)

    @property
    def port(self) -> serial.SerialBase:
        """The open port; BenchFault if there is none."""
        if self._port is None:
            raise BenchFault("the console is not open", board=self.board)
        return self._port

    @contextmanager
    def lent(self) -> Iterator[serial.SerialBase]:
        """The port for the caller alone; reading goes on afterwards with the port's settings restored."""
        port = self.port
        self._wanted.clear()
        while self._reading.is_set():
            time.sleep(0.001)
        settings = port.get_settings()
        try:
            yield port
        finally:
            if not port.is_open:
                self._reopen()
            else:
                port.apply_settings(settings)
            self._wanted.set()

    def _read_loop(self) -> None:
        while not self._closing.is_set():
            self._wanted.wait()
            self._reading.set()
            if self._wanted.is_set() and not self._closing.is_set():
                self._read_once()
            self._reading.clear()

    def _read_once(self) -> None:
        port = self._port
        assert port is not None
        try:
            data = port.read(1)
            if data:
                data += port.read(port.in_waiting)
        except (OSError, TypeError) as error:
            # TypeError: pyserial reads from a closed descriptor when the device vanished in between.
            self.lost = error
            self._closing.wait(RETRY_S)
            self._reopen()
            return
        if data:
            self._keep(Chunk(time.monotonic(), data))

    def _reopen(self) -> None:
        try:
            if self._port is not None:
                self._port.close()
            self._port = self._open_port()
        except (OSError, ValueError) as error:
            self.lost = error
        else:
            self.lost = None

    def _keep(self, chunk: Chunk) -> None:
        with self._changed:
            self._raw += chunk.data
            self._chunks.append(chunk)
            listeners = list(self._listeners)
            self._changed.notify_all()
        for listener in listeners:
            listener(chunk)
