"""The reference bootloader: what it decides, writes and logs. Expectations are written out, not computed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rig.idf.bootloader import BootResult, Pins, boot, run
from rig.idf.effects import BurnSecureVersion, Erase, Program
from rig.idf.memory import FlashImage, complete
from rig.idf.otadata import make_entry
from rig.idf.partitions import Partition, PartitionTable
from rig.idf.vector_images import image
from rig.idf.vectors import layout_table
from tests.rig.idf.model import (
    ABORTED,
    ANTI_ROLLBACK,
    NEW,
    NO_ROLLBACK,
    PENDING,
    PINS,
    ROLLBACK,
    VALID,
    device,
    lines,
    mutations,
    start,
    states,
)

# what boots


def test_factory_boots_while_no_entry_is_selectable_whatever_the_slots_hold() -> None:
    flash = device(layout_table("f2"))
    result, effects = start(flash, "f2", ROLLBACK)
    assert result == BootResult("booted", "factory", 0x10000, ("factory",))
    assert mutations(effects) == []


def test_the_first_boot_without_factory_records_ota_0_as_valid() -> None:
    flash = device(layout_table("n2"))
    result, effects = start(flash, "n2", NO_ROLLBACK)
    assert result.slot == "ota_0"
    assert mutations(effects) == [Erase(0xD000), Program(0xD000, make_entry(1, VALID).pack())]
    assert lines(effects) == [
        "I boot: No factory image, trying OTA 0",
        "I boot: Loaded app from partition at offset 0x20000",
        "I boot: Set actual ota_seq=1 in otadata[0]",
        "I boot: Disabling RNG early entropy source...",
    ]


def test_a_new_image_becomes_pending_before_its_image_is_looked_at() -> None:
    flash = device(layout_table("n2"), make_entry(1, VALID), make_entry(2, NEW), ota_1="badsum:2")
    result, effects = start(flash, "n2", ROLLBACK)
    assert result.tried == ("ota_1", "ota_0")
    assert result.slot == "ota_0"
    assert mutations(effects) == [Erase(0xE000), Program(0xE000, make_entry(2, PENDING).pack())]


def test_a_pending_image_is_aborted_at_the_next_reset_and_the_other_slot_boots() -> None:
    flash = device(layout_table("n2"), make_entry(1, VALID), make_entry(2, PENDING))
    result, _ = start(flash, "n2", ROLLBACK)
    assert result.slot == "ota_0"
    assert states(flash) == (VALID, ABORTED)


def test_without_rollback_a_pending_image_boots_for_ever() -> None:
    flash = device(layout_table("n2"), make_entry(1, VALID), make_entry(2, PENDING))
    for _ in range(2):
        result, effects = start(flash, "n2", NO_ROLLBACK)
        assert result.slot == "ota_1"
        assert mutations(effects) == []


def test_an_ota_slot_falls_back_to_factory_before_it_falls_forward() -> None:
    broken = {f"ota_{index}": "badhash:1" for index in range(4)} | {"factory": "erased"}
    flash = device(layout_table("f5"), make_entry(3, VALID), **broken)
    result, _ = start(flash, "f5", ROLLBACK)
    assert result.tried == ("ota_2", "ota_1", "ota_0", "factory", "ota_3", "ota_4")
    assert result.slot == "ota_4"


def test_sixteen_slots_are_all_reached_and_the_test_app_comes_last() -> None:
    broken = {f"ota_{index}": "erased" for index in range(16)} | {"factory": "erased"}
    flash = device(layout_table("f16t"), make_entry(16, VALID), **broken)
    result, effects = start(flash, "f16t", ROLLBACK)
    assert result.tried == (*(f"ota_{index}" for index in range(15, -1, -1)), "factory", "test")
    assert result.slot == "test"
    assert "W boot: Falling back to test app as only bootable partition" in lines(effects)


def test_nothing_bootable_ends_in_a_reset() -> None:
    flash = device(layout_table("n2"), ota_0="erased", ota_1="zero")
    result, effects = start(flash, "n2", ROLLBACK)
    assert result == BootResult("reset", None, None, ("ota_0", "ota_1"))
    assert lines(effects)[-1] == "E boot: No bootable app partitions in the partition table"


def test_a_torn_entry_beside_an_erased_one_makes_it_try_all_and_is_never_repaired() -> None:
    flash = device(layout_table("n2"))
    flash.load(0xD000, b"\x01\x00")
    for _ in range(2):
        result, effects = start(flash, "n2", ROLLBACK)
        assert result.slot == "ota_0"
        assert mutations(effects) == []
        assert lines(effects)[0] == "E boot: ota data partition invalid and no factory, will try all partitions"


def test_a_slot_behind_a_gap_in_the_numbering_cannot_be_reached() -> None:
    rows = [part for part in layout_table("n3").entries if part.slot != "ota_1"]
    table = PartitionTable(tuple(rows))
    flash = device(table, make_entry(1, VALID), ota_0="erased")
    result, _ = complete(boot(flash, table, ROLLBACK), flash)
    assert result == BootResult("reset", None, None, ("ota_0",))


def test_the_last_of_two_otadata_partitions_counts() -> None:
    extra = Partition("otadata2", 1, 0, 0x40000, 0x2000)
    table = PartitionTable((*layout_table("n2").entries, extra))
    flash = device(table, make_entry(1, VALID))
    flash.load(0x40000, make_entry(2, VALID).pack())
    result, _ = complete(boot(flash, table, ROLLBACK), flash)
    assert result.slot == "ota_1"


def test_an_otadata_partition_of_one_sector_ends_in_a_reset() -> None:
    rows = [replace(part, size=0x1000) if part.is_otadata else part for part in layout_table("f2").entries]
    table = PartitionTable(tuple(rows))
    flash = device(table)
    result, effects = complete(boot(flash, table, ROLLBACK), flash)
    assert result == BootResult("reset", None, None, ())
    assert lines(effects) == ["E boot: ota_info partition size 4096 is too small (minimum 8192 bytes)"]


def test_without_an_otadata_partition_factory_boots_silently() -> None:
    table = PartitionTable(tuple(part for part in layout_table("f2").entries if not part.is_otadata))
    flash = device(table, make_entry(2, VALID))
    result, effects = complete(boot(flash, table, ROLLBACK), flash)
    assert result.slot == "factory"
    assert lines(effects)[0] == "I boot: Loaded app from partition at offset 0x10000"


# anti-rollback


def test_anti_rollback_accepts_an_equal_secure_version_and_refuses_a_lower_one() -> None:
    flash = device(layout_table("n2"), make_entry(1, VALID), make_entry(2, VALID), 2, ota_0="ok:1:2", ota_1="ok:2:1")
    result, _ = start(flash, "n2", ANTI_ROLLBACK)
    assert result.tried == ("ota_0",)
    assert result.slot == "ota_0"


def test_anti_rollback_burns_the_efuse_before_it_verifies_the_image() -> None:
    flash = device(layout_table("n2"), make_entry(1, VALID), make_entry(2, VALID), 1, ota_1="badhash:2:2")
    result, effects = start(flash, "n2", ANTI_ROLLBACK)
    assert mutations(effects) == [BurnSecureVersion(1, 2)]
    assert flash.secure_version == 2
    assert result == BootResult("reset", None, None, ("ota_1",)), "ota_0 is too old now: the device is bricked"


def test_anti_rollback_without_ota_slots_divides_by_zero() -> None:
    flash = device(layout_table("f0"), make_entry(1, VALID))
    result, _ = start(flash, "f0", ANTI_ROLLBACK)
    assert result.outcome == "exception"


# pins


def test_the_factory_pin_erases_nvs_and_otadata_after_the_selection_has_written() -> None:
    flash = device(layout_table("f2t"), make_entry(1, PENDING))
    flash.load(0x9000, b"settings")
    result, effects = start(flash, "f2t", PINS, Pins(factory_reset=True, test_app=True))
    assert result.slot == "factory"
    assert flash.read(0x9000, 0x6000) == b"\xff" * 0x6000
    assert mutations(effects)[:2] == [Erase(0xD000), Program(0xD000, make_entry(1, ABORTED).pack())]
    assert [effect.offset for effect in mutations(effects)[2:] if isinstance(effect, Erase)] == [
        *range(0x9000, 0xF000, 0x1000)
    ]
    assert lines(effects)[:7] == [
        "I boot: Defaulting to factory image",
        "I boot: Detect a condition of the factory reset",
        "I boot: Data partitions to erase: nvs",
        "I boot_comm: ## Label            Usage Offset   Length   Cleaned",
        "I boot_comm:  0 nvs              data  00009000 00004000 [yes]",
        "I boot_comm:  1 otadata          data  0000d000 00002000 [yes]",
        "I boot_comm:  2 phy_init         data  0000f000 00001000 [no]",
    ]


def test_a_data_partition_that_is_not_sector_aligned_is_reported_as_not_erased() -> None:
    rows = [replace(part, size=0x3F00) if part.label == "nvs" else part for part in layout_table("f2").entries]
    table = PartitionTable(tuple(rows))
    flash = device(table)
    _, effects = complete(boot(flash, table, PINS, Pins(factory_reset=True)), flash)
    assert "I boot_comm:  0 nvs              data  00009000 00003f00 [err]" in lines(effects)
    assert "E boot: Not all partitions were erased" in lines(effects)


def test_the_test_pin_starts_the_test_app_and_nothing_else() -> None:
    flash = device(layout_table("f2t"))
    assert start(flash, "f2t", PINS, Pins(test_app=True))[0].tried == ("test",)
    broken = device(layout_table("f2t"), test="badsum:9")
    result, effects = start(broken, "f2t", PINS, Pins(test_app=True))
    assert result == BootResult("reset", None, None, ("test",))
    assert lines(effects)[-1] == "E boot: No bootable test partition in the partition table"


def test_the_test_pin_without_a_test_partition_resets_although_apps_are_fine() -> None:
    flash = device(layout_table("f2"))
    result, effects = start(flash, "f2", PINS, Pins(test_app=True))
    assert result == BootResult("reset", None, None, ())
    assert lines(effects)[-1] == "E boot: Test firmware is not found in partition table"


def test_pins_that_are_not_configured_change_nothing() -> None:
    held = Pins(factory_reset=True, test_app=True)
    flash = device(layout_table("f2t"), make_entry(2, VALID))
    assert start(flash, "f2t", ROLLBACK, held)[0].slot == "ota_1"


# log levels and the partition table


def test_debug_tells_the_rollback_as_real_bootloaders_do() -> None:
    flash = device(layout_table("n2"), make_entry(1, VALID), make_entry(2, PENDING))
    _, effects = start(flash, "n2", replace(ROLLBACK, log_level="DEBUG"))
    shown = [line for line in lines(effects) if "hash" not in line]
    assert shown == [
        "D boot: OTA data offset 0xd000",
        "D boot: otadata[0]: sequence values 0x00000001",
        "D boot: otadata[1]: sequence values 0x00000002",
        "D boot: otadata[1] is marking as ABORTED",
        "D boot_comm: Only otadata[0] is valid",
        "D boot: Active otadata[0]",
        "D boot: Mapping seq 0 -> OTA slot 0",
        "D boot: Trying partition index 0 offs 0x20000 size 0x3000",
        "I boot: Loaded app from partition at offset 0x20000",
        "I boot: Disabling RNG early entropy source...",
        "D boot: Mapping segment 0 as DROM",
        "D boot: Mapping segment 1 as IROM",
        "D boot: calling set_cache_and_start_app",
        "D boot: configure drom and irom and start",
        "D boot: start: 0x40081000",
    ]


def test_debug_shows_both_hashes_of_a_corrupt_image() -> None:
    flash = device(layout_table("n1"), make_entry(1, VALID), ota_0="badhash:1:1")
    good, bad = image("ok:1:1")[-32:].hex(), image("badhash:1:1")[-32:].hex()
    _, effects = start(flash, "n1", replace(ROLLBACK, log_level="DEBUG"))
    text = lines(effects)
    at = text.index(f"D boot: Calculated hash: {good}")
    assert text[at + 1] == "E esp_image: Image hash failed - image is corrupt"
    assert text[at + 2] == f"D boot: Expected hash: {bad}"


def test_a_new_image_says_so_at_debug_only() -> None:
    said = "D boot: otadata[0] is selected as new and marked PENDING_VERIFY state"
    for level, shown in (("DEBUG", True), ("INFO", False)):
        flash = device(layout_table("n2"), make_entry(1, NEW))
        _, effects = start(flash, "n2", replace(ROLLBACK, log_level=level))
        assert (said in lines(effects)) is shown


@pytest.mark.parametrize(("level", "kept"), [("NONE", ""), ("ERROR", "E"), ("WARN", "EW"), ("INFO", "EWI")])
def test_a_log_level_hides_the_lines_below_it_and_changes_nothing_else(level: str, kept: str) -> None:
    broken = {"ota_0": "erased", "ota_1": "erased"}
    quiet = device(layout_table("n2t"), make_entry(1, NEW), **broken)
    loud = device(layout_table("n2t"), make_entry(1, NEW), **broken)
    result, effects = start(quiet, "n2t", replace(ROLLBACK, log_level=level))
    full, everything = start(loud, "n2t", ROLLBACK)
    assert result == full
    assert mutations(effects) == mutations(everything)
    assert lines(effects) == [line for line in lines(everything) if line[0] in kept]


def test_run_lists_the_partition_table_first() -> None:
    table = layout_table("f1t")
    flash = device(table)
    flash.load(0x8000, table.to_binary())
    result, effects = complete(run(flash, ROLLBACK), flash)
    assert result.slot == "factory"
    assert lines(effects)[:9] == [
        "I boot: Partition Table:",
        "I boot: ## Label            Usage          Type ST Offset   Length",
        "I boot:  0 nvs              WiFi data        01 02 00009000 00004000",
        "I boot:  1 otadata          OTA data         01 00 0000d000 00002000",
        "I boot:  2 phy_init         RF data          01 01 0000f000 00001000",
        "I boot:  3 factory          factory app      00 00 00010000 00003000",
        "I boot:  4 ota_0            OTA app          00 10 00020000 00003000",
        "I boot:  5 test             test app         00 20 00030000 00003000",
        "I boot: End of partition table",
    ]


def test_run_at_debug_shows_where_each_row_is_mapped() -> None:
    table = layout_table("n1")
    flash = device(table)
    flash.load(0x8000, table.to_binary())
    config = replace(ROLLBACK, log_level="DEBUG", chip="esp32c3", chip_revision=3)
    _, effects = complete(run(flash, config), flash)
    assert lines(effects)[:7] == [
        "D boot: mapped partition table 0x8000 at 0x3c008000",
        "D flash_parts: partition table verified, 5 entries",
        "I boot: Partition Table:",
        "I boot: ## Label            Usage          Type ST Offset   Length",
        "D boot: load partition table entry 0x3c008000",
        "D boot: type=1 subtype=2",
        "I boot:  0 nvs              WiFi data        01 02 00009000 00004000",
    ]


def test_run_refuses_a_broken_table_and_resets() -> None:
    flash = device(layout_table("f2"))
    flash.load(0x8000, b"\x00" * 32)
    result, effects = complete(run(flash, ROLLBACK), flash)
    assert result == BootResult("reset", None, None, ())
    assert lines(effects) == [
        "E flash_parts: partition 0 invalid magic number 0x0",
        "E boot: Failed to verify partition table",
        "E boot: load partition table error!",
    ]


@pytest.mark.parametrize(
    ("version", "last"),
    [
        ("v4.4", "E boot: No bootable app partitions in the partition table"),
        ("v5.1", "E boot: No bootable app partitions in the partition table"),
        ("v5.5", "E boot: load partition table error!"),
        ("v6.1", "E boot: load partition table error!"),
    ],
)
def test_an_erased_table_is_an_empty_one_before_v5_5_and_an_error_since(version: str, last: str) -> None:
    flash = FlashImage.erased(0x20000)
    result, effects = complete(run(flash, replace(ROLLBACK, idf_version=version)), flash)
    assert result.outcome == "reset"
    assert lines(effects)[-1] == last


def test_run_holds_partitions_to_the_flash_size_in_the_bootloader_header() -> None:
    big = Partition("big", 1, 0x80, 0x200000, 0x100000)
    table = PartitionTable((*layout_table("f1").entries, big))
    flash = device(table)
    flash.load(0x8000, table.to_binary())
    flash.load(0x1000, bytes([0xE9, 1, 2, 0x10]))
    result, effects = complete(run(flash, ROLLBACK), flash)
    assert result.outcome == "reset"
    assert lines(effects)[0] == (
        "E flash_parts: partition 5 invalid - offset 0x200000 size 0x100000 exceeds flash chip size 0x200000"
    )
