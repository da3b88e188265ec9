"""Updates of an app that demands a signature, without secure boot. The bootloader looks at none (docs/images.md)."""

from zlib import crc32

import pytest

from rig.boards.signing import new_key, sign
from tests.qualification.states import BLANK, entry

requirement = pytest.mark.requirement

SECTOR = 4096
BLOCK, SIGNATURE_AT, CRC_AT = 1216, 812, 1196
"""Size of a signature block, and where in it signature (RSA) and CRC are, in bytes."""


@pytest.fixture
def signed(trial):
    """A board that runs a signed app in ota_0 and takes only updates with a signature of the same key."""
    trial.install("signed", otadata=(entry(1, "VALID"), BLANK))
    trial.boot()
    return trial


def flipped(image, offset):
    """One bit of one byte flipped; negative offsets count from the end."""
    data = bytearray(image)
    data[offset] ^= 0x01
    return bytes(data)


def with_check_sum(image):
    """The CRC of the first signature block made anew, as someone would who knows the format but not the key."""
    block = image[-SECTOR:][:CRC_AT]
    return image[:-SECTOR] + block + crc32(block).to_bytes(4, "little") + image[-SECTOR:][CRC_AT + 4 :]


def refused(trial, *images):
    """The updates are refused, the old app stays, and what it would have taken before it still takes."""
    for image in images:
        assert trial.update_error(image) == "ESP_ERR_OTA_VALIDATE_FAILED"
    assert trial.restart().slot == "ota_0"
    trial.update("2.0.0")
    trial.restart()
    trace = trial.finish()
    assert trace.transitions == [
        ("ota_1", "none", "NEW", "app"),
        ("ota_1", "NEW", "PENDING_VERIFY", "bootloader"),
        ("ota_1", "PENDING_VERIFY", "VALID", "app"),
    ]
    assert trace.booted == ["ota_0", "ota_0", "ota_1"]


@requirement("SIG-01", "An update signed with the key of the running app is accepted, and so is the next one.")
def test_a_good_signature_is_accepted(signed):
    for version in ("2.0.0", "3.0.0"):
        signed.update(version)
        signed.restart()
    trace = signed.finish()
    assert trace.booted == ["ota_0", "ota_1", "ota_0"]
    assert trace.versions == ["1.0.0", "2.0.0", "3.0.0"]


@requirement("SIG-02", "An update without a signature is refused by an app that demands one.")
def test_a_missing_signature_is_refused(signed):
    refused(signed, signed.image_of("signed", "2.0.0")[:-SECTOR])


@requirement("SIG-03", "An update signed with another key is refused.")
def test_another_key_is_refused(signed):
    unsigned = signed.image_of("signed", "2.0.0")[:-SECTOR]
    refused(signed, sign(unsigned, new_key(signed.build.boot_config.signed_updates)))


@requirement("SIG-04", "An update whose signature was changed is refused.")
def test_a_changed_signature_is_refused(signed):
    image = signed.image_of("signed", "2.0.0")
    signature, check_sum = SIGNATURE_AT - SECTOR, CRC_AT - SECTOR
    refused(signed, with_check_sum(flipped(image, signature)), flipped(image, check_sum))


@requirement("SIG-05", "An update is refused when a signed byte was changed, be it padding that no other check covers.")
def test_a_changed_image_is_refused(signed):
    image = signed.image_of("signed", "2.0.0")
    last_of_padding = -SECTOR - 1
    refused(signed, flipped(image, 0x40), flipped(image, last_of_padding))


@requirement(
    "SIG-06", "Of several signatures only the first counts: without secure boot a fleet's key cannot be changed."
)
def test_only_the_first_signature_counts(signed):
    unsigned = signed.image_of("signed", "2.0.0")[:-SECTOR]
    second = signed.image_of("signed", "2.0.0")[-SECTOR:][:BLOCK]
    other = sign(unsigned, new_key(signed.build.boot_config.signed_updates))
    refused(signed, other[: -SECTOR + BLOCK] + second + other[-SECTOR + 2 * BLOCK :])


@requirement("SIG-07", "An app that demands signatures and has none never reaches app_main; it is rolled back.")
def test_an_unsigned_app_is_rolled_back(trial):
    unsigned = trial.image_of("signed", "2.0.0")[:-SECTOR]
    trial.install("signed", otadata=(entry(1, "VALID"), entry(2, "NEW")), slots={"ota_1": unsigned})
    trial.boot()
    trace = trial.finish()
    assert trace.transitions == [
        ("ota_1", "NEW", "PENDING_VERIFY", "bootloader"),
        ("ota_1", "PENDING_VERIFY", "ABORTED", "bootloader"),
    ]
    assert trace.booted == ["ota_1", "ota_0"]
