"""The two descriptors inside images.

`esp_app_desc_t` (components/esp_app_format/include/esp_app_desc.h, 256 bytes, start of the first segment of an app) and
`esp_bootloader_desc_t` (components/esp_bootloader_format/include/esp_bootloader_desc.h, 80 bytes, start of a
bootloader's DRAM segment, ESP-IDF v5.2 and later).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from rig.idf.config import BootConfig, idf_family
from rig.idf.errors import FormatError
from rig.idf.image_check import DESC_MAGIC

APP_DESC_SIZE = 256
BOOTLOADER_DESC_SIZE = 80

_APP = struct.Struct("<II8x32s32s16s16s32s32sHHB3x72x")
_BOOTLOADER = struct.Struct("<B2xBI32s24s16x")
_BOOTLOADER_MAGIC = 80


@dataclass(frozen=True)
class AppDesc:
    """What an app says of itself. `time` and `date` as the C preprocessor writes them (`12:00:00`, `Jan  1 2025`).

    `mmu_page_size` in bytes, 0 when the image does not say (before v5.4 or so).
    """

    version: str
    project: str
    secure_version: int = 0
    time: str = "12:00:00"
    date: str = "Jan  1 2025"
    idf_ver: str = ""
    elf_sha: bytes = bytes(32)
    min_block_revision: int = 0
    max_block_revision: int = 199
    mmu_page_size: int = 0

    @classmethod
    def find(cls, data: bytes) -> AppDesc | None:
        """The descriptor at the start of `data`; None if it has not its magic or is cut short."""
        if len(data) < APP_DESC_SIZE:
            return None
        magic, secure, version, project, time, date, idf, sha, low, high, page = _APP.unpack_from(data)
        if magic != DESC_MAGIC:
            return None
        size = 1 << (page & 31) if page else 0
        texts = [_text(raw) for raw in (version, project, time, date, idf)]
        return cls(texts[0], texts[1], secure, texts[2], texts[3], texts[4], sha, low, high, size)

    def pack(self) -> bytes:
        """256 bytes. Raises FormatError naming the field that does not fit."""
        return _APP.pack(
            DESC_MAGIC,
            self.secure_version,
            _field("version", self.version, 32),
            _field("project", self.project, 32),
            _field("time", self.time, 16),
            _field("date", self.date, 16),
            _field("idf_ver", self.idf_ver, 32),
            self.elf_sha,
            self.min_block_revision,
            self.max_block_revision,
            self.mmu_page_size.bit_length() - 1 if self.mmu_page_size else 0,
        )


@dataclass(frozen=True)
class BootloaderDesc:
    """What a bootloader says of itself; `version` is CONFIG_BOOTLOADER_PROJECT_VER."""

    version: int = 1
    idf_ver: str = ""
    date_time: str = "Jan  1 2025 12:00:00"
    secure_version: int = 0

    @classmethod
    def find(cls, data: bytes) -> BootloaderDesc | None:
        """The descriptor at the start of `data`; None if it has not its magic or is cut short."""
        if len(data) < BOOTLOADER_DESC_SIZE:
            return None
        magic, secure, version, idf, when = _BOOTLOADER.unpack_from(data)
        return cls(version, _text(idf), _text(when), secure) if magic == _BOOTLOADER_MAGIC else None

    def pack(self) -> bytes:
        """80 bytes. Raises FormatError naming the field that does not fit."""
        idf = _field("idf_ver", self.idf_ver, 32)
        when = _field("date_time", self.date_time, 24)
        return _BOOTLOADER.pack(_BOOTLOADER_MAGIC, self.secure_version, self.version, idf, when)


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode(errors="replace")


def _field(name: str, text: str, size: int) -> bytes:
    raw = text.encode()
    if len(raw) >= size:
        raise FormatError(f"{name} {text!r} is {len(raw)} bytes long; allowed: {size - 1}")
    return raw


def app_config(bootloader: BootConfig, desc: AppDesc) -> BootConfig:
    """The app's own rules: those of `bootloader`, with the behaviour of the ESP-IDF the app was built with."""
    try:
        return replace(bootloader, idf_version=idf_family(desc.idf_ver))
    except FormatError:
        return bootloader
