"""Power lost at each stage of an update. The windows in which that hurts are ESP-IDF's own (docs/facts.md)."""

import pytest

from rig.evidence.cut_hazards import CONFIRMATION_LOST, FAILURE_FORGOTTEN, UPDATE_LOST
from tests.qualification.states import BLANK, entry

requirement = pytest.mark.requirement
pytestmark = pytest.mark.needs("power_cut", "flash_mutations")


@pytest.fixture
def updating(trial):
    """A board that runs ota_0 and whose next app waits to be told to confirm."""
    trial.install("rollback", otadata=(entry(1, "VALID"), BLANK))
    trial.boot()
    trial.diagnostics("manual")
    return trial


@requirement(
    "CUT-01", "Power lost while the slot is being erased or written leaves the running app and otadata as they were."
)
@pytest.mark.parametrize("phase", ["before", "torn", "after"])
@pytest.mark.parametrize(("kind", "nth"), [("erase", 1), ("erase", 5), ("program", 1), ("program", 20)])
def test_cut_during_download(updating, kind, nth, phase):
    with updating.power_lost_at("ota_1", kind=kind, nth=nth, phase=phase):
        updating.update("2.0.0")
    updating.power_on()
    trace = updating.finish()
    assert trace.transitions == []
    assert trace.booted == ["ota_0", "ota_0"]
    assert trace.otadata == (entry(1, "VALID"), BLANK)


@requirement(
    "CUT-02", "Power lost while the update is being chosen leaves the old app; once it is chosen the new one boots."
)
@pytest.mark.parametrize(
    ("kind", "phase", "slot"),
    [
        ("erase", "before", "ota_0"),
        ("erase", "torn", "ota_0"),
        ("erase", "after", "ota_0"),
        ("program", "torn", "ota_0"),
        ("program", "after", "ota_1"),
    ],
)
def test_cut_while_choosing_the_update(updating, kind, phase, slot):
    with updating.power_lost_at("otadata", kind=kind, phase=phase):
        updating.update("2.0.0")
    updating.power_on()
    trace = updating.finish()
    assert trace.booted == ["ota_0", slot]


@requirement(
    "CUT-03", "Power lost between the update and its first boot changes nothing: the new app boots on probation."
)
def test_cut_between_update_and_first_boot(updating):
    updating.update("2.0.0")
    start = updating.power_cycle()
    assert (start.slot, start.state) == ("ota_1", "PENDING_VERIFY")
    updating.confirm()
    trace = updating.finish()
    assert trace.transitions == [
        ("ota_1", "none", "NEW", "app"),
        ("ota_1", "NEW", "PENDING_VERIFY", "bootloader"),
        ("ota_1", "PENDING_VERIFY", "VALID", "app"),
    ]


@requirement(
    "CUT-04",
    "Power lost in the first boot before the bootloader touched otadata: the new app boots on probation after all.",
)
def test_cut_before_the_first_boot_is_recorded(updating):
    updating.update("2.0.0")
    with updating.power_lost_at("otadata", kind="erase", phase="before"):
        updating.start_restart()
    start = updating.power_on()
    assert (start.slot, start.state) == ("ota_1", "PENDING_VERIFY")
    trace = updating.finish()
    assert trace.booted == ["ota_0", None, "ota_1"]


@requirement(
    "CUT-05",
    "Power lost between erase and write of PENDING_VERIFY: the update vanishes and the old app boots; reported as a hazard.",
)
@pytest.mark.parametrize(("kind", "phase"), [("erase", "after"), ("program", "before"), ("program", "torn")])
def test_cut_while_pending_verify_is_written(updating, kind, phase):
    updating.update("2.0.0")
    with updating.power_lost_at("otadata", kind=kind, phase=phase):
        updating.start_restart()
    updating.power_on()
    trace = updating.finish()
    assert trace.booted == ["ota_0", None, "ota_0"]
    assert UPDATE_LOST in trace.hazards


@requirement(
    "CUT-06",
    "Power lost after PENDING_VERIFY was written and before the app started: the update is ABORTED and the old app boots.",
)
def test_cut_after_pending_verify_was_written(updating):
    updating.update("2.0.0")
    with updating.power_lost_at("otadata", kind="program", phase="after"):
        updating.start_restart()
    updating.power_on()
    trace = updating.finish()
    assert trace.otadata == (entry(1, "VALID"), entry(2, "ABORTED"))


@requirement("CUT-07", "Power lost just before a confirmation is written: the app is ABORTED and the old one boots.")
def test_cut_before_the_confirmation(updating):
    updating.update("2.0.0")
    updating.restart()
    with updating.power_lost_at("otadata", kind="erase", phase="before"):
        updating.confirm()
    updating.power_on()
    trace = updating.finish()
    assert trace.otadata == (entry(1, "VALID"), entry(2, "ABORTED"))


@requirement(
    "CUT-08",
    "Power lost between erase and write of a confirmation: the confirmed app is lost, the old one boots; reported as a hazard.",
)
@pytest.mark.parametrize(("kind", "phase"), [("erase", "after"), ("program", "torn")])
def test_cut_during_the_confirmation(updating, kind, phase):
    updating.update("2.0.0")
    updating.restart()
    with updating.power_lost_at("otadata", kind=kind, phase=phase):
        updating.confirm()
    updating.power_on()
    trace = updating.finish()
    assert trace.booted == ["ota_0", "ota_1", "ota_0"]
    assert CONFIRMATION_LOST in trace.hazards


@requirement("CUT-09", "Power lost after the confirmation was written: the new app stays.")
def test_cut_after_the_confirmation(updating):
    updating.update("2.0.0")
    updating.restart()
    with updating.power_lost_at("otadata", kind="program", phase="after"):
        updating.confirm()
    start = updating.power_on()
    assert (start.slot, start.state) == ("ota_1", "VALID")
    trace = updating.finish()
    assert trace.otadata == (entry(1, "VALID"), entry(2, "VALID"))


@requirement(
    "CUT-10",
    "Power lost between erase and write of a rejection: the old app boots, but the record of the failure is gone; reported as a hazard.",
)
def test_cut_during_a_rejection(updating):
    updating.update("2.0.0")
    updating.restart()
    with updating.power_lost_at("otadata", kind="erase", phase="after"):
        updating.reject()
    updating.power_on()
    trace = updating.finish()
    assert trace.otadata == (entry(1, "VALID"), BLANK)
    assert FAILURE_FORGOTTEN in trace.hazards


@requirement("CUT-11", "An update repeated after a power cut succeeds.")
def test_update_after_a_cut(updating):
    with updating.power_lost_at("ota_1", kind="program", nth=10, phase="torn"):
        updating.update("2.0.0")
    updating.power_on()
    updating.update("2.0.0")
    updating.restart()
    updating.confirm()
    trace = updating.finish()
    assert trace.booted == ["ota_0", "ota_0", "ota_1"]
    assert trace.otadata == (entry(1, "VALID"), entry(2, "VALID"))
