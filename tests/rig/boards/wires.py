"""Pseudo terminals as serial lines, one of which can be unplugged and come back under another name."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE_S = 30.0


class Pty:
    """A serial line with a program at its far end."""

    def __init__(self) -> None:
        self.far, self.near = os.openpty()
        self.path = os.ttyname(self.near)

    def say(self, data: bytes) -> None:
        os.write(self.far, data)

    def hear(self, size: int) -> bytes:
        """What was sent to the far end, once so much is there."""
        data = b""
        while len(data) < size:
            data += os.read(self.far, size - len(data))
        return data

    def hang_up(self) -> None:
        """Reading the near end fails from now on (EIO)."""
        os.close(self.far)
        self.far = -1

    def close(self) -> None:
        if self.far >= 0:
            self.hang_up()
        os.close(self.near)


class UsbPort:
    """A link that udev keeps pointing at a device whose name changes each time it comes back."""

    def __init__(self, folder: Path) -> None:
        self.link = folder / "usb-Bridge_0001-if00-port0"
        self.line: Pty | None = None
        self._old: list[Pty] = []
        self.plug()

    def plug(self) -> None:
        self.line = Pty()
        self._old.append(self.line)
        self.link.symlink_to(self.line.path)

    def unplug(self) -> None:
        """The link goes, and open handles fail. The near end stays open, so that no other line gets its name."""
        assert self.line is not None
        self.link.unlink()
        self.line.hang_up()
        self.line = None

    def say(self, data: bytes) -> None:
        assert self.line is not None
        self.line.say(data)

    def close(self) -> None:
        for line in self._old:
            line.close()


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.002)


def threads_of(board: str) -> list[threading.Thread]:
    """Live threads of a board's console."""
    return [thread for thread in threading.enumerate() if thread.name.startswith(f"console-{board}")]
