"""Scenarios on the virtual board: each can be recorded and writes to otadata what ESP-IDF writes, in that order."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

import pytest

from rig.boards.board import Board
from rig.boards.console import Console
from rig.boards.loader import LoaderFlash
from rig.boards.shelf import SynthesisedShelf
from rig.crash.record import record
from rig.crash.recording import load
from rig.crash.scenarios import SCENARIOS, find
from rig.crash.story import understand
from rig.errors import NotApplicable, UserError
from rig.evidence.trial import Trial
from rig.idf.effects import BurnSecureVersion
from tests.rig.crash.conftest import Recorded

APP, BOOT = "app", "bootloader"
UPDATE_OF_OTA_1 = [
    (APP, "inactive", "ota_1: none → NEW"),
    (BOOT, "active", "ota_1: NEW → PENDING_VERIFY"),
    (APP, "active", "ota_1: PENDING_VERIFY → VALID"),
]
WRITES = {
    ("update-ok", "v5.5"): UPDATE_OF_OTA_1,
    ("update-rejected", "v5.5"): [*UPDATE_OF_OTA_1[:2], (APP, "active", "ota_1: PENDING_VERIFY → INVALID")],
    ("rollback", "v5.5"): [*UPDATE_OF_OTA_1[:2], (BOOT, "active", "ota_1: PENDING_VERIFY → ABORTED")],
    ("update-erased-otadata", "v5.5"): [(BOOT, "inactive", "ota_0: none → VALID"), *UPDATE_OF_OTA_1],
    ("update-from-factory", "v5.5"): [
        (APP, "inactive", "ota_0: none → NEW"),
        (BOOT, "active", "ota_0: NEW → PENDING_VERIFY"),
        (APP, "active", "ota_0: PENDING_VERIFY → VALID"),
    ],
    ("secure-version-raised", "v5.5"): UPDATE_OF_OTA_1,
    # From v5.5 on esp_ota_begin() erases the inactive entry; before, choosing the slot does.
    ("update-stale-otadata", "v5.5"): [(APP, "inactive", "ota_1: ABORTED → none"), *UPDATE_OF_OTA_1],
    ("update-stale-otadata", "v5.1"): [(APP, "inactive", "ota_1: ABORTED → NEW"), *UPDATE_OF_OTA_1[1:]],
    # Before v6.0 the same number goes into the other entry, from then on the same entry is written anew.
    ("choose-again", "v5.1"): [(APP, "inactive", "ota_1: VALID → NEW")],
    ("choose-again", "v5.5"): [(APP, "inactive", "ota_1: VALID → NEW")],
    ("choose-again", "v6.0"): [(APP, "active", "ota_1: VALID → NEW")],
    ("back-to-factory", "v5.5"): [(APP, "both", "otadata: written → erased")],
}
SLOTS = {
    "update-ok": ("ota_0", "ota_1"),
    "update-rejected": ("ota_0", "ota_1"),
    "rollback": ("ota_0", "ota_1"),
    "update-erased-otadata": ("ota_0", "ota_1"),
    "update-from-factory": ("factory", "ota_0"),
    "secure-version-raised": ("ota_0", "ota_1"),
    "update-stale-otadata": ("ota_0", "ota_1"),
    "choose-again": ("ota_1", "ota_1"),
    "back-to-factory": ("ota_0", "factory"),
}
"""The slot that runs at the beginning, and the one that the run chooses."""


def test_every_scenario_is_held_to_its_writes() -> None:
    assert {scenario for scenario, _ in WRITES} == set(SCENARIOS) == set(SLOTS)


@pytest.mark.parametrize(("scenario", "idf"), WRITES)
def test_a_scenario_writes_to_otadata_what_esp_idf_writes(recorded: Recorded, scenario: str, idf: str) -> None:
    made = recorded(scenario, idf)
    before, target = SLOTS[scenario]
    story = understand(made, before)
    of_the_run = [write for write in story.writes if write.first > made.header.begin]
    assert [(write.writer, write.sector, write.change) for write in of_the_run] == WRITES[scenario, idf]
    assert story.target == target


def test_a_recorded_update_reads_as_a_person_would_tell_it(recorded: Recorded) -> None:
    made = recorded("update-ok")
    texts = understand(made, "ota_0").texts[made.header.begin + 1 :]
    told = [text for text, _ in groupby(re.sub(r" at 0x[0-9a-f]+|\d+ bytes of ", "", text) for text in texts)]
    assert told == [
        "erase ota_1",
        "program ota_1",
        "erase otadata[1]: app writes ota_1: none → NEW",
        "program otadata[1]: app writes ota_1: none → NEW",
        "erase otadata[1]: bootloader writes ota_1: NEW → PENDING_VERIFY",
        "program otadata[1]: bootloader writes ota_1: NEW → PENDING_VERIFY",
        "program nvs",
        "erase otadata[1]: app writes ota_1: PENDING_VERIFY → VALID",
        "program otadata[1]: app writes ota_1: PENDING_VERIFY → VALID",
    ]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_recording_says_what_it_was_made_of(recorded: Recorded, scenario: str) -> None:
    made = recorded(scenario)
    header = made.header
    assert (header.scenario, header.kind, header.chip) == (scenario, "virtual", "esp32c3")
    assert (header.variant, header.diagnostics) == (SCENARIOS[scenario].variant, SCENARIOS[scenario].diagnostics)
    assert (header.idf_version, header.flash_size) == ("v5.5", 0x400000)
    assert made.boot_config.rollback
    assert 0 <= header.begin < len(made.mutations)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_comes_before_the_part_that_matters_is_the_first_boot_alone(recorded: Recorded, scenario: str) -> None:
    """It counts itself in its own store, and is not cut; where the first boot is what matters nothing comes before."""
    made = recorded(scenario)
    texts = understand(made, "").texts
    before, first = texts[1 : made.header.begin + 1], texts[made.header.begin + 1]
    assert {re.sub(r".* (of )?(\w+) at .*", r"\2", text) for text in before} == (
        set() if scenario == "update-erased-otadata" else {"nvs"}
    )
    assert "nvs" not in first


def test_a_recording_of_a_board_is_the_same_when_it_was_saved_and_loaded(recorded: Recorded, tmp_path: Path) -> None:
    made = recorded("secure-version-raised")
    assert load(made.save(tmp_path)).fingerprint == made.fingerprint


def test_only_the_confirmation_of_a_higher_secure_version_burns_an_efuse(recorded: Recorded) -> None:
    burns = {
        name: [mutation for mutation in recorded(name).mutations if isinstance(mutation, BurnSecureVersion)]
        for name in SCENARIOS
    }
    assert burns.pop("secure-version-raised") == [BurnSecureVersion(0, 1)]
    assert recorded("secure-version-raised").mutations[-1] == BurnSecureVersion(0, 1)
    assert all(found == [] for found in burns.values())
    assert {recorded(name).header.secure_version for name in SCENARIOS} == {0}


def test_a_scenario_that_there_is_not() -> None:
    assert find("update-ok") is SCENARIOS["update-ok"]
    with pytest.raises(UserError, match="no scenario is called 'update'") as refused:
        find("update")
    assert refused.value.hint is not None
    assert all(name in refused.value.hint for name in SCENARIOS)


def test_a_board_that_does_not_see_its_mutations_cannot_record(tmp_path: Path) -> None:
    blind = Board("blind", "serial", "esp32c3", Console("blind", lambda: None), LoaderFlash(None, "esp32c3"), None)
    trial = Trial(blind, SynthesisedShelf(tmp_path, "esp32c3", "v5.5"), tmp_path)
    with pytest.raises(NotApplicable, match="does not show its flash mutations") as refused:
        record(SCENARIOS["update-ok"], trial)
    assert refused.value.hint is not None
    assert "replay" in refused.value.hint
