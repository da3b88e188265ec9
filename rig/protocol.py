"""The serial contract between harness and test app: text lines with a check-sum, and binary frames for an update.

Both sides use this codec; firmware_under_test/PROTOCOL.md is its description for people and for the C side. Pure.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

PROTOCOL_VERSION = 1
MAX_LINE = 512
"""Longest line in bytes, line feed included."""
MAX_PAYLOAD = 4096
"""Most payload bytes in one frame."""
MAX_ID = 0xFFFF_FFFF

ANSWER_WORDS = frozenset({"ok", "err"})
PROGRESS_WORDS = frozenset({"ack", "nak", "fail"})

_MARK = b"@rig "
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_ID = re.compile(r"[1-9][0-9]{0,9}\Z")
_SEALED = re.compile(rb"(@rig [\x21-\x7e ]*) \*([0-9a-f]{8})\r*\n?\Z")
_VALUE = re.compile(r"(?:[!-$&-)+-<>?A-~]|%[0-9A-F]{2})*\Z")
_PLAIN = bytes(set(range(0x21, 0x7F)) - set(b"%*=@"))
_ESCAPE = re.compile(r"%([0-9A-F]{2})")


class Line(NamedTuple):
    """One line of the contract. `id` is None for what the app reports of its own accord."""

    id: int | None
    word: str
    fields: Mapping[str, str]

    @property
    def is_answer(self) -> bool:
        return self.id is not None and self.word in ANSWER_WORDS

    @property
    def is_progress(self) -> bool:
        return self.id is not None and self.word in PROGRESS_WORDS

    @property
    def is_request(self) -> bool:
        return self.id is not None and self.word not in ANSWER_WORDS | PROGRESS_WORDS

    @property
    def is_event(self) -> bool:
        return self.id is None


def escape(value: str) -> str:
    """Percent-encode every byte of the UTF-8 `value` that could be taken for structure."""
    data = value.encode()
    if not data.translate(None, _PLAIN):
        return value
    return "".join(chr(b) if b in _PLAIN else f"%{b:02X}" for b in data)


def unescape(value: str) -> str:
    """Undo `escape`; raises ValueError for a character that had to be escaped or for bytes that are not UTF-8."""
    if not _VALUE.match(value):
        raise ValueError(f"value {value!r} holds a character that must be percent-encoded")
    if "%" not in value:
        return value
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), value).encode("latin-1").decode()


def encode_line(line: Line, end: bytes = b"\n") -> bytes:
    """The line as it goes over the wire, `end` included; ValueError for a bad name, id or length."""
    if line.id is not None and not 1 <= line.id <= MAX_ID:
        raise ValueError(f"id {line.id} is not in 1..{MAX_ID}")
    for name in (line.word, *line.fields):
        if not _NAME.match(name):
            raise ValueError(f"{name!r} is not a name: lower case letters, digits and _")
    fields = "".join(f" {key}={escape(value)}" for key, value in line.fields.items())
    body = f"@rig {'-' if line.id is None else line.id} {line.word}{fields}".encode("ascii")
    sealed = body + b" *%08x" % zlib.crc32(body) + end
    if len(sealed) > MAX_LINE + len(end) - 1:
        raise ValueError(f"line of {len(sealed)} bytes, at most {MAX_LINE} are allowed: {line.word}")
    return sealed


def parse_line(raw: bytes) -> Line | None:
    """The contract line that ends this console line, or None for log output and for anything torn or damaged.

    Text before the last `@rig ` (a prompt, half a log line) is ignored; text after the check-sum is not allowed.
    """
    start = raw.rfind(_MARK)
    if start < 0 or len(raw) - start > MAX_LINE + 1:
        return None
    sealed = _SEALED.match(raw, start)
    if sealed is None or zlib.crc32(sealed[1]) != int(sealed[2], 16):
        return None
    return _parse_body(sealed[1].decode("ascii"))


def _parse_body(body: str) -> Line | None:
    _, number, *rest = body.split(" ")
    if not rest or not _NAME.match(rest[0]) or not (number == "-" or _ID.match(number)):
        return None
    fields: dict[str, str] = {}
    for part in rest[1:]:
        key, equals, value = part.partition("=")
        if not equals or not _NAME.match(key) or key in fields:
            return None
        try:
            fields[key] = unescape(value)
        except ValueError:
            return None
    line_id = None if number == "-" else int(number)
    return None if line_id is not None and line_id > MAX_ID else Line(line_id, rest[0], fields)


def looks_like_line(raw: bytes) -> bool:
    """Whether somebody meant this as a line of the contract, intact or not."""
    return _MARK in raw


class FrameType(IntEnum):
    """What a frame asks for."""

    DATA = 1
    ABORT = 2


class Frame(NamedTuple):
    """One binary frame; `offset` is the position of `payload` in the image, in bytes."""

    type: int
    offset: int
    payload: bytes


class Damaged(NamedTuple):
    """Bytes that were no intact frame; `size` of them were dropped."""

    size: int


_SYNC = b"\xa5\x5a"
_HEADER = struct.Struct("<2sBBIH")
_CRC = struct.Struct("<I")
FRAME_OVERHEAD = _HEADER.size + _CRC.size


def encode_frame(frame: Frame) -> bytes:
    """Sync, type, zero, offset, length, payload, CRC-32 of all but sync; little-endian."""
    if len(frame.payload) > MAX_PAYLOAD:
        raise ValueError(f"payload of {len(frame.payload)} bytes, at most {MAX_PAYLOAD} are allowed")
    head = _HEADER.pack(_SYNC, frame.type, 0, frame.offset, len(frame.payload))
    body = head + frame.payload
    return body + _CRC.pack(zlib.crc32(memoryview(body)[2:]))


class FrameReader:
    """Finds frames in a byte stream; after damage it looks for the next sync in what it already holds."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Frame | Damaged]:
        """Everything that `data` completes, in order. `Damaged` comes once per run of bytes that were no frame."""
        self._held += data
        held, position, dropped = self._held, 0, 0
        found: list[Frame | Damaged] = []
        while True:
            start = held.find(_SYNC, position)
            if start < 0:
                # The last byte may be the first half of a sync.
                start = max(position, len(held) - (held[-1:] == _SYNC[:1]))
                dropped, position = dropped + start - position, start
                break
            dropped, position = dropped + start - position, start
            frame, size = _frame_at(held, start)
            if size == 0:
                break
            if frame is None:
                dropped, position = dropped + 1, start + 1
                continue
            if dropped:
                found.append(Damaged(dropped))
                dropped = 0
            found.append(frame)
            position = start + size
        del held[:position]
        if dropped:
            found.append(Damaged(dropped))
        return found


def _frame_at(held: bytearray, start: int) -> tuple[Frame | None, int]:
    """The frame at `start` and its size; (None, 1) for a damaged one, (None, 0) when bytes are still missing."""
    if len(held) - start < _HEADER.size:
        return None, 0
    _, kind, zero, offset, length = _HEADER.unpack_from(held, start)
    if zero or length > MAX_PAYLOAD or kind not in (FrameType.DATA, FrameType.ABORT):
        return None, 1
    size = FRAME_OVERHEAD + length
    if len(held) - start < size:
        return None, 0
    body_end = start + size - _CRC.size
    if zlib.crc32(memoryview(held)[start + 2 : body_end]) != _CRC.unpack_from(held, body_end)[0]:
        return None, 1
    return Frame(kind, offset, bytes(held[start + _HEADER.size : body_end])), size
