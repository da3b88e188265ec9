"""Flash encryption keys in the eFuses, as espefuse burns them and the silicon takes them.

A key lies in its block with its bytes in reverse order (espefuse `burn-key`); an odd number of bits in the count
switches encryption on. Source: esp_efuse_table.csv of components/efuse and esp_flash_encryption_enabled in
components/bootloader_support/src/flash_encrypt.c.
"""

from __future__ import annotations

from typing import NamedTuple

from rig.idf.errors import FormatError
from rig.idf.flash_cipher import XTS_256_CHIPS, Esp32Aes, FlashCipher, XtsAes
from rig.virtual.efuse import Efuses

KEY_BLOCKS = 6
_FIRST_KEY_BLOCK = 4
_ESP32_KEY_BLOCK = 1
_XTS_256_1, _XTS_256_2, _XTS_128 = 2, 3, 4
_KEY_SIZE = 32


class FlashEncryption(NamedTuple):
    """`flashes_left`: how often the count still lets a chip in development mode be flashed in plain text."""

    cipher: FlashCipher
    flashes_left: int


def crypt_count(efuses: Efuses) -> int:
    """SPI_BOOT_CRYPT_CNT, on esp32 FLASH_CRYPT_CNT."""
    return efuses.field(_count_field(efuses))


def key_purposes(efuses: Efuses) -> tuple[int, ...]:
    """KEY_PURPOSE_0 to KEY_PURPOSE_5; esp32 has none."""
    names = (f"KEY_PURPOSE_{number}" for number in range(KEY_BLOCKS))
    return tuple(efuses.field(name) for name in names if name in efuses.spec.efuse_fields)


def burn_flash_key(efuses: Efuses, key: bytes) -> None:
    """Burn `key` (32 bytes, for XTS-AES-256 64) read-protected into the first blocks, and one bit of the count.

    What a host does with espefuse burn-key and burn-efuse before anything is flashed. FormatError for a wrong size.
    """
    parts = [key[start : start + _KEY_SIZE] for start in range(0, len(key), _KEY_SIZE)]
    if len(key) not in (_KEY_SIZE, 2 * _KEY_SIZE) or (len(parts) == 2 and efuses.spec.name not in XTS_256_CHIPS):
        raise FormatError(f"{efuses.spec.name} takes no flash encryption key of {len(key)} bytes")
    if _is_esp32(efuses):
        efuses.burn_block(_ESP32_KEY_BLOCK, int.from_bytes(key, "big"))
        efuses.burn_field("FLASH_CRYPT_CONFIG", 0xF)
    else:
        purposes = (_XTS_128,) if len(parts) == 1 else (_XTS_256_1, _XTS_256_2)
        for number, (part, purpose) in enumerate(zip(parts, purposes, strict=True)):
            efuses.burn_block(_FIRST_KEY_BLOCK + number, int.from_bytes(part, "big"))
            efuses.burn_field(f"KEY_PURPOSE_{number}", purpose)
    efuses.burn_field("RD_DIS", (1 << len(parts)) - 1)
    efuses.burn_field(_count_field(efuses), 1)


def flash_encryption(efuses: Efuses) -> FlashEncryption | None:
    """What the eFuses make the silicon do; None while encryption is off. FormatError when it is on without a key."""
    count = crypt_count(efuses).bit_count()
    if count % 2 == 0:
        return None
    left = (efuses.spec.efuse_fields[_count_field(efuses)].width - count) // 2
    if _is_esp32(efuses):
        cipher: FlashCipher = Esp32Aes(_key(efuses, _ESP32_KEY_BLOCK), efuses.field("FLASH_CRYPT_CONFIG"))
    else:
        cipher = XtsAes(_xts_key(efuses))
    return FlashEncryption(cipher, left)


def _xts_key(efuses: Efuses) -> bytes:
    purposes = key_purposes(efuses)
    wanted = (_XTS_256_1, _XTS_256_2) if _XTS_256_1 in purposes and efuses.spec.name in XTS_256_CHIPS else (_XTS_128,)
    if any(purpose not in purposes for purpose in wanted):
        raise FormatError("the eFuses switch flash encryption on without a key: not modelled")
    return b"".join(_key(efuses, _FIRST_KEY_BLOCK + purposes.index(purpose)) for purpose in wanted)


def _key(efuses: Efuses, block: int) -> bytes:
    return efuses.block(block).to_bytes(_KEY_SIZE, "big")


def _is_esp32(efuses: Efuses) -> bool:
    return "FLASH_CRYPT_CNT" in efuses.spec.efuse_fields


def _count_field(efuses: Efuses) -> str:
    return "FLASH_CRYPT_CNT" if _is_esp32(efuses) else "SPI_BOOT_CRYPT_CNT"
