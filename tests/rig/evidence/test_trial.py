"""A board that misbehaves is found out, each kind of deviation with the right verdict and words; a sound one never is.

The virtual chip runs firmware with a fault (tests/rig/faulty.py), the judge's model stays right. Verdicts are taken
where a person meets them: as the report classifies whatever ended the test.
"""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from fixtures.reporting import classify, weigh
from rig.errors import UserError
from rig.evidence import trial as trial_module
from rig.evidence.records import Verdict
from rig.evidence.trial import Trial
from rig.idf.otadata import ImageState, make_entry
from rig.updates.agent import RULES
from rig.virtual.cpu import ResetReason
from tests.qualification.states import BLANK, entry
from tests.rig import faulty
from tests.rig.bench import virtual_bench

NEW, PENDING, VALID, ABORTED = "NEW", "PENDING_VERIFY", "VALID", "ABORTED"
FAIL, BENCH, UNSURE = Verdict.FIRMWARE_FAIL, Verdict.BENCH_FAULT, Verdict.INCONCLUSIVE
OTA_0, OTA_1 = 0x10000, 0x110000
BLOCK = bytes(range(256)) * 16
ENTRY_0, ENTRY_1 = faulty.OTADATA, faulty.OTADATA + 0x1000


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with virtual_bench(tmp_path_factory.mktemp("bench")) as bench:
        yield bench


@pytest.fixture
def trial(bench):
    return bench.trial()


@pytest.fixture
def impatient(monkeypatch):
    """For apps that never come up: fifty times what a start takes here is waited for them."""
    monkeypatch.setattr(trial_module, "START_TIMEOUT_S", 2.0)


def verdict_of(trial, story):
    """What the report says of a test that tells this story and then asks the judge."""
    try:
        story(trial)
        trial.finish()
    except Exception:
        broken = pytest.ExceptionInfo.from_current()
        return weigh(*classify(broken), trial.so_far())
    return Verdict.PASS, ""


# --- what is done to the boards --------------------------------------------------------------------------------------


def starts_for_the_first_time(trial, variant="rollback"):
    trial.install(variant)
    trial.boot()


def updates_itself(trial, variant="rollback"):
    trial.install(variant, otadata=(entry(1, VALID), BLANK))
    trial.boot()
    trial.update("2.0.0")
    trial.restart()


def updates_itself_and_says_all(trial):
    updates_itself(trial, "rollback_debug")


def updates_itself_and_says_little(trial):
    updates_itself(trial, "rollback_quiet")


def waits_to_be_confirmed(trial):
    trial.install("rollback", otadata=(entry(1, VALID), BLANK))
    trial.boot()
    trial.diagnostics("manual")
    trial.update("2.0.0")
    trial.restart()


def is_confirmed(trial):
    waits_to_be_confirmed(trial)
    trial.confirm()


def is_pinged_on_probation(trial):
    waits_to_be_confirmed(trial)
    trial.agent.ping()


def confirms_late(trial):
    trial.install("rollback", otadata=(entry(1, VALID), BLANK))
    trial.boot()
    trial.diagnostics("delay", seconds=60)
    trial.update("2.0.0")
    trial.restart()
    trial.agent.otadata()
    trial.wait_confirmed(20)


def is_reset_on_probation(trial):
    waits_to_be_confirmed(trial)
    trial.reset()


def panics_on_probation(trial):
    trial.install("rollback", otadata=(entry(1, VALID), BLANK))
    trial.boot()
    trial.diagnostics("panic")
    trial.update("2.0.0")
    trial.restart()
    trial.wait_start()


def hangs_on_probation(trial):
    trial.install("rollback", otadata=(entry(1, VALID), BLANK))
    trial.boot()
    trial.diagnostics("hang")
    trial.update("2.0.0")
    trial.restart()
    trial.power_cycle()


def fails_its_diagnostics(trial):
    trial.install("rollback", otadata=(entry(1, VALID), BLANK))
    trial.boot()
    trial.diagnostics("fail")
    trial.update("2.0.0")
    trial.restart()
    trial.wait_start()


def holds_an_aborted_app(trial, variant="rollback"):
    trial.install(variant, otadata=(entry(1, VALID), entry(2, ABORTED)), slots={"ota_1": "2.0.0"})
    trial.boot()


def holds_a_new_app(trial):
    trial.install("rollback", otadata=(entry(1, VALID), entry(2, NEW)), slots={"ota_1": "2.0.0"}, diagnostics="manual")
    trial.boot()


def is_offered_a_corrupt_image(trial):
    trial.install("rollback", otadata=(entry(1, VALID), BLANK))
    trial.boot()
    trial.update_error(trial.corrupt_image("2.0.0"))


def is_told_to_reject_its_only_app(trial):
    trial.install("rollback", otadata=(entry(1, VALID), BLANK))
    trial.boot()
    trial.reject_error()


def is_updated_on_probation(trial):
    waits_to_be_confirmed(trial)
    trial.update_error("3.0.0")


def has_nothing_to_boot(trial):
    trial.install("rollback", slots={"ota_0": trial.corrupt_image("1.0.0"), "ota_1": b""})
    trial.boot_without_app()


def loses_power_while_pending_is_written(trial):
    waits_to_be_confirmed_before_restart(trial)
    with trial.power_lost_at("otadata", kind="program", phase="before"):
        trial.start_restart()
    trial.power_on()


def waits_to_be_confirmed_before_restart(trial):
    trial.install("rollback", otadata=(entry(1, VALID), BLANK))
    trial.boot()
    trial.diagnostics("manual")
    trial.update("2.0.0")


def loses_power_while_it_is_confirmed(trial):
    waits_to_be_confirmed(trial)
    with trial.power_lost_at("otadata", kind="program", phase="torn"):
        trial.confirm()
    trial.power_on()


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


# --- bootloaders that deviate ----------------------------------------------------------------------------------------

LOADED = "Loaded app from partition at offset "
BOOTS_ABORTED = faulty.taking(ImageState.ABORTED, ImageState.VALID)


def label_scribbled(pending):
    yield faulty.Program(ENTRY_1, pending._replace(label=b"x" * 20).pack())


def two_ahead(_):
    """Another sequence number, but of the same slot."""
    yield faulty.Program(ENTRY_1, make_entry(4, ImageState.PENDING_VERIFY).pack())


def other_entry_erased(pending):
    yield faulty.Program(ENTRY_1, pending.pack())
    yield faulty.Erase(ENTRY_0)


BOOTLOADERS = [
    # (a) boots what is barred
    ("boots an ABORTED app", BOOTS_ABORTED, holds_an_aborted_app, [f"'boot: {LOADED}0x110000' is not what the model"]),
    (
        "boots an ABORTED app and prints the offset of the other one",
        faulty.disguised(LOADED, f"{LOADED}0x10000", BOOTS_ABORTED),
        holds_an_aborted_app,
        ["the app says it runs from ota_1, the model boots ota_0"],
    ),
    (
        "boots an INVALID app",
        faulty.taking(ImageState.INVALID, ImageState.VALID),
        fails_its_diagnostics,
        ["boot 2", f"'boot: {LOADED}0x110000' is not what the model prints"],
    ),
    (
        "lets an app on probation start again and again",
        faulty.taking(ImageState.PENDING_VERIFY, ImageState.VALID),
        panics_on_probation,
        ["boot 2", f"'boot: {LOADED}0x110000' is not what the model prints"],
    ),
    # (b) does not write PENDING_VERIFY
    ("never writes otadata", faulty.never_writing, updates_itself, ["boot 1: rollback is not enabled"]),
    ("never writes, but says so", faulty.never_writing, updates_itself_and_says_all, ["rollback is not enabled"]),
    ("never writes the first entry", faulty.never_writing, starts_for_the_first_time, ["ota_0 is none for the app"]),
    (
        "erases the entry and does not write it again",
        faulty.writing(lambda _: ()),
        updates_itself,
        ["ota_1 is none for the app, PENDING_VERIFY for the model"],
    ),
    # (c) says another load offset
    (
        "prints the offset of the other slot",
        faulty.saying(f"{LOADED}0x110000", f"{LOADED}0x10000"),
        updates_itself,
        ["boot 1", f"'boot: {LOADED}0x10000' is not what the model prints"],
    ),
    (
        "prints an offset where no slot is",
        faulty.saying(f"{LOADED}0x110000", f"{LOADED}0x210000"),
        updates_itself,
        ["boot 1", f"'boot: {LOADED}0x210000' is not what the model prints"],
    ),
    # (d) writes other bytes
    (
        "scribbles into seq_label",
        faulty.writing(label_scribbled),
        updates_itself,
        [f"entry 1 is seq 0x2 PENDING_VERIFY, label {'78' * 20}, the model has seq 0x2 PENDING_VERIFY"],
    ),
    (
        "writes another sequence number of the same slot",
        faulty.writing(two_ahead),
        updates_itself,
        ["entry 1 is seq 0x4 PENDING_VERIFY, the model has seq 0x2 PENDING_VERIFY"],
    ),
    (
        "writes into the other sector",
        faulty.elsewhere,
        waits_to_be_confirmed,
        ["entry 0 is seq 0x2 PENDING_VERIFY, the model has seq 0x1 VALID"],
    ),
    (
        "erases the other entry too",
        faulty.writing(other_entry_erased),
        updates_itself,
        ["entry 0 is erased, the model has seq 0x1 VALID"],
    ),
    # (e) order of lines
    (
        "prints a decision after its outcome",
        faulty.swapped("Mapping seq", "otadata[1] is selected as new"),
        updates_itself_and_says_all,
        ["boot 1", "'boot: otadata[1] is selected as new and marked PENDING_VERIFY state' comes at another place"],
    ),
    (
        "says what it chooses after it has loaded it",
        faulty.swapped("No factory image", "Loaded app"),
        starts_for_the_first_time,
        ["'boot: No factory image, trying OTA 0' is not what the model prints"],
    ),
    (
        "says that it wrote otadata before it says what it loads",
        faulty.swapped("Loaded app", "Set actual ota_seq"),
        starts_for_the_first_time,
        ["'boot: Set actual ota_seq=1 in otadata[0]' comes at another place"],
    ),
]


def names(cases):
    return [case[0] for case in cases]


@pytest.mark.parametrize(("what", "fault", "story", "words"), BOOTLOADERS, ids=names(BOOTLOADERS))
def test_a_bootloader_that_deviates_fails(trial, monkeypatch, what, fault, story, words):
    fault(monkeypatch)
    verdict, reason = verdict_of(trial, story)
    assert verdict is FAIL
    headline = reason.splitlines()[0]
    assert [word for word in words if word not in headline] == []
    assert "disagreements:" in reason, "the witnesses side by side belong to it"


@pytest.mark.usefixtures("impatient")
def test_a_bootloader_without_rollback_fails_although_the_test_waits_in_vain_for_it(trial, monkeypatch):
    faulty.never_writing(monkeypatch)
    verdict, reason = verdict_of(trial, panics_on_probation)
    assert verdict is FAIL
    assert "rollback is not enabled in this bootloader" in reason.splitlines()[0]
    assert "the test broke off with: no event 'start' within" in reason


def test_the_details_show_all_three_witnesses(trial, monkeypatch):
    BOOTS_ABORTED(monkeypatch)
    holds_an_aborted_app(trial)
    lines = [[part.strip() for part in line.split("|")] for line in trial.judge().details.splitlines()]
    assert ["", "log", "otadata read back", "model"] in lines
    assert ["load offset", "0x110000", "", "0x10000"] in lines
    assert ["slot", "ota_1", "", "ota_0"] in lines
    assert ["entry 1 after", "", "seq 0x2 ABORTED", "seq 0x2 ABORTED"] in lines


LOST = [
    ("Loaded app", starts_for_the_first_time, LOADED + "0x10000"),
    ("Set actual", starts_for_the_first_time, "Set actual ota_seq=1 in otadata[0]"),
    ("otadata[1] is selected", updates_itself_and_says_all, "otadata[1] is selected as new"),
]


@pytest.mark.parametrize(("text", "story", "words"), LOST, ids=names(LOST))
def test_a_log_that_lost_a_line_is_inconclusive(trial, monkeypatch, text, story, words):
    faulty.saying(text, None)(monkeypatch)
    verdict, reason = verdict_of(trial, story)
    assert verdict is UNSURE
    assert f"lines of the bootloader are missing (boot: {words}" in reason


def test_an_offset_that_no_app_can_have_is_a_damaged_line(trial, monkeypatch):
    faulty.saying(f"{LOADED}0x110000", f"{LOADED}0x111000")(monkeypatch)
    verdict, reason = verdict_of(trial, updates_itself)
    assert verdict is UNSURE
    assert f"lines of the bootloader are missing (boot: {LOADED}0x110000)" in reason


# --- resets that nobody asked for ------------------------------------------------------------------------------------

RESETS = [
    ("brownout", ResetReason.BROWNOUT, faulty.before_loading, "brownout reset (0xf (RTCWDT_BROWN_OUT_RST)): supply"),
    ("brownout after a write", ResetReason.BROWNOUT, faulty.after_pending, "brownout reset"),
    ("power-on", ResetReason.POWERON, faulty.before_loading, "reset reason is 0x1 (POWERON), expected restart, panic"),
    ("power-on after a write", ResetReason.POWERON, faulty.after_pending, "reset reason is 0x1 (POWERON), expected"),
]


@pytest.mark.parametrize(("what", "cause", "when", "words"), RESETS, ids=names(RESETS))
def test_a_reset_by_the_supply_is_a_bench_fault(trial, monkeypatch, what, cause, when, words):
    faulty.resetting(cause, when)(monkeypatch)
    verdict, reason = verdict_of(trial, updates_itself)
    assert verdict is BENCH
    assert words in reason.splitlines()[0]


def test_a_brownout_while_the_app_answers_is_a_bench_fault_although_the_app_restarted(trial, monkeypatch):
    faulty.restarting("confirm", ResetReason.BROWNOUT)(monkeypatch)
    verdict, reason = verdict_of(trial, is_confirmed)
    assert verdict is BENCH
    assert "brownout reset" in reason.splitlines()[0]
    assert "the app started anew before it answered 'confirm'" in reason


def test_an_app_that_restarts_by_itself_instead_of_answering_fails(trial, monkeypatch):
    faulty.restarting("confirm", ResetReason.SOFTWARE)(monkeypatch)
    verdict, reason = verdict_of(trial, is_confirmed)
    assert verdict is FAIL
    assert "the app started anew before it answered 'confirm'" in reason


def test_a_watchdog_reset_between_write_and_app_is_not_blamed_on_what_follows_from_it(trial, monkeypatch):
    faulty.resetting(ResetReason.WATCHDOG, faulty.after_pending)(monkeypatch)
    verdict, reason = verdict_of(trial, holds_a_new_app)
    assert verdict is UNSURE
    assert "boot 0: lines of the bootloader are missing" in reason
    assert trial.judge().booted == [None, "ota_0"]


# --- apps that deviate -----------------------------------------------------------------------------------------------


def confirms_nothing(self):
    return "ESP_OK"


def says_valid(fields):
    return {**fields, "state": "VALID"} if fields["state"] == "PENDING_VERIFY" else fields


def says_valid_entry(fields):
    return {**fields, "entry1": entry(2, VALID).hex()} if fields["state"] == "PENDING_VERIFY" else fields


def as_if_valid(real):
    def otadata(self):
        offset, first, second = real(self)
        return (offset, first, entry(2, VALID)) if second == entry(2, PENDING) else (offset, first, second)

    return otadata


def write_spoilt(real):
    def write(self, data):
        return real(self, bytes([*data[:-1], data[-1] ^ 1]))

    return write


def end_unverified(self):
    self._handle = None
    return "ESP_OK"


SET_BOOT_SKIPS = faulty.program(ENTRY_1, make_entry(4, ImageState.NEW).pack())
SET_BOOT_VALID = faulty.program(ENTRY_1, make_entry(2, ImageState.VALID).pack())
SET_BOOT_SAME_SECTOR = faulty.program(ENTRY_0, make_entry(2, ImageState.NEW).pack())

APPS = [
    # (h) confirms without writing
    (
        "confirms by itself without writing",
        faulty.ota(confirm=confirms_nothing),
        updates_itself,
        ["confirm (app in ota_1) left other otadata than the model"],
        ["entry 1 after    | seq 0x2 PENDING_VERIFY             | seq 0x2 VALID"],
    ),
    (
        "confirms by itself without writing under a bootloader that says little",
        faulty.ota(confirm=confirms_nothing),
        updates_itself_and_says_little,
        ["confirm (app in ota_1) left other otadata than the model"],
        ["entry 1 after    | seq 0x2 PENDING_VERIFY             | seq 0x2 VALID"],
    ),
    (
        "confirms on request without writing",
        faulty.ota(confirm=confirms_nothing),
        is_confirmed,
        ["confirm (app in ota_1) left other otadata than the model"],
        ["entry 1 after    | seq 0x2 PENDING_VERIFY             | seq 0x2 VALID"],
    ),
    (
        "confirms without writing and claims to have",
        faulty.both(faulty.ota(confirm=confirms_nothing), faulty.ota(otadata=as_if_valid(faulty.Ota.otadata))),
        is_confirmed,
        ["entry 1 is seq 0x2 VALID, the model has seq 0x2 PENDING_VERIFY"],
        ["entry 1 after    |", "seq 0x2 VALID"],
    ),
    (
        "cannot confirm",
        faulty.ota(confirm=lambda self: "ESP_FAIL"),
        updates_itself,
        ["confirm (app in ota_1) returned ESP_FAIL, the model ESP_OK"],
        ["returned         | ESP_FAIL                           | ESP_OK"],
    ),
    # (i) other otadata than flash holds
    (
        "reports a sequence number that flash does not hold",
        faulty.telling("start", lambda fields: {**fields, "entry0": entry(9, VALID).hex()}),
        updates_itself,
        ["entry 0 is seq 0x9 VALID, the model has seq 0x1 VALID"],
        ["seq 0x9 VALID"],
    ),
    (
        "reports itself as confirmed before it is",
        faulty.telling("start", says_valid_entry),
        updates_itself,
        ["entry 1 is seq 0x2 VALID, the model has seq 0x2 PENDING_VERIFY"],
        ["seq 0x2 VALID"],
    ),
    (
        "says VALID while it is on probation",
        faulty.telling("start", says_valid),
        updates_itself,
        ["ota_1 is VALID for the app, PENDING_VERIFY for the model"],
        [],
    ),
    (
        "says it runs from the other slot",
        faulty.telling("start", lambda fields: {**fields, "running": "ota_0"}),
        updates_itself,
        ["the app says it runs from ota_0, the model boots ota_1"],
        [],
    ),
    (
        "says another version",
        faulty.telling("start", lambda fields: {**fields, "version": "9.9.9"}),
        starts_for_the_first_time,
        ["version 9.9.9 runs, ota_0 holds version 1.0.0"],
        [],
    ),
    (
        "confirms behind everyone's back",
        faulty.on_ping(lambda session: session.confirm()),
        is_pinged_on_probation,
        ["otadata changed although nothing was asked of the app"],
        ["[1] seq 0x2 PENDING_VERIFY", "[1] seq 0x2 VALID"],
    ),
    # (j) what set_boot writes
    (
        "chooses the update by a sequence number too many",
        faulty.ota(set_boot=SET_BOOT_SKIPS),
        updates_itself,
        ["update ota_1 (app in ota_0) left other otadata than the model"],
        ["entry 1 after    | seq 0x4 NEW                        | seq 0x2 NEW"],
    ),
    (
        "chooses the update as VALID",
        faulty.ota(set_boot=SET_BOOT_VALID),
        updates_itself,
        ["update ota_1 (app in ota_0) left other otadata than the model"],
        ["entry 1 after    | seq 0x2 VALID                      | seq 0x2 NEW"],
    ),
    (
        "chooses the update over the entry of the running app",
        faulty.ota(set_boot=SET_BOOT_SAME_SECTOR),
        updates_itself,
        ["update ota_1 (app in ota_0) left other otadata than the model"],
        ["entry 0 after    | seq 0x2 NEW                        | seq 0x1 VALID"],
    ),
    (
        "writes the image wrong and says it is good",
        faulty.ota(
            write=write_spoilt(faulty.Ota.write),
            end=end_unverified,
            set_boot=faulty.program(ENTRY_1, entry(2, NEW)),
        ),
        updates_itself,
        ["boot 1: log and model disagree: 'esp_image: "],
        ["model against log"],
    ),
    # (k) accepts what must be refused
    (
        "accepts a corrupt image",
        faulty.ota(end=end_unverified, set_boot=faulty.program(ENTRY_1, entry(2, NEW))),
        is_offered_a_corrupt_image,
        ["update ota_1 (app in ota_0) returned ESP_OK, the model ESP_ERR_OTA_VALIDATE_FAILED"],
        ["returned         | ESP_OK                             | ESP_ERR_OTA_VALIDATE_FAILED"],
    ),
    (
        "accepts a rejection with nothing to go back to",
        faulty.ota(rollback_possible=lambda self: True, reject=lambda self: "esp_restart"),
        is_told_to_reject_its_only_app,
        ["reject (app in ota_0) returned ESP_OK, the model ESP_ERR_OTA_ROLLBACK_FAILED"],
        ["returned         | ESP_OK"],
    ),
]


@pytest.mark.parametrize(("what", "fault", "story", "words", "details"), APPS, ids=names(APPS))
def test_an_app_that_deviates_fails(trial, monkeypatch, what, fault, story, words, details):
    fault(monkeypatch)
    verdict, reason = verdict_of(trial, story)
    assert verdict is FAIL
    assert [word for word in words if word not in reason.splitlines()[0]] == []
    assert [text for text in details if text not in reason] == []


def test_an_update_accepted_on_probation_fails(trial, monkeypatch):
    real = faulty.Ota.begin

    def begin(self, slot, size, mode):
        confirmed = dataclasses.replace(self.image.config, rollback=False)
        self.context.config, kept = confirmed, self.context.config
        try:
            return real(self, slot, size, mode)
        finally:
            self.context.config = kept

    monkeypatch.setattr(faulty.Ota, "begin", begin)
    verdict, reason = verdict_of(trial, is_updated_on_probation)
    assert verdict is FAIL
    assert "returned ESP_OK, the model ESP_ERR_OTA_ROLLBACK_INVALID_STATE" in reason.splitlines()[0]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("story", [holds_a_new_app, updates_itself])
def test_an_app_that_never_comes_up_is_inconclusive(trial, monkeypatch, story):
    faulty.dead("ota_1")(monkeypatch)
    verdict, reason = verdict_of(trial, story)
    assert verdict is UNSURE
    assert "no event 'start' within" in reason


def test_an_app_that_never_comes_up_is_not_passed_by_a_test_that_does_not_wait_for_it(trial, monkeypatch):
    faulty.dead("ota_1")(monkeypatch)

    def story(trial):
        waits_to_be_confirmed_before_restart(trial)
        trial.start_restart()
        trial.board.console.expect(re.compile(rb"Disabling RNG.*\n"), timeout=10)

    verdict, reason = verdict_of(trial, story)
    assert verdict is UNSURE
    assert "boot 1: the app in ota_1 was never seen" in reason


def test_an_app_that_falls_silent_after_its_start_is_inconclusive(trial, monkeypatch):
    monkeypatch.setitem(RULES, "otadata", RULES["otadata"]._replace(limit=0.2))
    monkeypatch.setattr(faulty.DeviceAgent, "serve", lambda self, until=None: self._cpu.hang())
    verdict, reason = verdict_of(trial, starts_for_the_first_time)
    assert verdict is UNSURE
    assert "no answer to 'otadata'" in reason


@pytest.mark.usefixtures("impatient")
def test_a_deaf_app_in_the_wrong_slot_fails_although_it_cannot_be_asked(trial, monkeypatch):
    faulty.both(BOOTS_ABORTED, faulty.dead("ota_1"))(monkeypatch)
    verdict, reason = verdict_of(trial, holds_an_aborted_app)
    assert verdict is FAIL
    assert f"'boot: {LOADED}0x110000' is not what the model prints" in reason.splitlines()[0]
    assert "the test broke off with: no event 'start' within" in reason


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
    monkeypatch.setattr(trial_module, "CUT_TIMEOUT_S", 0.1)

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
