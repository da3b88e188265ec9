"""What drivers share: packages that only some labs need, and devices that one process holds at a time."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import TypeVar

from rig.errors import UserError

BUSY_S = 5.0
"""How long somebody else may hold a device: a run that is just ending, or whose end the system is still clearing up."""
POLL_S = 0.05
BUSY = (errno.EBUSY, errno.EAGAIN)

T = TypeVar("T")


def optional_package(board: str, module: str, install: str) -> ModuleType:
    """A module of a package that the bench itself does not need. UserError, with how to `install` it, if it is not
    there or does not load."""
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(
            f"this board's power switch needs the Python package {install.split()[0]}: {error}",
            board=board,
            hint=f"pip install {install}",
        ) from error


def once_free(take: Callable[[], T], patience_s: float = BUSY_S) -> T:
    """What `take` gives, as soon as nobody else holds the device. The OSError of `take` if it fails for another reason,
    or is busy for longer than `patience_s`."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return take()
        except OSError as error:
            if error.errno not in BUSY or time.monotonic() > deadline:
                raise
        time.sleep(POLL_S)
