"""How far a download has come, in NVS: what `resume=1` of `update_url` goes on from (PROTOCOL.md, 8.1)."""

from __future__ import annotations

import zlib

from rig.idf.effects import SECTOR_SIZE
from rig.virtual.nvs import Nvs

STEP = SECTOR_SIZE
"""Bytes between two records. At the start of a sector everything behind is erased once more."""
_KEY = "download"


def kept(nvs: Nvs | None, url: str, slot: str | None) -> int:
    """Bytes of `url` that an earlier attempt has left in `slot`; 0 if there was none."""
    text = (nvs.get(_KEY) if nvs is not None else None) or ""
    count, _, place = text.partition(" ")
    return int(count) if count.isdigit() and slot is not None and place == _place(url, slot) else 0


def keep(nvs: Nvs | None, url: str, slot: str, written: int) -> None:
    """Note that so many bytes of `url`, a multiple of STEP, are in `slot`."""
    if nvs is not None:
        nvs.set(_KEY, f"{written} {_place(url, slot)}")


def forget(nvs: Nvs | None) -> None:
    """Nothing is to be gone on from; writes nothing if nothing was."""
    if nvs is not None:
        nvs.erase(_KEY)


def _place(url: str, slot: str) -> str:
    return f"{slot} {zlib.crc32(url.encode()):08x}"
