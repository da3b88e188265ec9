"""Folders for emulated chips. Those of owners that were killed are swept up by the next one who makes a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

PREFIX = "rig-qemu-"
# A socket's path has at most 107 bytes (unix(7)).
LONGEST = 90
# Long enough for an owner to lock what it has just made.
YOUNG_S = 60.0


class ScratchFolder:
    """A folder of its own, locked as long as this process lives or until `remove`."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock: int | None = lock

    @classmethod
    def make(cls) -> ScratchFolder:
        """A new empty folder with a short path; removes those whose owners are gone."""
        root = Path(tempfile.gettempdir())
        if len(os.fsencode(root)) > LONGEST - 20:
            root = Path("/tmp")
        sweep(root)
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
        lock = os.open(path, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return cls(path, lock)

    def remove(self) -> None:
        """Safe to call twice."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def sweep(root: Path) -> None:
    """Remove the folders in `root` that nobody holds any more."""
    for path in root.glob(PREFIX + "*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime < YOUNG_S:
                continue
            lock = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)
