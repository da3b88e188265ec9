"""A serial log of any length, read once: its boots, what was counted, and which image states changed. No verdict here.

Memory stays flat: of a log with thousands of boots the first and the last are kept, of a boot with thousands of lines
that say something the first and the last of those.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from rig.evidence.boots import Boot, BootStream, Segmented
from rig.evidence.events import Event, Garbled, Torn
from rig.evidence.logparse import LogParser
from rig.evidence.records import Transition
from rig.evidence.transitions import transitions
from rig.fieldkit.explained import Counts

KEPT_BOOTS = 500
"""So many from the beginning of a log, and so many from its end."""
KEPT_EVENTS = 2000
"""Events of one boot, from its beginning and from its end."""

_RST, _BANNER = b"rst:0x", b"2nd stage bootloader"


class Reading(NamedTuple):
    """`before`: events ahead of the first boot; `stray`: ROM lines at the end that no bootloader followed.

    `left_out`: boots between the first and the last `KEPT_BOOTS` that were counted and not kept.
    """

    before: list[Event]
    boots: list[Boot]
    stray: list[Event]
    left_out: int
    counts: Counts
    transitions: list[Transition]

    @property
    def events(self) -> list[Event]:
        """All that were kept, in the order of the log."""
        found = [*self.before, *self.stray]
        for boot in self.boots:
            found += [*boot.events, *boot.stray]
        return sorted(found, key=lambda event: (event.at.number, event.at.offset))


def read_log(chunks: Iterable[bytes]) -> Reading:
    """Read a log that comes in pieces cut anywhere."""
    parser, stream, counter, shelf = LogParser(), BootStream(), _Counter(), _Shelf()
    for chunk in chunks:
        counter.add(chunk)
        events = parser.feed(chunk)
        counter.note(events)
        shelf.put(stream.feed(events))
        _shorten(stream)
    events = parser.finish()
    counter.note(events)
    shelf.put(stream.feed(events))
    last = stream.finish()
    boots, left_out = shelf.all(last.boots)
    seen = Segmented(last.before, boots, last.stray)
    return Reading(last.before, boots, last.stray, left_out, counter.counts(), transitions(seen))


def _shorten(stream: BootStream) -> None:
    lists = [stream.waiting] if stream.current is None else [stream.waiting, stream.current.events]
    for events in lists:
        if len(events) > 3 * KEPT_EVENTS:
            del events[KEPT_EVENTS:-KEPT_EVENTS]


class _Shelf:
    """The first boots and the last ones."""

    def __init__(self) -> None:
        self._first: list[Boot] = []
        self._last: deque[Boot] = deque(maxlen=KEPT_BOOTS)
        self._seen = 0

    def put(self, boots: Iterable[Boot]) -> None:
        for boot in boots:
            self._seen += 1
            (self._first if len(self._first) < KEPT_BOOTS else self._last).append(boot)

    def all(self, rest: Iterable[Boot]) -> tuple[list[Boot], int]:
        self.put(rest)
        kept = [*self._first, *self._last]
        return kept, self._seen - len(kept)


class _Counter:
    """Counts raw lines, so that a torn one counts, too."""

    def __init__(self) -> None:
        self._resets = self._banners = self._lines = 0
        self._damaged: set[int] = set()
        self._many_damaged = 0
        self._tail = b""
        self._open = False

    def add(self, chunk: bytes) -> None:
        if not chunk:
            return
        data = self._tail + chunk
        self._resets += data.count(_RST) - self._tail.count(_RST)
        self._banners += data.count(_BANNER) - self._tail.count(_BANNER)
        self._lines += chunk.count(b"\n")
        self._open = not chunk.endswith(b"\n")
        self._tail = data[1 - len(_BANNER) :]

    def note(self, events: Iterable[Event]) -> None:
        self._damaged.update(event.at.number for event in events if isinstance(event, Torn | Garbled))
        if len(self._damaged) > KEPT_EVENTS:
            self._many_damaged += len(self._damaged)
            self._damaged.clear()

    def counts(self) -> Counts:
        return Counts(
            rst_lines=self._resets,
            bootloader_banners=self._banners,
            lines=self._lines + self._open,
            damaged_lines=self._many_damaged + len(self._damaged),
        )
