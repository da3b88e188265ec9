"""Lines of tag `boot` around loading an image: the SHA-256, and how the app is mapped and started.

Follows `verify_simple_hash` in esp_image_format.c, `unpack_load_app` and `set_cache_and_start_app` in
bootloader_utility.c.
"""

from __future__ import annotations

from hashlib import sha256

from rig.idf.chips import chip
from rig.idf.config import BootConfig
from rig.idf.effects import Log, Memory
from rig.idf.image import ImageCheck
from rig.idf.image_check import HASH_SIZE, HEADER
from rig.idf.memory import Verdict

_ENTRY_AT = 4
_HASH_FAILED = "Image hash failed"


def with_hash_lines(memory: Memory, offset: int, verdict: Verdict) -> tuple[Log, ...]:
    """The lines of a verdict on the image at flash `offset`, with the hashes at the place where they are compared."""
    check, lines = verdict
    mismatch = bool(lines) and lines[-1].text.startswith(_HASH_FAILED)
    hashed = memory.read(offset, HEADER.size)[-1]
    if not check.segments or not hashed or not (check.ok or mismatch):
        return lines
    last = check.segments[-1]
    unpadded = last.data_offset + last.size - offset
    length = unpadded + 16 - unpadded % 16
    calculated = Log("D", "boot", f"Calculated hash: {sha256(memory.read(offset, length)).hexdigest()}")
    if not mismatch:
        return (*lines, calculated)
    expected = Log("D", "boot", f"Expected hash: {memory.read(offset + length, HASH_SIZE).hex()}")
    return (*lines[:-1], calculated, lines[-1], expected)


def start_lines(memory: Memory, offset: int, check: ImageCheck, config: BootConfig) -> list[Log]:
    """The last lines before the app at flash `offset` takes over, those of level D too."""
    entry = int.from_bytes(memory.read(offset + _ENTRY_AT, 4), "little")
    texts = ["calling set_cache_and_start_app", "configure drom and irom and start", f"start: 0x{entry:08x}"]
    return mapping_lines(check, config) + [Log("D", "boot", text) for text in texts]


def maps_enough(check: ImageCheck, config: BootConfig) -> bool:
    """False where unpack_load_app asserts: with one window for code and data exactly two segments must be mapped."""
    target = chip(config.chip)
    return target.drom != target.irom or sum(target.maps(segment.load_address) for segment in check.segments) == 2


def mapping_lines(check: ImageCheck, config: BootConfig) -> list[Log]:
    """What unpack_load_app says of the mapped segments: D for the first of a kind, E for each further one."""
    target = chip(config.chip)
    lines: list[Log] = []
    # where code and data share one window of addresses, segments are not told apart
    if target.drom == target.irom:
        return lines
    seen: set[str] = set()
    for index, segment in enumerate(check.segments):
        for name, (low, high) in (("DROM", target.drom), ("IROM", target.irom)):
            if not low <= segment.load_address < high:
                continue
            if name in seen:
                text = f"Image contains multiple {name} segments. Only the last one will be mapped."
                lines.append(Log("E", "boot", text))
            else:
                lines.append(Log("D", "boot", f"Mapping segment {index} as {name}"))
            seen.add(name)
    return lines
