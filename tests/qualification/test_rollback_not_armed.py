"""A bootloader without rollback under an app that relies on it must be found out, never passed."""

import pytest

from rig.evidence.records import Verdict

requirement = pytest.mark.requirement


@requirement(
    "ARM-01",
    "A bootloader without rollback is detected: its update stays NEW, and the verdict says that rollback is not enabled.",
)
def test_bootloader_without_rollback_is_found_out(trial):
    trial.install("rollback", bootloader_of="no_rollback")
    trial.boot()
    trial.update("2.0.0")
    start = trial.restart()
    assert (start.slot, start.state) == ("ota_1", "NEW")
    judgement = trial.judge()
    assert judgement.verdict is Verdict.FIRMWARE_FAIL
    assert "rollback is not enabled" in judgement.reason


@requirement(
    "ARM-02",
    "Without rollback in the bootloader an app that crashes at every start is never left: the negative control.",
)
def test_without_rollback_a_crashing_app_loops(trial):
    trial.install("no_rollback")
    trial.boot()
    trial.diagnostics("panic")
    trial.update("2.0.0")
    trial.restart()
    trial.crash()
    start = trial.wait_start()
    assert (start.slot, start.state) == ("ota_1", "UNDEFINED")
    trace = trial.finish()
    assert trace.booted == ["ota_0", "ota_1", "ota_1"]
