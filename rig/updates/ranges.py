"""The `Range` header, as RFC 9110 (14.1.2, 14.2) has it: one range of bytes, or none that can be used."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ONE = re.compile(r"\s*bytes\s*=\s*(?:(\d{1,20})\s*-\s*(\d{1,20})?|-\s*(\d{1,20}))\s*", re.IGNORECASE)


@dataclass(frozen=True)
class ByteRange:
    """Bytes `start` to `stop` of a file, `stop` excluded; never empty."""

    start: int
    stop: int


class Unsatisfiable(Exception):
    """The range is well-formed and holds no byte of the file: status 416."""


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """What part of a file of `size` bytes is asked for; None for all of it.

    A header that is malformed, of another unit or with several ranges counts as none, which a server may do. Raises
    Unsatisfiable when no byte of it exists.
    """
    match = _ONE.fullmatch(header or "")
    if match is None:
        return None
    first, last, suffix = (None if text is None else int(text) for text in match.groups())
    if first is None:
        assert suffix is not None
        if suffix == 0 or size == 0:
            raise Unsatisfiable
        return ByteRange(max(0, size - suffix), size)
    if last is not None and last < first:
        return None
    if first >= size:
        raise Unsatisfiable
    return ByteRange(first, size if last is None else min(last + 1, size))
