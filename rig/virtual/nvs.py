"""A small store of text values in the `nvs` partition, with real flash mutations.

This is **not** ESP-IDF's NVS page format, only its promise: a value survives resets and updates, and a power cut during
a write leaves the old value or the new one. Records of 64 bytes are appended to one of two sectors; when it is full the
live values move to the other one, whose header is programmed last and so makes the move atomic.
"""

from __future__ import annotations

import struct
import zlib

from rig.idf.effects import SECTOR_SIZE
from rig.virtual.cpu import FlashPort

RECORD = 64
KEY_MAX = 15
VALUE_MAX = 40
_HEADER_MAGIC = b"RIGN"
_VALUE_MAGIC = b"RIGV"
_BODY = struct.Struct("<4s16s40s")
_CRC = struct.Struct("<I")
_BLANK = b"\xff" * RECORD


class Nvs:
    """Key/value store in `size` bytes of flash at `offset`; nothing is read before the first `get` or `set`."""

    def __init__(self, flash: FlashPort, offset: int, size: int) -> None:
        if size < 2 * SECTOR_SIZE:
            raise ValueError(f"the nvs partition has {size:#x} bytes, at least {2 * SECTOR_SIZE:#x} are needed")
        self._flash = flash
        self._sectors = (offset, offset + SECTOR_SIZE)
        self._loaded = False
        self._active: int | None = None
        self._generation = 0
        self._next = SECTOR_SIZE
        self._values: dict[str, str] = {}

    def get(self, key: str) -> str | None:
        """The last value stored under `key`; None if there is none or it was erased."""
        self._load()
        return self._values.get(key) or None

    def set(self, key: str, value: str) -> None:
        """Store `value` (ASCII, at most 40 characters; empty erases). One program of 64 bytes, rarely a sector move."""
        if len(key) > KEY_MAX or len(value) > VALUE_MAX:
            raise ValueError(f"{key}={value} is longer than {KEY_MAX} and {VALUE_MAX} characters")
        self._load()
        if self._values.get(key, "") == value:
            return
        self._values[key] = value
        if self._active is None or self._next >= SECTOR_SIZE:
            self._move()
            return
        record = _pack(_VALUE_MAGIC, key, value)
        self._flash.program(self._sectors[self._active] + self._next, record)
        self._next += RECORD

    def erase(self, key: str) -> None:
        self.set(key, "")

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        for index, sector in enumerate(self._sectors):
            header = _unpack(self._flash.read(sector, RECORD))
            if header is None or header[0] != _HEADER_MAGIC or not header[2].isdigit():
                continue
            if self._active is None or int(header[2]) > self._generation:
                self._active, self._generation = index, int(header[2])
        if self._active is None:
            return
        content = self._flash.read(self._sectors[self._active], SECTOR_SIZE)
        self._next = SECTOR_SIZE
        for position in range(RECORD, SECTOR_SIZE, RECORD):
            raw = content[position : position + RECORD]
            if raw == _BLANK:
                self._next = position
                break
            record = _unpack(raw)
            if record is not None and record[0] == _VALUE_MAGIC:
                self._values[record[1]] = record[2]

    def _move(self) -> None:
        target = 0 if self._active is None else 1 - self._active
        sector = self._sectors[target]
        self._flash.erase_sector(sector)
        self._values = {key: value for key, value in self._values.items() if value}
        records = b"".join(_pack(_VALUE_MAGIC, key, value) for key, value in sorted(self._values.items()))
        if records:
            self._flash.program(sector + RECORD, records)
        self._generation += 1
        self._flash.program(sector, _pack(_HEADER_MAGIC, "", str(self._generation)))
        self._active, self._next = target, RECORD + len(records)


def _pack(magic: bytes, key: str, value: str) -> bytes:
    body = _BODY.pack(magic, key.encode("ascii"), value.encode("ascii"))
    return body + _CRC.pack(zlib.crc32(body))


def _unpack(raw: bytes) -> tuple[bytes, str, str] | None:
    body = raw[: _BODY.size]
    if _CRC.unpack_from(raw, _BODY.size)[0] != zlib.crc32(body):
        return None
    magic, key, value = _BODY.unpack(body)
    return magic, key.rstrip(b"\0").decode("ascii", "replace"), value.rstrip(b"\0").decode("ascii", "replace")
