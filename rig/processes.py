"""Programs that a command starts: they form a process group of their own, which never outlives the command."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from types import FrameType

GRACE_S = 5.0
"""How long a program may take to end when asked to."""
POLL_S = 0.02
SIGNAL_EXIT = 128
"""What shells add to the number of the signal that ended a command."""


@contextlib.contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """SIGTERM and a closed terminal end the command as Ctrl-C does: with nothing left behind."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(SIGNAL_EXIT + number)

    # What nohup ignores stays ignored.
    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_group(process: subprocess.Popen[bytes], grace_s: float = GRACE_S) -> None:
    """End a process started with `start_new_session=True` and all it started; what is left after `grace_s` is killed.

    Not by SIGINT: whoever is started in the background by a script ignores that one.
    """
    try:
        _signal_group(process.pid, signal.SIGTERM)
        _wait_for_group(process, grace_s)
    finally:
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()
        _wait_for_group(process, grace_s)


def _wait_for_group(process: subprocess.Popen[bytes], patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while (process.poll() is None or _signal_group(process.pid, 0)) and time.monotonic() < deadline:
        time.sleep(POLL_S)


def _signal_group(group: int, number: int) -> bool:
    """Whether there was a process left to get the signal."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True
