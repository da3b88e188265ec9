"""An action at the first console line that matches: power off at the log line before the write that matters."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

SWITCH_S = 0.0001
"""How long another busy Python thread may keep the interpreter while a trigger is set, seconds (Python's own: 5 ms)."""

T = TypeVar("T")


class LinePattern(Protocol):
    """Says which line it is: a compiled regular expression, or anything that is asked in the same way."""

    def search(self, line: bytes, /) -> object:
        """Something true for a line that matches."""


class Trigger(Generic[T]):
    """Set by `Console.trigger`. `line` is the line that fired it, `time` when (host's monotonic clock, seconds).

    `read`: what was read from the port together with the end of that line.
    """

    def __init__(self, pattern: LinePattern, action: Callable[[], None]) -> None:
        self.pattern = pattern
        self.line: bytes | None = None
        self.read: T | None = None
        self.time: float | None = None
        self.error: Exception | None = None
        self.relief: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        """Gets what was read with the line, for the thread that goes on reading; None if it never fired."""
        self._action = action
        self._spent = threading.Lock()
        self._done = threading.Event()

    def wait(self, timeout: float) -> bool:
        """Whether the action has been done; waits at most `timeout` seconds, and raises what the action raised."""
        done = self._done.wait(timeout)
        if self.error is not None:
            raise self.error
        return done

    def fire(self, lines: Sequence[bytes], read: T) -> bool:
        """Do the action if one of the `lines` matches and it was not done before; whether it was done now."""
        for line in lines:
            if self.pattern.search(line.rstrip(b"\r")) and self._spent.acquire(blocking=False):
                self._act(line.rstrip(b"\r"), read)
                return True
        return False

    def disarm(self) -> None:
        """From now on nothing fires; returns when an action that has begun is over."""
        if self._spent.acquire(blocking=False):
            self.relief.put(None)
        else:
            self._done.wait()

    def _act(self, line: bytes, read: T) -> None:
        self.relief.put(read)
        self.line = line
        self.read = read
        self.time = time.monotonic()
        try:
            self._action()
        except Exception as error:
            self.error = error
        finally:
            self._done.set()


@contextmanager
def quick_threads() -> Iterator[None]:
    """Inside, a thread that has something to do gets the interpreter within `SWITCH_S`."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
