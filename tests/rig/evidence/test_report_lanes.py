"""Boots drawn as lanes: nothing overlaps, nothing is lost, whatever the records hold."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.evidence.records import BootRecord, TestResult, Transition, Verdict
from rig.evidence.report_page.lanes import BOOT_PX, CUT_LABEL_PX, NO_APP, Chart, chart, lane_order, short_reset

SLOTS = st.sampled_from(["factory", "ota_0", "ota_1", "ota_10", "test", None])
STATE = st.sampled_from(["none", "NEW", "PENDING_VERIFY", "VALID", "INVALID", "ABORTED", "UNDEFINED", "0x55"])
TIMES = st.floats(min_value=0, max_value=5000) | st.sampled_from([math.nan, math.inf, -1.0, 1e300])


def result(
    boots: list[BootRecord], transitions: list[Transition] | None = None, cuts: list[float] | None = None
) -> TestResult:
    return TestResult(
        test="t",
        requirements=[],
        board="b",
        kind="virtual",
        chip="esp32c3",
        verdict=Verdict.PASS,
        started=datetime(2025, 1, 1, tzinfo=UTC),
        duration_s=10.0,
        boots=boots,
        transitions=transitions or [],
        cuts=cuts or [],
    )


def boot(index: int, start: float, end: float | None, slot: str | None = "ota_0") -> BootRecord:
    return BootRecord(index=index, started_s=start, ended_s=end, slot=slot, version="1.0.0")


def change(boot: int, before: str, after: str, by: str = "app", slot: str = "ota_0") -> Transition:
    return Transition(slot=slot, before=before, after=after, by=by, boot=boot)  # type: ignore[arg-type]


def drawn(test: TestResult) -> Chart:
    layout = chart(test)
    assert layout is not None
    return layout


@st.composite
def recorded(draw: st.DrawFn) -> TestResult:
    count = draw(st.integers(1, 12))
    boots = [boot(i, draw(TIMES), draw(TIMES | st.none()), draw(SLOTS)) for i in range(count)]
    changes = [
        change(
            draw(st.integers(-1, count)),
            draw(STATE),
            draw(STATE),
            draw(st.sampled_from(["bootloader", "app", "harness"])),
            draw(st.sampled_from(["ota_0", "ota_1"])),
        )
        for _ in range(draw(st.integers(0, 12)))
    ]
    return result(boots, changes, draw(st.lists(TIMES, max_size=6)))


@settings(deadline=None)
@given(recorded())
def test_every_boot_change_and_cut_is_drawn_inside_the_drawing(test: TestResult) -> None:
    layout = drawn(test)
    assert sum(len(lane.bars) for lane in layout.lanes) == len(test.boots)
    assert sum(len(lane.dots) for lane in layout.lanes) == len(test.transitions)
    assert len(layout.cuts) == len(test.cuts)
    marks = [*layout.resets, *layout.ticks, *layout.cuts, *layout.off]
    bars = [bar for lane in layout.lanes for bar in lane.bars]
    strips = [strip for lane in layout.lanes for strip in lane.strips]
    assert all(0 <= dot.x <= 100 for lane in layout.lanes for dot in lane.dots)
    assert all(item.x >= 0 and item.width >= 0 and item.x + item.width <= 100.01 for item in [*marks, *bars, *strips])


@settings(deadline=None)
@given(recorded())
def test_boots_stand_in_order_with_room_for_their_text(test: TestResult) -> None:
    layout = drawn(test)
    bars = sorted((bar for lane in layout.lanes for bar in lane.bars), key=lambda bar: bar.number)
    assert all(left.x + left.width <= right.x + 0.01 for left, right in pairwise(bars))
    assert all(bar.width / 100 * layout.min_width >= BOOT_PX - 1 for bar in bars)


@settings(deadline=None)
@given(recorded())
def test_states_over_time_follow_each_other_without_gap(test: TestResult) -> None:
    for lane in drawn(test).lanes:
        assert all(abs(left.x + left.width - right.x) < 0.01 for left, right in pairwise(lane.strips))
        assert len(lane.strips) in (0, len(lane.dots) + 1)


@settings(deadline=None)
@given(st.lists(st.floats(0, 100), max_size=20))
def test_labels_of_power_cuts_never_meet(cuts: list[float]) -> None:
    layout = drawn(result([boot(0, 0, 40), boot(1, 41, 100)], cuts=cuts))
    spans = []
    for cut in layout.cuts:
        px = cut.x / 100 * layout.min_width
        if cut.label:
            spans.append((px - CUT_LABEL_PX, px) if cut.leftward else (px, px + CUT_LABEL_PX))
    assert all(left[1] <= right[0] + 1 for left, right in pairwise(spans))


def test_changes_of_one_slot_in_one_boot_do_not_touch() -> None:
    changes = [change(0, "NEW", "PENDING_VERIFY", "bootloader"), *[change(0, "VALID", "NEW")] * 4]
    layout = drawn(result([boot(0, 0, 1), boot(1, 1, 90)], changes))
    places = [dot.x / 100 * layout.min_width for dot in layout.lanes[0].dots]
    assert all(right - left >= 60 for left, right in pairwise(places))


def test_bootloaders_change_stands_at_the_start_of_the_boot_and_the_apps_later() -> None:
    layout = drawn(
        result(
            [boot(0, 0, 5)], [change(0, "NEW", "PENDING_VERIFY", "bootloader"), change(0, "PENDING_VERIFY", "VALID")]
        )
    )
    first, second = layout.lanes[0].dots
    assert first.x < 5
    assert second.x > 30
    assert [strip.state for strip in layout.lanes[0].strips] == ["NEW", "PENDING_VERIFY", "VALID"]


def test_change_by_the_app_alone_is_not_drawn_at_the_start_of_the_boot() -> None:
    (dot,) = drawn(result([boot(0, 0, 5)], [change(0, "none", "NEW")])).lanes[0].dots
    assert dot.x > 30


def test_time_without_a_boot_is_marked_with_its_length() -> None:
    layout = drawn(result([boot(0, 0.0, 4), boot(1, 6.5, 8)]))
    assert [gap.label for gap in layout.off] == ["no boot for 2.50 s"]


def test_marks_on_the_axis_are_true_seconds_although_it_is_stretched() -> None:
    layout = drawn(result([boot(0, 0.5, 1.0), boot(1, 1.0, 901.0)]))
    assert [tick.label for tick in layout.ticks] == ["0.50 s", "1.00 s", "901.0 s"]


def test_longer_boot_is_drawn_longer() -> None:
    short, long = drawn(result([boot(0, 0, 1), boot(1, 1, 60)])).lanes[0].bars
    assert long.width > 1.5 * short.width


def test_boot_without_an_app_has_its_own_lane_at_the_end() -> None:
    layout = drawn(result([boot(0, 0, 1, None), boot(1, 1, 2, "ota_1"), boot(2, 2, 3, "factory")]))
    assert [lane.name for lane in layout.lanes] == ["factory", "ota_1", NO_APP]


def test_slots_are_ordered_by_number() -> None:
    slots = [NO_APP, "ota_10", "test", "ota_2", "factory"]
    assert sorted(slots, key=lane_order) == ["factory", "ota_2", "ota_10", "test", NO_APP]


@pytest.mark.parametrize(
    ("printed", "said"), [("0x1 (POWERON)", "POWERON"), ("power-on", "power-on"), (None, "reset"), ("0x1 ()", "0x1 ()")]
)
def test_reset_is_named_as_the_rom_names_it(printed: str | None, said: str) -> None:
    assert short_reset(printed) == said


@pytest.mark.parametrize(
    ("ended_by", "alarm"), [("panic", True), ("power cut", True), ("restart", False), (None, False)]
)
def test_boot_that_ended_badly_is_marked(ended_by: str | None, alarm: bool) -> None:
    record = boot(0, 0, 1).model_copy(update={"ended_by": ended_by})
    assert drawn(result([record])).lanes[0].bars[0].alarm is alarm


def test_test_without_boots_has_no_drawing() -> None:
    assert chart(result([])) is None
