"""Every outcome that hurts says what helps, and where that is written."""

from __future__ import annotations

import pytest

from rig.crash.hazards import REMEDIES, remedy_of
from rig.crash.outcomes import CLASSES
from rig.evidence.records import Severity

HURTS = [name for name, meaning in CLASSES.items() if meaning.severity is not Severity.GOOD]


@pytest.mark.parametrize("outcome", HURTS)
def test_an_outcome_that_hurts_has_a_remedy(outcome: str) -> None:
    known = remedy_of(outcome, "a cut at ota_1: none → NEW")
    assert known.what
    assert known.remedy
    assert known.source


def test_there_is_no_remedy_for_what_needs_none_or_does_not_exist() -> None:
    assert set(REMEDIES) == set(HURTS)


def test_a_confirmation_lost_by_choosing_the_same_slot_again_has_a_remedy_of_its_own() -> None:
    again = remedy_of("confirmation lost", "a cut at ota_1: VALID → NEW")
    assert "esp_ota_set_boot_partition()" in again.remedy
    assert again != remedy_of("confirmation lost", "a cut at ota_1: PENDING_VERIFY → VALID")
    assert again != remedy_of("confirmation lost", "a cut at ota_1: INVALID → NEW")
    assert remedy_of("degraded otadata", "a cut at ota_1: VALID → NEW") == REMEDIES["degraded otadata"]
