"""Signatures of updates without secure boot: what the app accepts, what it says, and which bytes count."""

import io
from dataclasses import replace
from functools import cache
from hashlib import sha256
from zlib import crc32

import espsecure
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.boards.signing import is_signed, kept_key, new_key, sign
from rig.idf import ota_ops as ota
from rig.idf.bootloader import boot
from rig.idf.config import BootConfig
from rig.idf.effects import Log
from rig.idf.image import build_image, check_image
from rig.idf.memory import FlashImage, complete
from rig.idf.otadata import ImageState, make_entry
from rig.idf.partitions import Partition, PartitionTable
from rig.idf.signature import check_own_signature
from rig.idf.signature_block import BLOCK_SIZE, SignatureBlock, blocks, signature_offset

SECTOR, BLOCK, SIGNATURE_AT, CRC_AT = 4096, 1216, 812, 1196
SLOTS = {"ota_0": 0x10000, "ota_1": 0x20000}
SCHEMES = ("rsa", "ecdsa")

both_schemes = pytest.mark.parametrize("scheme", SCHEMES)


@cache
def made(scheme, number):
    return new_key(scheme)


def key(scheme, number=0):
    return made(scheme, number)


@cache
def plain(version="2.0.0", hash_appended=True):
    return build_image(chip="esp32c3", version=version, hash_appended=hash_appended)


@cache
def signed(scheme, version="2.0.0", number=0):
    return sign(plain(version), key(scheme, number))


def config(scheme="rsa", **changes):
    given = {"chip": "esp32c3", "chip_revision": 100} | changes
    return BootConfig(rollback=True, signed_updates=scheme, **given)


def table():
    parts = [Partition("otadata", 1, 0, 0xD000, 0x2000)]
    parts += [Partition(name, 0, 0x10 + index, SLOTS[name], 0x10000) for index, name in enumerate(SLOTS)]
    return PartitionTable(tuple(parts))


def device(running, other=b""):
    flash = FlashImage.erased(0x30000)
    flash.load(0xD000, make_entry(1, ImageState.VALID).pack())
    flash.load(SLOTS["ota_0"], running)
    flash.load(SLOTS["ota_1"], other)
    return flash


def lines(effects):
    return [f"{e.level} {e.tag}: {e.text}" for e in effects if isinstance(e, Log) and not e.text.startswith("segment")]


def verdict(image, scheme="rsa", running=None, rules=None):
    """Whether the update is accepted, and what is logged."""
    flash = device(running or signed(scheme, "1.0.0"), image)
    context = ota.AppContext(flash, table(), rules or config(scheme), "ota_0")
    error, effects = complete(ota.esp_ota_set_boot_partition(context, "ota_1"), flash)
    assert error in ("ESP_OK", "ESP_ERR_OTA_VALIDATE_FAILED")
    return error == "ESP_OK", lines(effects)


def flipped(data, offset, bit=0):
    changed = bytearray(data)
    changed[offset] ^= 1 << bit
    return bytes(changed)


def with_check_sum(image):
    block = image[-SECTOR:][:CRC_AT]
    return image[:-SECTOR] + block + crc32(block).to_bytes(4, "little") + image[-SECTOR + CRC_AT + 4 :]


REFUSED = [
    "E esp_image: Secure boot signature verification failed",
    "I esp_image: Calculating simple hash to check for corruption...",
    "W esp_image: image valid, signature bad",
]
ASKED = ["I esp_image: Verifying image signature...", "I secure_boot_v2: Take trusted digest key(s) from running app"]
TRUSTED = [*ASKED, "I secure_boot_v2: #0 app key digest == #0 trusted key digest"]


def test_a_signature_by_the_running_apps_key_is_accepted():
    good = [
        *TRUSTED,
        "I secure_boot_v2: Verifying with RSA-PSS...",
        "I secure_boot_v2_rsa: Signature verified successfully!",
    ]
    assert verdict(signed("rsa")) == (True, good)
    assert verdict(signed("ecdsa"), "ecdsa") == (True, [*TRUSTED, "I secure_boot_v2: Verifying with ECDSA..."])


@both_schemes
def test_no_signature_and_one_by_another_key_are_refused(scheme):
    assert verdict(plain(), scheme) == (False, [*ASKED, *REFUSED])
    assert verdict(signed(scheme, number=1), scheme) == (False, [*ASKED, *REFUSED])


def test_an_old_signature_left_behind_in_the_slot_is_of_no_use():
    left = plain().ljust(len(signed("rsa")) - SECTOR, b"\xff") + signed("rsa", "1.0.0")[-SECTOR:]
    accepted, said = verdict(left)
    assert not accepted
    assert "E secure_boot_v2_rsa: Failed mbedtls_rsa_rsassa_pss_verify, err: -17280" in said


@both_schemes
def test_a_block_of_the_other_scheme_is_refused_and_named_since_v5_4(scheme):
    other = "ecdsa" if scheme == "rsa" else "rsa"
    accepted, said = verdict(signed(other), scheme)
    names = [name.upper() for name in (scheme, other)]
    text = "{} signing scheme selected but signature block generated for {} scheme".format(*names)
    assert (accepted, said[2]) == (False, f"E secure_boot_v2: {text}")
    accepted, said = verdict(signed(other), scheme, rules=config(scheme, idf_version="v5.1"))
    assert (accepted, said) == (False, [*ASKED, *REFUSED])


@given(st.data(), st.sampled_from(SCHEMES))
@settings(max_examples=60, deadline=None)
def test_any_flipped_bit_of_what_is_signed_or_of_the_block_is_refused(data, scheme):
    image = signed(scheme)
    offset = data.draw(st.integers(0, len(image) - SECTOR + CRC_AT + 3))
    assert not verdict(flipped(image, offset, data.draw(st.integers(0, 7))), scheme)[0]


@given(st.integers(CRC_AT + 4, SECTOR - 1))
@settings(max_examples=15, deadline=None)
def test_what_follows_the_first_block_does_not_count(offset):
    assert verdict(flipped(signed("rsa"), offset - SECTOR))[0]


@given(st.integers(0, CRC_AT - 1), st.sampled_from(SCHEMES))
@settings(max_examples=40, deadline=None)
def test_a_block_whose_check_sum_was_made_to_fit_is_refused_unless_no_one_reads_the_byte(offset, scheme):
    # version, two reserved bytes and the signer's digest are not looked at by the app; ECDSA leaves much of it empty
    unread = set(range(2, 36)) | (set(range(165, CRC_AT)) if scheme == "ecdsa" else set())
    accepted, _ = verdict(with_check_sum(flipped(signed(scheme), offset - SECTOR)), scheme)
    assert accepted == (offset in unread)


def test_only_padding_says_the_signature_alone():
    accepted, said = verdict(flipped(signed("rsa"), -SECTOR - 1))
    failed = "E secure_boot_v2_rsa: Failed mbedtls_rsa_rsassa_pss_verify, err: -17280"
    assert (accepted, said) == (False, [*TRUSTED, "I secure_boot_v2: Verifying with RSA-PSS...", failed, *REFUSED])


def test_a_wrong_appended_hash_is_told_behind_the_signature():
    broken = flipped(plain(), len(plain()) - 1)
    accepted, said = verdict(broken)
    corrupt = ["E esp_image: Image hash failed - image is corrupt", "W esp_image: image corrupted on flash"]
    assert (accepted, said) == (False, [*ASKED, *REFUSED[:2], *corrupt])
    # who signs a broken image is believed by the app; the bootloader, which looks at no signature, boots it not
    assert verdict(sign(broken, key("rsa")))[0]
    assert not check_image(device(b"", sign(broken, key("rsa"))), SLOTS["ota_1"], 0x10000, config()).ok


def test_an_image_without_appended_hash_is_signed_and_accepted_like_any_other():
    assert verdict(sign(plain(hash_appended=False), key("rsa")))[0]


def test_of_several_signatures_only_the_first_counts_on_both_sides():
    first, second = key("rsa"), key("rsa", 1)
    assert verdict(sign(plain(), first, second))[0]
    assert not verdict(sign(plain(), second, first))[0]
    assert not verdict(sign(plain(), second), running=sign(plain("1.0.0"), first, second))[0]
    # a place that is empty is passed over in the running app, not in the update
    moved = signed("rsa", "1.0.0")
    moved = moved[:-SECTOR] + bytes(BLOCK) + moved[-SECTOR:][:-BLOCK]
    assert verdict(signed("rsa"), running=moved)[0]
    assert not verdict(moved)[0]


def test_an_unsigned_running_app_accepts_nothing():
    accepted, said = verdict(signed("rsa"), running=plain("1.0.0"))
    missing = "E secure_boot_v2: No signatures were found for the running app"
    unread = "E secure_boot_v2: Could not read secure boot digests!"
    assert (accepted, said) == (False, [*ASKED, missing, unread, *REFUSED])


def test_going_back_to_an_unsigned_app_is_impossible_for_the_app_and_no_question_for_the_bootloader():
    flash = device(signed("rsa"), plain("1.0.0"))
    flash.load(0xE000, make_entry(2, ImageState.VALID).pack())
    flash.load(0xD000, make_entry(3, ImageState.PENDING_VERIFY).pack())
    context = ota.AppContext(flash, table(), config(), "ota_0")
    assert complete(ota.esp_ota_check_rollback_is_possible(context), flash)[0] is False
    result, _ = complete(boot(flash, table(), config()), flash)
    assert result.slot == "ota_1"


def start(running, **changes):
    flash = device(running)
    return complete(check_own_signature(flash, SLOTS["ota_0"], config(**changes)), flash)


def test_an_app_that_demands_signatures_and_has_none_does_not_start():
    assert start(signed("rsa")) == (True, [])
    started, effects = start(plain())
    assert not started
    assert lines(effects)[-1].startswith("E secure_boot: This app is not signed")
    assert start(plain(), scheme=None) == (True, [])


@pytest.mark.parametrize("running", [b"", b"\xe9\x01" + bytes(22) + b"\xff" * 8])
def test_where_no_image_is_no_signature_is_looked_for(running):
    started, effects = start(running)
    assert not started
    assert lines(effects)[0] == "E secure_boot_v2: Error reading metadata from running app (err=0x2002)"


def test_an_app_with_two_signatures_says_which_one_counts():
    started, effects = start(sign(plain(), key("rsa"), key("rsa", 1)))
    assert started
    assert lines(effects)[0].startswith("W secure_boot: App has 2 signatures. Only the first")


@pytest.mark.parametrize("signed_updates", ["rsa", None])
def test_a_slot_needs_room_for_the_signature_in_bootloader_and_app(signed_updates):
    size = signature_offset(len(plain())) + SECTOR - 1
    check = check_image(device(b"", plain()), SLOTS["ota_1"], size, replace(config(), signed_updates=signed_updates))
    assert check.ok == (signed_updates is None)


# blocks and signing


@both_schemes
def test_a_block_is_what_espsecure_says(scheme, capsys, tmp_path):
    block, *rest = blocks(signed(scheme)[-SECTOR:])
    assert (block.scheme, rest) == (scheme, [None, None])
    assert block.image_digest == sha256(signed(scheme)[:-SECTOR]).digest()
    public, output = io.BytesIO(key(scheme)), tmp_path / "digest"
    public.name = "key"
    espsecure.digest_sbv2_public_key(public, str(output))
    assert block.key_digest(scheme) == output.read_bytes()


def test_a_block_with_another_magic_check_sum_or_length_is_none():
    good = signed("rsa")[-SECTOR:]
    assert SignatureBlock.parse(good) is not None
    assert SignatureBlock.parse(good[: BLOCK_SIZE - 1]) is None
    assert SignatureBlock.parse(flipped(good, 0)) is None
    assert SignatureBlock.parse(flipped(good, CRC_AT)) is None


def test_signing_fills_up_to_a_sector_and_adds_one():
    image = signed("rsa")
    assert image[: len(plain())] == plain()
    assert set(image[len(plain()) : -SECTOR]) == {0xFF}
    assert (len(image) % SECTOR, is_signed(image), is_signed(plain()), is_signed(image + b"\xff")) == (
        0,
        True,
        False,
        False,
    )


def test_the_key_of_a_bench_is_made_once_and_belongs_to_its_owner(tmp_path):
    first = kept_key(tmp_path, "ecdsa")
    assert kept_key(tmp_path, "ecdsa") == first
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


# from the configuration


@pytest.mark.parametrize(
    ("settings_given", "chip", "scheme"),
    [
        ({}, "esp32c3", None),
        ({"SECURE_SIGNED_APPS_NO_SECURE_BOOT": True}, "esp32c3", "rsa"),
        ({"SECURE_SIGNED_APPS_NO_SECURE_BOOT": True}, "esp32c2", "ecdsa"),
        ({"SECURE_SIGNED_APPS_NO_SECURE_BOOT": True, "SECURE_SIGNED_APPS_ECDSA_V2_SCHEME": True}, "esp32c6", "ecdsa"),
        (
            {"SECURE_SIGNED_APPS_NO_SECURE_BOOT": True, "SECURE_SIGNED_ON_UPDATE_NO_SECURE_BOOT": False},
            "esp32c3",
            None,
        ),
        ({"SECURE_SIGNED_APPS_NO_SECURE_BOOT": True, "SECURE_SIGNED_APPS_ECDSA_SCHEME": True}, "esp32", None),
    ],
)
def test_the_scheme_is_the_one_that_kconfig_gives(settings_given, chip, scheme):
    rules = BootConfig.from_sdkconfig(settings_given, "v5.5", chip)
    assert rules.signed_updates == scheme
    assert BootConfig.from_json(rules.to_json()) == rules
