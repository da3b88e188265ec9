"""Images that the bootloader boots and `esptool image-info` accepts, without a compiler. Same input, same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Literal

from rig.idf.chips import PAGE_64K, Chip, chip
from rig.idf.errors import FormatError
from rig.idf.image_check import CHECKSUM_SEED, HEADER, MAGIC, MAX_SEGMENTS, SEGMENT, xor_bytes
from rig.idf.image_desc import AppDesc, BootloaderDesc

Region = Literal["drom", "irom", "iram", "dram"]

FLASH_SIZES = ("1MB", "2MB", "4MB", "8MB", "16MB", "32MB", "64MB", "128MB")
"""Flash sizes in the order of their codes in the image header."""

_DIO = 2
_WP_PIN_DISABLED = 0xEE


def build_image(
    *,
    chip: str,
    version: str,
    project: str = "rig_test_app",
    secure_version: int = 0,
    idf_version: str = "v5.5",
    segments: Sequence[tuple[Region, bytes]] = (("irom", bytes(64)),),
    rodata: bytes = b"",
    elf_sha: bytes | None = None,
    time: str = "12:00:00",
    date: str = "Jan  1 2025",
    flash_size: str = "4MB",
    min_revision: int | None = None,
    max_revision: int | None = None,
    mmu_page_size: int = PAGE_64K,
    hash_appended: bool = True,
) -> bytes:
    """An app: DROM segment with descriptor and `rodata`, then `segments`, checksum and SHA-256.

    Without `elf_sha` one is made from the content. Revisions are major * 100 + minor, the chip's own range by default.
    Raises FormatError for an unknown chip, text that does not fit the descriptor and more than 16 segments.
    """
    target = _chip(chip)
    content = rodata + b"".join(data for _, data in segments)
    desc = AppDesc(
        version=version,
        project=project,
        secure_version=secure_version,
        time=time,
        date=date,
        idf_ver=idf_version,
        elf_sha=elf_sha or sha256(f"{project} {version} {secure_version}".encode() + content).digest(),
        mmu_page_size=mmu_page_size,
    )
    placed = _place(target, [("drom", desc.pack() + rodata), *segments], mmu_page_size)
    return pack_image(
        chip=chip,
        segments=placed,
        flash_size=flash_size,
        min_revision=min_revision,
        max_revision=max_revision,
        hash_appended=hash_appended,
    )


def build_bootloader(
    *,
    chip: str,
    idf_version: str = "v5.5",
    data: bytes = b"",
    code: bytes = bytes(64),
    date_time: str = "Jan  1 2025 12:00:00",
    flash_size: str = "4MB",
) -> bytes:
    """A second-stage bootloader: DRAM segment with descriptor and `data`, IRAM segment with `code`.

    Raises FormatError for an unknown chip and text that does not fit the descriptor.
    """
    desc = BootloaderDesc(idf_ver=idf_version, date_time=date_time).pack()
    placed = _place(_chip(chip), [("dram", desc + data), ("iram", code)], PAGE_64K)
    return pack_image(chip=chip, segments=placed, flash_size=flash_size)


def pack_image(
    *,
    chip: str,
    segments: Sequence[tuple[int, bytes]],
    entry: int | None = None,
    flash_size: str = "4MB",
    min_revision: int | None = None,
    max_revision: int | None = None,
    hash_appended: bool = True,
) -> bytes:
    """Header, segments at the load addresses given, checksum and SHA-256; data is filled up to 4 bytes with zeros.

    Raises FormatError for an unknown chip or flash size and more than 16 segments.
    """
    target = _chip(chip)
    if len(segments) > MAX_SEGMENTS:
        raise FormatError(f"{len(segments)} segments; allowed: {MAX_SEGMENTS}")
    if flash_size not in FLASH_SIZES:
        raise FormatError(f"flash size {flash_size!r}; allowed: {', '.join(FLASH_SIZES)}")
    minimum = target.min_revision if min_revision is None else min_revision
    out = bytearray(
        HEADER.pack(
            MAGIC,
            len(segments),
            _DIO,
            FLASH_SIZES.index(flash_size) << 4 | target.flash_frequency[1],
            target.iram[0] if entry is None else entry,
            _WP_PIN_DISABLED,
            bytes(3),
            target.chip_id,
            minimum // 100,
            minimum,
            target.max_revision if max_revision is None else max_revision,
            bytes(4),
            int(hash_appended),
        )
    )
    checksum = CHECKSUM_SEED
    for address, data in segments:
        padded = _to_words(data)
        out += SEGMENT.pack(address, len(padded)) + padded
        checksum ^= xor_bytes(padded)
    out += bytes(15 - len(out) % 16) + bytes([checksum])
    if hash_appended:
        out += sha256(out).digest()
    return bytes(out)


def _place(target: Chip, parts: Sequence[tuple[Region, bytes]], page: int) -> list[tuple[int, bytes]]:
    """Choose load addresses: RAM from the start of its region on, mapped ones congruent to their place in the file."""
    next_free = {
        "drom": target.drom[0],
        "irom": target.irom[0],
        "iram": target.iram[0],
        "dram": target.dram[0],
    }
    if target.irom == target.drom:
        next_free["irom"] += 0x100000
    if target.iram == target.dram:
        next_free["dram"] += 0x20000
    placed = []
    at = HEADER.size
    for region, data in parts:
        at += SEGMENT.size
        address = next_free[region]
        if region in ("drom", "irom"):
            address += (at - address) % page
        placed.append((address, data))
        size = len(_to_words(data))
        next_free[region] = address + size
        at += size
    return placed


def _to_words(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _chip(name: str) -> Chip:
    # the keyword arguments are called `chip`, as esptool's option is
    return chip(name)
