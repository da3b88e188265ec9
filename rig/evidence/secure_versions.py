"""The anti-rollback eFuse field over one trial: what was seen of it, and what the model makes of it in between.

Witnesses are the bench, which sets it, the app (`secver`, PROTOCOL.md 5) and a reading from outside, by the chip's
loader. What the bootloader says of it is compared with its other lines (rig.evidence.logwitness).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from rig.evidence.agentlines import checked
from rig.evidence.events import AgentLine, EfuseChange, Event
from rig.evidence.predict import Prediction

Source = Literal["installed", "app", "chip"]
WORDS: dict[Source, str] = {"installed": "the bench set", "app": "app reported", "chip": "read from outside"}
_CALL, _SEEN, _BOOT = range(3)
"""At one place of the log a reading comes after the call that stands there, and before the boot that begins there."""


class SeenVersion(NamedTuple):
    """The field had `value` bits set when `offset` bytes of raw log had arrived."""

    value: int
    source: Source
    offset: int

    def __str__(self) -> str:
        return f"{WORDS[self.source]} {self.value}"


class Step(NamedTuple):
    """A boot or a call of the app, after which the field holds one of `possible`; anything if that is None."""

    what: str
    possible: tuple[int, ...] | None

    def __str__(self) -> str:
        values = "unknown" if self.possible is None else " or ".join(str(value) for value in self.possible)
        return f"{self.what}: {values} for the model"


class SecureVersions:
    """What is known of the field at each place of the log; `bits`: how many of it the app looks at."""

    def __init__(self, seen: Iterable[SeenVersion], bits: int) -> None:
        self._bits = bits
        self._seen = sorted(seen, key=lambda version: version.offset)
        self._story: list[tuple[int, int, int, SeenVersion | Step]] = [
            (version.offset, _SEEN, number, version) for number, version in enumerate(self._seen)
        ]

    def before_boot(self, start: int) -> int | None:
        """The field when the bootloader started at `start`; None if that is not known."""
        return self._before(start, _BOOT)

    def before_call(self, start: int) -> int | None:
        """The field when the app began a call at `start`."""
        return self._before(start, _CALL)

    def after_boot(self, start: int, end: int) -> int | None:
        """The first reading after the boot at `start`, if nothing else was done until `end`; None if there is none."""
        return next((seen.value for seen in self._seen if start < seen.offset <= end and self._is_exact(seen)), None)

    def after_call(self, start: int) -> int | None:
        """The first reading after a call at `start`; None if there is none that tells."""
        first = next((seen for seen in self._seen if seen.offset >= start), None)
        return first.value if first is not None and self._is_exact(first) else None

    def booted(self, start: int, what: str, possible: tuple[int, ...] | None) -> None:
        """What the model makes of the boot at `start`."""
        self._add(start, _BOOT, Step(what, possible))

    def called(self, start: int, what: str, possible: tuple[int, ...] | None) -> None:
        """What the model makes of the call at `start`."""
        self._add(start, _CALL, Step(what, possible))

    def contradiction(self) -> tuple[str, str] | None:
        """The first reading that cannot be, as a reason and as the whole story; None if all agree."""
        possible: tuple[int, ...] | None = None
        last: SeenVersion | Step | None = None
        for *_, thing in self._story:
            if isinstance(thing, Step):
                possible = thing.possible
            else:
                fitting = self._fitting(possible, thing)
                if not fitting:
                    told = [f"  {each}" for *_, each in self._story]
                    return self._reason(thing, last, possible or ()), "\n".join(["eFuse secure version", *told])
                possible = fitting
            last = thing
        return None

    def _add(self, place: int, rank: int, step: Step) -> None:
        insort(self._story, (place, rank, len(self._story), step), key=lambda entry: entry[:3])

    def _before(self, place: int, rank: int) -> int | None:
        at = bisect_left(self._story, (place, rank), key=lambda entry: entry[:2])
        least: int | None = None
        for *_, thing in (self._story[number] for number in range(at - 1, -1, -1)):
            if isinstance(thing, Step):
                known = thing.possible is not None and len(thing.possible) == 1
                return thing.possible[0] if known and thing.possible else least
            least = thing.value if least is None else least
            if self._is_exact(thing):
                return thing.value
        return least

    def _is_exact(self, seen: SeenVersion) -> bool:
        """Whether the field holds just that: an app that sees all of its bits burnt knows of no others."""
        return seen.source != "app" or seen.value < self._bits

    def _fitting(self, possible: tuple[int, ...] | None, seen: SeenVersion) -> tuple[int, ...]:
        """Those of `possible` that look so; the app does not see beyond its own bits."""
        if possible is None:
            return (seen.value,)
        return tuple(v for v in possible if seen.value == (min(v, self._bits) if seen.source == "app" else v))

    def _reason(self, seen: SeenVersion, last: SeenVersion | Step | None, possible: Sequence[int]) -> str:
        wanted = " or ".join(str(value) for value in possible)
        if isinstance(last, Step):
            return f"the eFuse's secure version is {seen.value} after {last.what}, the model has {wanted}"
        if last is not None and last.source == "app" and seen.source == "chip":
            return f"the app reports secure version {last.value} of the eFuse, which holds {seen.value}"
        return f"the eFuse's secure version went from {wanted} to {seen.value} although nothing was asked of the app"


def reported(events: Iterable[Event]) -> list[SeenVersion]:
    """What the app said in its answers."""
    found = []
    for event in events:
        if isinstance(event, AgentLine) and (line := checked(event)) and line.word == "ok" and "efuse" in line.fields:
            text = line.fields["efuse"]
            if text.isdecimal():
                found.append(SeenVersion(int(text), "app", event.at.offset))
    return found


def possible_after(prediction: Prediction, *, cut: bool) -> tuple[int, ...]:
    """What the field may hold afterwards; when power was lost, what it held at any time."""
    return tuple(dict.fromkeys(prediction.versions)) if cut else (prediction.secure_version,)


def said(events: Iterable[Event], start: int, end: int) -> list[str]:
    """Lines of the app about the field, in [`start`, `end`] of the log."""
    return [event.at.text for event in events if isinstance(event, EfuseChange) and start <= event.at.offset <= end]
