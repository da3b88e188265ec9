"""Keeps an idle guest from running away with its time.

With `-icount sleep=off` a guest that waits goes on to its next timer at once, so the seconds of a time-out pass in
milliseconds: faster than the bench can answer when its computer is busy. With `sleep=on` they take real time, but what
the computer was late is then made up in one jump, and the guest's interrupt watchdog bites (softmmu/icount.c,
icount_warp_rt). So QEMU, with `sleep=off`, writes each interrupt it takes (`-d int`) into a pipe that holds little and
is read slowly: the tick interrupts of a waiting guest have to queue. A late bench makes the guest wait, never jump.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import threading
from pathlib import Path

PERIOD_S = 0.005
BYTES_PER_PERIOD = 1080
"""A line has about 107 bytes (target/riscv/cpu_helper.c, riscv_cpu_do_interrupt): 2,000 interrupts in a second. With
ESP-IDF's 100 ticks a second a waiting guest's time is at most 20 times as fast as the host's."""
PIPE_BYTES = 4096


class Pacer:
    """Reads a pipe named `path` at a fixed rate, from `start` to `stop`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stopping = threading.Event()
        self._pipe: int | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Make the pipe; who writes more than the rate waits. OSError if it cannot be made."""
        os.mkfifo(self.path)
        # Open at both ends, so that QEMU's end finds one to talk to, whenever it opens it.
        self._pipe = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        if sys.platform == "linux":
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._thread = threading.Thread(target=self._run, name=f"pace-{self.path.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Safe to call twice."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
        self.path.unlink(missing_ok=True)

    def _run(self) -> None:
        assert self._pipe is not None
        while not self._stopping.wait(PERIOD_S):
            with contextlib.suppress(BlockingIOError):
                os.read(self._pipe, BYTES_PER_PERIOD)
