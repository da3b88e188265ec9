"""A trial on a virtual board: a sound one passes, a failing bench is not blamed on it, every step leaves witnesses.

Boards that misbehave: test_faulty_bootloaders.py and test_faulty_apps.py.
"""

from __future__ import annotations

import dataclasses
import json

import pytest

from rig.errors import UserError
from rig.evidence import cutting
from rig.evidence.records import Verdict
from rig.evidence.trial import Trial
from rig.idf.otadata import ImageState, make_entry
from tests.qualification.states import BLANK, entry
from tests.rig import faulty
from tests.rig.stories import (
    ABORTED,
    NEW,
    VALID,
    confirms_late,
    fails_its_diagnostics,
    hangs_on_probation,
    has_nothing_to_boot,
    holds_a_new_app,
    holds_an_aborted_app,
    is_confirmed,
    is_offered_a_corrupt_image,
    is_pinged_on_probation,
    is_reset_on_probation,
    is_told_to_reject_its_only_app,
    is_updated_on_probation,
    loses_power_while_it_is_confirmed,
    loses_power_while_pending_is_written,
    panics_on_probation,
    starts_for_the_first_time,
    updates_itself,
    updates_itself_and_says_all,
    updates_itself_and_says_little,
    verdict_of,
    waits_to_be_confirmed,
    waits_to_be_confirmed_before_restart,
)

FAIL, BENCH, UNSURE = Verdict.FIRMWARE_FAIL, Verdict.BENCH_FAULT, Verdict.INCONCLUSIVE
OTA_0, OTA_1 = 0x10000, 0x110000
BLOCK = bytes(range(256)) * 16
ENTRY_0, ENTRY_1 = faulty.OTADATA, faulty.OTADATA + 0x1000
BOOTS_ABORTED = faulty.taking(ImageState.ABORTED, ImageState.VALID)


STORIES = [
    (starts_for_the_first_time, ["ota_0"]),
    (updates_itself, ["ota_0", "ota_1"]),
    (updates_itself_and_says_all, ["ota_0", "ota_1"]),
    (updates_itself_and_says_little, ["ota_0", "ota_1"]),
    (is_confirmed, ["ota_0", "ota_1"]),
    (is_pinged_on_probation, ["ota_0", "ota_1"]),
    (confirms_late, ["ota_0", "ota_1"]),
    (is_reset_on_probation, ["ota_0", "ota_1", "ota_0"]),
    (panics_on_probation, ["ota_0", "ota_1", "ota_0"]),
    (hangs_on_probation, ["ota_0", "ota_1", "ota_0"]),
    (fails_its_diagnostics, ["ota_0", "ota_1", "ota_0"]),
    (holds_an_aborted_app, ["ota_0"]),
    (holds_a_new_app, ["ota_1"]),
    (is_offered_a_corrupt_image, ["ota_0"]),
    (is_told_to_reject_its_only_app, ["ota_0"]),
    (is_updated_on_probation, ["ota_0", "ota_1"]),
    (loses_power_while_pending_is_written, ["ota_0", None, "ota_0"]),
    (loses_power_while_it_is_confirmed, ["ota_0", "ota_1", "ota_0"]),
]


@pytest.mark.parametrize(("story", "slots"), STORIES, ids=[story.__name__ for story, _ in STORIES])
def test_a_sound_board_passes(trial, story, slots):
    assert verdict_of(trial, story) == (Verdict.PASS, "")
    trace = trial.judge()
    assert trace.booted == slots


def test_a_sound_board_without_anything_to_boot_passes(trial):
    assert verdict_of(trial, has_nothing_to_boot) == (Verdict.PASS, "")
    assert set(trial.judge().booted) == {None}


# --- benches that deviate --------------------------------------------------------------------------------------------


class Switch:
    """The chip's supply, which can fail."""

    def __init__(self, power):
        self._power = power
        self.broken = False

    def on(self):
        if not self.broken:
            self._power.on()

    def off(self):
        self._power.off()


@pytest.mark.usefixtures("impatient")
def test_a_board_without_a_sign_of_life_after_power_on_is_a_bench_fault(bench):
    switch = Switch(bench.board.power)
    board = dataclasses.replace(bench.board, power=switch)
    trial = Trial(board, bench.shelf, bench.folder / "dark")

    def story(trial):
        starts_for_the_first_time(trial)
        switch.broken = True
        trial.power_cycle()

    verdict, reason = verdict_of(trial, story)
    assert verdict is BENCH
    assert "no output after the reset: no power, wrong port" in reason.splitlines()[0]
    assert "the test broke off with: no event 'start'" in reason


def test_a_flash_that_was_changed_by_somebody_else_is_noticed(trial, bench):
    other = bench.shelf.app("rollback", "7.7.7")

    def story(trial):
        trial.install("rollback", otadata=(entry(1, VALID), BLANK))
        bench.chip.flash.load(OTA_0, other)
        trial.boot()

    verdict, reason = verdict_of(trial, story)
    assert verdict is FAIL
    assert "version 7.7.7 runs, ota_0 holds version 1.0.0" in reason


# --- power cuts ------------------------------------------------------------------------------------------------------


def test_a_cut_boot_that_wrote_something_else_fails(trial, monkeypatch):
    faulty.writing(lambda _: [faulty.Program(ENTRY_1, make_entry(7, ImageState.VALID).pack())])(monkeypatch)

    def story(trial):
        waits_to_be_confirmed_before_restart(trial)
        with trial.power_lost_at("otadata", kind="program", phase="after"):
            trial.start_restart()
        monkeypatch.undo()
        trial.power_on()

    verdict, reason = verdict_of(trial, story)
    assert verdict is FAIL
    assert "boot 1: otadata and model disagree: no power cut in this boot leaves these entries" in reason


def test_a_cut_confirmation_that_wrote_something_else_fails(trial, monkeypatch):
    faulty.ota(confirm=faulty.program(ENTRY_1, make_entry(2, ImageState.ABORTED).pack()))(monkeypatch)

    def story(trial):
        waits_to_be_confirmed(trial)
        with trial.power_lost_at("otadata", kind="program", phase="after"):
            trial.confirm()
        trial.power_on()

    verdict, reason = verdict_of(trial, story)
    assert verdict is FAIL
    assert "no power cut in confirm (app in ota_1) leaves this otadata" in reason
    assert "entry 1 after    | seq 0x2 ABORTED" in reason


def test_a_cut_that_never_comes_is_inconclusive_and_the_tap_is_disarmed(trial, bench, monkeypatch):
    monkeypatch.setattr(cutting, "CUT_TIMEOUT_S", 0.1)

    def story(trial):
        waits_to_be_confirmed(trial)
        with trial.power_lost_at("otadata", kind="erase", nth=3):
            trial.confirm()

    verdict, reason = verdict_of(trial, story)
    assert verdict is UNSURE
    assert "the erase number 3 in otadata never came, so power was not cut there" in reason
    for _ in range(3):
        bench.board.flash.restore({ENTRY_0: BLOCK})
        bench.board.flash.restore({ENTRY_0: b"\xff" * 0x1000})
    assert bench.chip.powered


def test_a_line_that_never_comes_cuts_nothing_and_is_inconclusive(trial, bench, monkeypatch):
    monkeypatch.setattr(cutting, "CUT_TIMEOUT_S", 0.1)

    def story(trial):
        starts_for_the_first_time(trial)
        with trial.power_lost_on_line("a line that nobody prints"):
            trial.agent.ping()

    verdict, reason = verdict_of(trial, story)
    assert verdict is UNSURE
    assert "a line like 'a line that nobody prints' never came, so power was not cut there" in reason
    assert bench.chip.powered


def test_a_board_that_loses_power_at_a_line_is_not_waited_for(trial, bench):
    starts_for_the_first_time(trial)
    with trial.power_lost_on_line("@rig .* ok data="):
        trial.agent.ping()
        trial.agent.ping()
    assert not bench.chip.powered
    trial.power_on()
    assert trial.finish().booted == ["ota_0", "ota_0"]


def test_an_exception_inside_a_cut_disarms_it(trial, bench):
    starts_for_the_first_time(trial)
    with pytest.raises(ZeroDivisionError), trial.power_lost_at("ota_1", kind="any"):
        raise ZeroDivisionError
    bench.board.flash.restore({OTA_1: BLOCK})
    assert bench.chip.powered


def test_a_board_without_a_tap_says_that_it_cannot_cut(bench):
    trial = Trial(dataclasses.replace(bench.board, tap=None), bench.shelf, bench.folder / "plain")
    starts_for_the_first_time(trial)
    with pytest.raises(UserError, match=r"cannot cut power at a flash mutation \(board bench"):
        trial.power_lost_at("otadata").__enter__()


def test_what_an_interrupted_update_left_in_its_slot_is_read_back(trial, bench):
    trial.install("rollback", otadata=(entry(1, VALID), BLANK), slots={"ota_1": "1.5.0"})
    trial.boot()
    with trial.power_lost_at("ota_1", kind="program", nth=20, phase="torn"):
        trial.update("2.0.0")
    trial.power_on()
    size = len(bench.shelf.app("rollback", "2.0.0"))
    assert trial.witnesses.known.read(OTA_1, size) == bench.chip.flash.read(OTA_1, size)
    assert trial.finish().booted == ["ota_0", "ota_0"]


# --- steps -----------------------------------------------------------------------------------------------------------


def test_install_puts_everything_where_it_belongs(trial, bench):
    trial.install("factory", otadata=(entry(3, VALID), entry(2, ABORTED)), slots={"ota_1": "4.0.0", "ota_0": b"junk"})
    flash, build = bench.chip.flash, bench.shelf.build("factory", "1.0.0")
    for offset, path in build.flash_files.items():
        if path.name != "ota_data_initial.bin":
            assert flash.read(offset, path.stat().st_size) == path.read_bytes()
    assert flash.read(build.otadata_offset, 32) == entry(3, VALID)
    assert flash.read(build.otadata_offset + 0x1000, 32) == entry(2, ABORTED)
    app = bench.shelf.app("factory", "4.0.0")
    assert flash.read(trial.offset("ota_1"), len(app) + 1) == app + b"\xff"
    assert flash.read(trial.offset("ota_0"), 5) == b"junk\xff"


def test_install_with_diagnostics_keeps_only_what_the_app_noted(trial):
    trial.install("rollback", otadata=(entry(1, VALID), entry(2, NEW)), slots={"ota_1": "2.0.0"}, diagnostics="manual")
    assert trial.witnesses.calls == []
    assert trial.witnesses.position == 0
    start = trial.boot()
    assert start == ("ota_1", "2.0.0", "PENDING_VERIFY", "POWERON", "manual")
    assert trial.finish().booted == ["ota_1"]


def test_install_with_the_bootloader_of_another_variant(trial):
    trial.install("rollback", bootloader_of="no_rollback")
    trial.boot()
    trial.update("2.0.0")
    assert trial.restart().state == "NEW"
    assert trial.judge().verdict is FAIL
    assert trial.record()["bootloader"] == trial.firmware.build("no_rollback", "1.0.0").identity["bootloader"]
    assert trial.record()["app_elf"] == trial.build.identity["app_elf"]
    assert trial.record()["bootloader"] != trial.build.identity["bootloader"]


@pytest.mark.parametrize(("flip", "keep"), [(-1, 1.0), (40000, 1.0), (None, 0.5)])
def test_a_refused_update_gives_its_error_and_a_pass(trial, flip, keep):
    starts_for_the_first_time(trial)
    assert trial.update_error("2.0.0", flip=flip, keep=keep) == "ESP_ERR_OTA_VALIDATE_FAILED"
    assert trial.finish().booted == ["ota_0"]


def test_an_update_that_unexpectedly_succeeds_says_esp_ok(trial):
    starts_for_the_first_time(trial)
    assert trial.update_error("2.0.0") == "ESP_OK"


def test_an_abandoned_update_changes_nothing(trial):
    starts_for_the_first_time(trial)
    trial.abandon_update("2.0.0", after=0.5)
    trial.reset()
    assert trial.finish().booted == ["ota_0", "ota_0"]


def test_what_changed_since_the_installation_is_told_by_label(trial, bench):
    starts_for_the_first_time(trial)
    assert trial.changed_below(OTA_0) == {"nvs", "otadata"}
    bench.chip.flash.load(0x8000 + 0x800, b"junk")
    bench.chip.flash.load(OTA_0 + 0x100, b"junk")
    assert trial.changed_below(OTA_0) == {"nvs", "otadata", "bootloader and table"}
    assert trial.changed_below(OTA_0 + 0x101) == {"nvs", "otadata", "bootloader and table", "ota_0"}


def test_steps_before_the_installation_say_what_to_do(trial):
    with pytest.raises(UserError, match=r"nothing is installed yet[\s\S]*trial\.install"):
        trial.update("2.0.0", slot="ota_1")
    assert trial.so_far().verdict is UNSURE


def test_an_unknown_slot_is_a_user_error_that_lists_the_slots(trial):
    starts_for_the_first_time(trial)
    with pytest.raises(UserError, match=r"no slot 'ota_7'[\s\S]*ota_0, ota_1"):
        trial.set_boot("ota_7")


# --- evidence --------------------------------------------------------------------------------------------------------


def test_the_evidence_is_written_with_every_verdict(trial, monkeypatch):
    BOOTS_ABORTED(monkeypatch)
    assert verdict_of(trial, holds_an_aborted_app)[0] is FAIL
    fields = trial.record()
    assert set(fields["evidence"]) >= {"console.log", "console.times", "trace.json", "otadata.txt", "flashing.log"}
    kept = {path.name: path for path in trial.folder.iterdir()}
    assert set(kept) == set(fields["evidence"])
    log = kept["console.log"].read_bytes()
    assert log == b"".join(chunk.data for chunk in trial.witnesses.chunks)
    assert b"Loaded app from partition at offset 0x110000" in log
    sizes = [int(line.split()[1]) for line in kept["console.times"].read_text().splitlines()]
    assert sum(sizes) == len(log)
    trace = json.loads(kept["trace.json"].read_text())
    assert trace["verdict"] == "firmware fail"
    assert [boot["slot"] for boot in trace["boots"]] == ["ota_1"]
    assert trace["otadata"][-1]["entries"][1] == entry(2, ABORTED).hex()
    assert "seq 0x2 ABORTED" in kept["otadata.txt"].read_text()
    assert "Read 8192 bytes from 0x0000d000" in kept["flashing.log"].read_text()


def test_a_test_that_broke_off_leaves_evidence_too(trial):
    starts_for_the_first_time(trial)
    fields = trial.record()
    assert [boot.slot for boot in fields["boots"]] == ["ota_0"]
    assert (trial.folder / "trace.json").exists()
    assert not trial.judged


def test_the_description_names_boots_and_transitions(trial):
    updates_itself(trial)
    trial.finish()
    text = trial.describe()
    assert "boot 1: ota_1, version 2.0.0, reset 0xc (RTC_SW_CPU_RST), state PENDING_VERIFY to VALID" in text
    assert "ota_1: NEW → PENDING_VERIFY  (by bootloader, boot 1)" in text


def test_cuts_are_told_with_their_time(trial):
    loses_power_while_pending_is_written(trial)
    trial.finish()
    cuts = trial.record()["cuts"]
    assert cuts
    assert all(0 <= cut <= trial.elapsed() for cut in cuts)
