"""Back to the last good app: when, and when not."""

import pytest

from rig.evidence.hazards import BARRED_IMAGE_BOOTS, FORWARD_TO_BARRED
from tests.qualification.states import BLANK, entry

requirement = pytest.mark.requirement
needs = pytest.mark.needs

UPDATED = [
    ("ota_0", "none", "VALID", "bootloader"),
    ("ota_1", "none", "NEW", "app"),
    ("ota_1", "NEW", "PENDING_VERIFY", "bootloader"),
]
ABORTED = [*UPDATED, ("ota_1", "PENDING_VERIFY", "ABORTED", "bootloader")]


@requirement("RBK-01", "An app that fails its diagnostics becomes INVALID and the last good app boots.")
def test_failed_diagnostics_go_back(trial):
    trial.install("rollback")
    trial.boot()
    trial.diagnostics("fail")
    trial.update("2.0.0")
    trial.restart()
    trial.wait_start()
    trace = trial.finish()
    assert trace.transitions == [*UPDATED, ("ota_1", "PENDING_VERIFY", "INVALID", "app")]
    assert trace.booted == ["ota_0", "ota_1", "ota_0"]
    assert trace.otadata == (entry(1, "VALID"), entry(2, "INVALID"))


@requirement("RBK-02", "An app that is reset before it confirms becomes ABORTED and the last good app boots.")
def test_reset_before_confirm_goes_back(trial):
    trial.install("rollback")
    trial.boot()
    trial.diagnostics("manual")
    trial.update("2.0.0")
    trial.restart()
    trial.reset()
    trace = trial.finish()
    assert trace.transitions == ABORTED
    assert trace.booted == ["ota_0", "ota_1", "ota_0"]
    assert trace.otadata == (entry(1, "VALID"), entry(2, "ABORTED"))


@requirement(
    "RBK-03",
    "An app that panics, trips its watchdog or restarts before it confirms becomes ABORTED and the last good app boots.",
)
@pytest.mark.parametrize("outcome", ["panic", "watchdog", "reboot"])
def test_crash_before_confirm_goes_back(trial, outcome):
    trial.install("rollback")
    trial.boot()
    trial.diagnostics(outcome)
    trial.update("2.0.0")
    trial.restart()
    trial.wait_start()
    trace = trial.finish()
    assert trace.transitions == ABORTED
    assert trace.booted == ["ota_0", "ota_1", "ota_0"]


@needs("power_cut")
@requirement(
    "RBK-04", "An app that hangs for ever is left by a power cycle: it becomes ABORTED and the last good app boots."
)
def test_hang_and_power_cycle_goes_back(trial):
    trial.install("rollback")
    trial.boot()
    trial.diagnostics("hang")
    trial.update("2.0.0")
    trial.restart()
    trial.power_cycle()
    trace = trial.finish()
    assert trace.transitions == ABORTED
    assert trace.booted == ["ota_0", "ota_1", "ota_0"]


@requirement("RBK-05", "With a factory app, a first update that fails goes back to factory.")
@pytest.mark.parametrize(("outcome", "state"), [("fail", "INVALID"), ("panic", "ABORTED")])
def test_first_update_goes_back_to_factory(trial, outcome, state):
    trial.install("factory")
    trial.boot()
    trial.diagnostics(outcome)
    trial.update("2.0.0")
    trial.restart()
    trial.wait_start()
    trace = trial.finish()
    assert trace.transitions == [
        ("ota_0", "none", "NEW", "app"),
        ("ota_0", "NEW", "PENDING_VERIFY", "bootloader"),
        ("ota_0", "PENDING_VERIFY", state, "app" if state == "INVALID" else "bootloader"),
    ]
    assert trace.booted == ["factory", "ota_0", "factory"]
    assert trace.otadata == (entry(1, state), BLANK)


@requirement("RBK-06", "An app that became INVALID or ABORTED never boots again by itself.")
@pytest.mark.parametrize("outcome", ["fail", "panic"])
def test_a_failed_app_stays_away(trial, outcome):
    trial.install("rollback")
    trial.boot()
    trial.diagnostics(outcome)
    trial.update("2.0.0")
    trial.restart()
    trial.wait_start()
    trial.reset()
    trial.restart()
    trace = trial.finish()
    assert trace.booted == ["ota_0", "ota_1", "ota_0", "ota_0", "ota_0"]


@requirement("RBK-07", "A confirmed app is not rolled back by a later crash or reset.")
def test_a_confirmed_app_stays(trial):
    trial.install("rollback")
    trial.boot()
    trial.update("2.0.0")
    trial.restart()
    trial.crash()
    trial.wait_start()
    trial.reset()
    trace = trial.finish()
    assert trace.booted == ["ota_0", "ota_1", "ota_1", "ota_1"]
    assert trace.otadata == (entry(1, "VALID"), entry(2, "VALID"))


@requirement(
    "RBK-08",
    "A failed app can be booted again on purpose: esp_ota_set_boot_partition makes it NEW and it is on probation once more.",
)
@pytest.mark.parametrize(("outcome", "state"), [("fail", "INVALID"), ("panic", "ABORTED")])
def test_a_failed_app_can_be_chosen_again(trial, outcome, state):
    trial.install("rollback")
    trial.boot()
    trial.diagnostics(outcome)
    trial.update("2.0.0")
    trial.restart()
    trial.wait_start()
    trial.diagnostics("pass")
    trial.set_boot("ota_1")
    start = trial.restart()
    assert (start.slot, start.state) == ("ota_1", "PENDING_VERIFY")
    trace = trial.finish()
    assert trace.transitions[-4:] == [
        ("ota_1", "PENDING_VERIFY", state, "app" if state == "INVALID" else "bootloader"),
        ("ota_1", state, "NEW", "app"),
        ("ota_1", "NEW", "PENDING_VERIFY", "bootloader"),
        ("ota_1", "PENDING_VERIFY", "VALID", "app"),
    ]
    assert trace.booted == ["ota_0", "ota_1", "ota_0", "ota_1"]


@requirement("RBK-09", "After a rollback the next update goes to the slot of the failed app and can succeed.")
def test_update_after_rollback(trial):
    trial.install("rollback")
    trial.boot()
    trial.diagnostics("fail")
    trial.update("2.0.0")
    trial.restart()
    trial.wait_start()
    trial.diagnostics("pass")
    trial.update("3.0.0")
    trial.restart()
    trace = trial.finish()
    assert trace.booted == ["ota_0", "ota_1", "ota_0", "ota_1"]
    assert trace.versions == ["1.0.0", "2.0.0", "1.0.0", "3.0.0"]
    assert trace.otadata == (entry(1, "VALID"), entry(2, "VALID"))


@requirement(
    "RBK-10", "Rolling back to an app whose image is broken is refused: the app stays PENDING_VERIFY and keeps running."
)
def test_rollback_to_a_broken_image_is_refused(trial):
    trial.install(
        "rollback",
        otadata=(entry(1, "VALID"), entry(2, "NEW")),
        slots={"ota_0": trial.corrupt_image("1.0.0"), "ota_1": "2.0.0"},
        diagnostics="manual",
    )
    trial.boot()
    assert trial.reject_error() == "ESP_ERR_OTA_ROLLBACK_FAILED"
    assert trial.state("ota_1") == "PENDING_VERIFY"
    trace = trial.finish()
    assert trace.booted == ["ota_1"]


@requirement(
    "RBK-11", "When the rollback target is broken, ESP-IDF falls forward to the ABORTED app: reported as a hazard."
)
def test_falls_forward_to_an_aborted_app(trial):
    trial.install(
        "rollback",
        otadata=(entry(1, "VALID"), entry(2, "NEW")),
        slots={"ota_0": trial.corrupt_image("1.0.0"), "ota_1": "2.0.0"},
        diagnostics="manual",
    )
    trial.boot()
    trial.reset()
    trace = trial.finish()
    assert trace.booted == ["ota_1", "ota_1"]
    assert trace.otadata == (entry(1, "VALID"), entry(2, "ABORTED"))
    assert FORWARD_TO_BARRED in trace.hazards


@requirement(
    "RBK-12", "With both entries ABORTED and no factory app, ESP-IDF boots ota_0 whatever it is: reported as a hazard."
)
def test_both_aborted_without_factory(trial):
    otadata = (entry(1, "ABORTED"), entry(2, "ABORTED"))
    trial.install("rollback", otadata=otadata, slots={"ota_0": "1.0.0", "ota_1": "2.0.0"})
    trial.boot()
    trace = trial.finish()
    assert trace.booted == ["ota_0"]
    assert trace.otadata == otadata
    assert BARRED_IMAGE_BOOTS in trace.hazards


@requirement("RBK-13", "With both entries ABORTED the factory app boots.")
def test_both_aborted_with_factory(trial):
    otadata = (entry(1, "ABORTED"), entry(2, "ABORTED"))
    trial.install("factory", otadata=otadata, slots={"ota_0": "2.0.0", "ota_1": "3.0.0"})
    trial.boot()
    trace = trial.finish()
    assert trace.booted == ["factory"]
    assert trace.otadata == otadata


@requirement(
    "RBK-14", "Erasing the previous app takes away its record and its image; a later failure has nothing to go back to."
)
def test_erasing_the_previous_app(trial):
    trial.install("rollback")
    trial.boot()
    trial.update("2.0.0")
    trial.restart()
    trial.erase_previous()
    assert trial.reject_error() == "ESP_ERR_OTA_ROLLBACK_FAILED"
    trial.reset()
    trace = trial.finish()
    assert trace.booted == ["ota_0", "ota_1", "ota_1"]
    assert trace.otadata == (BLANK, entry(2, "VALID"))
