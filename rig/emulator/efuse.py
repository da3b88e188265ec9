"""eFuses of an emulated chip that nobody has burnt yet, but for the chip revision, without which apps are refused.

File layout: the eFuse read registers from the first on (QEMU hw/nvram/esp32_efuse.c, esp32c3_efuse.c).
"""

from __future__ import annotations

from typing import NamedTuple

SIZES = {"esp32": 512, "esp32s3": 1024, "esp32c3": 1024}
"""Bytes of the file; more than the registers, as QEMU reads in units of 512."""


def blank_efuses(chip: str) -> bytes:
    """Content of a new eFuse file: esp32 of revision v3, esp32c3 and esp32s3 of v0.3."""
    words = [0] * (SIZES[chip] // 4)
    if chip == "esp32":
        words[3] = 1 << 15  # BLOCK0 CHIP_VER_REV1
        words[5] = 1 << 20  # BLOCK0 CHIP_VER_REV2; the third bit of the revision is no eFuse
    else:
        words[9] = 3 << 18  # BLOCK1 WAFER_VERSION_MINOR, its low three bits
    return b"".join(word.to_bytes(4, "little") for word in words)


class _Field(NamedTuple):
    """Bits of the file, from `bit` of the little-endian word `word` on."""

    word: int
    bit: int
    size: int


_SECURE_VERSION = {"esp32": _Field(27, 0, 32), "esp32s3": _Field(4, 14, 16), "esp32c3": _Field(4, 14, 16)}
"""ESP-IDF components/efuse/<chip>/esp_efuse_table.csv, SECURE_VERSION: bit 128 of BLK3 on esp32, else 142 of BLK0."""


def secure_version(efuses: bytes, chip: str) -> int:
    """Bits set in the anti-rollback field of an eFuse file."""
    field = _SECURE_VERSION[chip]
    return (_word(efuses, field) >> field.bit & ((1 << field.size) - 1)).bit_count()


def with_secure_version(efuses: bytes, chip: str, version: int) -> bytes:
    """The eFuse file with the lowest `version` bits of its anti-rollback field set; ValueError if there are fewer."""
    field = _SECURE_VERSION[chip]
    if not 0 <= version <= field.size:
        raise ValueError(f"secure version {version} does not fit into the {field.size} eFuse bits of {chip}")
    mask = (1 << field.size) - 1
    word = _word(efuses, field) & ~(mask << field.bit) | ((1 << version) - 1) << field.bit
    return efuses[: 4 * field.word] + word.to_bytes(4, "little") + efuses[4 * field.word + 4 :]


ENCRYPTING = frozenset({"esp32c3"})
"""Chips to whose flash encryption the bench can give a key here (QEMU hw/misc/esp32c3_xts_aes.c)."""
_CRYPT_COUNT, _PURPOSE, _KEY0 = _Field(2, 18, 3), _Field(2, 24, 4), _Field(28, 0, 256)
"""ESP-IDF components/efuse/esp32c3/esp_efuse_table.csv: SPI_BOOT_CRYPT_CNT, KEY_PURPOSE_0, KEY0."""
_XTS_AES_128 = 4


def with_encryption_key(efuses: bytes, key: bytes) -> bytes:
    """The eFuse file of an esp32c3 that encrypts its flash with `key` (32 bytes, as espsecure takes it).

    The key stays readable, for QEMU itself takes it from the registers that read protection blanks. ValueError for a
    key of another size.
    """
    if len(key) != _KEY0.size // 8:
        raise ValueError(f"a key of {len(key)} bytes; the chip has XTS-AES-128, whose key has {_KEY0.size // 8}")
    settings = _word(efuses, _CRYPT_COUNT) | 1 << _CRYPT_COUNT.bit | _XTS_AES_128 << _PURPOSE.bit
    content = bytearray(efuses)
    content[4 * _CRYPT_COUNT.word : 4 * _CRYPT_COUNT.word + 4] = settings.to_bytes(4, "little")
    content[4 * _KEY0.word : 4 * _KEY0.word + len(key)] = key
    return bytes(content)


def _word(efuses: bytes, field: _Field) -> int:
    return int.from_bytes(efuses[4 * field.word : 4 * field.word + 4], "little")
