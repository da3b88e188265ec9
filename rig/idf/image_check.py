"""What the bootloader and the app find when they verify an image in flash.

Follows `image_load` in components/bootloader_support/src/esp_image_format.c and `bootloader_common_check_chip_validity`
in bootloader_common_loader.c of ESP-IDF v4.4.8, v5.1.7, v5.5.5, v6.0.2 and v6.1-beta1, without secure boot. Signatures:
rig.idf.signature.
Not modelled: the bootloader's refusal to load a RAM segment over itself (where it lies is up to its linker), and that
v4.4 and v5.1 with anti-rollback take a first segment of more than 3 MiB for one without descriptor.
"""

from __future__ import annotations

import struct
from hashlib import sha256
from typing import NamedTuple

from rig.idf.chips import CHIPS, Chip, chip
from rig.idf.config import BootConfig
from rig.idf.effects import SECTOR_SIZE, Log, Memory
from rig.idf.signature_block import signature_offset

MAGIC = 0xE9
DESC_MAGIC = 0xABCD5432
MAX_SEGMENTS = 16
HASH_SIZE = 32
CHECKSUM_SEED = 0xEF

HEADER = struct.Struct("<BBBBIB3sHBHH4sB")
"""esp_image_header_t, 24 bytes: magic, segment count, flash mode, speed and size, entry, WP pin, pin drive, chip id,
old minimum revision, minimum and maximum revision, reserved, hash appended."""
SEGMENT = struct.Struct("<II")
"""esp_image_segment_header_t: load address, length in bytes."""
_DESC_START = struct.Struct("<II")
_BLOCK_REVISIONS = struct.Struct("<HH")
_CHIP_FIELDS = struct.Struct("<12xHxHH4xB")

_SEGMENTS_AT = HEADER.size
DESC_AT = HEADER.size + SEGMENT.size
"""The app descriptor is the start of the first segment, whatever that segment says of itself."""
_BLOCK_REVISIONS_AT = 176
_PAGE_SIZE_AT = 180

_SIXTEEN_MIB = 0x1000000
_LOWEST_LOADED = 0x10000000
_LARGEST_FLASH = 0x8000000
HASH_FAILED = "Image hash failed - image is corrupt"
_LOUD = HASH_FAILED, "Failed to fetch app description"


class Placed(NamedTuple):
    """A segment as it lies in flash; `data_offset` and `size` in bytes."""

    data_offset: int
    load_address: int
    size: int


class ImageCheck(NamedTuple):
    """The verdict on one image.

    `logs` are the W and E lines in order. `secure_version` is the app descriptor's, None without its magic, and says
    nothing about `ok`. `length` is in bytes with checksum and hash, 0 unless `ok`. `asserts`: with anti-rollback an
    image without descriptor ends the app in a C assert instead of an error (process_esp_app_desc_data).
    """

    ok: bool
    logs: tuple[Log, ...]
    secure_version: int | None
    length: int
    asserts: bool = False
    segments: tuple[Placed, ...] = ()

    @property
    def only_hash_wrong(self) -> bool:
        """Whether everything but the appended SHA-256 is right."""
        return any(line.text == HASH_FAILED for line in self.logs)

    @property
    def silent_logs(self) -> tuple[Log, ...]:
        """The lines that ESP_IMAGE_VERIFY_SILENT does not suppress."""
        return tuple(line for line in self.logs if line.tag != "esp_image" or line.text.startswith(_LOUD))


def secure_version(memory: Memory, offset: int) -> int | None:
    """The app descriptor's secure version of the image at flash `offset`; None without the descriptor's magic.

    As bootloader_common_get_partition_description: nothing else of the image is looked at.
    """
    magic, version = _DESC_START.unpack(memory.read(offset + DESC_AT, _DESC_START.size))
    return version if magic == DESC_MAGIC else None


def check_image(memory: Memory, offset: int, size: int, config: BootConfig) -> ImageCheck:
    """Verify the image in the partition of `size` bytes at flash `offset`, and say what is logged at W and E."""
    target = CHIPS.get(config.chip) or chip(config.chip)
    unlimited = target.wide_flash and config.idf >= (5, 5)
    longest = 0xFFFFFFFF if unlimited else _SIXTEEN_MIB
    if size > longest:
        return _refused(memory, offset, f"partition size 0x{size:x} invalid, larger than 16MB")

    header = memory.read(offset, HEADER.size)
    if header[0] != MAGIC:
        return _refused(memory, offset, f"image at 0x{offset:x} has invalid magic byte (nothing flashed here?)")
    chip_id, min_revision, max_revision, hash_appended = _CHIP_FIELDS.unpack(header)
    is_bootloader = offset == target.bootloader_offset
    if chip_id != target.chip_id:
        text = f"mismatch chip ID, expected {target.chip_id}, found {chip_id}"
        return ImageCheck(False, (Log("E", "boot_comm", text),), secure_version(memory, offset), 0)
    if min_revision > config.chip_revision or (max_revision and max_revision < config.chip_revision):
        found = revision_lines(min_revision, 0 if is_bootloader else max_revision, config)
        if found:
            return ImageCheck(False, found, secure_version(memory, offset), 0)
    count = header[1]
    if count > MAX_SEGMENTS:
        return _refused(memory, offset, f"image at 0x{offset:x} segment count {count} exceeds max {MAX_SEGMENTS}")

    version: int | None = None
    parts = [header]
    data_parts: list[bytes] = []
    placed: list[Placed] = []
    end = offset + _SEGMENTS_AT
    page = config.mmu_page_size
    for index in range(count):
        segment_header = memory.read(end, SEGMENT.size)
        address, length = SEGMENT.unpack(segment_header)
        start = end + SEGMENT.size
        if length & 3 or length >= longest:
            return _bad_segment(memory, offset, placed, f"invalid segment length 0x{length:x}")
        if index == 0 and not is_bootloader and target.mmu_page_configurable and config.idf >= (5, 5):
            if secure_version(memory, offset) is None:
                return _bad_segment(memory, offset, placed, "Failed to fetch app description header!")
            exponent = memory.read(start + _PAGE_SIZE_AT, 4)[0]
            page = 1 << (exponent & 31) if exponent else config.mmu_page_size
        if (start - address) % page and target.maps(address):
            text = f"Segment {index} load address 0x{address:08x}, doesn't match data 0x{start:08x}"
            return _bad_segment(memory, offset, placed, text)
        placed.append(Placed(start, address, length))
        if length:
            if start + length > _LARGEST_FLASH:
                return _bad_segment(memory, offset, placed, f"bootloader_mmap(0x{start:x}, 0x{length:x}) failed")
            data = memory.read(start, length)
            if index == 0 and not is_bootloader:
                head = data[:8] if length >= 8 else memory.read(start, 8)
                magic, word = _DESC_START.unpack(head)
                version = word if magic == DESC_MAGIC else None
                if target.chip_id and config.idf >= (5, 1):
                    lines = _block_revision_lines(memory, start, config)
                    if lines:
                        return ImageCheck(False, lines, version, 0, segments=tuple(placed))
                if config.anti_rollback and version is None:
                    return ImageCheck(False, (), None, 0, asserts=True, segments=tuple(placed))
            data_parts.append(data)
            parts.append(segment_header)
            parts.append(data)
        else:
            parts.append(segment_header)
        end = start + length

    unpadded = end - offset
    padding = memory.read(end, 16 - unpadded % 16)
    calculated = xor_bytes(b"".join(data_parts)) ^ CHECKSUM_SEED
    if calculated != padding[-1]:
        text = f"Checksum failed. Calculated 0x{calculated:x} read 0x{padding[-1]:x}"
        return _bad_segment(memory, offset, placed, text)
    full = unpadded + len(padding)
    digest = b""
    if hash_appended:
        digest = memory.read(offset + full, HASH_SIZE)
        full += HASH_SIZE
    needed = full
    if config.signed_updates and not is_bootloader:
        needed = signature_offset(full) + SECTOR_SIZE
    if needed > size:
        return _bad_segment(memory, offset, placed, f"Image length {needed} doesn't fit in partition length {size}")
    # a bootloader's own hash is not looked at: esptool may have rewritten its header
    if hash_appended and not is_bootloader:
        parts.append(padding)
        if sha256(b"".join(parts)).digest() != digest:
            return _bad_segment(memory, offset, placed, HASH_FAILED)
    if version is None and (count == 0 or is_bootloader or placed[0].size == 0):
        version = secure_version(memory, offset)
    return ImageCheck(True, (), version, full, segments=tuple(placed))


def as_loaded(check: ImageCheck, memory: Memory, config: BootConfig) -> ImageCheck:
    """What the bootloader, which also loads, makes of an image with this verdict (process_segment, image_load).

    It refuses a segment for an address without RAM. With anti-rollback it checks the secure version once more: the one
    it saw in the data of the first segment, 0 where that segment is empty; such a refusal is silent.
    """
    target = CHIPS.get(config.chip) or chip(config.chip)
    for index, (_, address, size) in enumerate(check.segments):
        if size and address >= _LOWEST_LOADED and not target.maps(address) and not target.has_ram(address, size):
            place = f"0x{address:08x}-0x{address + size:08x}"
            line = Log("E", "esp_image", f"Segment {index} {place} invalid: bad load address range")
            segments = check.segments[: index + 1]
            return ImageCheck(False, (line,), check.secure_version, 0, segments=segments)
    if check.ok and config.anti_rollback and memory.secure_version and not (check.segments and check.segments[0].size):
        return check._replace(ok=False, length=0)
    return check


def segment_lines(check: ImageCheck, config: BootConfig, verb: str = "load") -> tuple[Log, ...]:
    """The I lines that verifying prints before the lines of `check.logs`, one for each segment.

    `verb` stands at segments that are copied to RAM: `load` when the bootloader loads, empty when only verifying.
    """
    target = chip(config.chip)
    return tuple(_segment_line(index, segment, target, verb) for index, segment in enumerate(check.segments))


def _segment_line(index: int, segment: Placed, target: Chip, verb: str) -> Log:
    data_offset, address, size = segment
    use = "map" if target.maps(address) else verb if address >= _LOWEST_LOADED else ""
    place = f"paddr={data_offset:08x} vaddr={address:08x} size={size:05x}h ({size:6d})"
    return Log("I", "esp_image", f"segment {index}: {place} {use}")


def xor_bytes(data: bytes) -> int:
    """All bytes of `data` XORed together; 0 for none."""
    value = int.from_bytes(data, "little")
    bits = len(data) * 8
    # halving a big integer beats a byte loop by two orders of magnitude
    while bits > 8:
        half = (bits // 2 + 7) & ~7
        value = (value >> half) ^ (value & ((1 << half) - 1))
        bits = half
    return value


def _refused(memory: Memory, offset: int, text: str) -> ImageCheck:
    return ImageCheck(False, (Log("E", "esp_image", text),), secure_version(memory, offset), 0)


def _bad_segment(memory: Memory, offset: int, placed: list[Placed], text: str) -> ImageCheck:
    logs = (Log("E", "esp_image", text),)
    return ImageCheck(False, logs, secure_version(memory, offset), 0, segments=tuple(placed))


def revision_lines(minimum: int, maximum: int, config: BootConfig) -> tuple[Log, ...]:
    """What bootloader_common_check_chip_revision_validity prints for an image of these limits; none if it fits."""
    revision = config.chip_revision
    recent = config.idf >= (5, 5)
    lines = []
    if minimum > revision:
        lines.append(_revision_line(">=", minimum, revision, recent))
        if recent:
            return tuple(lines)  # from v5.5 the first failure ends the check
    if maximum and revision > maximum:
        lines.append(_revision_line("<=", maximum, revision, recent))
    return tuple(lines)


def _revision_line(relation: str, wanted: int, found: int, recent: bool) -> Log:
    want = f"{relation} v{wanted // 100}.{wanted % 100}"
    have = f"v{found // 100}.{found % 100}"
    if recent:
        return Log("E", "boot_comm", f"chip revision check failed. Required {want}, found {have}.")
    return Log("E", "boot_comm", f"Image requires chip rev {want}, but chip is {have}")


def _block_revision_lines(memory: Memory, desc: int, config: BootConfig) -> tuple[Log, ...]:
    limits = _BLOCK_REVISIONS.unpack(memory.read(desc + _BLOCK_REVISIONS_AT, _BLOCK_REVISIONS.size))
    minimum, maximum = (0 if limit == 0xFFFF else limit for limit in limits)
    revision = config.efuse_block_revision
    lines = []
    if minimum > revision:
        lines.append(_block_revision_line(">=", minimum, revision, config))
    if maximum and revision > maximum:
        lines.append(_block_revision_line("<=", maximum, revision, config))
    return tuple(lines)


def _block_revision_line(relation: str, wanted: int, found: int, config: BootConfig) -> Log:
    want = f"v{wanted // 100}.{wanted % 100}"
    have = f"v{found // 100}.{found % 100}"
    if config.idf < (5, 2):
        failed, limit = ("<", "min") if relation == ">=" else (">", "max")
        return Log("E", "boot_comm", f"efuse blk rev = {have} {failed} {limit} rev {want}")
    return Log("E", "boot_comm", f"Image requires efuse blk rev {relation} {want}, but chip is {have}")
