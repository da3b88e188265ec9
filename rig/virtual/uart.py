"""UART0 between host and chip: two unbounded byte queues that know the baud rate of each byte.

Bytes read at another rate than they were sent with come out garbled, as on a wire; a rate within 3 % is the same.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

DEFAULT_BAUD = 115200
BAUD_TOLERANCE = 0.03
_GARBLE = bytes(((value * 167 + 13) & 0xFF) | 0x80 for value in range(256))


def same_baud(one: int, other: int) -> bool:
    """Whether a receiver at one rate understands a sender at the other."""
    return abs(one - other) <= BAUD_TOLERANCE * max(one, other)


class BytePipe:
    """One direction. Nothing is ever dropped unless `clear` is called."""

    def __init__(self, condition: threading.Condition) -> None:
        self._condition = condition
        self._chunks: deque[tuple[int, bytes]] = deque()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, data: bytes, baud: int) -> None:
        if not data:
            return
        with self._condition:
            self._chunks.append((baud, bytes(data)))
            self._size += len(data)
            self._condition.notify_all()

    def clear(self) -> None:
        with self._condition:
            self._chunks.clear()
            self._size = 0

    def next_baud(self) -> int | None:
        """Rate at which the first waiting byte was sent."""
        with self._condition:
            return self._chunks[0][0] if self._chunks else None

    def take(self, limit: int | None, baud: int) -> bytes:
        """Up to `limit` waiting bytes (all of them for None) as a receiver at `baud` sees them; maybe none."""
        out = bytearray()
        with self._condition:
            while self._chunks and (limit is None or len(out) < limit):
                sent_at, chunk = self._chunks.popleft()
                room = len(chunk) if limit is None else limit - len(out)
                if room < len(chunk):
                    self._chunks.appendleft((sent_at, chunk[room:]))
                    chunk = chunk[:room]
                out += chunk if same_baud(sent_at, baud) else chunk.translate(_GARBLE)
            self._size -= len(out)
        return bytes(out)

    def wait(self, seconds: float | None, stop: Callable[[], bool]) -> None:
        """Return when there are bytes, when `stop` says so, or after `seconds` of wall-clock time."""
        deadline = None if seconds is None else time.monotonic() + seconds
        with self._condition:
            while not self._size and not stop():
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return
                self._condition.wait(left)


class Uart:
    """Both directions, and the chip's own rate."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.to_host = BytePipe(self.changed)
        self.to_chip = BytePipe(self.changed)
        self.baud = DEFAULT_BAUD

    def wake(self) -> None:
        """Let every waiting reader look at its stop condition."""
        with self.changed:
            self.changed.notify_all()
