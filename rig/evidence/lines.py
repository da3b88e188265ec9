"""Cutting damaged log lines into the lines they were: host prefixes, terminal colours, lines run together."""

from __future__ import annotations

import re
from typing import NamedTuple

HEADER = re.compile(rb"(?:\x1b\[[\d;]*m)?(?:([EWIDV]) )?(?:\(([^()]{1,32})\) +)?([A-Za-z_][\w.\-]{0,39}): ?")
"""`I (33) boot: ` with or without colour, level, time; groups: level, time, tag."""

FRAMEWORK = re.compile(rb"(?:\[[\d:.]+\])?\[([EWICDV]{1,2})\]\[([\w.\-]+)(?::\d+)?\](?:\[[\w.\-]+\])?: *")
"""ESPHome's `[16:45:27.099][W][safe_mode:053]: `; groups: level, tag."""

_INNER = re.compile(rb"""(?<!["'`])(?:\x1b\[[\d;]*m)?[EWIDV] \((?:\d+|[\d:.\- ]{5,30})\) +[A-Za-z_][\w.\-]{0,39}: """)
_HOST = re.compile(
    rb"[ \t]*(?:\[?(?:\d{4}-\d\d-\d\d[T ])?\d\d:\d\d:\d\d(?:[.,:]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?\]?|\[ *\d+\.\d+\])"
    rb"(?: ?(?:->|>|\||-)(?= ))?[ \t]*(?:\[[A-Za-z][\w\-]+\] )?"
)
_QUOTED = re.compile(rb"(?:>[ \t]?|[ \t])+(?=[^ \t])")
"""Indented or quoted by whoever pasted the log."""
_ANSI = re.compile(rb"(?:\x1b|\xe2\x90\x9b|\xef\xbf\xbd|\^\[|\\x1b|\\033|\\e|\\u001b)?\[(?:\d{1,3}(?:;\d{1,3})*)?[mK]")
_BROKEN_ANSI = re.compile(rb"\x1b(?:\[[\d;]*)?")
_COLOUR_ON = re.compile(rb"[^\[]{0,6}\[(?:\d;)?\d\dm")
_NOISE = bytes(range(0x20)) + bytes(range(0x7F, 0x100))
CLEAN_TEXT = bytes(range(0x20, 0x7F)) + b"\t\r\n\x1b"
"""Every byte that undamaged ASCII log lines consist of."""

MID_LINE = (b"rst:0x", b"ESP-ROM:esp", b"ets J", b"Guru Meditation Error", b"abort() was called at", b"@rig ")
"""Beginnings of lines that often follow directly on a torn one."""


class Piece(NamedTuple):
    """Bytes `start` to `end` of a raw line; `torn`: what follows it is not a line end."""

    start: int
    end: int
    torn: bool


def pieces(line: bytes, torn: bool) -> list[Piece]:
    """The lines that a raw line without its line feed consists of; `torn` as for the last of them."""
    content = host_prefix(line)
    cuts = {match.start() for match in _INNER.finditer(line, content)} if line.find(b" (", content) >= 0 else set()
    for word in MID_LINE:
        at = line.find(word, content)
        while at >= 0:
            cuts.add(at)
            at = line.find(word, at + 1)
    if b"\r" in line:
        cuts.update(match.end() for match in re.finditer(rb"\r+(?=[^\r])", line[content:]) if match.end() < len(line))
    starts = [0, *sorted(cut for cut in cuts if cut > content and line[content:cut].strip(_NOISE + b" ["))]
    ends = [*starts[1:], len(line)]
    last = len(starts) - 1
    return [
        Piece(start, end, (torn if i == last else True) and not ends_whole(line[start:end]))
        for i, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


def host_prefix(line: bytes) -> int:
    """Length of what stands before the line: a terminal's time stamp (and name), or a poster's indentation."""
    quoted = _QUOTED.match(line)
    start = quoted.end() if quoted else 0
    match = _HOST.match(line, start)
    return match.end() if match else start


def ends_whole(piece: bytes) -> bool:
    """The piece carries its own line end or the colour reset that ESP-IDF prints before it."""
    return piece.endswith((b"\r", b"\x1b[0m", b"\x1b[0m\r"))


def colour_unclosed(line: bytes) -> bool:
    """A colour was switched on at the start and not off at the end: the end is missing."""
    return line[:1] == b"\x1b" and b"[0m" not in line and bool(_COLOUR_ON.match(line))


def clean(piece: bytes) -> bytes:
    """Without colours, whole or broken, and without noise at both ends."""
    if b"[" in piece:
        piece = _ANSI.sub(b"", piece)
    if b"\x1b" in piece:
        piece = _BROKEN_ANSI.sub(b"", piece)
    return piece.strip(_NOISE).rstrip()


def noise(line: bytes) -> int:
    """Bytes that are neither UTF-8 text nor what a terminal expects."""
    if not line.translate(None, CLEAN_TEXT):
        return 0
    text = line.decode("utf-8", "surrogateescape")
    return sum(
        1
        for char in text
        if (char < " " and char not in "\t\r\n\x1b") or char == "\x7f" or "\udc80" <= char <= "\udcff"
    )
