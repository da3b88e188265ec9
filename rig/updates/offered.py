"""The files of an update server by path, and what was at that path before."""

from __future__ import annotations

import re
import tempfile
import threading
from typing import BinaryIO

from rig.errors import UserError
from rig.updates.answers import File

_NAME = re.compile(r"(?!.*(?:^|/)\.)[A-Za-z0-9._+@~-]+(?:/[A-Za-z0-9._+@~-]+)*")


LARGE = 64 * 1024
"""Bytes from which on sendfile is worth a file."""


class Shelf:
    """Used by tests and by the server's thread at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[str, list[File]] = {}
        # By identity, which is theirs for ever: `_files` keeps them.
        self._on_disk: dict[int, BinaryIO] = {}

    def offer(self, name: str, data: bytes) -> str:
        """Serve `data` at `/name` from now on; what was there becomes the earlier one. Returns the path.

        UserError for no bytes at all, and for a name that a URL or a path could take for something else.
        """
        if not _NAME.fullmatch(name):
            raise UserError(
                f"{name!r} cannot be offered by that name",
                hint="letters, digits and ._+@~- in parts between slashes, none of which begins with a dot",
            )
        if not data:
            raise UserError(f"{name} has no bytes", hint="an empty download on purpose is the fault truncate@0")
        path = f"/{name}"
        with self._lock:
            file = File.of(bytes(data))
            self._files.setdefault(path, []).append(file)
            if len(data) >= LARGE:
                self._on_disk[id(file)] = _written(data)
        return path

    def descriptor(self, file: File | None) -> int | None:
        """An open file with the same bytes, if there is one: for sendfile, which needs no copy in this process."""
        with self._lock:
            found = self._on_disk.get(id(file))
            return None if found is None else found.fileno()

    def current(self, path: str) -> File | None:
        """What is offered at `path`."""
        with self._lock:
            files = self._files.get(path)
            return files[-1] if files else None

    def earlier(self, path: str) -> File | None:
        """What was offered there before: the last that has other bytes than the present one."""
        with self._lock:
            files = self._files.get(path, [])
            return next((file for file in reversed(files) if file.etag != files[-1].etag), None)

    @property
    def paths(self) -> tuple[str, ...]:
        """In the order they were first offered."""
        with self._lock:
            return tuple(self._files)


def _written(data: bytes) -> BinaryIO:
    """A file without a name; it goes when it is closed."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as it is offered
    file.write(data)
    file.flush()
    return file
