"""App images of the golden vectors, made from their short names.

A name is `kind[:build[:secure_version]][@k]`; `@k` keeps the first k bytes, as after an interrupted write. `erased` is
nothing at all, `zero` 1,024 zero bytes, `raw:<hex>` those bytes. All other kinds are one small esp32 app, broken in one
way each.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from hashlib import sha256

from rig.idf.errors import FormatError
from rig.idf.image_check import CHECKSUM_SEED, DESC_MAGIC, HEADER, MAGIC, SEGMENT, xor_bytes

_INTACT = ("ok", "nohash")
_BROKEN = ("badsum", "badhash", "badmagic", "badpad", "chip", "rev", "maxrev", "segs", "seglen", "align", "nodesc")
KINDS = frozenset(_INTACT + _BROKEN)
_DROM = 0x3F400000
_IROM = 0x400D0000
_ENTRY = 0x40081000
_ESP32, _OTHER_CHIP = 0, 9
_TEXTS = ((48, "oracle-app"), (80, "12:00:00"), (96, "Jan  1 2025"), (112, "oracle"))
_RODATA_SIZE, _CODE_SIZE = 320, 64


@lru_cache(maxsize=65536)
def image(spec: str) -> bytes:
    """The bytes at the start of a slot of this name; the rest of the slot is 0xFF. Raises FormatError."""
    try:
        return _image(spec)
    except ValueError as error:
        raise FormatError(f"{spec!r} names no image: {error}") from error


def _image(spec: str) -> bytes:
    if spec.startswith("raw:"):
        return bytes.fromhex(spec[4:])
    name, _, kept = spec.partition("@")
    if name == "erased":
        return b""
    if name == "zero":
        return bytes(1024)
    kind, *numbers = name.split(":")
    if kind not in KINDS or len(numbers) > 2:
        raise ValueError(f"allowed: {', '.join(sorted(KINDS))}, erased, zero, raw:HEX")
    build, version = [int(number or 0) for number in numbers] + [0] * (2 - len(numbers))
    data = _app(kind, build, version)
    return data[: int(kept)] if kept else data


def _app(kind: str, build: int, version: int) -> bytes:
    rodata = _rodata(build, version, 0xFFFFFFFF if kind == "nodesc" else DESC_MAGIC)
    code = bytes((index * 3 + build * 29 + 5) & 0xFF for index in range(_CODE_SIZE))
    rodata_at = HEADER.size + SEGMENT.size
    code_at = rodata_at + _RODATA_SIZE + SEGMENT.size
    hashed = kind != "nohash"
    header = HEADER.pack(
        MAGIC,
        17 if kind == "segs" else 2,
        2,
        0x20,
        _ENTRY,
        0xEE,
        bytes(3),
        _OTHER_CHIP if kind == "chip" else _ESP32,
        0,
        999 if kind == "rev" else 0,
        100 if kind == "maxrev" else 399,
        bytes(4),
        int(hashed),
    )
    code_address = _IROM + code_at + (4 if kind == "align" else 0)
    out = bytearray(header)
    out += SEGMENT.pack(_DROM + rodata_at, _RODATA_SIZE) + rodata
    out += SEGMENT.pack(code_address, 0x01000000 if kind == "seglen" else _CODE_SIZE) + code
    padding_at = len(out)
    out += bytes(15 - padding_at % 16)
    out.append(xor_bytes(rodata + code) ^ CHECKSUM_SEED)
    if hashed:
        out += sha256(out).digest()
    # the faults that checksum and hash must not know of
    if kind == "badsum":
        out[code_at + 5] ^= 0x01
    elif kind == "badhash":
        out[-1] ^= 0x01
    elif kind == "badmagic":
        out[0] = 0
    elif kind == "badpad":
        out[padding_at] ^= 0x80
    return bytes(out)


def _rodata(build: int, version: int, magic: int) -> bytes:
    rodata = bytearray(_RODATA_SIZE)
    struct.pack_into("<II", rodata, 0, magic, version)
    for offset, text in ((16, f"v{build}"), *_TEXTS):
        rodata[offset : offset + len(text)] = text.encode()
    rodata[256:] = bytes((index * 7 + build * 13 + 1) & 0xFF for index in range(256, _RODATA_SIZE))
    return bytes(rodata)
