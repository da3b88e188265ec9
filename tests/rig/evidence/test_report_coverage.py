"""The matrix of state changes: what ESP-IDF can do is written out here by hand, from its sources."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from rig.evidence.records import TestResult, Transition, Verdict
from rig.evidence.report_page.coverage import Cell, coverage


def seen(*changes: tuple[str, str, str]) -> list[TestResult]:
    transitions = [Transition(slot="ota_0", before=b, after=a, by=by, boot=0) for b, a, by in changes]  # type: ignore[arg-type]
    return [
        TestResult(
            test="t",
            requirements=[],
            board="b",
            kind="virtual",
            chip="esp32c3",
            verdict=Verdict.PASS,
            started=datetime(2025, 1, 1, tzinfo=UTC),
            duration_s=1.0,
            transitions=transitions,
        )
    ]


def cell(results: list[TestResult], before: str, after: str) -> Cell:
    return next(c for c in coverage(results).cells if (c.before, c.after) == (before, after))


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("NEW", "PENDING_VERIFY", "missing"),
        ("PENDING_VERIFY", "ABORTED", "missing"),
        ("none", "VALID", "missing"),
        ("NEW", "none", "missing"),
        ("PENDING_VERIFY", "VALID", "possible"),
        ("PENDING_VERIFY", "INVALID", "possible"),
        ("ABORTED", "NEW", "possible"),
        ("none", "NEW", "possible"),
        ("INVALID", "ABORTED", "impossible"),
        ("NEW", "ABORTED", "impossible"),
        ("VALID", "PENDING_VERIFY", "impossible"),
        ("ABORTED", "VALID", "impossible"),
        ("none", "PENDING_VERIFY", "impossible"),
        ("VALID", "VALID", "same"),
    ],
)
def test_cell_no_test_showed_says_what_esp_idf_can_do(before: str, after: str, kind: str) -> None:
    assert cell([], before, after).kind == kind


def test_shown_change_is_counted_by_writer() -> None:
    results = seen(*[("NEW", "PENDING_VERIFY", "bootloader")] * 3) + seen(("NEW", "PENDING_VERIFY", "harness"))
    shown = cell(results, "NEW", "PENDING_VERIFY")
    assert shown.seen == {"bootloader": 3, "app": 0, "harness": 1}
    assert (shown.kind, shown.tests) == ("seen", 2)


def test_change_shown_by_the_app_only_still_misses_the_bootloaders() -> None:
    assert cell(seen(("PENDING_VERIFY", "none", "app")), "PENDING_VERIFY", "none").kind == "missing"


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (("INVALID", "ABORTED", "bootloader"), "unexpected"),
        (("PENDING_VERIFY", "ABORTED", "app"), "unexpected"),
        (("NEW", "PENDING_VERIFY", "app"), "unexpected"),
        (("none", "ABORTED", "harness"), "seen"),
        (("NEW", "NEW", "app"), "seen"),
    ],
)
def test_change_its_writer_has_no_code_for_is_unexpected(change: tuple[str, str, str], kind: str) -> None:
    assert cell(seen(change), change[0], change[1]).kind == kind


def test_bootloaders_share_is_counted() -> None:
    cover = coverage(seen(("NEW", "PENDING_VERIFY", "bootloader"), ("PENDING_VERIFY", "VALID", "app")))
    assert (cover.bootloader_seen, cover.bootloader_total) == (1, 9)


def test_value_that_is_no_state_is_listed_apart() -> None:
    assert coverage(seen(("0x55", "NEW", "app"))).others == (("0x55 → NEW by app", 1),)
