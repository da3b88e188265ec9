"""Which hazards of anti-rollback a boot or a confirmation is, and which look like one and are none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rig.evidence import hazards as known
from rig.evidence.hazards import call_hazards, hazards
from rig.evidence.predict import predict
from rig.idf.config import BootConfig
from rig.idf.image import build_image
from rig.idf.memory import FlashImage
from rig.idf.partitions import Partition, PartitionTable
from tests.qualification.states import entry

PLAIN = BootConfig(idf_version="v5.5", chip="esp32c3", chip_revision=4, rollback=True)
CONFIG = replace(PLAIN, anti_rollback=True, secure_version_bits=16)
OTA = (Partition("ota_0", 0, 0x10, 0x10000, 0x10000), Partition("ota_1", 0, 0x11, 0x20000, 0x10000))
TABLE = PartitionTable((Partition("otadata", 1, 0, 0xD000, 0x2000), *OTA))
BLANK = b"\xff" * 32
BOTH_VALID = (entry(1, "VALID"), entry(2, "VALID"))


def image(secure_version, *, broken=False):
    data = build_image(chip="esp32c3", version="1.0.0", secure_version=secure_version)
    return data[:-40] + bytes(40) if broken else data


def booted(otadata, ota_0, ota_1, efuse, *, config=CONFIG, table=TABLE):
    """Hazards of one boot of such a board."""
    flash = FlashImage.erased(0x30000, efuse)
    flash.load(0x8000, table.to_binary())
    for offset, data in ((0xD000, otadata[0]), (0xE000, otadata[1]), (0x10000, ota_0), (0x20000, ota_1)):
        flash.load(offset, data)
    prediction = predict(flash, config, table)
    return hazards(table, config, prediction.otadata, prediction)


def test_nothing_but_too_old_apps_bricks():
    assert known.BRICKED in booted(BOTH_VALID, image(0), image(0), 1)


def test_an_intact_app_above_the_efuse_does_not():
    assert booted(BOTH_VALID, image(0), image(1), 1) == []


def test_nothing_to_boot_is_not_blamed_on_the_efuse_when_the_images_are_broken_or_gone_or_for_another_chip():
    other = build_image(chip="esp32s3", version="1.0.0", secure_version=1)
    for ota_1 in (image(1, broken=True), b"", b"\x00" * 64, other):
        found = booted(BOTH_VALID, image(1, broken=True), ota_1, 1)
        assert known.BRICKED not in found


def test_a_broken_image_that_is_valid_and_newer_burns_for_nothing_and_bricks():
    found = booted(BOTH_VALID, image(0), image(1, broken=True), 0)
    assert {known.BURNT_BEFORE_VERIFIED, known.BRICKED} <= set(found)
    assert known.BRICKED.severity == "bricks"


def test_without_anti_rollback_the_same_board_has_no_such_hazard():
    found = booted(BOTH_VALID, image(0), image(1, broken=True), 0, config=PLAIN)
    assert [hazard.severity for hazard in found] == ["hurts"] * len(found)


def test_an_aborted_app_that_boots_because_the_other_is_too_old():
    found = booted((entry(1, "VALID"), entry(2, "ABORTED")), image(0), image(1), 1)
    assert known.ABORTED_APP_LEFT in found
    assert known.ABORTED_APP_LEFT not in booted((entry(1, "VALID"), entry(2, "ABORTED")), image(1), image(1), 1)


@pytest.mark.parametrize("subtype", [0x00, 0x20], ids=["factory", "test"])
def test_a_factory_or_test_app_in_the_table(subtype):
    table = PartitionTable((*TABLE.entries, Partition("other", 0, subtype, 0x30000, 0x10000)))
    assert known.FALLBACK_APP_TOO_OLD in booted(BOTH_VALID, image(1), image(1), 1, table=table)
    assert known.FALLBACK_APP_TOO_OLD not in booted(BOTH_VALID, image(1), image(1), 1)


def test_a_version_that_the_field_cannot_hold():
    narrow = replace(CONFIG, secure_version_bits=2)
    assert known.FIELD_FULL in booted(BOTH_VALID, image(0), image(3), 2, config=narrow)
    assert known.FIELD_FULL not in booted(BOTH_VALID, image(0), image(2), 2, config=narrow)
    assert known.FIELD_FULL in call_hazards("confirm", "ota_1", TABLE, narrow, NEW_1, "ESP_ERR_INVALID_ARG")


NEW_1 = (entry(1, "VALID"), entry(2, "PENDING_VERIFY"))

CONFIRMATIONS = [
    ("its own entry", "ota_1", NEW_1, CONFIG, []),
    ("the entry of an image that did not boot", "ota_0", NEW_1, CONFIG, [known.CONFIRMED_ANOTHER_BRICKS]),
    ("the same without anti-rollback", "ota_0", NEW_1, PLAIN, [known.CONFIRMED_ANOTHER]),
    ("an entry that is VALID already", "ota_0", BOTH_VALID, CONFIG, []),
    ("no entry", "ota_0", (BLANK, BLANK), CONFIG, []),
]


@pytest.mark.parametrize(("what", "running", "otadata", "config", "found"), CONFIRMATIONS, ids=lambda v: str(v)[:30])
def test_a_confirmation_of_another_image_is_told_from_one_of_the_app_itself(what, running, otadata, config, found):
    assert call_hazards("confirm", running, TABLE, config, otadata, "ESP_OK") == found
    assert call_hazards("reject", running, TABLE, config, otadata, "ESP_OK") == []
