"""A bootloader that deviates is found out, each kind with the right verdict and words.

The virtual chip runs firmware with a fault (tests/rig/faulty.py), the judge's model stays right. Verdicts are taken
where a person meets them: as the report classifies whatever ended the test.
"""

from __future__ import annotations

import pytest

from rig.evidence.records import Verdict
from rig.idf.otadata import ImageState, make_entry
from rig.virtual.cpu import ResetReason
from tests.rig import faulty
from tests.rig.stories import (
    fails_its_diagnostics,
    holds_a_new_app,
    holds_an_aborted_app,
    is_confirmed,
    names,
    panics_on_probation,
    starts_for_the_first_time,
    updates_itself,
    updates_itself_and_says_all,
    verdict_of,
    waits_to_be_confirmed,
)

FAIL, BENCH, UNSURE = Verdict.FIRMWARE_FAIL, Verdict.BENCH_FAULT, Verdict.INCONCLUSIVE
ENTRY_0, ENTRY_1 = faulty.OTADATA, faulty.OTADATA + 0x1000

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
    # boots what is barred
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
    # does not write PENDING_VERIFY
    ("never writes otadata", faulty.never_writing, updates_itself, ["boot 1: rollback is not enabled"]),
    ("never writes, but says so", faulty.never_writing, updates_itself_and_says_all, ["rollback is not enabled"]),
    ("never writes the first entry", faulty.never_writing, starts_for_the_first_time, ["ota_0 is none for the app"]),
    (
        "erases the entry and does not write it again",
        faulty.writing(lambda _: ()),
        updates_itself,
        ["ota_1 is none for the app, PENDING_VERIFY for the model"],
    ),
    # says another load offset
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
    # writes other bytes
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
    # order of lines
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
