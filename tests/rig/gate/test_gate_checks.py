"""Every check of one build: a good build passes, each spoilt one fails the check that is meant for it, and no other."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import pytest

from rig.gate import catalogue
from rig.gate.check import Status
from rig.gate.release import Margin
from rig.idf.image import build_bootloader, build_image
from rig.idf.partitions import PartitionTable
from tests.rig.gate.builds import (
    APP,
    ARGS,
    BOOTLOADER,
    CODE,
    CONFIG,
    MISSING,
    NEEDS_BOARD,
    OTADATA,
    TABLE,
    configure,
    edit_bytes,
    edit_json,
    failing,
    good_build,
    of_status,
    outcomes,
    read_table,
    write_table,
)

NOT_SHOWN = NEEDS_BOARD | {"GATE-BOOTLOADER-CONFIG", "GATE-APP-CONFIG"}
"""Warned of where a build comes without the bootloader's own sdkconfig.json, and without the app's .elf."""


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    return good_build(tmp_path_factory.mktemp("good"))


@pytest.fixture
def build(master, tmp_path):
    return shutil.copytree(master, tmp_path / "build")


def test_a_good_build_passes_every_check_that_applies(build):
    found = outcomes(build)
    assert of_status(found, Status.FAILED) == set()
    assert of_status(found, Status.NOT_DONE) == set()
    assert of_status(found, Status.WARNING) == NOT_SHOWN
    assert len(of_status(found, Status.PASSED)) > 20


@pytest.mark.parametrize("variant", ["factory", "anti_rollback", "anti_rollback_1", "three_slots", "rollback_debug"])
@pytest.mark.parametrize("idf_version", ["v4.4", "v5.1", "v6.0"])
def test_good_builds_of_other_kinds_and_versions_pass(tmp_path, variant, idf_version):
    found = outcomes(good_build(tmp_path, variant=variant, idf_version=idf_version))
    assert of_status(found, Status.FAILED) | of_status(found, Status.NOT_DONE) == set()


@pytest.mark.parametrize("chip", ["esp32", "esp32s3", "esp32c2", "esp32c5", "esp32c6", "esp32p4"])
def test_good_builds_for_other_chips_pass(tmp_path, chip):
    found = outcomes(good_build(tmp_path, chip=chip, variant="anti_rollback"))
    assert of_status(found, Status.FAILED) | of_status(found, Status.NOT_DONE) == set()


@pytest.mark.parametrize(
    ("settings", "check"),
    [
        ({"BOOTLOADER_APP_ROLLBACK_ENABLE": False}, "GATE-ROLLBACK"),
        ({"BOOTLOADER_APP_ROLLBACK_ENABLE": MISSING}, "GATE-ROLLBACK"),
        ({"BOOTLOADER_SKIP_VALIDATE_ALWAYS": True}, "GATE-VALIDATION"),
        ({"BOOTLOADER_SKIP_VALIDATE_ON_POWER_ON": True}, "GATE-VALIDATION"),
        ({"BOOTLOADER_APP_TEST": True}, "GATE-PINS"),
        ({"BOOTLOADER_FACTORY_RESET": True, "BOOTLOADER_DATA_FACTORY_RESET": "nvs, storage"}, "GATE-PINS"),
        ({"EFUSE_VIRTUAL": True}, "GATE-EFUSE-REAL"),
        ({"BOOTLOADER_LOG_LEVEL": 2}, "GATE-LOG-LEVEL"),
        ({"BOOTLOADER_WDT_ENABLE": False}, "GATE-BOOTLOADER-WDT"),
        ({"ESP_TASK_WDT_INIT": False}, "GATE-TASK-WDT"),
        ({"ESP_TASK_WDT_PANIC": False}, "GATE-TASK-WDT"),
        ({"ESP_INT_WDT": False}, "GATE-INT-WDT"),
        ({"ESP_SYSTEM_PANIC_PRINT_HALT": True}, "GATE-PANIC"),
        ({"ESP_SYSTEM_PANIC_GDBSTUB": True}, "GATE-PANIC"),
        ({"ESP_BROWNOUT_DET": False}, "GATE-BROWNOUT"),
        ({"ESP_TLS_INSECURE": True, "ESP_TLS_SKIP_SERVER_CERT_VERIFY": True}, "GATE-TLS"),
        ({"ESP_HTTPS_OTA_ALLOW_HTTP": True}, "GATE-HTTP"),
        ({"OTA_ALLOW_HTTP": True}, "GATE-HTTP"),
        ({"SECURE_SIGNED_APPS_NO_SECURE_BOOT": True, "SECURE_SIGNED_APPS_RSA_SCHEME": True}, "GATE-SIGNATURE"),
        ({"SECURE_FLASH_ENC_ENABLED": True, "SECURE_FLASH_ENCRYPTION_MODE_DEVELOPMENT": True}, "GATE-FLASH-ENCRYPTION"),
        (
            {
                "SECURE_FLASH_ENC_ENABLED": True,
                "SECURE_FLASH_ENCRYPTION_MODE_RELEASE": True,
                "SECURE_BOOT_ALLOW_JTAG": True,
            },
            "GATE-DEBUG-DOORS",
        ),
        (
            {
                "SECURE_FLASH_ENC_ENABLED": True,
                "SECURE_FLASH_ENCRYPTION_MODE_RELEASE": True,
                "NVS_ENCRYPTION": True,
            },
            "GATE-NVS-KEYS",
        ),
    ],
)
def test_a_setting_that_must_not_ship_fails_its_check_alone(build, settings, check):
    configure(build, **settings)
    assert failing(build) == {check}


@pytest.mark.parametrize(
    ("settings", "check"),
    [
        ({"BOOTLOADER_SKIP_VALIDATE_IN_DEEP_SLEEP": True}, "GATE-VALIDATION"),
        ({"ESP_TLS_INSECURE": True}, "GATE-TLS"),
        ({"SECURE_FLASH_ENC_ENABLED": True, "SECURE_FLASH_ENCRYPTION_MODE_RELEASE": True}, "GATE-NVS-KEYS"),
    ],
)
def test_a_risky_setting_is_warned_of(build, settings, check):
    configure(build, **settings)
    found = outcomes(build)
    assert of_status(found, Status.FAILED) == set()
    assert of_status(found, Status.WARNING) == NOT_SHOWN | {check}


def test_names_of_settings_in_older_versions_count(build):
    configure(
        build,
        ESP_TASK_WDT_INIT=MISSING,
        ESP_TASK_WDT=True,
        ESP_BROWNOUT_DET=MISSING,
        ESP32C3_BROWNOUT_DET=True,
        BOOTLOADER_APP_ROLLBACK_ENABLE=MISSING,
        APP_ROLLBACK_ENABLE=True,
    )
    found = outcomes(build)
    assert {found[name].status for name in ("GATE-TASK-WDT", "GATE-BROWNOUT", "GATE-ROLLBACK")} == {Status.PASSED}
    configure(build, ESP32C3_BROWNOUT_DET=False)
    assert failing(build) == {"GATE-BROWNOUT"}


@pytest.mark.parametrize("level", [[3], 3.9, True, "three"])
def test_a_setting_of_the_wrong_kind_fails_the_checks_that_read_it(build, level):
    configure(build, ESP_INT_WDT="perhaps", BOOTLOADER_LOG_LEVEL=level)
    found = outcomes(build)
    assert {"GATE-INT-WDT", "GATE-LOG-LEVEL"} <= of_status(found, Status.FAILED)
    assert "perhaps" in found["GATE-INT-WDT"].found
    assert found["GATE-ROLLBACK"].status is Status.PASSED


# --- anti-rollback ---------------------------------------------------------------------------------------------------


def test_a_secure_version_above_the_efuse_field(tmp_path):
    build = good_build(tmp_path, variant="anti_rollback", secure_version=17)
    assert failing(build) == {"GATE-SECURE-VERSION-FIELD"}


def test_the_last_secure_version_of_the_field_is_warned_of(tmp_path):
    build = good_build(tmp_path, variant="anti_rollback", secure_version=15)
    assert "GATE-SECURE-VERSION-FIELD" in of_status(outcomes(build), Status.WARNING)


def test_an_app_whose_secure_version_is_not_the_configured_one(tmp_path):
    build = good_build(tmp_path, variant="anti_rollback", secure_version=3)
    configure(build, BOOTLOADER_APP_SECURE_VERSION=4)
    assert failing(build) == {"GATE-SECURE-VERSION-FIELD", "GATE-APP-CONFIG"}


def test_a_factory_slot_beside_anti_rollback(tmp_path):
    build = good_build(tmp_path, variant="factory")
    configure(build, BOOTLOADER_APP_ANTI_ROLLBACK=True, BOOTLOADER_APP_SECURE_VERSION=0)
    assert failing(build) == {"GATE-ANTI-ROLLBACK-SLOTS"}


# --- partition table -------------------------------------------------------------------------------------------------


def changed(build, label, **values):
    write_table(build, [replace(row, **values) if row.label == label else row for row in read_table(build)])


def test_one_ota_slot(build):
    write_table(build, [row for row in read_table(build) if row.label != "ota_1"])
    assert failing(build) == {"GATE-OTA-SLOTS"}


def test_a_gap_in_the_numbers_of_the_slots(build):
    changed(build, "ota_1", subtype=0x12)
    assert failing(build) == {"GATE-OTA-SLOTS"}


def test_slots_of_two_sizes(build):
    changed(build, "ota_1", size=0xF0000)
    assert failing(build) == {"GATE-OTA-SLOTS"}


def test_no_otadata(build):
    write_table(build, [row for row in read_table(build) if not row.is_otadata])
    assert failing(build) == {"GATE-OTADATA", "GATE-LAYOUT"}


def test_otadata_that_is_flashed_with_an_entry(build):
    edit_bytes(build / OTADATA, lambda data: data.__setitem__(0, 1))
    assert failing(build) == {"GATE-OTADATA"}


def test_a_slot_behind_the_end_of_flash(build):
    changed(build, "ota_1", offset=0x390000)
    assert failing(build) == {"GATE-TABLE"}


def test_a_slot_that_is_not_aligned(build):
    changed(build, "ota_1", offset=0x111000)
    assert failing(build) == {"GATE-TABLE"}


def test_a_damaged_row(build):
    edit_bytes(build / TABLE, lambda data: data.__setitem__(0x40 + 8, data[0x40 + 8] ^ 0x10))
    assert failing(build) == {"GATE-TABLE"}


def test_a_table_without_md5(build):
    rows = b"".join(row.to_binary() for row in read_table(build))
    (build / TABLE).write_bytes(rows.ljust(0xC00, b"\xff"))
    assert failing(build) == {"GATE-TABLE-MD5"}


def test_an_app_that_leaves_less_than_the_margin(build):
    size = (build / APP).stat().st_size
    exactly = Margin(size=0x100000 - size)
    assert failing(build, margin=exactly) == set()
    assert failing(build, margin=Margin(size=exactly.size + 1)) == {"GATE-APP-FITS"}
    assert failing(build, margin=Margin(percent=96)) == set()
    assert failing(build, margin=Margin(percent=97)) == {"GATE-APP-FITS"}


def test_an_app_larger_than_a_slot(build):
    edit_bytes(build / APP, lambda data: data.extend(bytes(0x100001 - len(data))))
    # no longer one file beside the other, either
    assert failing(build) >= {"GATE-APP-FITS"}


# --- images ----------------------------------------------------------------------------------------------------------


def test_a_flipped_bit_in_the_app(build):
    edit_bytes(build / APP, lambda data: data.__setitem__(0x3000, data[0x3000] ^ 1))
    found = outcomes(build)
    assert of_status(found, Status.FAILED) == {"GATE-APP-IMAGE"}
    assert of_status(found, Status.NOT_DONE) == {"GATE-APP-HASH"}


def test_an_app_that_is_cut_short(build):
    edit_bytes(build / APP, lambda data: data.__delitem__(slice(0x2000, None)))
    assert failing(build) == {"GATE-APP-IMAGE"}


def test_an_app_without_appended_hash(build):
    image = build_image(chip="esp32c3", version="2.0.0", hash_appended=False, segments=CODE)
    (build / APP).write_bytes(image)
    assert failing(build) == {"GATE-APP-HASH"}


def test_an_app_for_another_chip(build):
    (build / APP).write_bytes(build_image(chip="esp32s3", version="2.0.0"))
    assert failing(build) == {"GATE-CHIP", "GATE-APP-IMAGE"}


def test_an_app_for_chips_that_are_not_made_yet(build):
    (build / APP).write_bytes(build_image(chip="esp32c3", version="2.0.0", min_revision=150))
    assert failing(build) == {"GATE-APP-IMAGE"}


def test_a_damaged_bootloader(build):
    edit_bytes(build / BOOTLOADER, lambda data: data.__setitem__(0x1000, data[0x1000] ^ 1))
    assert failing(build) == {"GATE-BOOTLOADER-IMAGE"}


def test_a_bootloader_that_reaches_into_the_table(build):
    (build / BOOTLOADER).write_bytes(build_bootloader(chip="esp32c3", code=bytes(0x8000)))
    assert failing(build) == {"GATE-BOOTLOADER-IMAGE", "GATE-LAYOUT"}


# --- the bootloader and its sdkconfig --------------------------------------------------------------------------------

ALWAYS = b"No bootable app partitions in the partition table\0"
AT_INFO = b"Loaded app from partition at offset 0x%x\0"
ANTI = b"Enabled a check secure version of app for anti rollback\0"
AT_DEBUG = b"otadata[%d] is marking as ABORTED\0"


@pytest.mark.parametrize(
    ("texts", "settings", "fails"),
    [
        (ALWAYS + AT_INFO, {}, False),
        (ALWAYS, {}, True),
        (ALWAYS + AT_INFO + ANTI, {}, True),
        (ALWAYS + AT_INFO + AT_DEBUG, {"BOOTLOADER_LOG_LEVEL": 4}, False),
        (ALWAYS + AT_INFO, {"BOOTLOADER_LOG_LEVEL": 4}, True),
        (b"", {}, False),
    ],
)
def test_texts_of_the_bootloader_are_held_against_sdkconfig(build, texts, settings, fails):
    (build / BOOTLOADER).write_bytes(build_bootloader(chip="esp32c3", data=texts))
    configure(build, **settings)
    assert failing(build) == ({"GATE-BOOTLOADER-CONFIG"} if fails else set())


def test_a_bootloader_of_another_idf_version(build):
    (build / BOOTLOADER).write_bytes(build_bootloader(chip="esp32c3", idf_version="v5.2.1"))
    assert failing(build) == {"GATE-BOOTLOADER-CONFIG"}


def test_a_bootloader_that_was_configured_otherwise(build):
    own = build / "bootloader" / "config" / "sdkconfig.json"
    own.parent.mkdir()
    shutil.copy(build / CONFIG, own)
    assert failing(build) == set()
    edit_json(own, {"BOOTLOADER_APP_ROLLBACK_ENABLE": False})
    assert failing(build) == {"GATE-BOOTLOADER-CONFIG"}


# --- the build as a whole --------------------------------------------------------------------------------------------


def test_an_app_that_goes_beside_its_slot(build):
    args = {"app": {"offset": "0x20000", "file": APP}}
    edit_json(build / ARGS, args | {"flash_files": {"0x0": BOOTLOADER, "0x8000": TABLE, "0xd000": OTADATA,
                                                    "0x20000": APP}})  # fmt: skip
    assert failing(build) == {"GATE-LAYOUT"}


def test_sections_and_files_that_disagree(build):
    edit_json(build / ARGS, {"app": {"offset": "0x110000", "file": APP}})
    assert failing(build) == {"GATE-LAYOUT"}


def test_a_sdkconfig_for_another_chip(build):
    configure(build, IDF_TARGET="esp32s3")
    assert failing(build) == {"GATE-CHIP"}


def test_a_tree_that_was_not_clean_is_warned_of(tmp_path):
    build = good_build(tmp_path, version="2.0.0-3-gabcdef-dirty")
    assert "GATE-VERSION" in of_status(outcomes(build), Status.WARNING)


@pytest.mark.parametrize(
    ("piece", "check", "spared"),
    [
        (CONFIG, "GATE-ROLLBACK", "GATE-OTA-SLOTS"),
        (TABLE, "GATE-OTA-SLOTS", "GATE-ROLLBACK"),
        (APP, "GATE-APP-IMAGE", "GATE-OTA-SLOTS"),
        (BOOTLOADER, "GATE-BOOTLOADER-IMAGE", "GATE-APP-HASH"),
        (OTADATA, "GATE-OTADATA", "GATE-APP-HASH"),
        (ARGS, "GATE-LAYOUT", "GATE-APP-IMAGE"),
    ],
)
def test_a_missing_piece_costs_only_the_checks_that_need_it(build, piece, check, spared):
    (build / piece).unlink()
    found = outcomes(build)
    assert of_status(found, Status.FAILED) == set()
    assert {"GATE-FILES", check} <= of_status(found, Status.NOT_DONE)
    assert piece in found["GATE-FILES"].found
    assert found[spared].status is Status.PASSED


def test_every_check_has_its_texts_and_an_id_of_its_own():
    ids = [check.id for check in catalogue.CHECKS]
    assert len(ids) == len(set(ids)) == len(catalogue.BY_ID)
    for check in catalogue.CHECKS:
        assert re.fullmatch(r"GATE(-[A-Z0-9]+)+", check.id)
        assert check.title
        assert check.reason.endswith(".")
        assert check.remedy.endswith(".")


def test_the_table_of_a_good_build_is_what_the_variant_says(build):
    # the helpers above write tables: they must not change what they do not mean to
    before = (build / TABLE).read_bytes()
    write_table(build, read_table(build))
    assert (build / TABLE).read_bytes() == before
    assert PartitionTable.from_binary(before).ota_count_app == 2
