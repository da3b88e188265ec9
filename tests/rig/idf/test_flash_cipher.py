"""The flash ciphers against espsecure, and what follows from blocks that stand alone."""

from __future__ import annotations

import contextlib
import io
import os

import espsecure
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rig.idf.errors import FormatError
from rig.idf.flash_cipher import PLAIN, Esp32Aes, FlashCipher, XtsAes, cipher_for, read_decrypted

keys_32 = st.binary(min_size=32, max_size=32)
offsets = st.integers(0, (0x1000000 - 16 * 40) // 16).map(lambda block: block * 16)
contents = st.integers(1, 40).flatmap(lambda blocks: st.binary(min_size=16 * blocks, max_size=16 * blocks))


def named(data: bytes) -> io.BytesIO:
    """A file as espsecure takes it."""
    file = io.BytesIO(data)
    file.name = f"memory {id(file)}"
    return file


def by_espsecure(key: bytes, offset: int, data: bytes, *, xts: bool, config: int = 0xF) -> tuple[bytes, bytes]:
    """The data encrypted, and decrypted."""
    results = []
    with contextlib.redirect_stdout(io.StringIO()):
        for work in (espsecure.encrypt_flash_data, espsecure.decrypt_flash_data):
            output = named(b"")
            work(named(key), output, offset, config, xts, named(data))
            results.append(output.getvalue())
    return results[0], results[1]


@settings(max_examples=60)
@given(st.sampled_from([32, 64]).flatmap(lambda size: st.binary(min_size=size, max_size=size)), offsets, contents)
def test_xts_agrees_with_espsecure(key: bytes, offset: int, data: bytes) -> None:
    assume(key[: len(key) // 2] != key[len(key) // 2 :])
    cipher = XtsAes(key)
    assert (cipher.encrypt(offset, data), cipher.decrypt(offset, data)) == by_espsecure(key, offset, data, xts=True)


@settings(max_examples=60)
@given(keys_32, offsets, contents, st.integers(1, 15))
def test_esp32s_aes_agrees_with_espsecure(key: bytes, offset: int, data: bytes, config: int) -> None:
    cipher = Esp32Aes(key, config)
    expected = by_espsecure(key, offset, data, xts=False, config=config)
    assert (cipher.encrypt(offset, data), cipher.decrypt(offset, data)) == expected


@pytest.fixture(params=["esp32", "esp32c3", "esp32s3 with 512 bits"])
def cipher(request: pytest.FixtureRequest) -> FlashCipher:
    return cipher_for(request.param.split()[0], os.urandom(64 if "512" in request.param else 32))


def test_a_block_reads_well_whatever_its_neighbours_hold(cipher: FlashCipher) -> None:
    plain = bytes(range(256))
    raw = cipher.encrypt(0x10000, plain)
    torn = raw[:40] + b"\xff" * 216
    seen = cipher.decrypt(0x10000, torn)
    assert seen[:32] == plain[:32]
    assert seen[32:48] != plain[32:48]
    assert seen[48:64] not in (plain[48:64], b"\xff" * 16)


def test_the_same_data_elsewhere_is_another_cipher_text(cipher: FlashCipher) -> None:
    data = os.urandom(32)
    assert len({cipher.encrypt(offset, data) for offset in range(0, 0x400000, 0x10000)}) == 64


def test_any_range_can_be_read_through_the_cache(cipher: FlashCipher) -> None:
    plain = os.urandom(256)
    raw = bytes(0x1000) + cipher.encrypt(0x1000, plain)

    def read(offset: int, size: int) -> bytes:
        return raw[offset : offset + size]

    for offset, size in ((0, 0), (0, 1), (15, 2), (16, 16), (31, 100), (5, 250)):
        assert read_decrypted(read, cipher, 0x1000 + offset, size) == plain[offset : offset + size]


def test_without_encryption_everything_is_what_it_is() -> None:
    assert PLAIN.encrypt(3, b"abc") == PLAIN.decrypt(3, b"abc") == b"abc"
    assert read_decrypted(lambda offset, size: b"abcdef"[offset : offset + size], PLAIN, 1, 3) == b"bcd"


@pytest.mark.parametrize(("offset", "size"), [(8, 16), (0, 15), (1, 1)])
def test_parts_of_blocks_are_refused(cipher: FlashCipher, offset: int, size: int) -> None:
    with pytest.raises(FormatError, match="whole blocks of 16"):
        cipher.encrypt(offset, bytes(size))


@pytest.mark.parametrize(
    ("chip", "size", "says"),
    [
        ("esp32", 64, "32 bytes"),
        ("esp32c3", 16, "32 or 64"),
        ("esp32c3", 64, "XTS-AES-128 only"),
        ("esp32c6", 32, "halves of a key"),
        ("esp32s3", 0, "not 0"),
    ],
)
def test_keys_of_a_wrong_kind_are_refused(chip: str, size: int, says: str) -> None:
    with pytest.raises(FormatError, match=says):
        cipher_for(chip, bytes(size))
