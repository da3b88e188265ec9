"""Which hazard a power cut showed follows from the entry it took away and the call it fell into."""

import pytest

from rig.evidence.cut_hazards import CONFIRMATION_LOST, FAILURE_FORGOTTEN, UPDATE_LOST, cut_hazards
from rig.evidence.records import Transition


def lost(before, slot="ota_1"):
    return Transition(slot=slot, before=before, after="none", by="bootloader", boot=1)


@pytest.mark.parametrize(
    ("before", "interrupted", "hazard"),
    [
        ("NEW", [], UPDATE_LOST),
        ("NEW", ["confirm"], UPDATE_LOST),
        ("PENDING_VERIFY", ["confirm"], CONFIRMATION_LOST),
        ("PENDING_VERIFY", ["update", "confirm"], CONFIRMATION_LOST),
        ("PENDING_VERIFY", ["reject"], FAILURE_FORGOTTEN),
        ("PENDING_VERIFY", [], FAILURE_FORGOTTEN),
    ],
)
def test_a_lost_entry_is_the_hazard_of_what_was_being_written(before, interrupted, hazard):
    assert cut_hazards([lost(before)], interrupted) == [hazard]


@pytest.mark.parametrize("before", ["VALID", "INVALID", "ABORTED", "UNDEFINED"])
def test_losing_the_entry_of_a_finished_app_is_none_of_these(before):
    assert cut_hazards([lost(before)], ["update"]) == []


def test_an_entry_that_stays_is_no_hazard():
    steps = [("none", "NEW"), ("NEW", "PENDING_VERIFY"), ("PENDING_VERIFY", "ABORTED")]
    changes = [Transition(slot="ota_1", before=old, after=new, by="bootloader", boot=1) for old, new in steps]
    assert cut_hazards(changes, ["confirm"]) == []


def test_every_loss_of_a_trial_is_told_in_its_order():
    changes = [lost("NEW"), lost("PENDING_VERIFY", "ota_0")]
    assert cut_hazards(changes, ["confirm"]) == [UPDATE_LOST, CONFIRMATION_LOST]


@pytest.mark.parametrize("hazard", [UPDATE_LOST, CONFIRMATION_LOST, FAILURE_FORGOTTEN])
def test_a_hazard_says_what_to_do_and_where_it_comes_from(hazard):
    assert hazard.what
    assert hazard.remedy
    assert ".c " in hazard.source
