"""The boots of one test laid out as lanes over time: where everything goes, nothing about how it is drawn.

Horizontal places are percent of the drawing's width, so that the text keeps its size on any screen; `Chart.min_width`
(px) is what the drawing needs for its texts not to meet. The axis is stretched: every boot gets room for its text, and
only what is left is shared out by duration. Marks on the axis carry true seconds.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Container, Sequence
from dataclasses import dataclass

from rig.evidence.records import BootRecord, TestResult, Transition
from rig.evidence.report_page.coverage import NONE
from rig.evidence.report_page.text import seconds

NO_APP = "no app"

BOOT_PX = 112.0
STEP_PX = 66.0
EDGE_PX = 9.0
TAIL_PX = 40.0
GAP_PX = 24.0
GAP_LEAST_S = 0.02
USUAL_PX = 960.0
CUT_LABEL_PX = 112.0
LETTER_PX = 6.3
SHORT = {"PENDING_VERIFY": "PENDING", NONE: "no entry"}


@dataclass(frozen=True)
class Bar:
    """One boot in the lane of its slot; `number` is the boot's index, `alarm` whether it ended badly, `odd` whether
    another board did not do the same.
    """

    number: int
    x: float
    width: float
    version: str
    states: str
    end: str
    alarm: bool
    exit_state: str
    title: str
    odd: bool


@dataclass(frozen=True)
class Dot:
    """One change of image state in the lane of its slot, made by `by`."""

    x: float
    by: str
    title: str
    odd: bool


@dataclass(frozen=True)
class Strip:
    """How long a slot stayed in a state; `label` is empty where it would not fit."""

    x: float
    width: float
    state: str
    label: str


@dataclass(frozen=True)
class Lane:
    """One slot with its boots, its state over time and the changes between."""

    name: str
    bars: tuple[Bar, ...]
    strips: tuple[Strip, ...]
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class Mark:
    """A place on the time axis with its text, which stands to the right of it or, with `leftward`, to the left."""

    x: float
    width: float
    label: str
    title: str
    leftward: bool = False


@dataclass(frozen=True)
class Chart:
    """Everything drawn for one test; `resets` start a boot, `off` are times without a boot."""

    min_width: float
    lanes: tuple[Lane, ...]
    resets: tuple[Mark, ...]
    ticks: tuple[Mark, ...]
    cuts: tuple[Mark, ...]
    off: tuple[Mark, ...]
    summary: str


@dataclass(frozen=True)
class _Axis:
    """Piecewise linear from seconds to px; `spans` are the boots in px, `needed` their least widths."""

    times: tuple[float, ...]
    places: tuple[float, ...]
    spans: tuple[tuple[float, float], ...]
    needed: tuple[float, ...]

    @property
    def width(self) -> float:
        return self.places[-1]

    @property
    def shrink(self) -> float:
        """How far the drawing can be narrowed, as a factor, until some boot has no more than it needs."""
        return max(least / (right - left) for least, (left, right) in zip(self.needed, self.spans, strict=True))

    def px(self, time_s: float) -> float:
        right = min(max(bisect_right(self.times, time_s), 1), len(self.times) - 1)
        t0, t1 = self.times[right - 1], self.times[right]
        x0, x1 = self.places[right - 1], self.places[right]
        part = 0.0 if t1 <= t0 else min(max((time_s - t0) / (t1 - t0), 0.0), 1.0)
        return x0 + (x1 - x0) * part

    def percent(self, px: float) -> float:
        return round(100.0 * px / self.width, 3)


def chart(result: TestResult, odd: Container[int] = ()) -> Chart | None:
    """Lay out one test; None if it saw no boot. Strange records (no end, end before start) are straightened.

    `odd` holds the `id()` of boots and transitions to be marked.
    """
    if not result.boots:
        return None
    periods = _periods(result)
    axis = _axis(periods, [_needed(boot, result.transitions) for boot in result.boots])
    return Chart(
        min_width=math.ceil(axis.width * axis.shrink),
        lanes=tuple(_lane(name, result, periods, axis, odd) for name in _lane_names(result)),
        resets=_resets(result.boots, axis),
        ticks=_ticks(periods, axis),
        cuts=_cuts(result.cuts, axis),
        off=_off(periods, axis),
        summary=_summary(result),
    )


def short_reset(reset: str | None) -> str:
    """The name in the ROM's `0x1 (POWERON)`, or the text as it is; `reset` when the log does not say."""
    if not reset:
        return "reset"
    named = re.search(r"\(([^()]+)\)", reset)
    return named.group(1) if named else reset


def axis_seconds(value: float) -> str:
    """Seconds with about three digits; never minutes, so that marks can be compared at a glance."""
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s" if value < 1000 else f"{value:.0f} s"


def lane_order(slot: str) -> tuple[int, int, str]:
    """Sort key of slots: factory, ota_0 …, anything else, and boots that started no app last."""
    if slot == "factory":
        return 0, 0, ""
    if number := re.fullmatch(r"ota_(\d{1,4})", slot):
        return 1, int(number.group(1)), ""
    return (3, 0, "") if slot == NO_APP else (2, 0, slot)


def _lane_names(result: TestResult) -> list[str]:
    used = {boot.slot or NO_APP for boot in result.boots} | {change.slot for change in result.transitions}
    return sorted(used, key=lane_order)


def _finite(value: float | None) -> float:
    """Seconds that can be drawn: not negative, not endless; 0 for what is no time at all."""
    return min(max(value, 0.0), 1e9) if value is not None and not math.isnan(value) else 0.0


def _periods(result: TestResult) -> list[tuple[float, float]]:
    """Start and end of every boot in seconds, in order and without overlap."""
    starts: list[float] = []
    for boot in result.boots:
        starts.append(max(_finite(boot.started_s), starts[-1] if starts else 0.0))
    last = max([starts[-1], _finite(result.duration_s), *map(_finite, result.cuts)])
    limits = [*starts[1:], math.inf]
    ends = [
        min(max(_finite(boot.ended_s), start), limit) if boot.ended_s is not None else min(limit, last)
        for boot, start, limit in zip(result.boots, starts, limits, strict=True)
    ]
    return list(zip(starts, ends, strict=True))


def _needed(boot: BootRecord, changes: Sequence[Transition]) -> float:
    """The least width (px) of a boot: its own text, and the changes in each lane side by side."""
    per_slot = [_of(changes, boot.index, slot) for slot in {change.slot for change in changes}]
    steps = [len(some) - 1 + _later(some) for some in per_slot if some]
    return max(BOOT_PX, EDGE_PX + STEP_PX * max(steps, default=0) + TAIL_PX)


def _later(changes: Sequence[Transition]) -> int:
    """1 if the first change is the app's, which comes some time after the start of the boot."""
    return 1 if changes and changes[0].by == "app" else 0


def _of(changes: Sequence[Transition], boot: int, slot: str) -> list[Transition]:
    return [change for change in changes if change.boot == boot and change.slot == slot]


def _axis(periods: Sequence[tuple[float, float]], needed: Sequence[float]) -> _Axis:
    # The square root keeps a long boot from squeezing the others on a narrow screen.
    shares = [math.sqrt(end - start) for start, end in periods]
    total = sum(shares)
    spare = max(USUAL_PX - sum(needed), 0.0)
    time_s, place = 0.0, 0.0
    times, places, spans = [0.0], [0.0], []
    for (start, end), least, share in zip(periods, needed, shares, strict=True):
        if start - time_s >= GAP_LEAST_S:
            place += GAP_PX
        width = least + spare * (share / total if total > 0 else 1 / len(periods))
        spans.append((place, place + width))
        times += [start, end]
        places += [place, place + width]
        place += width
        time_s = end
    return _Axis(tuple(times), tuple(places), tuple(spans), tuple(needed))


def _lane(
    name: str, result: TestResult, periods: Sequence[tuple[float, float]], axis: _Axis, odd: Container[int]
) -> Lane:
    bars = tuple(
        _bar(boot, period, span, axis, odd=id(boot) in odd)
        for boot, period, span in zip(result.boots, periods, axis.spans, strict=True)
        if (boot.slot or NO_APP) == name
    )
    placed = _placed(name, result, axis)
    dots = tuple(Dot(axis.percent(px), change.by, _change_title(change), id(change) in odd) for px, change in placed)
    return Lane(name, bars, _strips(name, result, placed, axis), dots)


def _placed(slot: str, result: TestResult, axis: _Axis) -> list[tuple[float, Transition]]:
    """The changes of one slot with their place in px: within their boot in order, the bootloader's at its start."""
    found: list[tuple[float, Transition]] = []
    for boot, (left, right), least in zip(result.boots, axis.spans, axis.needed, strict=True):
        changes = _of(result.transitions, boot.index, slot)
        wider = (right - left) / least
        for k, change in enumerate(changes, _later(changes)):
            found.append((left + EDGE_PX + STEP_PX * k * wider, change))
    known = {boot.index for boot in result.boots}
    before = [t for t in result.transitions if t.slot == slot and t.boot not in known]
    return [(EDGE_PX / 2, change) for change in before] + found


def _strips(
    slot: str, result: TestResult, placed: Sequence[tuple[float, Transition]], axis: _Axis
) -> tuple[Strip, ...]:
    state = placed[0][1].before if placed else _first_state(slot, result)
    if state is None:
        return ()
    first = min([axis.spans[0][0], *(px for px, _ in placed)])
    edges = [first, *(px for px, _ in placed), axis.width]
    states = [state, *(change.after for _, change in placed)]
    return tuple(_strip(left, right, s, axis) for left, right, s in zip(edges, edges[1:], states, strict=False))


def _strip(left: float, right: float, state: str, axis: _Axis) -> Strip:
    label = SHORT.get(state, state)
    fits = (right - left) * axis.shrink >= len(label) * LETTER_PX + EDGE_PX
    return Strip(axis.percent(left), axis.percent(right - left), state, label if fits else "")


def _first_state(slot: str, result: TestResult) -> str | None:
    return next((boot.state_on_entry for boot in result.boots if boot.slot == slot and boot.state_on_entry), None)


def _bar(boot: BootRecord, period: tuple[float, float], span: tuple[float, float], axis: _Axis, *, odd: bool) -> Bar:
    enter, leave = (state and SHORT.get(state, state) for state in (boot.state_on_entry, boot.state_on_exit))
    states = f"{enter} → {leave}" if enter and leave and enter != leave else enter or leave or ""
    end = boot.ended_by or ""
    alarm = any(word in end.lower() for word in ("panic", "watchdog", "cut", "hang", "brownout", "abort"))
    return Bar(
        number=boot.index,
        x=axis.percent(span[0]),
        width=axis.percent(span[1] - span[0]),
        version=boot.version or ("" if boot.slot else NO_APP),
        states=states,
        end=f"until {end}" if end else "no end seen" if boot.ended_s is None else "",
        alarm=alarm,
        exit_state=boot.state_on_exit or boot.state_on_entry or NONE,
        title=_boot_title(boot, period),
        odd=odd,
    )


def _boot_title(boot: BootRecord, period: tuple[float, float]) -> str:
    facts = {
        "slot": boot.slot or "none: no app started",
        "version": boot.version,
        "loaded from": boot.offset,
        "reset": boot.reset,
        "state on entry": boot.state_on_entry,
        "state on exit": boot.state_on_exit,
        "ended by": boot.ended_by,
        "note": "; ".join(boot.notes),
    }
    lines = [f"Boot {boot.index}: {seconds(period[0])} to {seconds(period[1])}"]
    return "\n".join(lines + [f"{name}: {value}" for name, value in facts.items() if value])


def _change_title(change: Transition) -> str:
    head = f"{change.slot}: {change.before} → {change.after}, by the {change.by}, in boot {change.boot}"
    return "\n".join([head, *change.witness])


def _resets(boots: Sequence[BootRecord], axis: _Axis) -> tuple[Mark, ...]:
    return tuple(
        Mark(
            axis.percent(left),
            axis.percent(right - left),
            short_reset(boot.reset),
            f"Boot {boot.index} began with reset {boot.reset or '(reason not in the log)'}",
        )
        for boot, (left, right) in zip(boots, axis.spans, strict=True)
    )


def _ticks(periods: Sequence[tuple[float, float]], axis: _Axis) -> tuple[Mark, ...]:
    marks = [
        Mark(axis.percent(left), axis.percent(right - left), axis_seconds(start), f"{start:.3f} s")
        for (start, _), (left, right) in zip(periods, axis.spans, strict=True)
    ]
    end = periods[-1][1]
    return (*marks, Mark(100.0, 0.0, axis_seconds(end), f"{end:.3f} s"))


def _cuts(cuts: Sequence[float], axis: _Axis) -> tuple[Mark, ...]:
    """Cuts in order; each label takes the side where there is room for it, and is left out if there is none."""
    marks: list[Mark] = []
    times = sorted(map(_finite, cuts))
    places = [*map(axis.px, times), axis.width]
    room = CUT_LABEL_PX / axis.shrink
    free_from = 0.0
    for time_s, px, following in zip(times, places, places[1:], strict=False):
        leftward = following - px < room and px - free_from >= room
        fits = leftward or following - px >= room
        label = f"power cut {axis_seconds(time_s)}" if fits else ""
        free_from = px + (room if fits and not leftward else EDGE_PX)
        marks.append(Mark(axis.percent(px), 0.0, label, f"Power cut at {time_s:.3f} s", leftward))
    return tuple(marks)


def _off(periods: Sequence[tuple[float, float]], axis: _Axis) -> tuple[Mark, ...]:
    """Times of at least 20 ms in which no boot ran: before the first one, and while power or reset was held."""
    edges = [0.0, *(end for _, end in periods)]
    places = [0.0, *(right for _, right in axis.spans)]
    found = []
    for before, place, (start, _), (left, _) in zip(edges, places, periods, axis.spans, strict=False):
        if left > place:
            label = f"no boot for {seconds(start - before)}"
            found.append(Mark(axis.percent(place), axis.percent(left - place), label, label))
    return tuple(found)


def _summary(result: TestResult) -> str:
    chain = ", then ".join(f"{boot.slot or NO_APP} {boot.version or ''}".strip() for boot in result.boots)
    return f"{len(result.boots)} boots, {len(result.cuts)} power cuts: {chain}"
