"""The risky windows of every scenario on the virtual board: those of BOOTLOADER.md, section 1, no more and no fewer.

Written out by hand from that table: who writes, what, to which sector, and what a cut between erase and program gives.
"""

from __future__ import annotations

import pytest

from rig.crash.scenarios import SCENARIOS
from rig.evidence.records import Verdict
from tests.rig.crash.conftest import Swept

BOOT, APP = "bootloader", "app"
# Row 1: "the update vanishes without trace: old app boots, no ABORTED record; if nothing else is selectable: factory".
NEW_TO_PENDING = (BOOT, "ota_1: NEW → PENDING_VERIFY", "active", ["new app silently lost"])
# Row 2: "a confirmed app is lost, the old one boots".
CONFIRM = (APP, "ota_1: PENDING_VERIFY → VALID", "active", ["confirmation lost"])
# Row 3: "old app boots; the record of the failed update is gone, so the same bad image may be fetched again".
ABORT = (BOOT, "ota_1: PENDING_VERIFY → ABORTED", "active", ["failure forgotten"])
# Row 4: "the same".
REJECT = (APP, "ota_1: PENDING_VERIFY → INVALID", "active", ["failure forgotten"])
# Row 5, from v6.0: "that record is gone".
AGAIN_IN_PLACE = (APP, "ota_1: VALID → NEW", "active", ["confirmation lost"])
# Row 6, before v6.0: "rollback target lost, even without a cut".
AGAIN_BESIDE = (APP, "ota_1: VALID → NEW", "inactive", ["rollback target lost"])
# Row 7: "half done: the other entry still wins".
FACTORY = (APP, "otadata: written → erased", "both", ["another app"])
# Row 8: "repeated at the next boot; torn: the entry is neither blank nor valid, will try all partitions at every boot".
FIRST_BOOT = (BOOT, "ota_0: none → VALID", "inactive", ["degraded otadata"])
# Row 9: any other otadata write goes to the inactive entry: "old app boots: safe".

WINDOWS = {
    ("update-ok", "v5.5"): [NEW_TO_PENDING, CONFIRM],
    ("update-rejected", "v5.5"): [NEW_TO_PENDING, REJECT],
    ("rollback", "v5.5"): [NEW_TO_PENDING, ABORT],
    ("update-erased-otadata", "v5.5"): [FIRST_BOOT, NEW_TO_PENDING, CONFIRM],
    ("update-from-factory", "v5.5"): [
        (BOOT, "ota_0: NEW → PENDING_VERIFY", "active", ["new app silently lost"]),
        (APP, "ota_0: PENDING_VERIFY → VALID", "active", ["confirmation lost"]),
    ],
    ("secure-version-raised", "v5.5"): [NEW_TO_PENDING, CONFIRM],
    ("update-stale-otadata", "v5.5"): [NEW_TO_PENDING, CONFIRM],
    ("choose-again", "v5.1"): [AGAIN_BESIDE],
    ("choose-again", "v5.5"): [AGAIN_BESIDE],
    ("choose-again", "v6.0"): [AGAIN_IN_PLACE],
    ("back-to-factory", "v5.5"): [FACTORY],
}
PLACES = pytest.mark.parametrize(("scenario", "idf"), WINDOWS)


def test_every_scenario_has_its_windows_written_down() -> None:
    assert {scenario for scenario, _ in WINDOWS} == set(SCENARIOS)


@PLACES
def test_the_windows_are_those_of_the_table(swept: Swept, scenario: str, idf: str) -> None:
    windows = [window for window in swept(scenario, idf).windows if not window.single_bits]
    assert [(w.writer, w.change, w.sector, w.outcomes) for w in windows] == WINDOWS[scenario, idf]


@PLACES
def test_nothing_is_unbootable_and_the_board_does_as_the_model(swept: Swept, scenario: str, idf: str) -> None:
    record = swept(scenario, idf)
    outcomes = {outcome.name: outcome for outcome in record.outcomes}
    assert outcomes["unbootable"].images == outcomes["unbootable"].model_images == 0
    assert [outcome.name for outcome in record.outcomes if outcome.images != outcome.model_images] == []
    assert [finding for finding in record.findings if finding.kind == "deviation"] == []
    assert record.verdict is Verdict.PASS


@PLACES
def test_most_images_are_covered_by_the_few_that_are_booted(swept: Swept, scenario: str, idf: str) -> None:
    record = swept(scenario, idf)
    assert record.images == sum(cell.images for cell in record.mutations) == sum(o.images for o in record.outcomes)
    assert record.booted < record.images
    if len(record.mutations) > 100:
        assert record.booted < record.images / 10


@pytest.mark.parametrize(("scenario", "idf"), [("update-ok", "v5.5"), ("rollback", "v5.5")])
def test_a_window_lasts_one_erase_and_one_program(swept: Swept, scenario: str, idf: str) -> None:
    """BOOTLOADER.md: typically 45 ms, up to 400 ms for the erase."""
    for window in swept(scenario, idf).windows:
        if not window.single_bits:
            assert (window.mutations, window.typical_ms, window.longest_ms) == (1, 45.7, 403.0)
            assert window.first.endswith("/torn-erase-1")
            assert window.last.endswith("/torn-program-31")


def test_the_download_itself_is_safe(swept: Swept) -> None:
    cells = swept("update-ok").mutations
    download = [cell for cell in cells if " ota_1 at " in cell.text]
    assert len(download) > 150
    assert {(cell.outcome, cell.worst) for cell in download} == {("old app", "old app")}
