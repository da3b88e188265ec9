"""What is a difference between boards, and what is not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.evidence.records import BootRecord, Requirement, RunRecord, TestResult, Transition, Verdict
from rig.evidence.report import render_page
from rig.evidence.report_page.differences import (
    BOOTS,
    DIFFERS,
    PARTLY,
    Comparison,
    comparisons,
    deviations,
    marks,
    reset_class,
    sums,
)
from rig.evidence.report_page.lanes import chart
from rig.evidence.report_page.summary import rows
from rig.virtual.chips import chip_spec
from rig.virtual.cpu import ResetReason

PASS, FAIL, BENCH, UNSURE, SKIP = (
    Verdict.PASS, Verdict.FIRMWARE_FAIL, Verdict.BENCH_FAULT, Verdict.INCONCLUSIVE, Verdict.SKIPPED,
)  # fmt: skip
SAMPLE = Path(__file__).parents[2] / "data" / "report" / "sample_run.json"


def boot(index: int, slot: str | None = "ota_0", reset: str | None = "0x1 (POWERON)", **more: object) -> BootRecord:
    return BootRecord(index=index, started_s=float(index), slot=slot, version="1.0.0", reset=reset, **more)


def change(index: int, before: str, after: str, by: str = "app") -> Transition:
    return Transition(slot="ota_0", before=before, after=after, by=by, boot=index)  # type: ignore[arg-type]


def result(board: str, verdict: Verdict = PASS, test: str = "x::test_a", **more: object) -> TestResult:
    return TestResult(
        test=test, requirements=["A-1"], board=board, kind="virtual", chip="esp32c3", verdict=verdict,
        started=datetime(2025, 1, 1, tzinfo=UTC), duration_s=1.0, **more,
    )  # fmt: skip


def run_of(*results: TestResult) -> RunRecord:
    return RunRecord(
        tool="t", started=datetime(2025, 1, 1, tzinfo=UTC), finished=datetime(2025, 1, 1, tzinfo=UTC), command="rig",
        requirements=[Requirement(id="A-1", area="a", text="boot")], results=list(results),
    )  # fmt: skip


def compared(*results: TestResult) -> Comparison:
    (found,) = comparisons(run_of(*results))
    return found


@pytest.mark.parametrize(
    ("verdicts", "mark"),
    [
        ((PASS, PASS), ""),
        ((FAIL, FAIL), ""),
        ((PASS, FAIL), DIFFERS),
        ((PASS, UNSURE), DIFFERS),
        ((UNSURE, FAIL), DIFFERS),
        ((PASS, SKIP), PARTLY),
        ((SKIP, FAIL), PARTLY),
        ((PASS, BENCH), PARTLY),
        ((SKIP, SKIP), ""),
        ((SKIP, BENCH), ""),
        ((SKIP, PASS, FAIL), DIFFERS),
        ((SKIP, PASS, PASS), PARTLY),
    ],
    ids=lambda value: value or "none" if isinstance(value, str) else "-".join(value),
)
def test_only_verdicts_on_a_board_can_differ(verdicts: tuple[Verdict, ...], mark: str) -> None:
    results = [result(board, verdict) for board, verdict in zip("abc", verdicts, strict=False)]
    assert compared(*results).mark == mark


def test_a_difference_is_told_board_by_board() -> None:
    assert compared(result("b"), result("a", FAIL), result("c", SKIP)).words == "b passes, a firmware fail, c skipped"


@pytest.mark.parametrize(
    ("left", "right", "texts"),
    [
        ([boot(0)], [boot(0)], []),
        ([boot(0)], [boot(0, "ota_1")], [(["boot 0: ota_0 1.0.0"], ["boot 0: ota_1 1.0.0"])]),
        ([boot(0), boot(1)], [boot(0)], [(["boot 1: ota_0 1.0.0"], [])]),
        ([boot(0)], [boot(0), boot(1, None)], [([], ["boot 1: no app 1.0.0"])]),
        ([boot(0)], [boot(0, reset=None)], []),
        ([boot(0)], [boot(0, reset="0xc (RTC_SW_CPU_RST)", fresh_process=True)], []),
        (
            [boot(0)],
            [boot(0, reset="0x8 (TG1WDT_SYS_RST)")],
            [(["boot 0: ota_0 1.0.0, reset 0x1 (POWERON)"], ["boot 0: ota_0 1.0.0, reset 0x8 (TG1WDT_SYS_RST)"])],
        ),
    ],
    ids=["same", "slot", "one boot less", "one boot more", "reset unknown", "reset by the bench", "reset"],
)
def test_boots_differ_by_slot_by_number_and_by_reset(left, right, texts) -> None:
    found = deviations(result("a", boots=left), result("b", boots=right))
    assert [([s.text for s in place.left], [s.text for s in place.right]) for place in found] == texts


def test_changes_of_states_and_who_made_them_are_compared() -> None:
    left = result("a", boots=[boot(0)], transitions=[change(-1, "none", "NEW"), change(0, "NEW", "VALID")])
    right = result("b", boots=[boot(0)], transitions=[change(-1, "none", "NEW"), change(0, "NEW", "VALID", "harness")])
    (place,) = deviations(left, right)
    assert [step.text for step in place.right] == ["ota_0: NEW → VALID  (by harness, boot 0)"]
    assert compared(left, right).mark == BOOTS


def test_times_and_lines_and_notes_are_not_compared() -> None:
    slow = [boot(0, ended_s=90.0, log_lines=(1, 400), notes=["slow"])]
    assert compared(result("a", boots=[boot(0)]), result("b", boots=slow, cuts=[0.5])).mark == ""


@pytest.mark.parametrize("reason", ResetReason)
def test_chips_that_name_one_reset_differently_do_not_differ(reason: ResetReason) -> None:
    resets = [chip_spec(chip).resets for chip in ("esp32", "esp32s3", "esp32c3", "esp32c6")]
    seen = {reset_class(f"{of[reason].number:#x} ({of[reason].name})") for of in resets if reason in of}
    assert len(seen) <= 1


@given(st.lists(st.tuples(st.sampled_from(["ota_0", "ota_1", None]), st.sampled_from(["0x1 (A)", None])), max_size=6))
def test_no_board_differs_from_itself(slots: list[tuple[str | None, str | None]]) -> None:
    boots = [boot(index, slot, reset) for index, (slot, reset) in enumerate(slots)]
    assert deviations(result("a", boots=boots), result("b", boots=boots)) == ()


def test_what_deviates_is_marked_in_the_lanes_of_both_boards() -> None:
    left = result("a", boots=[boot(0), boot(1)], transitions=[change(1, "NEW", "VALID")])
    right = result("b", boots=[boot(0), boot(1, "ota_1")])
    test = compared(left, right)
    for side, odd in ((left, [False, True]), (right, [False, True])):
        layout = chart(side, test.odd)
        assert layout is not None
        bars = sorted((bar for lane in layout.lanes for bar in lane.bars), key=lambda bar: bar.number)
        assert [bar.odd for bar in bars] == odd
    dots = [dot.odd for lane in chart(left, test.odd).lanes for dot in lane.dots]  # type: ignore[union-attr]
    assert dots == [True]


def test_a_requirement_is_marked_by_the_most_serious_of_its_tests() -> None:
    run = run_of(
        result("a", test="x::t1"), result("b", SKIP, test="x::t1"),
        result("a", test="x::t2"), result("b", FAIL, test="x::t2"),
    )  # fmt: skip
    assert marks(rows(run), comparisons(run)) == [DIFFERS]


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([result("a")], None),
        ([result("a"), result("b")], "none of 1 requirement differs between boards"),
        ([result("a"), result("b", FAIL)], "1 of 1 requirement differs between boards"),
        ([result("a"), result("b", SKIP)], "none of 1 requirement differs between boards, 1 not comparable"),
        (
            [result("a"), result("b", boots=[boot(0)])],
            "none of 1 requirement differs between boards, 1 in their boots alone",
        ),
        ([result("a", SKIP), result("b", SKIP)], "no requirement can be compared between boards"),
    ],
)
def test_differences_are_counted_by_requirement(results: list[TestResult], said: str | None) -> None:
    assert sums(run_of(*results)) == said


def test_the_page_shows_both_boards_of_a_test_together_and_what_differs_twice() -> None:
    boots = [boot(0, "ota_1")]
    page = render_page(run_of(result("one", boots=[boot(0)]), result("two", FAIL, reason="why", boots=boots)))
    assert page.count('<details class="test ') == 1
    assert page.count('<section class="on-board"') == 2
    assert page.count("boot 0: ota_1 1.0.0") == 2
    assert 'href="#differences">≠ 1 of 1 requirement differs between boards' in page
    assert page.index('id="t1-1"') < page.index('id="t1-2"')


def test_a_page_of_one_board_speaks_of_no_differences() -> None:
    page = render_page(run_of(result("one", boots=[boot(0)])))
    assert "only differences" not in page
    assert "not comparable" not in page
    assert "on-board" not in page.partition("</style>")[2]


def test_another_variant_stands_at_the_top_of_the_page() -> None:
    run = RunRecord.model_validate_json(SAMPLE.read_text(encoding="utf-8"))
    assert "Not the usual firmware" not in render_page(run)
    page = render_page(run.model_copy(update={"variant": "no_rollback"}))
    assert page.index("Not the usual firmware") < page.index("<nav")
    assert "2 of 17 requirements fail with it" in page


def test_how_often_a_board_resets_that_finds_no_app_is_no_difference() -> None:
    once = [boot(0), boot(1, None)]
    often = [boot(0), *(boot(index, None) for index in range(1, 5))]
    assert deviations(result("a", boots=once), result("b", boots=often)) == ()
    assert deviations(result("a", boots=once[:1]), result("b", boots=often)) != ()
    twice = [boot(0), boot(1)]
    assert deviations(result("a", boots=twice), result("b", boots=twice[:1])) != ()
