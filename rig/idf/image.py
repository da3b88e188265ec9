"""App and bootloader images: the one door to reading (`parse`), verifying in flash (`check_image`) and building."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from rig.idf.chips import Chip, chip_by_id
from rig.idf.effects import Memory
from rig.idf.errors import FormatError
from rig.idf.image_build import FLASH_SIZES, Region, build_bootloader, build_image, pack_image
from rig.idf.image_check import (
    CHECKSUM_SEED,
    HASH_SIZE,
    HEADER,
    MAGIC,
    MAX_SEGMENTS,
    SEGMENT,
    ImageCheck,
    as_loaded,
    check_image,
    secure_version,
    segment_lines,
    xor_bytes,
)
from rig.idf.image_desc import AppDesc, BootloaderDesc

__all__ = [
    "FLASH_SIZES",
    "AppDesc",
    "AppImage",
    "BootloaderDesc",
    "ImageCheck",
    "ImageHeader",
    "Region",
    "Segment",
    "as_loaded",
    "build_bootloader",
    "build_image",
    "check_image",
    "extent",
    "pack_image",
    "parse",
    "secure_version",
    "segment_lines",
    "xor_bytes",
]


class ImageHeader(NamedTuple):
    """esp_image_header_t; revisions are major * 100 + minor, flash fields are the header's codes."""

    segment_count: int
    flash_mode: int
    flash_speed: int
    flash_size: int
    entry: int
    chip_id: int
    min_revision: int
    max_revision: int
    hash_appended: bool


class Segment(NamedTuple):
    """One segment; `file_offset` is where its data starts in the image, in bytes."""

    load_address: int
    file_offset: int
    data: bytes


@dataclass(frozen=True)
class AppImage:
    """An image whose checksum and SHA-256 are right. `length` in bytes with both; what follows is not looked at."""

    header: ImageHeader
    segments: tuple[Segment, ...]
    desc: AppDesc | None
    bootloader_desc: BootloaderDesc | None
    length: int
    sha256: bytes
    """Of the image; also the appended hash, if there is one."""

    @property
    def chip(self) -> Chip:
        """The chip it was built for. Raises FormatError for an id that is not known."""
        return chip_by_id(self.header.chip_id)

    @property
    def flash_size(self) -> int:
        """Flash size in bytes that the header claims. Raises FormatError for a code that is not known."""
        if self.header.flash_size >= len(FLASH_SIZES):
            raise FormatError(f"flash size code {self.header.flash_size} is not known")
        return 0x100000 << self.header.flash_size


def parse(data: bytes) -> AppImage:
    """Read an image file, or flash content that starts with an image.

    Raises FormatError for a wrong magic byte, a cut image (saying where), too many segments, a segment length that is
    no multiple of 4, a wrong checksum and a wrong SHA-256. The chip is not checked: `AppImage.chip` does.
    """
    header = _header(data)
    segments: list[Segment] = []
    at = HEADER.size
    for index in range(header.segment_count):
        _need(data, at + SEGMENT.size, f"the header of segment {index}")
        address, size = SEGMENT.unpack_from(data, at)
        at += SEGMENT.size
        if size & 3:
            raise FormatError(f"segment {index} has length {size:#x}; allowed: multiples of 4")
        _need(data, at + size, f"segment {index} ({size} bytes at {at:#x})")
        segments.append(Segment(address, at, data[at : at + size]))
        at += size
    at += 16 - at % 16
    _need(data, at, "the checksum")
    calculated = CHECKSUM_SEED
    for segment in segments:
        calculated ^= xor_bytes(segment.data)
    if calculated != data[at - 1]:
        raise FormatError(f"checksum is {data[at - 1]:#04x}; the segments give {calculated:#04x}")
    digest = sha256(data[:at]).digest()
    if header.hash_appended:
        _need(data, at + HASH_SIZE, "the SHA-256")
        if data[at : at + HASH_SIZE] != digest:
            raise FormatError(f"SHA-256 is {data[at : at + HASH_SIZE].hex()}; the image gives {digest.hex()}")
        at += HASH_SIZE
    desc = AppDesc.find(segments[0].data) if segments else None
    bootloader_desc = None
    if desc is None:
        found = (BootloaderDesc.find(segment.data) for segment in segments)
        bootloader_desc = next((entry for entry in found if entry), None)
    return AppImage(header, tuple(segments), desc, bootloader_desc, at, digest)


def extent(memory: Memory, offset: int, limit: int) -> int:
    """How many bytes of flash at `offset` `parse` looks at, at most `limit`; only the headers are read to find out."""
    header = memory.read(offset, HEADER.size)
    if header[0] != MAGIC or header[1] > MAX_SEGMENTS:
        return min(HEADER.size, limit)
    at = HEADER.size
    for _ in range(header[1]):
        if at + SEGMENT.size > limit:
            return limit
        at += SEGMENT.size + SEGMENT.unpack(memory.read(offset + at, SEGMENT.size))[1]
    return min(at + 16 - at % 16 + HASH_SIZE, limit)


def _header(data: bytes) -> ImageHeader:
    if data[:1] and data[0] != MAGIC:
        raise FormatError(f"first byte is {data[0]:#04x}; an image starts with {MAGIC:#04x}")
    _need(data, HEADER.size, "the header")
    _, count, mode, speed_size, entry, _, _, chip_id, _, low, high, _, hashed = HEADER.unpack_from(data)
    if count > MAX_SEGMENTS:
        raise FormatError(f"{count} segments; allowed: {MAX_SEGMENTS}")
    return ImageHeader(count, mode, speed_size & 0xF, speed_size >> 4, entry, chip_id, low, high, bool(hashed))


def _need(data: bytes, size: int, what: str) -> None:
    if len(data) < size:
        raise FormatError(f"image is cut off in {what}: {len(data)} bytes of at least {size}")
