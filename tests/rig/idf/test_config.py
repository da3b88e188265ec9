"""What a bootloader was built with is read from sdkconfig.json, and any ESP-IDF release has a family."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.idf.chips import CHIPS
from rig.idf.config import IDF_VERSIONS, LOG_LEVELS, BootConfig, FactoryReset, idf_family
from rig.idf.errors import FormatError


@pytest.mark.parametrize(
    ("version", "family"),
    [
        ("v4.4", "v4.4"),
        ("v4.4.8", "v4.4"),
        ("v5.0.9", "v5.1"),
        ("5.4.3", "v5.1"),
        ("v5.5-dev-1234-gabcdef", "v5.5"),
        ("v5.5.5-dirty", "v5.5"),
        ("v6.0.2", "v6.0"),
        ("v6.1-beta1", "v6.1"),
        ("v7.0", "v6.1"),
    ],
)
def test_every_release_belongs_to_a_family(version, family):
    assert idf_family(version) == family


@pytest.mark.parametrize("version", ["", "HEAD-HASH-NOTFOUND", "release", "v3.3.6"])
def test_text_without_a_supported_version_is_refused(version):
    with pytest.raises(FormatError):
        idf_family(version)


def test_families_compare_as_numbers():
    assert [BootConfig(idf_version=version).idf for version in IDF_VERSIONS] == [(4, 4), (5, 1), (5, 5), (6, 0), (6, 1)]


def test_empty_sdkconfig_is_a_bootloader_without_rollback():
    config = BootConfig.from_sdkconfig({}, "v5.4.1", "esp32c3")
    assert config == BootConfig(
        idf_version="v5.1", chip="esp32c3", chip_revision=4, secure_version_bits=16, log_level="INFO"
    )


def test_rollback_comes_from_the_bootloader_option():
    assert BootConfig.from_sdkconfig({"BOOTLOADER_APP_ROLLBACK_ENABLE": True}, "v5.5", "esp32c3").rollback


def test_anti_rollback_implies_rollback():
    config = BootConfig.from_sdkconfig(
        {"BOOTLOADER_APP_ANTI_ROLLBACK": True, "BOOTLOADER_APP_SEC_VER_SIZE_EFUSE_FIELD": 8}, "v5.5", "esp32"
    )
    assert (config.rollback, config.anti_rollback, config.secure_version_bits) == (True, True, 8)


def test_factory_reset_keeps_its_labels_in_order():
    sdkconfig = {
        "BOOTLOADER_FACTORY_RESET": True,
        "BOOTLOADER_OTA_DATA_ERASE": False,
        "BOOTLOADER_DATA_FACTORY_RESET": "nvs, storage",
        "BOOTLOADER_APP_TEST": True,
    }
    config = BootConfig.from_sdkconfig(sdkconfig, "v5.5", "esp32")
    assert config.factory_reset == FactoryReset(("nvs", "storage"), erase_otadata=False)
    assert config.test_app_pin


@pytest.mark.parametrize(("number", "name"), list(enumerate(LOG_LEVELS)))
def test_log_level_is_named(number, name):
    assert BootConfig.from_sdkconfig({"BOOTLOADER_LOG_LEVEL": number}, "v5.5", "esp32").log_level == name


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("BOOTLOADER_LOG_LEVEL", 6, "allowed: 0"),
        ("BOOTLOADER_LOG_LEVEL", "loud", "a number is needed"),
        ("BOOTLOADER_APP_ROLLBACK_ENABLE", "maybe", "allowed: true, false"),
        ("BOOTLOADER_APP_SEC_VER_SIZE_EFUSE_FIELD", 17, "allowed on esp32c3: 1 to 16"),
        ("MMU_PAGE_SIZE", 0x8000, "allowed on esp32c3: 0x10000"),
        ("PARTITION_TABLE_OFFSET", [], "a number is needed"),
    ],
)
def test_wrong_value_is_refused_naming_key_and_what_is_allowed(key, value, said):
    with pytest.raises(FormatError, match=key) as caught:
        BootConfig.from_sdkconfig({key: value}, "v5.5", "esp32c3")
    assert said in str(caught.value)


resets = st.none() | st.builds(FactoryReset, st.lists(st.text(max_size=16), max_size=3).map(tuple), st.booleans())
configs = st.builds(
    BootConfig,
    idf_version=st.sampled_from(IDF_VERSIONS),
    chip=st.sampled_from(sorted(CHIPS)),
    chip_revision=st.integers(0, 999),
    rollback=st.booleans(),
    anti_rollback=st.booleans(),
    secure_version_bits=st.integers(1, 32),
    factory_reset=resets,
    test_app_pin=st.booleans(),
    log_level=st.sampled_from(LOG_LEVELS),
)


@given(configs)
def test_config_survives_json(config):
    assert BootConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    "data",
    [
        [],
        {"chip": "esp99"},
        {"idf_version": "v9.9"},
        {"log_level": "LOUD"},
        {"colour": True},
        {"factory_reset": {"labels": []}},
    ],
)
def test_broken_json_config_is_refused(data):
    with pytest.raises(FormatError):
        BootConfig.from_json(data)
