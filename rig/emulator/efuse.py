"""eFuses of an emulated chip that nobody has burnt yet, but for the chip revision, without which apps are refused.

File layout: the eFuse read registers from the first on (QEMU hw/nvram/esp32_efuse.c, esp32c3_efuse.c).
"""

from __future__ import annotations

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
