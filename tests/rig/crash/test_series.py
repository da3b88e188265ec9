"""A series of cuts: whatever comes of one is recorded and saved at once, and only a dead bench stops it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rig.crash.edges import Edge, Window
from rig.crash.scenarios import find
from rig.crash.series import FILE, MOST_IN_VAIN, CutRecord, Cutting, Series, SeriesRecord
from rig.errors import BenchFault, FirmwareFault, Inconclusive, UserError
from rig.evidence.moments import OnEvent
from rig.evidence.records import Severity, Verdict
from rig.updates.agent import AgentTimeout
from tests.rig.bench import virtual_bench

GOOD, HAZARD, BROKEN = Severity.GOOD, Severity.HAZARD, Severity.BROKEN
PASS, FAIL, BENCH, UNSURE = Verdict.PASS, Verdict.FIRMWARE_FAIL, Verdict.BENCH_FAULT, Verdict.INCONCLUSIVE


def head(board="fake"):
    return SeriesRecord(
        tool="rig", command="rig crash cut", started=datetime.now(UTC), finished=None, scenario="update-ok", summary="",
        board=board, kind="virtual", chip="esp32c3", idf_version="v5.5", variant="rollback", moment="the start",
        pace=1.0, cuts=[], edges=[],
    )  # fmt: skip


def cut_record(number, delay, outcome="old app", severity=GOOD, verdict=PASS, boots="ota_0 VALID runs"):
    return CutRecord(
        number=number, delay_s=delay, measured_s=delay, host=None, outcome=outcome, severity=severity, verdict=verdict,
        reason="", boots=boots, otadata_at_cut=[], otadata_at_end=[], evidence="",
    )  # fmt: skip


def faulty(number, delay, verdict=BENCH):
    return cut_record(number, delay, outcome=None, severity=None, verdict=verdict, boots="")


class Fake:
    """Cuts without a board; `results` by delay, or an exception to raise."""

    def __init__(self, results):
        self.results = results
        self.delays = []

    def __call__(self, number, delay, folder):
        self.delays.append(delay)
        folder.mkdir()
        (folder / "console.log").write_bytes(b"half")
        result = self.results(number, delay)
        if isinstance(result, BaseException):
            raise result
        (folder / "console.log").write_bytes(b"whole")
        return result


@pytest.fixture
def series(tmp_path):
    """`series(results)`: over a fake."""

    def make(results):
        told = []
        made = Series(head(), Fake(results), tmp_path, told.append)
        made.heard = told
        return made

    return make


def saved(folder):
    return SeriesRecord.model_validate_json((folder / FILE).read_text(encoding="utf-8"))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_each_cut_is_saved_with_its_evidence_before_the_next(series, tmp_path):
    def results(number, delay):
        if number > 1:
            assert len(saved(tmp_path).cuts) == number - 1
            assert saved(tmp_path).finished is None
        return cut_record(number, delay)

    made = series(results)
    assert made.sweep((0.0, 0.5, 1.0)) == []
    kept = saved(tmp_path)
    assert kept == made.record
    assert [(cut.number, cut.delay_s, cut.evidence) for cut in kept.cuts] == [
        (1, 0.0, "0001"), (2, 0.5, "0002"), (3, 1.0, "0003"),
    ]  # fmt: skip
    assert kept.finished is not None
    assert names(tmp_path) == ["0001", "0002", "0003", FILE]
    assert (tmp_path / "0002" / "console.log").read_bytes() == b"whole"
    assert made.heard == kept.cuts


def test_a_sweep_tells_its_edges(series, tmp_path):
    made = series(lambda number, delay: cut_record(number, delay, "new app" if delay > 0.4 else "old app"))
    assert made.sweep((0.0, 0.4, 0.5)) == [Edge(0.4, 0.5, "old app", "new app")]
    assert [edge.model_dump() for edge in saved(tmp_path).edges] == [
        {"low_s": 0.4, "high_s": 0.5, "below": "old app", "above": "new app"}
    ]


def test_an_edge_lies_between_times_that_were_measured(series):
    """Both cuts came later than asked."""

    def late(number, delay):
        return cut_record(number, delay, "new app" if delay else "old app").model_copy(
            update={"measured_s": delay + 0.1}
        )

    assert series(late).sweep((0.0, 0.5)) == [Edge(0.1, 0.6, "old app", "new app")]


def test_a_bisection_ends_at_its_edge(series, tmp_path):
    made = series(lambda number, delay: cut_record(number, delay, "new app" if delay > 0.3 else "old app"))
    assert made.bisect(Window(0.0, 1.0), 0.2) == [Edge(0.25, 0.375, "old app", "new app")]
    assert [cut.delay_s for cut in saved(tmp_path).cuts] == [0.0, 1.0, 0.5, 0.25, 0.375]


def test_a_bisection_without_an_edge_keeps_what_was_cut(series, tmp_path):
    made = series(cut_record)
    with pytest.raises(Inconclusive, match="same outcome"):
        made.bisect(Window(0.0, 1.0), 0.2)
    assert len(saved(tmp_path).cuts) == 2
    assert saved(tmp_path).finished is None


def test_a_bench_fault_now_and_then_does_not_stop_a_sweep(series, tmp_path):
    made = series(
        lambda number, delay: cut_record(number, delay) if number % MOST_IN_VAIN == 0 else faulty(number, delay)
    )
    made.sweep(tuple(float(number) for number in range(3 * MOST_IN_VAIN)))
    assert [cut.verdict for cut in saved(tmp_path).cuts][:3] == [BENCH, BENCH, PASS]
    assert saved(tmp_path).verdict is BENCH


@pytest.mark.parametrize(("verdict", "error"), [(BENCH, BenchFault), (UNSURE, Inconclusive)])
def test_a_dead_bench_stops_it_and_leaves_what_was_found(series, tmp_path, verdict, error):
    made = series(lambda number, delay: cut_record(number, delay) if number < 3 else faulty(number, delay, verdict))
    with pytest.raises(error, match=f"{MOST_IN_VAIN} cuts in a row broke off"):
        made.sweep(tuple(map(float, range(40))))
    assert len(saved(tmp_path).cuts) == 2 + MOST_IN_VAIN
    assert saved(tmp_path).finished is None


def test_a_board_that_came_up_but_cannot_be_judged_is_no_dead_bench(series):
    def results(number, delay):
        return cut_record(number, delay, outcome=None, severity=None, verdict=BENCH)

    made = series(results)
    made.sweep(tuple(map(float, range(2 * MOST_IN_VAIN))))
    assert len(made.record.cuts) == 2 * MOST_IN_VAIN


def test_firmware_that_fails_each_time_is_no_dead_bench(series):
    made = series(lambda number, delay: faulty(number, delay, FAIL))
    made.sweep(tuple(map(float, range(2 * MOST_IN_VAIN))))
    assert made.record.verdict is FAIL


@pytest.mark.parametrize("end", [KeyboardInterrupt(), UserError("no such slot"), OSError("no space left")])
def test_an_end_in_the_middle_of_a_cut_leaves_nothing_half_written(series, tmp_path, end):
    made = series(lambda number, delay: cut_record(number, delay) if number < 3 else end)
    with pytest.raises(type(end)):
        made.sweep((0.0, 1.0, 2.0))
    assert names(tmp_path) == ["0001", "0002", FILE]
    assert len(saved(tmp_path).cuts) == 2


def test_a_disk_that_is_full_keeps_the_results_before(series, tmp_path, monkeypatch):
    made = series(cut_record)
    made.cut(0.0)
    before = (tmp_path / FILE).read_bytes()

    def full(self, text, encoding):
        self.write_bytes(text.encode(encoding)[:20])
        raise OSError("no space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(OSError, match="no space"):
        made.cut(1.0)
    assert (tmp_path / FILE).read_bytes() == before
    assert names(tmp_path) == ["0001", "0002", FILE]


@pytest.mark.parametrize(
    ("cuts", "verdict"),
    [
        ([], UNSURE),
        ([(GOOD, PASS)], PASS),
        ([(GOOD, PASS), (HAZARD, PASS)], PASS),
        ([(BROKEN, PASS), (None, BENCH)], FAIL),
        ([(GOOD, FAIL), (None, BENCH)], FAIL),
        ([(GOOD, UNSURE), (None, BENCH)], BENCH),
        ([(GOOD, UNSURE), (GOOD, PASS)], UNSURE),
    ],
)
def test_the_verdict_is_the_worst_and_a_hazard_is_none(cuts, verdict):
    made = [cut_record(1, 0.0, severity=severity, verdict=judged) for severity, judged in cuts]
    assert head().model_copy(update={"cuts": made}).verdict is verdict


# --- on a board ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with virtual_bench(tmp_path_factory.mktemp("bench")) as bench:
        yield bench


def test_a_cut_on_a_board_tells_times_outcome_and_otadata(bench, tmp_path):
    # A moment after which nothing changes any more: a busy host may be late as much as it likes.
    confirmed = OnEvent("diag", {"result": "confirmed"})
    found = Cutting(find("update-ok"), bench.board, bench.shelf, confirmed).cut(7, 0.4, tmp_path / "cut")
    assert (found.number, found.outcome, found.severity, found.verdict) == (7, "new app", GOOD, PASS)
    assert found.host is not None
    assert found.host.asked_s == pytest.approx(0.4 / bench.board.clock_rate)
    assert found.host.measured_s >= found.host.asked_s
    assert found.measured_s == pytest.approx(found.host.measured_s * bench.board.clock_rate)
    assert found.host.switch_s > 0
    assert found.host.last_byte_s is None or found.host.last_byte_s > 0
    assert found.boots == "ota_1 VALID runs"
    assert found.otadata_at_cut == found.otadata_at_end == ["seq 0x1 VALID", "seq 0x2 VALID"]
    log = (tmp_path / "cut" / "console.log").read_bytes()
    assert log.count(b"@rig - start ") == 3
    assert json.loads((tmp_path / "cut" / "trace.json").read_text())["verdict"] == "pass"


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (BenchFault("the relay does not answer"), BENCH),
        (FirmwareFault("not confirmed"), FAIL),
        (Inconclusive("no way to tell"), UNSURE),
        (AgentTimeout("no answer to 'ping'"), UNSURE),
    ],
)
def test_a_cut_that_breaks_off_is_recorded_with_what_it_said(bench, tmp_path, error, verdict):
    def fail(_):
        raise error

    scenario = replace(find("update-ok"), run=fail)
    found = Cutting(scenario, bench.board, bench.shelf, OnEvent("shutdown")).cut(1, 0.0, tmp_path / "cut")
    assert (found.outcome, found.verdict, found.measured_s, found.boots) == (None, verdict, None, "")
    assert found.reason == error.what
    assert (tmp_path / "cut" / "console.log").read_bytes()


def test_what_would_go_wrong_every_time_is_raised(bench, tmp_path):
    scenario = replace(find("update-ok"), run=lambda trial: trial.set_boot("ota_7"))
    with pytest.raises(UserError, match="no slot 'ota_7'"):
        Cutting(scenario, bench.board, bench.shelf, OnEvent("shutdown")).cut(1, 0.0, tmp_path / "cut")
