"""Power that the board cuts itself within a flash operation, with no host in the loop (docs/cut-line.md)."""

import pytest

from rig.evidence.cut_hazards import CONFIRMATION_LOST, FAILURE_FORGOTTEN, UPDATE_LOST
from tests.qualification.states import BLANK, entry

requirement = pytest.mark.requirement
pytestmark = pytest.mark.needs("cut_line")

AFTER_ANY_ERASE_US = 450_000
"""Longer than data sheets allow a sector erase to take (W25Q32JV: at most 400 ms)."""


@pytest.fixture
def updating(trial):
    """A board that runs ota_0 and whose next app waits to be told to confirm."""
    trial.install("cut_line", otadata=(entry(1, "VALID"), BLANK))
    trial.boot()
    trial.diagnostics("manual")
    return trial


@requirement("CUT-30", "Power lost a moment after a confirmation began to erase its entry: the old app boots.")
def test_cut_within_the_erase_of_a_confirmation(updating):
    updating.update("2.0.0")
    updating.restart()
    with updating.power_lost_by_line("otadata_erase", delay_us=1000):
        updating.confirm()
    updating.power_on()
    trace = updating.finish()
    assert trace.booted == ["ota_0", "ota_1", "ota_0"]


@requirement(
    "CUT-31",
    "Power lost when a confirmation has erased its entry and not written it: the confirmed app is lost, the old one boots; "
    "reported as a hazard.",
)
def test_cut_right_after_the_erase_of_a_confirmation(updating):
    updating.update("2.0.0")
    updating.restart()
    with updating.power_lost_by_line("otadata_erase", delay_us=AFTER_ANY_ERASE_US):
        updating.confirm()
    updating.power_on()
    trace = updating.finish()
    assert trace.booted == ["ota_0", "ota_1", "ota_0"]
    assert trace.otadata == (entry(1, "VALID"), BLANK)
    assert CONFIRMATION_LOST in trace.hazards


@requirement(
    "CUT-32",
    "Power lost when the bootloader has erased the entry of a new app and not written PENDING_VERIFY: the update vanishes "
    "and the old app boots; reported as a hazard.",
)
@pytest.mark.parametrize(("op", "delay_us"), [("otadata_erase", AFTER_ANY_ERASE_US), ("otadata_program", 0)])
def test_cut_while_the_bootloader_marks_a_new_app(updating, op, delay_us):
    updating.update("2.0.0")
    with updating.power_lost_by_line(op, in_="bootloader", delay_us=delay_us):
        updating.start_restart()
    updating.power_on()
    trace = updating.finish()
    assert trace.booted == ["ota_0", None, "ota_0"]
    assert trace.otadata == (entry(1, "VALID"), BLANK)
    assert UPDATE_LOST in trace.hazards


@requirement(
    "CUT-33",
    "Power lost when the bootloader has erased the entry of a failed app and not written ABORTED: the old app boots, but "
    "the record of the failure is gone; reported as a hazard.",
)
def test_cut_while_the_bootloader_aborts_an_app(updating):
    updating.update("2.0.0")
    updating.restart()
    with updating.power_lost_by_line("otadata_erase", in_="bootloader", delay_us=AFTER_ANY_ERASE_US):
        updating.start_restart()
    updating.power_on()
    trace = updating.finish()
    assert trace.booted == ["ota_0", "ota_1", None, "ota_0"]
    assert trace.otadata == (entry(1, "VALID"), BLANK)
    assert FAILURE_FORGOTTEN in trace.hazards


@requirement(
    "CUT-34", "Power lost within a program of the update's slot leaves the running app and otadata as they were."
)
def test_cut_within_a_program_of_the_slot(updating):
    with updating.power_lost_by_line("slot_program", nth=20, delay_us=100):
        updating.update("2.0.0")
    updating.power_on()
    trace = updating.finish()
    assert trace.transitions == []
    assert trace.booted == ["ota_0", "ota_0"]
    assert trace.otadata == (entry(1, "VALID"), BLANK)
