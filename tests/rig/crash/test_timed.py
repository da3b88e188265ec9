"""Cuts in real time on a virtual board: they lead where the crash image of the same cut leads, and never stop short."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from rig.boards import kinds
from rig.boards.image_boots import MOST_BOOTS
from rig.boards.inventory import VirtualBoardSection
from rig.crash.chain import MOST_POWER_UPS, Boot
from rig.crash.journal import Journal
from rig.crash.record import record
from rig.crash.scenarios import find
from rig.crash.story import understand
from rig.crash.sweep import Bench as SweepBench
from rig.crash.sweep import sweep
from rig.crash.timed import cut_once
from rig.errors import Inconclusive, NotApplicable, UserError
from rig.evidence import cutting
from rig.evidence.moments import AtMutation, AtStart, OnEvent, OnLine
from rig.evidence.records import Verdict
from rig.idf.otadata import ImageState, make_entry
from rig.virtual.cpu import ResetReason
from rig.virtual.wrong_bootloaders import needs_an_entry
from tests.qualification.states import BLANK, entry
from tests.rig import faulty
from tests.rig.bench import virtual_bench

PATIENCE_S = 10.0
VALID, ABORTED = "VALID", "ABORTED"


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with virtual_bench(tmp_path_factory.mktemp("bench")) as bench:
        yield bench


@pytest.fixture
def cut(bench):
    """Makes one cut: `cut(scenario, moment, delay)`."""

    def make(scenario, moment, delay=0.0, patience=PATIENCE_S):
        return cut_once(find(scenario), bench.trial(), moment, delay, patience)

    return make


def otadata(seen):
    return tuple(BLANK if data == b"\xff" * 32 else data for data in seen.chain.record.entries)


# --- beside the crash images -----------------------------------------------------------------------------------------

IMAGES = [
    # scenario, which mutation of which otadata write
    ("update-ok", "ota_1: none → NEW", "first"),
    ("update-ok", "ota_1: none → NEW", "last"),
    ("update-ok", "ota_1: NEW → PENDING_VERIFY", "first"),
    ("update-ok", "ota_1: NEW → PENDING_VERIFY", "last"),
    ("update-ok", "ota_1: PENDING_VERIFY → VALID", "first"),
    ("update-ok", "ota_1: PENDING_VERIFY → VALID", "last"),
    ("rollback", "ota_1: PENDING_VERIFY → ABORTED", "first"),
    ("update-stale-otadata", "ota_1: ABORTED → none", "first"),
    ("update-erased-otadata", "ota_0: none → VALID", "first"),
    ("choose-again", "ota_1: VALID → NEW", "first"),
    ("back-to-factory", "otadata: written → erased", "first"),
]


@pytest.fixture(scope="module")
def swept(bench, tmp_path_factory):
    """Story and sweep of a scenario's crash images, made once."""
    made = {}
    section = VirtualBoardSection(name="images", kind="virtual", chip="esp32c3")

    def of(scenario):
        if scenario not in made:
            folder = tmp_path_factory.mktemp(scenario)
            recording = record(find(scenario), bench.trial())
            booter = SweepBench("images", "virtual", lambda: kinds.image_booter(section, recording.table))
            result = sweep(recording, booter, Journal(folder / "journal", recording, "images"))
            made[scenario] = understand(recording, ""), {cell.number: cell.outcome for cell in result.mutations}
        return made[scenario]

    return of


@pytest.mark.parametrize(("scenario", "change", "which"), IMAGES)
def test_a_cut_at_a_mutation_has_the_class_of_its_crash_image(cut, swept, scenario, change, which):
    story, outcomes = swept(scenario)
    write = next(write for write in story.writes if write.change == change)
    number = write.first if which == "first" else write.last
    seen = cut(scenario, AtMutation(number))
    assert seen.outcome == outcomes[number]
    assert seen.conclusion.verdict is Verdict.PASS
    assert seen.cut.called is None, "the tap itself has cut, in the mutation"


def test_a_mutation_before_the_part_that_matters_is_a_user_error(cut):
    with pytest.raises(UserError, match=r"flash mutation 1 comes before the part of update-ok[\s\S]*number 4"):
        cut("update-ok", AtMutation(1))


# --- other moments ---------------------------------------------------------------------------------------------------


def test_a_cut_on_an_event_on_a_line_and_after_the_start(cut, bench):
    acknowledged = cut("update-ok", OnEvent("ack", {"offset": "8192"}))
    assert acknowledged.outcome == "old app"
    assert acknowledged.left == (entry(1, VALID), b"\xff" * 32)
    on_probation = cut("rollback", OnLine(re.compile(rb"@rig - start .*state=PENDING_VERIFY")))
    assert on_probation.outcome == "update failed, recorded"
    assert otadata(on_probation) == (entry(1, VALID), entry(2, ABORTED))
    confirmed = cut("update-ok", OnEvent("diag", {"result": "confirmed"}))
    assert confirmed.outcome == "new app"
    at_once = cut("update-ok", AtStart())
    assert at_once.outcome == "old app"
    for seen in (acknowledged, on_probation, confirmed, at_once):
        assert seen.cut.moment <= seen.cut.called <= seen.cut.done
        assert seen.conclusion.verdict is Verdict.PASS
    assert bench.chip.powered


def test_a_cut_long_after_the_run_changes_nothing(cut):
    seen = cut("update-ok", OnEvent("ready", {"running": "ota_1"}), 60.0)
    assert seen.outcome == "new app"
    assert seen.cut.called >= seen.cut.moment + seen.cut.delay > seen.cut.moment


def test_a_cut_some_time_after_a_mutation_waits_for_it(cut, bench):
    seen = cut("update-ok", AtMutation(400), 0.1)
    assert seen.cut.called >= seen.cut.moment + seen.cut.delay > seen.cut.moment
    assert seen.conclusion.verdict is Verdict.PASS
    log = (b"".join(chunk.data for chunk in seen.conclusion.witnesses.chunks)).split(b"rst:")[1]
    assert b" ack offset=" in log


def test_a_run_that_turns_power_on_by_itself_stays_cut(cut):
    """The first step of this one is a power cycle, in the middle of which the cut falls."""
    seen = cut("update-erased-otadata", AtStart())
    assert seen.outcome == "old app"
    assert seen.chain.stages[0].boots == (Boot("ota_0", VALID, "runs"),)
    assert [record.slot for record in seen.conclusion.records] == ["ota_0"] * len(seen.chain.stages)


def test_a_moment_that_never_comes_is_inconclusive_and_cuts_nothing(cut, bench, monkeypatch):
    monkeypatch.setattr(cutting, "CUT_TIMEOUT_S", 0.1)
    with pytest.raises(Inconclusive, match="the event bad_line never came, so power was not cut there"):
        cut("update-ok", OnEvent("bad_line"))
    assert bench.chip.powered


def test_burning_efuses_again_and_again_is_not_applicable(cut, bench):
    with pytest.raises(NotApplicable, match=r"burns eFuses[\s\S]*rig crash sweep secure-version-raised"):
        cut("secure-version-raised", AtStart())
    assert bench.chip.efuse.secure_version == 0


# --- boards that do not come back ------------------------------------------------------------------------------------


def test_a_board_that_is_bricked_is_unbootable_and_a_firmware_fail(cut, monkeypatch):
    faulty.bootloader(needs_an_entry)(monkeypatch)
    seen = cut("update-ok", AtMutation(425))
    assert seen.outcome == "unbootable"
    assert seen.chain.last.end == "nothing bootable"
    assert seen.conclusion.verdict is Verdict.FIRMWARE_FAIL


def test_a_board_that_hangs_is_an_outcome(bench, monkeypatch):
    scenario = replace(find("update-ok"), run=lambda trial: faulty.dead("ota_0")(monkeypatch))
    seen = cut_once(scenario, bench.trial(), AtStart(), 0.0, patience=0.5)
    assert seen.outcome == "hangs"
    assert seen.chain.stages[-1].boots == (Boot("ota_0", None, "hangs"),)
    assert seen.conclusion.verdict is not Verdict.PASS


def test_a_board_whose_app_restarts_for_ever_is_an_outcome(bench, monkeypatch):
    def break_app(_):
        faulty.ota(state=lambda self, slot: self.cpu.restart(ResetReason.SOFTWARE))(monkeypatch)

    scenario = replace(find("update-ok"), run=break_app)
    seen = cut_once(scenario, bench.trial(), AtStart(), 0.0, PATIENCE_S)
    assert seen.outcome == "restarts for ever"
    assert seen.chain.stages[-1].boots == (Boot("ota_0", None, "restarts"),) * MOST_BOOTS


def test_a_board_that_never_settles_is_followed_only_so_far(bench, monkeypatch):
    """Each app that starts confirms by writing a record that is newer than the one before."""
    records = iter(range(3, 99, 2))
    scenario = replace(
        find("update-ok"),
        run=lambda trial: faulty.ota(state=lambda self, slot: restless(self, next(records)))(monkeypatch),
    )

    def restless(ota, seq):
        faulty.program(faulty.OTADATA, make_entry(seq, ImageState.VALID).pack())(ota)
        return "ESP_OK", VALID

    seen = cut_once(scenario, bench.trial(), AtStart(), 0.0, PATIENCE_S)
    assert seen.outcome == "not settled"
    assert len(seen.chain.stages) == MOST_POWER_UPS
    assert seen.conclusion.verdict is Verdict.FIRMWARE_FAIL


def test_what_the_judge_finds_is_no_outcome(cut, monkeypatch):
    """A hazard's name says what became of the update; that the board did it otherwise than ESP-IDF is another thing."""
    faulty.never_writing(monkeypatch)
    seen = cut("rollback", OnEvent("start", {"state": "NEW"}))
    assert seen.outcome == "new app on probation"
    assert seen.conclusion.verdict is Verdict.FIRMWARE_FAIL
    assert "rollback is not enabled in this bootloader" in seen.conclusion.reason
