"""An app that deviates is found out, each kind with the right verdict and words; see test_faulty_bootloaders.py."""

from __future__ import annotations

import dataclasses
import re

import pytest

from rig.evidence.records import Verdict
from rig.idf.otadata import ImageState, make_entry
from rig.updates.agent import RULES
from tests.qualification.states import entry
from tests.rig import faulty
from tests.rig.stories import (
    NEW,
    PENDING,
    VALID,
    holds_a_new_app,
    holds_an_aborted_app,
    is_confirmed,
    is_offered_a_corrupt_image,
    is_pinged_on_probation,
    is_told_to_reject_its_only_app,
    is_updated_on_probation,
    names,
    starts_for_the_first_time,
    updates_itself,
    updates_itself_and_says_little,
    verdict_of,
    waits_to_be_confirmed_before_restart,
)

FAIL, UNSURE = Verdict.FIRMWARE_FAIL, Verdict.INCONCLUSIVE
ENTRY_0, ENTRY_1 = faulty.OTADATA, faulty.OTADATA + 0x1000
LOADED = "Loaded app from partition at offset "
BOOTS_ABORTED = faulty.taking(ImageState.ABORTED, ImageState.VALID)


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
    # confirms without writing
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
    # other otadata than flash holds
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
    # what set_boot writes
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
    # accepts what must be refused
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
    monkeypatch.setattr(faulty.DeviceAgent, "serve", lambda self, until=None: self.cpu.hang())
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
