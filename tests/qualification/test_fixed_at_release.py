"""What is fixed at release and no update may touch."""

import pytest

requirement = pytest.mark.requirement


@requirement(
    "NOTE-03",
    "Bootloader, partition table and the slot of the app that updates are the same before and after an update.",
)
def test_an_update_leaves_what_is_fixed(trial):
    trial.install("rollback")
    trial.boot()
    before = trial.slot_hash("ota_0")
    trial.update("2.0.0")
    trial.restart()
    assert trial.slot_hash("ota_0") == before
    trial.finish()
    assert trial.changed_below(trial.offset("ota_0")) == {"nvs", "otadata"}


@requirement("NOTE-04", "A new app built for another partition layout finds the old table: the table in flash decides.")
def test_the_table_in_flash_decides(trial):
    trial.install("rollback", slots={"ota_0": trial.image_of("three_slots", "9.0.0")})
    start = trial.boot()
    assert start.version == "9.0.0"
    trial.update("2.0.0")
    trial.restart()
    trace = trial.finish()
    assert trace.booted == ["ota_0", "ota_1"]
    assert trace.offsets == [hex(trial.offset("ota_0")), hex(trial.offset("ota_1"))]
