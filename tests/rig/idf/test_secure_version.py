"""The anti-rollback field as firmware reads and raises it: so many bits of it as the build was configured for."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.idf.chips import CHIPS
from rig.idf.config import BootConfig
from rig.idf.effects import BurnSecureVersion
from rig.idf.errors import FormatError
from rig.idf.memory import FlashImage, complete
from rig.idf.secure_version import accepts, burnt_version, update_secure_version

CONFIG = BootConfig(rollback=True, anti_rollback=True)
VERSIONS = st.integers(0, 40)
BITS = st.integers(1, 32)


def raised(field, bits, version):
    """Error and field after an update to `version` of a field that holds `field`."""
    memory = FlashImage.erased(0x1000, field)
    error, effects = complete(update_secure_version(memory, replace(CONFIG, secure_version_bits=bits), version), memory)
    return error, memory.secure_version, [effect for effect in effects if isinstance(effect, BurnSecureVersion)]


@given(field=st.integers(0, 32), bits=BITS, version=VERSIONS)
def test_the_field_only_rises_and_at_most_to_what_was_asked_for(field, bits, version):
    error, after, burns = raised(field, bits, version)
    assert field <= after <= max(field, version)
    assert bool(burns) == (after != field)
    if error == "ESP_OK":
        assert after >= version


@given(field=st.integers(0, 32), bits=BITS, version=VERSIONS)
def test_it_is_never_raised_beyond_the_bits_of_the_build(field, bits, version):
    error, after, _ = raised(field, bits, version)
    assert after == field or after <= bits
    assert (error == "ESP_ERR_INVALID_ARG") == (version > bits)


@given(field=st.integers(0, 32), bits=BITS, version=VERSIONS)
def test_an_app_is_accepted_if_it_is_not_below_what_the_build_sees(field, bits, version):
    memory, config = FlashImage.erased(0x1000, field), replace(CONFIG, secure_version_bits=bits)
    assert burnt_version(memory, config) == min(field, bits)
    assert accepts(memory, config, version) == (version >= min(field, bits))


@pytest.mark.parametrize(
    ("chip", "option", "bits"),
    [("esp32", 32, 32), ("esp32", 5, 5), ("esp32c2", 4, 4), ("esp32c5", 16, 9), ("esp32c5", 9, 9), ("esp32c3", 16, 16)],
)
def test_a_build_has_the_bits_it_was_configured_for_but_no_more_than_the_chip(chip, option, bits):
    settings = {"BOOTLOADER_APP_ANTI_ROLLBACK": True, "BOOTLOADER_APP_SEC_VER_SIZE_EFUSE_FIELD": option}
    assert BootConfig.from_sdkconfig(settings, "v5.5", chip).secure_version_bits == bits


@pytest.mark.parametrize(("chip", "most"), [("esp32", 32), ("esp32c2", 4), ("esp32c5", 16), ("esp32s3", 16)])
def test_an_option_that_kconfig_does_not_allow_is_refused(chip, most):
    settings = {"BOOTLOADER_APP_ANTI_ROLLBACK": True, "BOOTLOADER_APP_SEC_VER_SIZE_EFUSE_FIELD": most + 1}
    with pytest.raises(FormatError, match=f"allowed on {chip}: 1 to {most}"):
        BootConfig.from_sdkconfig(settings, "v5.5", chip)


def test_without_the_option_the_whole_field_of_the_chip_counts():
    for name, chip in CHIPS.items():
        config = BootConfig.from_sdkconfig({"BOOTLOADER_APP_ANTI_ROLLBACK": True}, "v5.5", name)
        assert config.secure_version_bits == chip.secure_version_bits
