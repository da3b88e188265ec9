"""What a trial keeps besides its log and otadata: files of helpers, and numbers that were measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

MEASURED = "measured.json"

Save = Callable[[Path], object]


class Kept:
    """Written into the evidence folder when the test is over."""

    def __init__(self) -> None:
        self._files: dict[str, Save] = {}
        self._measured: dict[str, float] = {}

    def file(self, name: str, save: Save) -> None:
        """A further file; `save` writes it into the folder it is given."""
        self._files[name] = save

    def measure(self, name: str, value: float) -> None:
        """A number for `measured.json`; its unit belongs to its name."""
        self._measured[name] = value

    def write(self, folder: Path) -> tuple[str, ...]:
        """Names of the files that were written into `folder`."""
        for save in self._files.values():
            save(folder)
        if not self._measured:
            return tuple(self._files)
        (folder / MEASURED).write_text(json.dumps(self._measured, indent=2) + "\n", encoding="utf-8")
        return (*self._files, MEASURED)
