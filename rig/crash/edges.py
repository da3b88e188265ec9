"""Which delays to try: those of a sweep over a window, and those that lead to an edge between two outcomes. Pure."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from itertools import pairwise
from typing import NamedTuple

from rig.errors import Inconclusive, UserError

TRIES = 3
"""How often a delay is tried until it has an outcome."""
FINENESS = 100
"""The resolution of a bisection, if none is given, as a share of the window."""


class Tried(NamedTuple):
    """One delay in seconds, and its outcome; None when the try showed nothing."""

    delay: float
    outcome: str | None


class Edge(NamedTuple):
    """Between `low` and `high` (seconds) the outcome changes from `below` to `above`.

    There may be more edges in the window: bisection finds one.
    """

    low: float
    high: float
    below: str
    above: str


class Window(NamedTuple):
    """Delays from `low` to `high`, in seconds."""

    low: float
    high: float


def window(low: float, high: float) -> Window:
    """UserError for one that is empty, reaches before the moment, or has no end."""
    if not (math.isfinite(low) and math.isfinite(high) and 0 <= low < high):
        raise UserError(f"no window: from {low:g} s to {high:g} s", hint="FROM:TO in seconds, 0 or more, FROM first")
    return Window(low, high)


def steps(within: Window, count: int) -> tuple[float, ...]:
    """`count` delays at equal distances, both ends included; UserError for fewer than two."""
    if count < 2:
        raise UserError(f"a sweep of {count} steps", hint="2 steps are both ends of the window")
    # A long window counted in tiny steps must still end exactly where it ends.
    inner = (within.low + (within.high - within.low) * number / (count - 1) for number in range(1, count - 1))
    return (within.low, *inner, within.high)


def finest(within: Window, resolution: float | None) -> float:
    """The distance in seconds at which a bisection ends; UserError for one that is not positive."""
    found = (within.high - within.low) / FINENESS if resolution is None else resolution
    if not (math.isfinite(found) and found > 0):
        raise UserError(f"a resolution of {found:g} s", hint="seconds, more than 0")
    return found


def bisect(within: Window, resolution: float) -> Generator[float, str | None, Edge]:
    """Yields delays to try and is sent the outcome of each, None if the try showed none; returns an edge.

    Both ends are tried first. Inconclusive when they have one outcome, or when a delay shows none in `TRIES` tries.
    """
    low, high = within
    below = yield from _outcome_of(low)
    above = yield from _outcome_of(high)
    if below == above:
        raise Inconclusive(
            f"a cut after {low:g} s and one after {high:g} s have the same outcome, {below!r}: no edge to look for",
            hint="sweep the window first, or choose another one",
        )
    while high - low > resolution:
        middle = low + (high - low) / 2
        if not low < middle < high:
            break  # no number lies in between
        found = yield from _outcome_of(middle)
        if found == below:
            low = middle
        else:
            high, above = middle, found
    return Edge(low, high, below, above)


def changes(tried: Sequence[Tried]) -> list[Edge]:
    """The edges that a sweep shows, in ascending order; delays without an outcome are passed over."""
    known = sorted((one.delay, one.outcome) for one in tried if one.outcome is not None)
    return [Edge(low, high, below, above) for (low, below), (high, above) in pairwise(known) if below != above]


def _outcome_of(delay: float) -> Generator[float, str | None, str]:
    for _ in range(TRIES):
        found = yield delay
        if found is not None:
            return found
    raise Inconclusive(
        f"a cut after {delay:g} s showed no outcome, tried {TRIES} times", hint="the results say what went wrong"
    )
