"""The chip data agrees with what esptool knows of the same chips."""

import pytest
from esptool.targets import CHIP_DEFS

from rig.idf.chips import CHIPS, chip, chip_by_id
from rig.idf.errors import FormatError

NAMES = sorted(CHIPS)


@pytest.mark.parametrize("name", NAMES)
def test_chip_id_is_the_one_esptool_writes_into_images(name):
    assert chip(name).chip_id == CHIP_DEFS[name].IMAGE_CHIP_ID


@pytest.mark.parametrize("name", NAMES)
def test_bootloader_offset_is_where_esptool_expects_the_bootloader(name):
    assert chip(name).bootloader_offset == CHIP_DEFS[name].BOOTLOADER_FLASH_OFFSET


@pytest.mark.parametrize("name", NAMES)
def test_flash_frequency_code_is_the_one_esptool_gives_to_that_name(name):
    frequency, code = chip(name).flash_frequency
    assert CHIP_DEFS[name].FLASH_FREQUENCY[frequency] == code


@pytest.mark.parametrize("name", NAMES)
def test_mapped_and_loaded_segments_are_told_apart(name):
    target = chip(name)
    assert target.maps(target.drom[0])
    assert target.maps(target.irom[1] - 1)
    assert not target.maps(target.irom[1])
    assert not target.maps(target.iram[0])
    assert not target.maps(target.dram[0])


@pytest.mark.parametrize("name", NAMES)
def test_own_revision_lies_in_the_range_images_are_built_for(name):
    target = chip(name)
    assert target.min_revision <= target.revision <= target.max_revision


def test_psram_segments_are_mapped_where_the_mmu_serves_both_memories():
    assert chip("esp32p4").maps(0x48000000)
    assert not chip("esp32s3").maps(0x48000000)


def test_every_chip_that_esptool_builds_idf_images_for_is_known_but_the_unreleased_e22():
    assert set(CHIP_DEFS) - set(CHIPS) == {"esp8266", "esp32e22"}


def test_secure_version_field_is_as_wide_as_the_efuse_table_says():
    assert {name: chip(name).secure_version_bits for name in ("esp32", "esp32c2", "esp32c5", "esp32c3")} == {
        "esp32": 32,
        "esp32c2": 4,
        "esp32c5": 9,
        "esp32c3": 16,
    }


def test_unknown_chip_name_is_refused_naming_the_known_ones():
    with pytest.raises(FormatError, match=r"unknown chip 'esp32x9'; known: esp32, esp32s2, esp32c3"):
        chip("esp32x9")


def test_unknown_chip_id_is_refused_naming_the_known_ones():
    with pytest.raises(FormatError, match=r"unknown chip id 4242; known: 0 esp32"):
        chip_by_id(4242)


@pytest.mark.parametrize("name", NAMES)
def test_chip_is_found_by_its_id(name):
    assert chip_by_id(chip(name).chip_id) is chip(name)
