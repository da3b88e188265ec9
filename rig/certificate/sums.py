"""SHA256SUMS over a folder, as `sha256sum` writes and checks it, in one form only: sorted, every file but itself."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from rig.certificate.artefacts import sha256_of
from rig.errors import BenchFault, UserError

SUMS, SIGNATURE = "SHA256SUMS", "SHA256SUMS.sig"
RECORD, PAGE = "certificate.json", "certificate.html"
NOT_LISTED = (SUMS, SIGNATURE)
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
LARGEST = 64 * 1024 * 1024
"""Bytes that a SHA256SUMS may have before it is not even read."""


def render(sums: Mapping[str, str]) -> str:
    """The text, from hash by path. BenchFault for a path that would need quoting."""
    odd = [path for path in sums if not _plain(path)]
    if odd:
        raise BenchFault(f"{odd[0]!r}: this name cannot stand in {SUMS}", hint="rename the file")
    return "".join(f"{sums[path]}  {path}\n" for path in sorted(sums))


def parse(text: str) -> dict[str, str]:
    """Hash by path. UserError for a line that is not as `render` writes it."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        match = _LINE.fullmatch(line)
        if match is None or not _plain(match[2]):
            raise UserError(f"{SUMS} line {number} was altered: {line[:80]!r}")
        found[match[2]] = match[1]
    if not found or render(found) != text:
        raise UserError(f"{SUMS} was altered: its lines are not sorted, not whole, or there twice")
    return found


def _plain(path: str) -> bool:
    """Whether sha256sum writes it as it is."""
    return path.isprintable() and "\\" not in path


def contents_sha256(sums: Mapping[str, str]) -> str:
    """Of everything but the record and the page, which name this hash. In hex."""
    rest = {path: value for path, value in sums.items() if path not in (RECORD, PAGE)}
    return hashlib.sha256(render(rest).encode()).hexdigest()


def hash_folder(folder: Path) -> dict[str, str]:
    """Hash by path of every file below, but for the sums and their signature. OSError if one cannot be read."""
    return {path: sha256_of(folder / path) for path in files_below(folder) if path not in NOT_LISTED}


def files_below(folder: Path) -> list[str]:
    """Paths of all regular files, with `/`; links, devices and folders are not among them."""
    return [path for path, mode in _walk(folder) if stat.S_ISREG(mode)]


def strangers(folder: Path) -> Iterator[str]:
    """What no certificate holds: links, devices, empty folders; each in words."""
    for path, mode in _walk(folder):
        if stat.S_ISLNK(mode):
            yield f"{path} is a symbolic link"
        elif stat.S_ISDIR(mode):
            if not any((folder / path).iterdir()):
                yield f"{path} is an empty folder that was not there"
        elif not stat.S_ISREG(mode):
            yield f"{path} is neither file nor folder"


def _walk(folder: Path) -> Iterator[tuple[str, int]]:
    def fail(error: OSError) -> None:
        raise error

    for above, folders, files in os.walk(folder, onerror=fail, followlinks=False):
        for name in [*folders, *files]:
            path = Path(above, name)
            yield path.relative_to(folder).as_posix(), path.lstat().st_mode
