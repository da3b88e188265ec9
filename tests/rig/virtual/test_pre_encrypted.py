"""The device's decryption: the same bytes however they arrive, and each refusal where the C code refuses."""

import contextlib
import random
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.idf.encrypted_image import HEADER_SIZE, encrypt
from rig.virtual.pre_encrypted import DecryptError, Decryptor
from tests.rig.keys import ec_key, private_pem, public_pem, rsa_key

KEYS = {"RSA-3072": rsa_key, "ECIES-P256": ec_key}
IMAGE = random.Random(7).randbytes(2003)
MAGIC, KEY, IV, SIZE, TAG, RESERVED = 0, 4, 388, 404, 408, 424

both_forms = pytest.mark.parametrize("form", KEYS)


@cache
def file_of(form):
    return encrypt(IMAGE, KEYS[form]().public_key())


def device(form):
    return Decryptor(private_pem(KEYS[form]()))


def changed(form, offset):
    data = bytearray(file_of(form))
    data[offset] ^= 0x40
    return bytes(data)


def rsa_key_above_the_ciphertext():
    """Another device's key. One whose modulus is below the encrypted key as a number is refused for that instead."""
    cipher = int.from_bytes(file_of("RSA-3072")[KEY:IV], "big")
    return next(key for number in range(1, 50) if (key := rsa_key(number)).public_key().public_numbers().n > cipher)


def refused(act):
    with pytest.raises(DecryptError) as caught:
        act()
    assert caught.value.error == "ESP_FAIL"
    return caught.value.text


@given(st.sampled_from(sorted(KEYS)), st.lists(st.integers(1, 700), max_size=30))
@settings(max_examples=40, deadline=None)
def test_the_image_comes_out_however_the_file_comes_in(form, sizes):
    data, decryptor = file_of(form), device(form)
    out = b""
    for size in [*sizes, len(data)]:
        piece, data = data[:size], data[size:]
        out += decryptor.feed(piece)
        assert len(out) % 16 == 0 or not data
    decryptor.finish()
    assert out == IMAGE


@both_forms
def test_a_wrong_magic_is_refused_with_its_fourth_byte(form):
    decryptor, data = device(form), changed(form, MAGIC)
    assert decryptor.feed(data[:3]) == b""
    assert refused(lambda: decryptor.feed(data[3:4])) == "Magic Verification failed"


@both_forms
def test_a_key_block_for_another_device_is_refused_with_its_last_byte(form):
    data = changed(form, KEY + 40)
    decryptor = device(form)
    assert decryptor.feed(data[: IV - 1]) == b""
    assert refused(lambda: decryptor.feed(data[IV - 1 : IV])) == "Failed to process GCM key"
    assert refused(decryptor.finish) == "Decryption process not completed successfully"


@pytest.mark.parametrize("offset", [IV, TAG, HEADER_SIZE, HEADER_SIZE + 1000, -1])
@both_forms
def test_a_change_that_only_the_tag_tells_is_refused_at_the_end_when_all_is_out(form, offset):
    decryptor = device(form)
    assert len(decryptor.feed(changed(form, offset))) == len(IMAGE)
    assert refused(decryptor.finish) == "Invalid Auth"


def test_another_salt_gives_another_image_and_a_wrong_tag():
    decryptor = Decryptor(private_pem(ec_key()))
    assert decryptor.feed(changed("ECIES-P256", KEY + 64)) != IMAGE
    assert refused(decryptor.finish) == "Invalid Auth"


@both_forms
@pytest.mark.parametrize("byte", [SIZE, SIZE + 1, SIZE + 3])
def test_another_size_leaves_the_last_bytes_inside_and_is_refused_at_the_end(form, byte):
    decryptor = device(form)
    assert decryptor.feed(changed(form, byte)) == IMAGE[: len(IMAGE) - len(IMAGE) % 16]
    assert refused(decryptor.finish) == "Invalid operation"


@both_forms
@pytest.mark.parametrize(("missing", "text"), [(1, "Invalid operation"), (1600, "Invalid operation")])
def test_a_truncated_file_is_refused_at_the_end(form, missing, text):
    decryptor = device(form)
    decryptor.feed(file_of(form)[:-missing])
    assert refused(decryptor.finish) == text


@both_forms
def test_a_file_that_goes_on_is_refused_at_the_end(form):
    decryptor = device(form)
    assert decryptor.feed(file_of(form)) == IMAGE
    decryptor.feed(b"more")
    assert refused(decryptor.finish) == "Invalid operation"


@both_forms
def test_the_reserved_bytes_are_protected_by_nothing(form):
    decryptor = device(form)
    assert decryptor.feed(changed(form, RESERVED + 5)) == IMAGE
    decryptor.finish()


@both_forms
@pytest.mark.parametrize("other", ["another device", "other form"])
def test_a_wrong_key_is_refused_or_gives_another_image(form, other):
    key = KEYS[form](1) if other == "another device" else next(KEYS[name]() for name in KEYS if name != form)
    decryptor = Decryptor(private_pem(key))
    out = b""
    with contextlib.suppress(DecryptError):
        out = decryptor.feed(file_of(form))
    assert out != IMAGE
    refused(decryptor.finish)


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (lambda: b"", "mbedtls_pk_parse_keyfile returned -0x3d00"),
        (lambda: b"rubbish", "mbedtls_pk_parse_keyfile returned -0x3d00"),
        (lambda: public_pem(rsa_key()), "mbedtls_pk_parse_keyfile returned -0x3d00"),
        (lambda: private_pem(rsa_key_above_the_ciphertext()), "mbedtls_pk_decrypt returned -0x4100"),
        (lambda: private_pem(rsa_key(bits=2048)), "mbedtls_pk_decrypt returned -0x4080"),
        (lambda: private_pem(ec_key()), "mbedtls_ecp_check_pubkey returned -0x4c80"),
        (lambda: private_pem(ec_key(curve=ec.SECP384R1)), "mbedtls_ecp_check_pubkey returned -0x4c80"),
    ],
)
def test_the_log_says_what_is_wrong_with_the_key_and_only_when_it_is_needed(key, line):
    decryptor = Decryptor(key())
    decryptor.feed(file_of("RSA-3072")[:100])
    assert [entry.text for entry in decryptor.take_logs()] == ["Initializing Decryption Handle", "Magic Verified"]
    refused(lambda: decryptor.feed(file_of("RSA-3072")[100:]))
    assert any(line in entry.text and entry.level == "E" for entry in decryptor.take_logs())
    assert decryptor.take_logs() == []
