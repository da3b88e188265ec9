"""From the bytes of a serial log, in chunks cut anywhere, to events. Pure; nothing here waits or reads a port.

A line that is torn or garbled never makes a wrong event: texts must match to their last character, and where a line's
end may be missing, a number at that end is believed only if it cannot be the beginning of another one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rig.evidence.events import AppLoaded, Event, Garbled, Line, PartitionRow, Torn
from rig.evidence.lines import (
    CLEAN_TEXT,
    FRAMEWORK,
    HEADER,
    MID_LINE,
    clean,
    colour_unclosed,
    host_prefix,
    noise,
    pieces,
)
from rig.evidence.patterns import RULES, Rule
from rig.evidence.plain import HINT_WORDS, PLAIN, hints

MAX_PENDING = 0x10000
"""Bytes without a line feed after which what has come is taken as a torn line."""

MEMORY = 4096
"""Distinct lines whose meaning is remembered."""

APP_ALIGNMENT = 0x10000
"""Flash offset alignment of app partitions in bytes (partition_table/gen_esp32part.py)."""

_LEVELS = b"EWIDV"
_RESET = b"\x1b[0m"
_PREFIX_STARTS = frozenset(bytes([first]) for first in b" \t>[0123456789")
_ODD_STARTS = frozenset(bytes([first]) for first in range(0x100) if not chr(first).isalpha() or first > 0x7E)
_PREFIXED = re.compile(rb"[ \t]*(?:\d\d:\d\d|\d{4}-\d|\[|[^ -~])")
"""Beginning of a line that has a host's prefix, a broken colour or noise before its text."""


class Where(NamedTuple):
    """Where a line, or a piece of one, lies in the raw log."""

    offset: int
    time: float | None
    raw: bytes
    torn: bool


class _Known(NamedTuple):
    """What a line says wherever it stands: the event without its line, and what the line's text is."""

    kind: Callable[..., Event]
    fields: tuple[Any, ...]
    level: str | None
    tag: str | None
    text: str


class _Other(NamedTuple):
    """A line that makes no event, or none without a closer look."""

    what: str


_NOTHING = _Other("nothing")
_DAMAGED = _Other("damaged")
_Found = _Known | _Other
_Key = tuple[int, bytes | None, bytes]
"""First byte of the line behind a host's prefix, level letter, and everything from the tag on."""


def parse(data: bytes) -> list[Event]:
    """Every event of a whole log, in the order of the log."""
    parser = LogParser()
    return parser.feed(data) + parser.finish()


class LogParser:
    """Feed it chunks as they arrive; it returns the events of the lines that became complete."""

    def __init__(self) -> None:
        self._pending = b""
        self._pending_time: float | None = None
        self._offset = 0
        self._number = 1
        self._app_offsets: set[int] = set()
        self._events: list[Event] = []
        self._memory: dict[_Key, _Found] = {}

    def feed(self, data: bytes, time: float | None = None) -> list[Event]:
        """Events of the lines that `data` completes; `time` is the host's time of the chunk in seconds."""
        end = data.rfind(b"\n") + 1
        if not end:
            if not self._pending:
                self._pending_time = time
            self._pending += data
            return self.finish() if len(self._pending) > MAX_PENDING else []
        first = self._pending_time if self._pending else time
        block = self._pending + data[: end - 1]
        self._pending, self._pending_time = data[end:], time
        self._block(block, first, time)
        return self._take()

    def finish(self) -> list[Event]:
        """Events of what came after the last line feed, taken as torn."""
        rest, self._pending = self._pending, b""
        if rest:
            self._damaged(rest, self._offset, self._pending_time, torn=True)
            self._offset += len(rest)
        return self._take()

    def _take(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _block(self, block: bytes, first: float | None, rest: float | None) -> None:
        """All lines of `block`, which is complete but for its last line feed."""
        special = _special_lines(block)
        header, known, memory = HEADER.match, RULES, self._memory
        origin, offset, time = self._offset, self._offset, first
        for line in block.split(b"\n"):
            body = host_prefix(line) if line[:1] in _PREFIX_STARTS else 0
            match = header(line, body)
            if special and offset - origin in special:
                self._damaged(line, offset, time, torn=False)
            elif match is None:
                text = line[body:]
                if text[:3] in PLAIN or text[:1] in _ODD_STARTS or b" (" in text:
                    self._bare_line(line, text.rstrip(b"\r"), offset, time)
            elif match[3] in known:
                key = (line[body], match[1], line[match.start(3) :])
                found = memory.get(key) or self._study(key, line, match.end(), offset, time)
                if isinstance(found, _Known):
                    kind, fields, level, tag, said = found
                    at = Line(self._number, offset, time, line, level, tag, said, False)
                    self._keep(kind(at, *fields))
                elif found is _DAMAGED:
                    self._damaged(line, offset, time, torn=False)
            elif _second_header(line, match.end()):
                self._damaged(line, offset, time, torn=False)
            offset += len(line) + 1
            self._number += 1
            time = rest
        self._offset = offset

    def _study(self, key: _Key, line: bytes, end: int, offset: int, time: float | None) -> _Found:
        """What a line with a log header says, remembered: boot after boot prints the same lines."""
        found = _meaning(key, line, end, Line(self._number, offset, time, line, None, None, ""))
        if len(self._memory) >= MEMORY:
            self._memory.clear()
        self._memory[key] = found
        return found

    def _bare_line(self, line: bytes, text: bytes, offset: int, time: float | None) -> None:
        """A whole line without a log header that may still say something; `text` is the line without a prefix."""
        if text[:3] in PLAIN and self._plain(Where(offset, time, line, False), text):
            return
        if _second_header(text, 0) or _PREFIXED.match(text):
            self._damaged(line, offset, time, torn=False)

    def _match(self, where: Where, level: bytes | None, tag: bytes, text: bytes, candidates: tuple[Rule, ...]) -> None:
        """The event of a clean text, if it is one of those that say something."""
        for rule in candidates:
            if match := rule.match(text):
                event = rule.make(self._line(where, level, tag, text), match)
                if not self._believed(event, rule):
                    event = Torn(event.at, type(event).__name__)
                self._keep(event)
                return

    def _keep(self, event: Event) -> None:
        if isinstance(event, PartitionRow):
            self._note_app(event)
        self._events.append(event)

    def _line(self, where: Where, level: bytes | None, tag: bytes | None, text: bytes) -> Line:
        offset, time, raw, torn = where
        return Line(self._number, offset, time, raw, _name(level), _name(tag), _words(text), torn)

    def _note_app(self, event: PartitionRow) -> None:
        if event.number == 0:
            self._app_offsets.clear()
        if event.type == 0:
            self._app_offsets.add(event.offset)

    def _believed(self, event: Event, rule: Rule) -> bool:
        if isinstance(event, AppLoaded):
            if event.offset % APP_ALIGNMENT:
                return False
            return not event.at.torn or self._only_app_at(event.offset)
        return not (event.at.torn and rule.open_end)

    def _only_app_at(self, offset: int) -> bool:
        """The bootloader's own listing has an app there, and none whose offset, as printed, begins alike."""
        alike = [other for other in self._app_offsets if f"{other:#x}".startswith(f"{offset:#x}")]
        return alike == [offset]

    def _damaged(self, line: bytes, offset: int, time: float | None, torn: bool) -> None:
        """A line that may hold a host's prefix, broken colours, noise, or several lines."""
        if bad := noise(line):
            self._events.append(Garbled(self._line(Where(offset, time, line, torn), None, None, b""), bad))
        for piece in pieces(line, torn):
            raw = line[piece.start : piece.end]
            self._piece(Where(offset + piece.start, time, raw, piece.torn or colour_unclosed(raw)))

    def _piece(self, where: Where) -> None:
        text = clean(where.raw[host_prefix(where.raw) :])
        level, tag = None, None
        if match := FRAMEWORK.match(text):
            level, tag = match.group(1, 2)
        elif match := HEADER.match(text):
            level, tag = match.group(1, 3)
        if match:
            text = text[match.end() :]
        before = len(self._events)
        if tag is None:
            self._plain(where, text)
        elif candidates := _candidates(RULES.get(tag, {}), level, text):
            self._match(where, level, tag, text, candidates)
        if len(self._events) == before and not where.torn:
            self._events += hints(self._line(where, level, tag, text))

    def _plain(self, where: Where, text: bytes) -> bool:
        """A clean line without a log header; False if it is none that is known."""
        for match_plain, make in PLAIN.get(text[:3], ()):
            if match := match_plain(text):
                if event := make(self._line(where, None, None, text), match):
                    self._events.append(event)
                return True
        return False


def _candidates(by_word: Mapping[bytes, tuple[Rule, ...]], level: bytes | None, text: bytes) -> tuple[Rule, ...] | None:
    """The rules of its tag that a text may match: none for most lines."""
    found = by_word.get(text.split(b" ", 1)[0])
    return by_word.get(b"") if found is None and level is None else found


def _meaning(key: _Key, line: bytes, end: int, at: Line) -> _Found:
    """The event of a line with a log header that ends at `end`; `_DAMAGED` if it needs a closer look."""
    _, level, rest = key
    if _second_header(line, end):
        return _DAMAGED
    tag = HEADER.match(rest)
    text = line[end:].rstrip()
    if text.endswith(_RESET):
        text = text[:-4].rstrip()
    elif b"[" in line:
        if colour_unclosed(line):
            return _DAMAGED
        text = clean(text)
    assert tag is not None
    for rule in _candidates(RULES[tag[3]], level, text) or ():
        if match := rule.match(text):
            event = rule.make(at._replace(level=_name(level), tag=_name(tag[3]), text=_words(text)), match)
            if isinstance(event, AppLoaded) and event.offset % APP_ALIGNMENT:
                return _DAMAGED
            return _Known(type(event), event[1:], event.at.level, event.at.tag, event.at.text)
    return _NOTHING


def _name(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def _words(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")


def _second_header(line: bytes, start: int) -> bool:
    """Cheap test for another `I (` in the line."""
    at = line.find(b" (", start)
    return at > 0 and line[at - 1] in _LEVELS


def _special_lines(block: bytes) -> set[int]:
    """Starts of the lines in `block` that need a closer look: words in mid-line, noise."""
    found: set[int] = set()
    for words, anywhere in ((MID_LINE, False), (HINT_WORDS, True)):
        for word in words:
            at = block.find(word)
            while at >= 0:
                start = block.rfind(b"\n", 0, at) + 1
                if anywhere or start < at:
                    found.add(start)
                at = block.find(word, at + 1)
    if block.translate(None, CLEAN_TEXT):
        start = 0
        for line in block.split(b"\n"):
            if line.translate(None, CLEAN_TEXT):
                found.add(start)
            start += len(line) + 1
    return found
