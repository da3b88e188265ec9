"""The diagnostics of a new app: their outcome decides, and only while it is PENDING_VERIFY."""

import pytest

from tests.qualification.states import entry

requirement = pytest.mark.requirement


@requirement("DIAG-01", "Diagnostics that pass confirm the app; it is VALID from then on.")
def test_passing_diagnostics_confirm(trial):
    trial.install("rollback")
    trial.boot()
    trial.diagnostics("pass")
    trial.update("2.0.0")
    trial.restart()
    start = trial.restart()
    assert (start.slot, start.state) == ("ota_1", "VALID")
    trace = trial.finish()
    assert trace.booted == ["ota_0", "ota_1", "ota_1"]
    assert trace.otadata == (entry(1, "VALID"), entry(2, "VALID"))


@requirement("DIAG-02", "An app that confirms late stays PENDING_VERIFY until it does.")
def test_late_confirmation(trial):
    trial.install("rollback")
    trial.boot()
    trial.diagnostics("delay", seconds=60)
    trial.update("2.0.0")
    trial.restart()
    assert trial.state("ota_1") == "PENDING_VERIFY"
    trial.wait_confirmed(timeout=120)
    assert trial.state("ota_1") == "VALID"
    trace = trial.finish()
    assert trace.booted == ["ota_0", "ota_1"]
    assert trace.otadata == (entry(1, "VALID"), entry(2, "VALID"))


@requirement(
    "DIAG-03", "A late confirmation that a reset prevents leaves the app unconfirmed: the last good app boots."
)
def test_reset_during_a_late_confirmation(trial):
    trial.install("rollback")
    trial.boot()
    trial.diagnostics("delay", seconds=600)
    trial.update("2.0.0")
    trial.restart()
    trial.reset()
    trace = trial.finish()
    assert trace.otadata == (entry(1, "VALID"), entry(2, "ABORTED"))


@requirement("DIAG-04", "An app that is already VALID runs no diagnostics: a planned failure does not touch it.")
def test_a_valid_app_runs_no_diagnostics(trial):
    trial.install("rollback", otadata=(entry(1, "VALID"), b""))
    trial.boot()
    trial.diagnostics("fail")
    start = trial.restart()
    assert (start.slot, start.state) == ("ota_0", "VALID")
    trace = trial.finish()
    assert trace.transitions == []
    assert trace.booted == ["ota_0", "ota_0"]


@requirement("DIAG-05", "The planned outcome survives the update and a reset before it.")
def test_the_planned_outcome_survives_a_reset(trial):
    trial.install("rollback")
    trial.boot()
    trial.diagnostics("fail")
    trial.reset()
    trial.update("2.0.0")
    trial.restart()
    trial.wait_start()
    trace = trial.finish()
    assert trace.otadata == (entry(1, "VALID"), entry(2, "INVALID"))


@requirement("DIAG-06", "dut.expect of pytest-embedded sees the console of the board.")
def test_dut_expect(trial, dut):
    trial.install("rollback")
    trial.boot()
    match = dut.expect(r"Loaded app from partition at offset (0x[0-9a-f]+)", timeout=10)
    assert int(match.group(1), 16) == trial.offset("ota_0")
    trial.finish()
