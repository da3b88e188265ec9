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


def _word(efuses: bytes, field: _Field) -> int:
    return int.from_bytes(efuses[4 * field.word : 4 * field.word + 4], "little")
