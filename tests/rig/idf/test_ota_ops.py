"""The app's OTA calls: return codes, flash mutations and log lines, release by release."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.idf import ota_ops as ota
from rig.idf.bootloader import boot
from rig.idf.config import IDF_VERSIONS, BootConfig
from rig.idf.effects import BurnSecureVersion, Erase, Program
from rig.idf.errors import FormatError
from rig.idf.memory import complete
from rig.idf.otadata import ERASED, make_entry
from rig.idf.partitions import PartitionTable
from rig.idf.vector_images import image
from rig.idf.vectors import layout_table
from tests.rig.idf.model import (
    ABORTED,
    ANTI_ROLLBACK,
    IMAGE,
    INVALID,
    NEW,
    OTA_0,
    OTA_1,
    PENDING,
    ROLLBACK,
    UNDEFINED,
    VALID,
    App,
    erases,
    version,
)

# update


def test_an_update_erases_the_slot_writes_it_and_enters_it_as_new() -> None:
    app = App("n2", make_entry(1, VALID))
    assert app.update("ota_1") == "ESP_OK"
    assert app.mutations == [
        *erases(OTA_1, OTA_1 + 0x1000, OTA_1 + 0x2000),
        Program(OTA_1, IMAGE[:256]),
        Program(OTA_1 + 256, IMAGE[256:]),
        Erase(0xE000),
        Program(0xE000, make_entry(2, NEW).pack()),
    ]
    assert app.lines == []


def test_without_rollback_an_update_is_entered_as_undefined() -> None:
    app = App("n2", make_entry(1, VALID), config=BootConfig())
    assert app.update("ota_1") == "ESP_OK"
    assert app.entries[1] == make_entry(2, UNDEFINED)


@pytest.mark.parametrize(
    ("name", "erased"), [("v4.4", False), ("v5.1", False), ("v5.5", True), ("v6.0", True), ("v6.1", True)]
)
def test_since_v5_5_begin_erases_the_entry_of_the_previous_app(name: str, erased: bool) -> None:
    app = App("n3", make_entry(3, ABORTED), make_entry(4, VALID), config=version(name))
    assert app.call(ota.esp_ota_begin(app.ctx, "ota_1", 1))[0] == "ESP_OK"
    assert app.mutations == erases(OTA_1, 0xD000) if erased else erases(OTA_1)


def test_begin_spares_the_inactive_entry_when_it_is_the_running_apps() -> None:
    app = App("n2", make_entry(1, VALID), make_entry(2, NEW))
    assert app.call(ota.esp_ota_begin(app.ctx, "ota_1", 1))[0] == "ESP_OK"
    assert app.mutations == erases(OTA_1)


@pytest.mark.parametrize(("size", "sectors"), [(0, 3), (1, 1), (0x1000, 1), (0x1001, 2), (ota.OTA_SIZE_UNKNOWN, 3)])
def test_begin_erases_as_many_sectors_as_the_size_needs(size: int, sectors: int) -> None:
    app = App("n2", make_entry(1, VALID))
    assert app.call(ota.esp_ota_begin(app.ctx, "ota_1", size))[0] == "ESP_OK"
    assert app.mutations == erases(*(OTA_1 + 0x1000 * index for index in range(sectors)))


@pytest.mark.parametrize(
    ("slot", "running", "error"),
    [
        (None, "ota_0", "ESP_ERR_INVALID_ARG"),
        ("ota_7", "ota_0", "ESP_ERR_INVALID_ARG"),
        ("factory", "ota_0", "ESP_ERR_INVALID_ARG"),
        ("test", "ota_0", "ESP_ERR_INVALID_ARG"),
        ("ota_0", "ota_0", "ESP_ERR_OTA_PARTITION_CONFLICT"),
    ],
)
def test_begin_refuses_what_is_no_other_ota_slot(slot: str | None, running: str, error: str) -> None:
    app = App("f2t", make_entry(1, VALID), running=running)
    assert app.call(ota.esp_ota_begin(app.ctx, slot, 0)) == (error, None)
    assert app.effects == []


def test_a_second_update_is_refused_while_the_first_is_not_confirmed() -> None:
    app = App("n2", make_entry(1, VALID), make_entry(2, PENDING), running="ota_1")
    assert app.update("ota_0") == "ESP_ERR_OTA_ROLLBACK_INVALID_STATE"
    assert app.lines == ["E Running app has not confirmed state (ESP_OTA_IMG_PENDING_VERIFY)"]
    assert app.mutations == []


@pytest.mark.parametrize("name", IDF_VERSIONS)
def test_v6_1_refuses_to_open_a_slot_twice_and_older_releases_erase_again(name: str) -> None:
    app = App("n2", make_entry(1, VALID), config=version(name))
    _, handle = app.call(ota.esp_ota_begin(app.ctx, "ota_1", 1))
    error, _ = app.call(ota.esp_ota_begin(app.ctx, "ota_1", 1))
    if name == "v6.1":
        assert error == "ESP_ERR_OTA_ALREADY_IN_PROGRESS"
        assert app.mutations == erases(OTA_1)
        assert app.lines == ["E OTA operation already in progress on partition ota_1"]
        assert handle is not None
        assert ota.esp_ota_abort(app.ctx, handle) == "ESP_OK"
        assert ota.esp_ota_abort(app.ctx, handle) == "ESP_ERR_NOT_FOUND"
        assert app.call(ota.esp_ota_begin(app.ctx, "ota_1", 1))[0] == "ESP_OK"
    else:
        assert error == "ESP_OK"
        assert app.mutations == erases(OTA_1, OTA_1)


@pytest.mark.parametrize(("name", "again"), [("v6.0", "ESP_OK"), ("v6.1", "ESP_ERR_OTA_ALREADY_IN_PROGRESS")])
def test_a_size_beyond_the_slot_is_refused_and_v6_1_keeps_the_slot_in_use(name: str, again: str) -> None:
    app = App("n2", make_entry(1, VALID), config=version(name))
    assert app.call(ota.esp_ota_begin(app.ctx, "ota_1", 0x3001)) == ("ESP_ERR_INVALID_SIZE", None)
    assert app.mutations == []
    assert app.call(ota.esp_ota_begin(app.ctx, "ota_1", 1))[0] == again


def test_sequential_writes_erase_each_sector_just_before_it_is_written() -> None:
    app = App("n2", make_entry(1, VALID))
    _, handle = app.call(ota.esp_ota_begin(app.ctx, "ota_1", ota.OTA_WITH_SEQUENTIAL_WRITES))
    assert handle is not None
    assert app.mutations == []
    for size in (0xC00, 0xC00, 0x800):
        assert app.call(ota.esp_ota_write(app.ctx, handle, b"\xe9" * size)) == "ESP_OK"
    assert [effect[0] for effect in app.mutations] == [
        OTA_1,
        OTA_1,
        OTA_1 + 0x1000,
        OTA_1 + 0xC00,
        OTA_1 + 0x1800,
    ]
    assert app.call(ota.esp_ota_write(app.ctx, handle, bytes(0x1001))) == "ESP_ERR_INVALID_SIZE"


def test_a_first_byte_that_is_no_image_is_refused_after_the_erase() -> None:
    app = App("n2", make_entry(1, VALID))
    assert app.update("ota_1", b"<html>", ota.OTA_WITH_SEQUENTIAL_WRITES) == "ESP_ERR_OTA_VALIDATE_FAILED"
    assert app.mutations == erases(OTA_1)
    assert app.lines == ["E OTA image has invalid magic byte (expected 0xE9, saw 0x3c)"]


def test_handles_that_are_not_open_are_refused() -> None:
    app = App("n2", make_entry(1, VALID))
    assert app.call(ota.esp_ota_write(app.ctx, 1, b"x")) == "ESP_ERR_INVALID_ARG"
    assert app.lines == ["E not found the handle"]
    assert app.call(ota.esp_ota_end(app.ctx, 1)) == "ESP_ERR_NOT_FOUND"
    _, handle = app.call(ota.esp_ota_begin(app.ctx, "ota_1", 1))
    assert handle is not None
    assert app.call(ota.esp_ota_write(app.ctx, handle, b"")) == "ESP_OK"
    assert app.call(ota.esp_ota_end(app.ctx, handle)) == "ESP_ERR_INVALID_ARG"
    assert app.call(ota.esp_ota_end(app.ctx, handle)) == "ESP_ERR_NOT_FOUND"


@pytest.mark.parametrize("name", IDF_VERSIONS)
def test_a_corrupt_image_is_refused_at_the_end_and_since_v5_5_esp_ota_ops_says_so(name: str) -> None:
    app = App("n2", make_entry(1, VALID), config=version(name))
    assert app.update("ota_1", image("badhash:7:1")) == "ESP_ERR_OTA_VALIDATE_FAILED"
    assert app.lines == (["E New image failed verification"] if name in ("v5.5", "v6.0", "v6.1") else [])
    assert app.entries[1] == ERASED


# choosing the boot slot


def test_set_boot_factory_erases_both_entries() -> None:
    app = App("f2", make_entry(1, VALID), make_entry(2, VALID), running="ota_1")
    assert app.call(ota.esp_ota_set_boot_partition(app.ctx, "factory")) == "ESP_OK"
    assert app.mutations == erases(0xD000, 0xE000)


def test_set_boot_verifies_first() -> None:
    app = App("n2", make_entry(1, VALID), ota_1="badsum:1")
    assert app.call(ota.esp_ota_set_boot_partition(app.ctx, "ota_1")) == "ESP_ERR_OTA_VALIDATE_FAILED"
    assert app.call(ota.esp_ota_set_boot_partition(app.ctx, None)) == "ESP_ERR_INVALID_ARG"
    assert app.mutations == []


@pytest.mark.parametrize("name", IDF_VERSIONS)
def test_choosing_the_active_slot_again_rewrites_its_entry_since_v6_0_and_the_other_one_before(name: str) -> None:
    app = App("n2", make_entry(1, VALID), make_entry(2, VALID), running="ota_1", config=version(name))
    assert app.call(ota.esp_ota_set_boot_partition(app.ctx, "ota_1")) == "ESP_OK"
    if name in ("v6.0", "v6.1"):
        assert app.entries == [make_entry(1, VALID), make_entry(2, NEW)]
    else:
        assert app.entries == [make_entry(2, NEW), make_entry(2, VALID)]


def test_the_test_app_counts_as_ota_0_when_it_is_chosen() -> None:
    app = App("n2t", make_entry(2, VALID), running="ota_1")
    assert app.call(ota.esp_ota_set_boot_partition(app.ctx, "test")) == "ESP_OK"
    assert app.entries[1] == make_entry(3, NEW)


def test_an_entry_keeps_its_label_bytes() -> None:
    app = App("n2", make_entry(1, VALID), make_entry(2, ABORTED, b"L" * 20))
    assert app.call(ota.esp_ota_set_boot_partition(app.ctx, "ota_1")) == "ESP_OK"
    assert app.entries[1] == make_entry(2, NEW, b"L" * 20)


def test_v6_1_can_choose_without_verifying() -> None:
    app = App("n2", make_entry(1, VALID), config=version("v6.1"), ota_1="erased")
    assert app.call(ota.esp_ota_set_boot_partition_skip_validate(app.ctx, "ota_1")) == "ESP_OK"
    assert app.entries[1] == make_entry(2, NEW)
    with pytest.raises(FormatError, match=r"v6\.1"):
        app.call(ota.esp_ota_set_boot_partition_skip_validate(App().ctx, "ota_1"))


def test_anti_rollback_erases_the_slot_of_an_older_image_that_is_chosen() -> None:
    app = App("n2", make_entry(1, VALID), config=ANTI_ROLLBACK, efuse=2, ota_1="ok:1:1")
    assert app.call(ota.esp_ota_set_boot_partition(app.ctx, "ota_1")) == "ESP_ERR_OTA_SMALL_SEC_VER"
    assert app.mutations == erases(OTA_1, OTA_1 + 0x1000, OTA_1 + 0x2000)
    assert app.lines[0].startswith("E This a new partition can not be booted due to a secure version is lower")


def test_anti_rollback_panics_over_an_image_without_descriptor() -> None:
    app = App("n2", make_entry(1, VALID), config=ANTI_ROLLBACK, ota_1="nodesc:1")
    with pytest.raises(ota.AppAssert, match="ESP_APP_DESC_MAGIC_WORD"):
        app.call(ota.esp_ota_set_boot_partition(app.ctx, "ota_1"))


def test_without_otadata_nothing_can_be_chosen_confirmed_or_asked() -> None:
    table = PartitionTable(tuple(part for part in layout_table("f2").entries if not part.is_otadata))
    app = App(table)
    assert app.call(ota.esp_ota_set_boot_partition(app.ctx, "ota_1")) == "ESP_ERR_NOT_FOUND"
    assert app.call(ota.esp_ota_set_boot_partition(app.ctx, "factory")) == "ESP_ERR_NOT_FOUND"
    assert app.call(ota.esp_ota_mark_app_valid_cancel_rollback(app.ctx)) == "ESP_ERR_NOT_FOUND"
    assert app.call(ota.esp_ota_get_boot_partition(app.ctx)) is None
    assert app.call(ota.esp_ota_get_state_partition(app.ctx, "ota_0")) == ("ESP_ERR_NOT_FOUND", None)
    assert app.call(ota.esp_ota_erase_last_boot_app_partition(app.ctx)) == "ESP_FAIL"
    assert set(app.lines) == {"E not found otadata"}


@pytest.mark.parametrize(
    ("current", "target", "count", "seq"),
    [
        (1, 1, 2, 2),
        (2, 0, 2, 3),
        (1, 2, 3, 3),
        (3, 1, 3, 5),
        (0xFFFFFFFE, 0, 2, 0xFFFFFFFF),
        (0xFFFFFFFE, 0, 3, 0xFFFFFFFF),
        (0xFFFFFFFE, 1, 5, 0xFFFFFFFF),
        (0x80000000, 0, 2, 0x80000001),
    ],
)
def test_sequence_numbers_are_those_of_the_c_code(current: int, target: int, count: int, seq: int) -> None:
    assert ota.next_seq(current, target, count) == seq


@given(st.integers(0, 200), st.integers(1, 16), st.integers(0, 15))
def test_the_next_number_is_the_smallest_that_boots_the_target(current: int, count: int, target: int) -> None:
    target %= count
    seq = (target + 1) % count
    while seq < current:
        seq += count
    assert ota.next_seq(current, target, count) == seq


@given(st.integers(0xFFFFFF00, 0xFFFFFFFE), st.sampled_from([3, 5, 6, 7, 9, 10, 11, 13, 15]), st.integers(0, 15))
def test_near_the_limit_the_number_wraps_until_it_is_large_enough(current: int, count: int, target: int) -> None:
    seq = ota.next_seq(current, target % count, count)
    assert current <= seq <= 0xFFFFFFFF


@pytest.mark.parametrize("count", [4, 8, 16])
def test_near_the_limit_a_power_of_two_of_slots_never_finds_a_number(count: int) -> None:
    with pytest.raises(ota.AppHang):
        ota.next_seq(0xFFFFFFFE, 0, count)


# confirm, reject, erase


def test_confirming_marks_the_active_entry_even_if_another_slot_runs() -> None:
    app = App("n2", make_entry(1, VALID), make_entry(2, NEW))
    assert app.call(ota.esp_ota_mark_app_valid_cancel_rollback(app.ctx)) == "ESP_OK"
    assert app.entries[1] == make_entry(2, VALID)
    before = len(app.effects)
    assert app.call(ota.esp_ota_mark_app_valid_cancel_rollback(app.ctx)) == "ESP_OK"
    assert len(app.effects) == before, "a second confirmation writes nothing"


def test_confirming_with_anti_rollback_burns_the_running_apps_version() -> None:
    app = App("n2", make_entry(1, PENDING), config=ANTI_ROLLBACK, ota_0="ok:1:3")
    assert app.call(ota.esp_ota_mark_app_valid_cancel_rollback(app.ctx)) == "ESP_OK"
    assert app.mutations[-1] == BurnSecureVersion(0, 3)
    assert app.flash.secure_version == 3


@pytest.mark.parametrize(("burnt", "spec", "error"), [(4, "ok:1:3", "ESP_FAIL"), (0, "ok:1:33", "ESP_ERR_INVALID_ARG")])
def test_an_efuse_that_cannot_follow_is_an_error_of_the_confirmation(burnt: int, spec: str, error: str) -> None:
    app = App("n2", make_entry(1, PENDING), config=ANTI_ROLLBACK, efuse=burnt, ota_0=spec)
    assert app.call(ota.esp_ota_mark_app_valid_cancel_rollback(app.ctx)) == error
    assert app.entries[0] == make_entry(1, VALID)
    assert app.flash.secure_version == burnt


@pytest.mark.parametrize("name", IDF_VERSIONS)
def test_rejecting_marks_invalid_and_restarts(name: str) -> None:
    app = App("n2", make_entry(1, VALID), make_entry(2, PENDING), running="ota_1", config=version(name))
    assert app.call(ota.esp_ota_mark_app_invalid_rollback_and_reboot(app.ctx)) == ota.RESTART
    assert app.entries == [make_entry(1, VALID), make_entry(2, INVALID)]
    suffix = " Restart." if name in ("v4.4", "v5.1") else ""
    assert app.lines == [f"I Rollback to previously worked partition.{suffix}"]


def test_rejecting_without_restart_came_with_v5_5() -> None:
    app = App("n2", make_entry(1, VALID), make_entry(2, PENDING), running="ota_1")
    assert app.call(ota.esp_ota_mark_app_invalid_rollback(app.ctx)) == "ESP_OK"
    assert app.entries[1].state == INVALID
    old = App(config=version("v5.1"))
    with pytest.raises(FormatError, match=r"v5\.5"):
        old.call(ota.esp_ota_mark_app_invalid_rollback(old.ctx))
    with pytest.raises(FormatError, match=r"v5\.5"):
        old.call(ota.esp_ota_invalidate_inactive_ota_data_slot(old.ctx))


def test_rejecting_needs_an_image_to_go_back_to() -> None:
    app = App("f2", make_entry(1, VALID), make_entry(2, PENDING), running="ota_1", ota_0="badsum:1")
    assert app.call(ota.esp_ota_mark_app_invalid_rollback_and_reboot(app.ctx)) == "ESP_ERR_OTA_ROLLBACK_FAILED"
    assert app.lines == ["E Rollback is not possible, do not have any suitable apps in slots"]
    assert app.mutations == [], "a broken ota_0 bars the way although factory is fine"


@pytest.mark.parametrize(("config", "possible"), [(ROLLBACK, True), (ANTI_ROLLBACK, False)])
def test_factory_is_something_to_go_back_to_unless_anti_rollback_is_on(config: BootConfig, possible: bool) -> None:
    app = App("f2", make_entry(1, PENDING), config=config)
    assert app.call(ota.esp_ota_check_rollback_is_possible(app.ctx)) is possible


def test_without_an_active_entry_confirming_and_rejecting_fail() -> None:
    app = App("f2", make_entry(1, INVALID), make_entry(2, ABORTED), running="factory")
    assert app.call(ota.esp_ota_mark_app_valid_cancel_rollback(app.ctx)) == "ESP_FAIL"
    assert app.call(ota.esp_ota_mark_app_invalid_rollback_and_reboot(app.ctx)) == "ESP_FAIL"
    assert app.lines == ["E Running firmware is factory"] * 2


def test_erasing_the_last_boot_app_takes_slot_and_entry() -> None:
    app = App("n2", make_entry(1, ABORTED), make_entry(2, VALID), running="ota_1")
    assert app.call(ota.esp_ota_erase_last_boot_app_partition(app.ctx)) == "ESP_OK"
    assert app.mutations == erases(OTA_0, OTA_0 + 0x1000, OTA_0 + 0x2000, 0xD000)
    assert app.call(ota.esp_ota_erase_last_boot_app_partition(app.ctx)) == "ESP_FAIL"


def test_the_running_slot_is_never_erased_as_the_last_boot_app() -> None:
    app = App("n2", make_entry(1, VALID), make_entry(2, NEW))
    assert app.call(ota.esp_ota_erase_last_boot_app_partition(app.ctx)) == "ESP_FAIL"
    assert app.call(ota.esp_ota_invalidate_inactive_ota_data_slot(app.ctx)) == "ESP_FAIL"
    assert app.mutations == []


# across bootloader and app


@pytest.mark.parametrize("layout", ["n2", "f2", "n3", "f5", "n16"])
@pytest.mark.parametrize("name", IDF_VERSIONS)
def test_updates_confirmed_one_after_the_other_visit_every_slot_in_turn(layout: str, name: str) -> None:
    app = App(layout, config=version(name))
    result, _ = complete(boot(app.flash, app.table, app.ctx.config), app.flash)
    seen = []
    for _ in range(app.table.ota_count_app + 1):
        assert result.slot is not None
        app.ctx = ota.AppContext(app.flash, app.table, app.ctx.config, result.slot)
        target = ota.esp_ota_get_next_update_partition(app.ctx)
        assert target is not None
        assert app.update(target) == "ESP_OK"
        result, _ = complete(boot(app.flash, app.table, app.ctx.config), app.flash)
        assert result.slot == target
        assert app.call(ota.esp_ota_get_state_partition(app.ctx, target)) == ("ESP_OK", PENDING)
        assert app.call(ota.esp_ota_mark_app_valid_cancel_rollback(app.ctx)) == "ESP_OK"
        seen.append(target)
    first = 0 if layout.startswith("f") else 1
    count = app.table.ota_count_app
    assert seen == [f"ota_{(first + index) % count}" for index in range(count + 1)]
