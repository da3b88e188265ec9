"""Where an update goes, which states it passes through, and which updates are refused."""

import pytest

from rig.updates.uart import UartFaults
from tests.qualification.states import BLANK, entry

requirement = pytest.mark.requirement


@requirement(
    "UPD-01",
    "From the factory app the first update goes to ota_0: NEW once, PENDING_VERIFY while it runs unconfirmed, VALID after it confirms.",
)
def test_first_update_from_factory_goes_to_ota_0(trial):
    trial.install("factory")
    trial.boot()
    trial.update("2.0.0")
    trial.restart()
    trace = trial.finish()
    assert trace.transitions == [
        ("ota_0", "none", "NEW", "app"),
        ("ota_0", "NEW", "PENDING_VERIFY", "bootloader"),
        ("ota_0", "PENDING_VERIFY", "VALID", "app"),
    ]
    assert trace.booted == ["factory", "ota_0"]
    assert trace.otadata == (entry(1, "VALID"), BLANK)


@requirement("UPD-02", "Without a factory app ota_0 is running, so the first update goes to ota_1.")
def test_first_update_without_factory_goes_to_ota_1(trial):
    trial.install("rollback")
    trial.boot()
    trial.update("2.0.0")
    trial.restart()
    trace = trial.finish()
    assert trace.transitions == [
        ("ota_0", "none", "VALID", "bootloader"),
        ("ota_1", "none", "NEW", "app"),
        ("ota_1", "NEW", "PENDING_VERIFY", "bootloader"),
        ("ota_1", "PENDING_VERIFY", "VALID", "app"),
    ]
    assert trace.booted == ["ota_0", "ota_1"]
    assert trace.otadata == (entry(1, "VALID"), entry(2, "VALID"))


@requirement("UPD-03", "Further updates alternate between ota_0 and ota_1.")
def test_updates_alternate_between_two_slots(trial):
    trial.install("factory")
    trial.boot()
    for version in ("2.0.0", "3.0.0", "4.0.0"):
        trial.update(version)
        trial.restart()
    trace = trial.finish()
    assert trace.booted == ["factory", "ota_0", "ota_1", "ota_0"]
    assert trace.versions == ["1.0.0", "2.0.0", "3.0.0", "4.0.0"]
    assert trace.otadata == (entry(3, "VALID"), entry(2, "VALID"))


@requirement("UPD-04", "With three slots, updates go round all three.")
def test_updates_go_round_three_slots(trial):
    trial.install("three_slots")
    trial.boot()
    for version in ("2.0.0", "3.0.0", "4.0.0", "5.0.0"):
        trial.update(version)
        trial.restart()
    trace = trial.finish()
    assert trace.booted == ["ota_0", "ota_1", "ota_2", "ota_0", "ota_1"]
    assert trace.versions == ["1.0.0", "2.0.0", "3.0.0", "4.0.0", "5.0.0"]


@requirement("UPD-05", "An update is NEW until its first boot and PENDING_VERIFY from then on until it confirms.")
def test_new_is_seen_once(trial):
    trial.install("rollback")
    trial.boot()
    trial.diagnostics("manual")
    trial.update("2.0.0")
    assert trial.state("ota_1") == "NEW"
    start = trial.restart()
    assert (start.slot, start.state) == ("ota_1", "PENDING_VERIFY")
    assert trial.state("ota_1") == "PENDING_VERIFY"
    trial.confirm()
    assert trial.state("ota_1") == "VALID"
    start = trial.reset()
    assert (start.slot, start.state) == ("ota_1", "VALID")
    trace = trial.finish()
    assert trace.transitions == [
        ("ota_0", "none", "VALID", "bootloader"),
        ("ota_1", "none", "NEW", "app"),
        ("ota_1", "NEW", "PENDING_VERIFY", "bootloader"),
        ("ota_1", "PENDING_VERIFY", "VALID", "app"),
    ]


@requirement("UPD-06", "While an app is PENDING_VERIFY a further update is refused and nothing is written.")
def test_update_is_refused_while_pending(trial):
    trial.install("rollback")
    trial.boot()
    trial.diagnostics("manual")
    trial.update("2.0.0")
    trial.restart()
    before = trial.slot_hash("ota_0")
    assert trial.update_error("3.0.0") == "ESP_ERR_OTA_ROLLBACK_INVALID_STATE"
    assert trial.slot_hash("ota_0") == before
    trial.confirm()
    trace = trial.finish()
    assert trace.booted == ["ota_0", "ota_1"]
    assert trace.otadata == (entry(1, "VALID"), entry(2, "VALID"))


@requirement("UPD-07", "An image that arrives corrupt is refused, never becomes NEW and is never booted.")
@pytest.mark.parametrize(
    "offset", [pytest.param(0x40, id="in the app description"), pytest.param(-1, id="in the appended hash")]
)
def test_a_corrupt_image_is_refused(trial, offset):
    trial.install("rollback")
    trial.boot()
    assert trial.update_error("2.0.0", flip=offset) == "ESP_ERR_OTA_VALIDATE_FAILED"
    trial.restart()
    trace = trial.finish()
    assert trace.transitions == [("ota_0", "none", "VALID", "bootloader")]
    assert trace.booted == ["ota_0", "ota_0"]


@requirement("UPD-08", "A truncated image is refused, never becomes NEW and is never booted.")
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.999])
def test_a_truncated_image_is_refused(trial, kept):
    trial.install("rollback")
    trial.boot()
    assert trial.update_error("2.0.0", keep=kept) == "ESP_ERR_OTA_VALIDATE_FAILED"
    trial.restart()
    trace = trial.finish()
    assert trace.transitions == [("ota_0", "none", "VALID", "bootloader")]
    assert trace.booted == ["ota_0", "ota_0"]


@requirement("UPD-09", "Something that is not an app for this chip is refused and never booted.")
@pytest.mark.parametrize("what", ["html page", "image for another chip"])
def test_a_wrong_file_is_refused(trial, what):
    data = b"<!doctype html><title>404</title>" * 40 if what == "html page" else trial.image_for_another_chip("2.0.0")
    trial.install("rollback")
    trial.boot()
    assert trial.update_error(data) == "ESP_ERR_OTA_VALIDATE_FAILED"
    trial.restart()
    trace = trial.finish()
    assert trace.transitions == [("ota_0", "none", "VALID", "bootloader")]
    assert trace.booted == ["ota_0", "ota_0"]


@requirement("UPD-10", "Lost, doubled and damaged frames of a transfer are repeated; the update succeeds all the same.")
def test_a_disturbed_transfer_succeeds(trial):
    trial.install("rollback")
    trial.boot()
    trial.update("2.0.0", faults=UartFaults(drop_frames={2, 7}, duplicate_frames={4}, damage_frames={5}))
    start = trial.restart()
    assert (start.slot, start.version) == ("ota_1", "2.0.0")
    trace = trial.finish()
    assert trace.booted == ["ota_0", "ota_1"]


@requirement("UPD-11", "A transfer that stops for good leaves the running app and otadata as they were.")
def test_an_abandoned_transfer_changes_nothing(trial):
    trial.install("rollback")
    trial.boot()
    trial.abandon_update("2.0.0", after=0.5)
    trial.reset()
    trace = trial.finish()
    assert trace.transitions == [("ota_0", "none", "VALID", "bootloader")]
    assert trace.booted == ["ota_0", "ota_0"]
