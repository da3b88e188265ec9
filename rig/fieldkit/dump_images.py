"""What lies in the app slots of a dump: a good image, a torn one and where, another chip's, noise, nothing. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from rig.fieldkit.dump_find import NOISE_BITS, Dump, entropy
from rig.fieldkit.explained import ExplainedImage
from rig.idf.chips import chip, chip_by_id
from rig.idf.config import BootConfig
from rig.idf.effects import SECTOR_SIZE
from rig.idf.errors import FormatError
from rig.idf.image_check import DESC_AT, HASH_SIZE, HEADER, MAGIC, MAX_SEGMENTS, SEGMENT, ImageCheck, check_image
from rig.idf.image_desc import APP_DESC_SIZE, AppDesc
from rig.idf.partitions import Partition

Content = Literal["good", "bad hash", "torn", "damaged", "erased", "encrypted", "foreign", "not in the file"]
BROKEN: tuple[Content, ...] = ("bad hash", "torn", "damaged", "erased", "encrypted", "foreign")
_ERASED = b"\xff"
DEFAULT_CHIP = "esp32"
_LEAST_ERASED = 32
"""Bytes of 0xFF at an image's or a sector's end that count as never written; padding in images is zeros."""
_CHIP_AT = 12
_HASHED_AT = HEADER.size - 1


class Judged(NamedTuple):
    """What lies in one slot, the partition, and its app descriptor if that can be read."""

    part: Partition
    image: ExplainedImage
    desc: AppDesc | None


class FileMemory:
    """A dump as rig.idf reads flash: what the file does not have is erased."""

    def __init__(self, dump: Dump) -> None:
        self._dump = dump
        self.secure_version = 0

    def read(self, offset: int, size: int) -> bytes:
        known = self._dump.part(offset, size)
        return known if len(known) == size else known + _ERASED * (size - len(known))


def judge_images(dump: Dump, parts: Sequence[Partition], known: str | None) -> tuple[BootConfig, list[Judged]]:
    """Every app slot, and the rules they were held to: those of the chip that most of them are for.

    `known`: the bootloader's chip. The chip's revisions are not in a dump: taken to be what the images ask for.
    """
    config = fitting(dump, parts, known)
    return config, [_judge(dump, part, config) for part in parts]


def fitting(dump: Dump, parts: Iterable[Partition], known: str | None = None) -> BootConfig:
    """The configuration of a chip that most of the images can run on."""
    starts = [dump.part(part.offset, DESC_AT + APP_DESC_SIZE) for part in parts]
    images = [(name, start) for start in starts if (name := chip_name(start))]
    most = Counter(name for name, _ in images).most_common(1)
    name = known or (most[0][0] if most else DEFAULT_CHIP)
    target, revision, block, page = chip(name), 0, 0, 0
    for own, start in images:
        if own != name:
            continue
        revision = max(revision, HEADER.unpack_from(start)[9])
        if desc := AppDesc.find(start[DESC_AT:]):
            block = max(block, desc.min_block_revision if desc.min_block_revision != 0xFFFF else 0)
            page = desc.mmu_page_size or page
    return BootConfig(
        chip=name,
        chip_revision=max(revision, target.revision) if revision < 0xFFFF else target.revision,
        efuse_block_revision=block,
        secure_version_bits=target.secure_version_bits,
        mmu_page_size=page if page in target.mmu_page_sizes else target.mmu_page_sizes[-1],
    )


def chip_name(start: bytes) -> str | None:
    """The chip that an image is for, by its first bytes; None without magic and for an unknown id."""
    if len(start) < HEADER.size or start[0] != MAGIC:
        return None
    try:
        return chip_by_id(int.from_bytes(start[_CHIP_AT : _CHIP_AT + 2], "little")).name
    except FormatError:
        return None


def _judge(dump: Dump, part: Partition, config: BootConfig) -> Judged:
    raw = dump.part(part.offset, part.size)
    if not raw or not dump.has(part.offset, min(HEADER.size, part.size)):
        why = "only the first bytes of it are" if raw and not dump.gap else ""
        return _told(part, "not in the file", why=why)
    if not raw.strip(_ERASED):
        if dump.has(part.offset, min(part.size, SECTOR_SIZE)):
            return _told(part, "erased", why="" if len(raw) == part.size else "as far as it is in the file")
        return _told(part, "not in the file", why="only the first bytes of it are")
    if raw[0] != MAGIC:
        return _no_image(part, raw)
    desc = AppDesc.find(raw[DESC_AT : DESC_AT + APP_DESC_SIZE])
    own = chip_name(raw)
    if own != config.chip:
        what = f"an image for {own}" if own else "an image for a chip that is not known"
        return _told(part, "foreign", why=f"{what}; this chip is an {config.chip}", desc=desc)
    return _with_header(dump, part, raw, config, desc)


def _no_image(part: Partition, raw: bytes) -> Judged:
    start = raw[: 4 * SECTOR_SIZE]
    why = f"the first byte is {raw[0]:#04x}, an image begins with {MAGIC:#04x}"
    if len(start) >= SECTOR_SIZE and entropy(start) > NOISE_BITS:
        return _told(part, "encrypted", why=f"{why}; it reads as noise")
    first = len(raw) - len(raw.lstrip(_ERASED))
    if first >= HEADER.size:
        at = part.offset + first
        return _told(part, "torn", damage=f"{part.offset:#x}", why=f"erased up to {at:#x}, where other data begins")
    return _told(part, "foreign", why=why)


def _with_header(dump: Dump, part: Partition, raw: bytes, config: BootConfig, desc: AppDesc | None) -> Judged:
    length, fault = _extent(raw)
    if fault is None and not dump.has(part.offset, min(length, part.size)):
        return _told(part, "not in the file", why=_cut_off(dump, part, length), desc=desc, length=length)
    # headers that make no sense may be old content behind the file's end or gap
    if fault is not None and not dump.has(part.offset, min(fault + SEGMENT.size, part.size)):
        return _told(part, "not in the file", why="the file ends in its headers", desc=desc)
    check = _checked(dump, part, config)
    if check.ok:
        why = "" if raw[_HASHED_AT] else "it has no SHA-256: its checksum of 8 bits is right"
        return _told(part, "good", desc=desc, length=check.length, why=why)
    if check.only_hash_wrong and _ends_erased(raw[:length]) is None:
        why = "layout and checksum are right, the SHA-256 is not: a few bytes differ"
        return _told(part, "bad hash", desc=desc, length=length, why=why)
    return _broken(part, raw, length, check, desc)


def _checked(dump: Dump, part: Partition, config: BootConfig) -> ImageCheck:
    """By the MMU page size of the configuration; images before v5.4 do not say theirs, so then by any of the chip's."""
    memory = FileMemory(dump)
    check = check_image(memory, part.offset, part.size, config)
    for page in chip(config.chip).mmu_page_sizes:
        if check.ok or not any("doesn't match data" in line.text for line in check.logs):
            break
        check = check_image(memory, part.offset, part.size, replace(config, mmu_page_size=page))
    return check


def _broken(part: Partition, raw: bytes, length: int, check: ImageCheck, desc: AppDesc | None) -> Judged:
    why = check.logs[0].text if check.logs else "refused"
    covered = raw[: min(length, part.size)]
    written = _ends_erased(covered)
    if written == length - SECTOR_SIZE:
        why = "its end lies one sector early: 4 KiB inside it are missing, from the file or from what was written"
        return _told(part, "damaged", desc=desc, length=length, why=why)
    if written is not None:
        at = part.offset + written
        rest = "to the slot's end" if not raw[written:].strip(_ERASED) else "to its own end"
        why = f"{written} of {_size(length)} bytes were written; from {at:#x} {rest} flash is erased"
        return _told(part, "torn", desc=desc, length=_known(length), damage=f"{at:#x}", why=why)
    seams = _seams(covered)
    if len(seams) == 1:
        at = part.offset + seams[0][0]
        onward = seams[0][1]
        why = f"{why}; erased from {at:#x} to {part.offset + onward:#x}, where older data goes on"
        return _told(part, "torn", desc=desc, length=_known(length), damage=f"{at:#x}", why=why)
    bad = f"{part.offset + length:#x}" if length < part.size and why.startswith("invalid segment length") else None
    return _told(part, "damaged", desc=desc, length=_known(length), damage=bad, why=why)


def _size(length: int) -> str:
    return str(length) if _known(length) else "more"


def _known(length: int) -> int | None:
    return length if length < 0x8000000 else None


def _extent(raw: bytes) -> tuple[int, int | None]:
    """Bytes that the image has by its headers, and where in it they stop making sense (None: nowhere).

    A header that was never written stands for an image that goes on.
    """
    at = HEADER.size
    for _ in range(min(raw[1], MAX_SEGMENTS)):
        header = raw[at : at + SEGMENT.size]
        if len(header) < SEGMENT.size:
            return at + SEGMENT.size, None
        size = SEGMENT.unpack(header)[1]
        if size & 3 or size >= 0x1000000:
            return (0x8000000, at) if not header.strip(_ERASED) else (at, at)
        at += SEGMENT.size + size
    return at + 16 - at % 16 + (HASH_SIZE if raw[_HASHED_AT] else 0), None


def _ends_erased(covered: bytes) -> int | None:
    """How many bytes are written where the end of an image never was; None where its end is there."""
    kept = len(covered.rstrip(_ERASED))
    return kept if len(covered) - kept >= _LEAST_ERASED else None


def _seams(covered: bytes) -> list[tuple[int, int]]:
    """Where writing stopped in a sector just erased, and old data goes on behind it: [kept, onward)."""
    found = []
    for end in range(SECTOR_SIZE, len(covered), SECTOR_SIZE):
        sector = covered[end - SECTOR_SIZE : end]
        kept = len(sector.rstrip(_ERASED))
        if SECTOR_SIZE - kept >= _LEAST_ERASED and covered[end : end + 1] != _ERASED:
            found.append((end - SECTOR_SIZE + kept, end))
    return found


def _cut_off(dump: Dump, part: Partition, length: int) -> str:
    if dump.gap and part.offset < dump.gap[1] and part.offset + length > dump.gap[0]:
        return "a sector of it may be missing from the file"
    return f"it has {length} bytes, the file ends {dump.end - part.offset} bytes into it"


def _told(
    part: Partition,
    content: Content,
    *,
    desc: AppDesc | None = None,
    length: int | None = None,
    damage: str | None = None,
    why: str = "",
) -> Judged:
    image = ExplainedImage(
        slot=part.slot or part.label,
        offset=f"{part.offset:#x}",
        content=content,
        version=desc.version if desc else None,
        project=desc.project if desc else None,
        idf_version=desc.idf_ver if desc else None,
        elf_sha=desc.elf_sha.hex() if desc else None,
        secure_version=desc.secure_version if desc else None,
        length=length,
        damage=damage,
        why=why,
    )
    return Judged(part, image, desc)
