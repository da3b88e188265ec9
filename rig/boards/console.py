"""A board's serial console: one reader for the whole session, which loses nothing and timestamps every chunk.

The port is opened once. esptool borrows the very same port object (`Console.lent`), so no boot line falls between two
openings and no second opening toggles DTR or RTS. A port that vanishes, because its USB bridge hangs on the supply that
was cut or is the chip itself, is opened again as soon as it is back, maybe under another name; whoever needs it
meanwhile waits.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import serial

from rig.boards.quiet_ports import READ_TIMEOUT_S, open_quietly
from rig.boards.trigger import LinePattern, Trigger, quick_threads
from rig.errors import BenchFault, RigError

__all__ = ["READ_TIMEOUT_S", "Chunk", "Console", "Gap", "Listener", "OpenPort", "open_quietly"]

OpenPort = Callable[[], serial.SerialBase]
Listener = Callable[["Chunk"], None]

RETRY_S = 0.02
ABSENCE_LIMIT_S = 20.0
"""How long a port may be away: a USB hub that gets power enumerates its bridges within a few seconds."""
# Longer than the latency timer of common USB bridges (FTDI: 16 ms).
QUIET_S = 0.03
SILENCE_LIMIT_S = 3.0
READ_LIMIT = 4096
LINE_LIMIT = 4096
"""So much of a line without end is kept for triggers, bytes: noise has no line ends."""


class Chunk(NamedTuple):
    """Bytes as they arrived together; `time` is the host's monotonic clock in seconds."""

    time: float
    data: bytes


class Gap(NamedTuple):
    """The port was away from `start` to `end` (host's monotonic clock, seconds), after `position` bytes of the log."""

    position: int
    start: float
    end: float


class Console:
    """Reads a board's port in a thread, keeps every byte with its time, and lets callers wait for text.

    `absence_limit`: seconds after which a port that is away is a bench fault for whoever waits for it.
    """

    def __init__(self, board: str, open_port: OpenPort, absence_limit: float = ABSENCE_LIMIT_S) -> None:
        self.board = board
        self.absence_limit = absence_limit
        self._open_port = open_port
        self._port: serial.SerialBase | None = None
        self._changed = threading.Condition()
        self._raw = bytearray()
        self._chunks: list[Chunk] = []
        self._cursor = 0
        self._line = b""
        self._listeners: list[Listener] = []
        self._trigger: Trigger[Chunk] | None = None
        self._wanted = threading.Event()
        self._reading = threading.Event()
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._away_since = 0.0
        self.openings = 0
        """How often the port was opened; a caller sees by it whether it was away in between."""
        self.lost: Exception | None = None
        """Why the port is away, None while it is there."""
        self.gaps: list[Gap] = []
        """When the port was away: what the board printed then is not in the log."""

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
        self.openings += 1
        self.lost = None
        self._closing.clear()
        self._wanted.set()
        self._start("", self._read_loop)

    def close(self) -> None:
        """Stop reading and close the port; safe to call twice."""
        self._closing.set()
        self._wanted.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        if self._port is not None:
            self._port.close()
            self._port = None
        self.lost = None

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
        """The first match after the previous one, or None when `timeout` seconds have passed.

        BenchFault when the port stays away for longer than its limit: then silence says nothing of the board.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                match = pattern.search(bytes(self._raw[self._cursor :]))
                if match is not None:
                    self._cursor += match.end()
                    return match
                left = min(deadline - time.monotonic(), self._patience())
                if left <= 0:
                    return None
                self._changed.wait(left)

    @contextmanager
    def trigger(self, pattern: LinePattern, action: Callable[[], None]) -> Iterator[Trigger[Chunk]]:
        """Inside, the first line that matches calls `action` at once, in the reading thread, before anything else.

        The line counts when its end has arrived, and is matched without it; a line that began earlier counts whole.
        Reading goes on while the action takes its time. What the action raises is raised at the end, or by
        `Trigger.wait`. One at a time.
        """
        if self._trigger is not None:
            raise ValueError(f"{self.board}: a trigger is set already")
        trigger = Trigger[Chunk](pattern, action)
        self._start(" (stand-in)", lambda: self._stand_in(trigger))
        with quick_threads():
            self._trigger = trigger
            try:
                yield trigger
            finally:
                self._trigger = None
                trigger.disarm()
        if trigger.error is not None:
            raise trigger.error

    @property
    def port(self) -> serial.SerialBase:
        """The open port, waited for while it is away; BenchFault if there is none, or it does not come back."""
        with self._changed:
            while self.lost is not None:
                self._changed.wait(self._patience())
            if self._port is None:
                raise BenchFault("the console is not open", board=self.board)
            return self._port

    @property
    def port_at_hand(self) -> serial.SerialBase | None:
        """The open port, or None while it is away."""
        with self._changed:
            return self._port if self.lost is None else None

    @contextmanager
    def lent(self) -> Iterator[serial.SerialBase]:
        """The port for the caller alone; reading goes on afterwards with the port's settings restored.

        A port that is away is waited for first; BenchFault if it does not come back.
        """
        port = self._take()
        settings = port.get_settings()
        try:
            yield port
        except OSError as error:
            # A device that is gone may still pretend to be open.
            self._lose(error)
            raise
        finally:
            if self.lost is None:
                self._take_back(port, settings)
            self._line = b""
            self._wanted.set()

    def _take_back(self, port: serial.SerialBase, settings: dict[str, Any]) -> None:
        try:
            if port.is_open:
                port.apply_settings(settings)
            else:
                self._reopen()
        except (OSError, ValueError, AttributeError) as error:
            # AttributeError: pyserial's network ports, when the connection broke
            self._lose(error)

    def _take(self) -> serial.SerialBase:
        """Let the reader pause, with the port there."""
        while True:
            port = self.port
            self._wanted.clear()
            while self._reading.is_set():
                time.sleep(0.001)
            if self.lost is None and port is self._port:
                return port
            self._wanted.set()

    # --- the reading thread ----------------------------------------------------------------------------------------

    def _start(self, role: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name=f"console-{self.board}{role}", daemon=True)
        thread.start()
        self._threads = [*(other for other in self._threads if other.is_alive()), thread]

    def _read_loop(self) -> None:
        """Read until the console is closed, or a trigger takes this thread and another one takes over."""
        while not self._closing.is_set():
            self._wanted.wait()
            self._reading.set()
            if self._wanted.is_set() and not self._closing.is_set():
                if self.lost is not None:
                    self._reopen()
                elif not self._read_once():
                    return
            self._reading.clear()

    def _stand_in(self, trigger: Trigger[Chunk]) -> None:
        """Take over when the trigger fires, beginning with what is left to do for the chunk that fired it."""
        chunk = trigger.relief.get()
        if chunk is not None:
            self._keep(chunk)
            self._reading.clear()
            self._read_loop()

    def _read_once(self) -> bool:
        """Whether this thread goes on reading."""
        port, data, end = self._port, bytearray(), None
        assert port is not None
        try:
            data += port.read(1)
            while data and len(data) < READ_LIMIT and (waiting := port.in_waiting):
                data += port.read(waiting)
        except (OSError, TypeError, ValueError) as error:
            # TypeError, ValueError: pyserial reads from a closed descriptor when the device vanished in between.
            end = error
        goes_on = not data or self._take_in(Chunk(time.monotonic(), bytes(data)))
        if end is not None:
            self._lose(end)
        return goes_on

    def _take_in(self, chunk: Chunk) -> bool:
        """Whether this thread goes on reading; not if a trigger has used it."""
        *lines, rest = (self._line + chunk.data).split(b"\n")
        self._line = rest[-LINE_LIMIT:]
        if self._trigger is not None and self._trigger.fire(lines, chunk):
            return False
        self._keep(chunk)
        return True

    def _lose(self, error: Exception) -> None:
        """The port is away; the first reason is remembered with its time."""
        with self._changed:
            if self.lost is None:
                self._away_since = time.monotonic()
                self._line = b""
                self._changed.notify_all()
            self.lost = error

    def _reopen(self) -> None:
        """Try to open the port again, after a moment if it is still away."""
        try:
            if self._port is not None:
                self._port.close()
            port = self._open_port()
        except (OSError, ValueError, RigError) as error:
            self._lose(error)
            self._closing.wait(RETRY_S)
            return
        with self._changed:
            self._port = port
            self.openings += 1
            if self.lost is not None:
                self.gaps.append(Gap(len(self._raw), self._away_since, time.monotonic()))
            self.lost = None
            self._changed.notify_all()

    def _patience(self) -> float:
        """Seconds for which waiting makes sense, as far as the port is concerned; BenchFault when it is away too long.

        The caller holds the lock.
        """
        if self.lost is None:
            return float("inf")
        left = self._away_since + self.absence_limit - time.monotonic()
        if left <= 0:
            raise BenchFault(
                f"the serial port went away and has not come back for {self.absence_limit:g} s: "
                f"{self.lost.what if isinstance(self.lost, RigError) else self.lost}",
                board=self.board,
                evidence=self.lost.evidence if isinstance(self.lost, RigError) else None,
                hint="is the USB bridge powered, and does the power switch turn on again?",
            ) from self.lost
        return left

    def _keep(self, chunk: Chunk) -> None:
        with self._changed:
            self._raw += chunk.data
            self._chunks.append(chunk)
            listeners = list(self._listeners)
            self._changed.notify_all()
        for listener in listeners:
            listener(chunk)
