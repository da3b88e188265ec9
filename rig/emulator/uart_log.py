"""What an emulated chip has printed since it was made: a file that only grows, read from where the last read ended."""

from __future__ import annotations

import os
import threading
from pathlib import Path


class UartLog:
    """The file that QEMU appends every UART byte to. A regular file takes all of them at once, so none is lost."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._cursor = 0
        self._hidden: list[tuple[int, int]] = []
        self._file: int | None = None

    def create(self) -> None:
        """Make the file, empty."""
        self._file = os.open(self.path, os.O_RDONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    def close(self) -> None:
        """Safe to call twice; then nothing is left to read."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    @property
    def size(self) -> int:
        """Bytes printed so far."""
        with self._lock:
            return self._size()

    @property
    def waiting(self) -> int:
        """Bytes printed and not read yet."""
        with self._lock:
            hidden = sum(end - max(start, self._cursor) for start, end in self._hidden if end > self._cursor)
            return self._size() - self._cursor - hidden

    def take(self, size: int) -> bytes:
        """At most `size` bytes that were not read yet; empty if there is nothing new."""
        with self._lock:
            if self._file is None:
                return b""
            for start, end in self._hidden:
                if start <= self._cursor < end:
                    self._cursor = end
                elif self._cursor < start:
                    size = min(size, start - self._cursor)
            data = os.pread(self._file, size, self._cursor)
            self._cursor += len(data)
            return data

    def skip(self) -> None:
        """Never give out what was printed but not read."""
        self.hide(0)

    def hide(self, offset: int) -> None:
        """Never give out what was printed from `offset` on, unless it was read already."""
        with self._lock:
            gap = (max(offset, self._cursor), self._size())
            while self._hidden and self._hidden[-1][1] >= gap[0]:
                gap = (min(gap[0], self._hidden.pop()[0]), gap[1])
            if gap[0] < gap[1]:
                self._hidden.append(gap)

    def position_of(self, offset: int) -> int:
        """How many of the first `offset` bytes a reader gets to see."""
        with self._lock:
            return offset - sum(max(0, min(end, offset) - start) for start, end in self._hidden)

    def _size(self) -> int:
        return self._cursor if self._file is None else os.fstat(self._file).st_size
