"""What an app is told about its slots."""

from __future__ import annotations

import pytest

from rig.idf import ota_ops as ota
from rig.idf.errors import FormatError
from rig.idf.otadata import make_entry
from rig.idf.partitions import Partition, PartitionTable
from rig.idf.vectors import layout_table
from tests.rig.idf.model import ABORTED, INVALID, VALID, App


def test_the_state_is_that_of_the_first_entry_of_the_slot_not_the_newest() -> None:
    app = App("n2", make_entry(1, ABORTED), make_entry(3, VALID))
    assert app.call(ota.esp_ota_get_state_partition(app.ctx, "ota_0")) == ("ESP_OK", ABORTED)
    assert app.call(ota.esp_ota_get_state_partition(app.ctx, "ota_1")) == ("ESP_ERR_NOT_FOUND", None)
    assert app.call(ota.esp_ota_get_state_partition(app.ctx, None)) == ("ESP_ERR_INVALID_ARG", None)


def test_factory_and_test_have_no_state() -> None:
    app = App("f1t")
    for slot in ("factory", "test"):
        assert app.call(ota.esp_ota_get_state_partition(app.ctx, slot)) == ("ESP_ERR_NOT_SUPPORTED", None)


def test_the_last_invalid_slot_is_the_older_failure_and_must_verify() -> None:
    entries = make_entry(3, ABORTED), make_entry(2, INVALID)
    assert App("n2", *entries).call(ota.esp_ota_get_last_invalid_partition(App("n2", *entries).ctx)) == "ota_1"
    broken = App("n2", *entries, ota_1="badhash:1")
    assert broken.call(ota.esp_ota_get_last_invalid_partition(broken.ctx)) is None


@pytest.mark.parametrize(
    ("layout", "running", "following"),
    [
        ("f2", "factory", "ota_0"),
        ("n2", "ota_0", "ota_1"),
        ("n2", "ota_1", "ota_0"),
        ("n16t", "ota_15", "ota_0"),
        ("n3t", "test", "ota_0"),
        ("n1", "ota_0", "ota_0"),
        ("f0", "factory", None),
    ],
)
def test_updates_go_round_the_slots(layout: str, running: str, following: str | None) -> None:
    assert ota.esp_ota_get_next_update_partition(App(layout, running=running).ctx) == following


def test_the_boot_partition_falls_back_to_factory_or_the_first_slot() -> None:
    for layout, slot in (("f2", "factory"), ("n2", "ota_0")):
        app = App(layout)
        assert app.call(ota.esp_ota_get_boot_partition(app.ctx)) == slot
        app.flash.load(0xD000, make_entry(2, VALID)._replace(crc=0).pack())
        assert app.call(ota.esp_ota_get_boot_partition(app.ctx)) == slot
        assert app.lines == ["E ota data invalid, no current app. Assuming factory"]


def test_sixteen_slots_and_a_test_app_end_in_an_assertion() -> None:
    app = App("n16t", make_entry(1, VALID))
    with pytest.raises(ota.AppAssert, match="ota_app_count < 16"):
        app.call(ota.esp_ota_get_boot_partition(app.ctx))
    plain = App("n16", make_entry(16, VALID))
    assert plain.call(ota.esp_ota_get_boot_partition(plain.ctx)) == "ota_15"


def test_running_from_a_slot_the_table_does_not_have_is_an_error() -> None:
    app = App("n2", running="ota_9")
    with pytest.raises(FormatError, match="'ota_9'"):
        app.call(ota.esp_ota_begin(app.ctx, "ota_0", 0))


def test_the_app_goes_by_the_first_of_two_otadata_partitions() -> None:
    extra = Partition("otadata2", 1, 0, 0x40000, 0x2000)
    table = PartitionTable((*layout_table("n2").entries, extra))
    app = App(table, make_entry(1, VALID))
    app.flash.load(0x40000, make_entry(2, VALID).pack())
    assert app.call(ota.esp_ota_get_boot_partition(app.ctx)) == "ota_0"
