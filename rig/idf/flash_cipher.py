"""Flash encryption: what a chip's cache makes of the bytes in flash, and its encrypted writes of the bytes written.

Every block of 16 bytes is enciphered alone, by key and flash offset, so a block that is half written, or erased, reads
as noise while its neighbours read well. Sources: ESP-IDF docs/en/security/flash-encryption.rst, the eFuse tables of
components/efuse, and espsecure's `encrypt_flash_data` (tests hold this module to it).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Protocol

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from rig.idf.errors import FormatError

BLOCK = 16
_XTS_UNIT = 0x80
_ESP32_ROW = 32
_ESP32_ADDRESS_BITS = 19
"""Bits 5 to 23 of the flash offset change esp32's key."""
_ESP32_RANGES = tuple((3, rest) for rest in (10, 8, 6, 4))
"""Each bit of FLASH_CRYPT_CONFIG covers a stretch of the key: so many times those address bits, then the lowest few."""


class FlashCipher(Protocol):
    """One chip's flash encryption. Offsets are flash offsets in bytes; offset and length are multiples of 16."""

    def encrypt(self, offset: int, data: bytes) -> bytes:
        """What lies in flash when `data` was written encrypted at `offset`. FormatError where that is not aligned."""

    def decrypt(self, offset: int, data: bytes) -> bytes:
        """What is read through the cache where `data` lies in flash at `offset`."""


class NoCipher:
    """A chip without flash encryption; any alignment."""

    def encrypt(self, offset: int, data: bytes) -> bytes:
        return data

    def decrypt(self, offset: int, data: bytes) -> bytes:
        return data


PLAIN = NoCipher()


class XtsAes:
    """XTS-AES of every chip but esp32: units of 128 bytes, each with its bytes in reverse order.

    `key`: 32 bytes (XTS-AES-128) or 64 (XTS-AES-256), in the order of the key file that espsecure takes.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) not in (32, 64):
            raise FormatError(f"a key for XTS-AES has 32 or 64 bytes, not {len(key)}")
        if key[: len(key) // 2] == key[len(key) // 2 :]:
            raise FormatError("the two halves of a key for XTS-AES must differ")
        self._algorithm = algorithms.AES(key)

    def encrypt(self, offset: int, data: bytes) -> bytes:
        return self._run(offset, data, lambda cipher, unit: cipher.encryptor().update(unit))

    def decrypt(self, offset: int, data: bytes) -> bytes:
        return self._run(offset, data, lambda cipher, unit: cipher.decryptor().update(unit))

    def _run(self, offset: int, data: bytes, work: Callable[[Cipher[modes.XTS], bytes], bytes]) -> bytes:
        _check_aligned(offset, data)
        before = offset % _XTS_UNIT
        start = offset - before
        after = -(before + len(data)) % _XTS_UNIT
        padded = bytes(before) + data + bytes(after)
        units = []
        for at in range(0, len(padded), _XTS_UNIT):
            cipher = Cipher(self._algorithm, modes.XTS(struct.pack("<QQ", start + at, 0)))
            units.append(work(cipher, padded[at : at + _XTS_UNIT][::-1])[::-1])
        return b"".join(units)[before : before + len(data)]


class Esp32Aes:
    """AES-256 of esp32, run backwards: flash holds the deciphered data. Each 32 bytes have a key of their own.

    `key`: 32 bytes in the order of espsecure's key file; `crypt_config`: the eFuse field FLASH_CRYPT_CONFIG.
    """

    def __init__(self, key: bytes, crypt_config: int = 0xF) -> None:
        if len(key) != 32:
            raise FormatError(f"a flash encryption key of esp32 has 32 bytes, not {len(key)}")
        self._key = int.from_bytes(key, "big")
        self._config = crypt_config

    def encrypt(self, offset: int, data: bytes) -> bytes:
        return self._run(offset, data, lambda cipher, blocks: cipher.decryptor().update(blocks))

    def decrypt(self, offset: int, data: bytes) -> bytes:
        return self._run(offset, data, lambda cipher, blocks: cipher.encryptor().update(blocks))

    def _run(self, offset: int, data: bytes, work: Callable[[Cipher[modes.ECB], bytes], bytes]) -> bytes:
        _check_aligned(offset, data)
        done = bytearray()
        while len(done) < len(data):
            at = offset + len(done)
            row = data[len(done) : len(done) + _ESP32_ROW - at % _ESP32_ROW]
            cipher = Cipher(algorithms.AES(self._row_key(at)), modes.ECB())
            done += _blocks_reversed(work(cipher, _blocks_reversed(row)))
        return bytes(done)

    def _row_key(self, offset: int) -> bytes:
        address = offset // _ESP32_ROW % (1 << _ESP32_ADDRESS_BITS)
        tweak = 0
        for bit, (whole, rest) in enumerate(_ESP32_RANGES):
            on = self._config >> bit & 1
            for _ in range(whole):
                tweak = tweak << _ESP32_ADDRESS_BITS | address * on
            tweak = tweak << rest | address % (1 << rest) * on
        return (self._key ^ tweak).to_bytes(32, "big")


def cipher_for(chip: str, key: bytes) -> FlashCipher:
    """The cipher of a chip by its name. Raises FormatError for a key of the wrong size."""
    if chip == "esp32":
        return Esp32Aes(key)
    if len(key) == 64 and chip not in XTS_256_CHIPS:
        raise FormatError(f"{chip} has XTS-AES-128 only: a key of 32 bytes, not 64")
    return XtsAes(key)


XTS_256_CHIPS = ("esp32s2", "esp32s3", "esp32p4")
"""SOC_FLASH_ENCRYPTION_XTS_AES_256 in components/soc/<chip>/include/soc/soc_caps.h."""


def cipher_of(memory: object) -> FlashCipher:
    """The cipher of a memory that knows its own (`memory.cipher`), else none."""
    cipher: FlashCipher = getattr(memory, "cipher", PLAIN)
    return cipher


def is_plain(cipher: FlashCipher) -> bool:
    """Whether flash holds what is read."""
    return isinstance(cipher, NoCipher)


def read_decrypted(read: Callable[[int, int], bytes], cipher: FlashCipher, offset: int, size: int) -> bytes:
    """`size` bytes at any flash `offset` as the cache gives them; `read` gives what lies in flash."""
    if is_plain(cipher) or size <= 0:
        return read(offset, size)
    start = offset - offset % BLOCK
    end = offset + size
    data = cipher.decrypt(start, read(start, end + -end % BLOCK - start))
    return data[offset - start : end - start]


def _blocks_reversed(data: bytes) -> bytes:
    return b"".join(data[at : at + BLOCK][::-1] for at in range(0, len(data), BLOCK))


def _check_aligned(offset: int, data: bytes) -> None:
    if offset % BLOCK or len(data) % BLOCK:
        raise FormatError(f"{len(data)} bytes at {offset:#x} are not made of whole blocks of {BLOCK} bytes")
