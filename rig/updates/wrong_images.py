"""App images that are whole and still wrong: another chip, project, version or secure version than the device expects.

Made from a right image by changing one field and sealing it anew (checksum and appended SHA-256), so that nothing else
is wrong with them. A signature behind the image is kept as it is and no longer fits.
Field offsets: esp_image_header_t (components/bootloader_support/include/esp_app_format.h) and esp_app_desc_t
(components/esp_app_format/include/esp_app_desc.h).
"""

from __future__ import annotations

import struct
from hashlib import sha256

from rig.idf.chips import CHIPS, chip_by_id
from rig.idf.errors import FormatError
from rig.idf.image import parse
from rig.idf.image_check import CHECKSUM_SEED, DESC_AT, HASH_SIZE, xor_bytes

_CHIP_ID_AT = 12
_SECURE_VERSION_AT = DESC_AT + 4
_VERSION_AT = DESC_AT + 16
_PROJECT_AT = DESC_AT + 48
_TEXT_SIZE = 32


def for_other_chip(data: bytes, name: str | None = None) -> bytes:
    """The image with the chip id of `name`, or of some chip it was not built for. Raises FormatError."""
    own = parse(data).header.chip_id
    if name is None:
        name = next(other.name for other in CHIPS.values() if other.chip_id != own)
    if name not in CHIPS:
        raise FormatError(f"there is no chip {name!r}; known: {', '.join(CHIPS)}")
    if CHIPS[name].chip_id == own:
        raise FormatError(f"the image is for {chip_by_id(own).name} already")
    return _sealed(data, _CHIP_ID_AT, struct.pack("<H", CHIPS[name].chip_id))


def of_other_project(data: bytes, name: str | None = None) -> bytes:
    """The image with another project name. Raises FormatError."""
    own = _described(data)[1]
    if name == own:
        raise FormatError(f"the image is of project {own} already")
    return _with_text(data, _PROJECT_AT, f"not_{own}"[: _TEXT_SIZE - 1] if name is None else name)


def with_version(data: bytes, version: str) -> bytes:
    """The image with another version. Raises FormatError."""
    if version == _described(data)[0]:
        raise FormatError(f"the image is version {version} already")
    return _with_text(data, _VERSION_AT, version)


def with_lower_secure_version(data: bytes, version: int | None = None) -> bytes:
    """The image with a secure version below its own, one less if none is named. Raises FormatError."""
    own = _described(data)[2]
    if own == 0:
        raise FormatError("the image has secure version 0, and none is lower")
    lower = own - 1 if version is None else version
    if not 0 <= lower < own:
        raise FormatError(f"the image has secure version {own}; {lower} is not lower")
    return _sealed(data, _SECURE_VERSION_AT, struct.pack("<I", lower))


def _described(data: bytes) -> tuple[str, str, int]:
    """Version, project, secure version."""
    desc = parse(data).desc
    if desc is None:
        raise FormatError("it is no app image: it has no app descriptor")
    return desc.version, desc.project, desc.secure_version


def _with_text(data: bytes, at: int, text: str) -> bytes:
    raw = text.encode()
    if not 0 < len(raw) < _TEXT_SIZE:
        raise FormatError(f"{text!r} has {len(raw)} bytes; allowed: 1 to {_TEXT_SIZE - 1}")
    return _sealed(data, at, raw.ljust(_TEXT_SIZE, b"\0"))


def _sealed(data: bytes, at: int, field: bytes) -> bytes:
    """`data` with `field` at offset `at`, checksum and SHA-256 right again; what follows the image stays."""
    image = parse(data)
    changed = bytearray(data)
    changed[at : at + len(field)] = field
    end = image.length - (HASH_SIZE if image.header.hash_appended else 0)
    checksum = CHECKSUM_SEED
    for segment in image.segments:
        checksum ^= xor_bytes(bytes(changed[segment.file_offset : segment.file_offset + len(segment.data)]))
    changed[end - 1] = checksum
    if image.header.hash_appended:
        changed[end : end + HASH_SIZE] = sha256(changed[:end]).digest()
    return bytes(changed)
