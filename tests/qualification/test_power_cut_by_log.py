"""Power switched off at what the board says: what needs only a switch, and nothing that sees the flash."""

import pytest

from rig.evidence.moments import OnEvent
from tests.qualification.states import BLANK, entry

requirement = pytest.mark.requirement
needs = pytest.mark.needs


@needs("timed_cut")
@requirement("CUT-12", "Power lost when the new app is loaded, or says that it is on probation, makes it ABORTED.")
@pytest.mark.parametrize(
    "line",
    [
        pytest.param("Loaded app from partition at offset", id="loaded"),
        pytest.param("start .*state=PENDING_VERIFY", id="on probation"),
    ],
)
def test_cut_at_a_line_of_the_first_boot(trial, line):
    trial.install("rollback", otadata=(entry(1, "VALID"), BLANK))
    trial.boot()
    trial.diagnostics("manual")
    trial.update("2.0.0")
    with trial.power_lost_on_line(line):
        trial.start_restart()
    trial.power_on()
    trace = trial.finish()
    assert trace.transitions == [
        ("ota_1", "none", "NEW", "app"),
        ("ota_1", "NEW", "PENDING_VERIFY", "bootloader"),
        ("ota_1", "PENDING_VERIFY", "ABORTED", "bootloader"),
    ]
    assert trace.booted == ["ota_0", "ota_1", "ota_0"]
    assert trace.otadata == (entry(1, "VALID"), entry(2, "ABORTED"))


@needs("timed_cut")
@requirement(
    "CUT-13",
    "Power lost while an update is being received, when a piece of it was acknowledged, leaves the running app and otadata as they were.",
)
def test_cut_at_an_acknowledged_piece_of_the_update(trial):
    trial.install("rollback", otadata=(entry(1, "VALID"), BLANK))
    trial.boot()
    with trial.power_lost_after(OnEvent("ack")):
        trial.update("2.0.0")
    trial.power_on()
    trace = trial.finish()
    assert trace.transitions == []
    assert trace.booted == ["ota_0", "ota_0"]
    assert trace.otadata == (entry(1, "VALID"), BLANK)
