"""Consoles whose output a test reads back."""

from __future__ import annotations

import io

from rich.console import Console


def plain_console(width: int = 80, encoding: str = "utf-8") -> Console:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", newline="\n")
    return Console(file=file, width=width, force_terminal=False, color_system=None, legacy_windows=False)


def terminal(width: int = 80) -> Console:
    file = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n")
    return Console(
        file=file, width=width, force_terminal=True, color_system="standard", legacy_windows=False, _environ={}
    )


def printed(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.TextIOWrapper)
    file.flush()
    buffer = file.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode(file.encoding)
