"""Images that a chip with flash encryption cannot read, by what is wrong with them."""

from __future__ import annotations

import struct

from rig.errors import Inconclusive
from rig.evidence.predict import Prediction
from rig.evidence.records import Hazard
from rig.idf.effects import Memory
from rig.idf.flash_cipher import BLOCK, cipher_of, is_plain
from rig.idf.image_desc import AppDesc
from rig.idf.partitions import Partition, PartitionTable

HEAD = 0x200
"""Bytes of an image that are looked at: its header and its descriptor are within them."""
_DESC_AT = 32
_SOURCE = "bootloader_flash.c bootloader_mmap: the cache deciphers whatever lies in flash"


def encryption_hazards(
    memory: Memory | None, table: PartitionTable | None, prediction: Prediction | None
) -> list[Hazard]:
    """One for each slot that was tried in vain because its image is not encrypted for it; `memory` before the boot."""
    if memory is None or table is None or prediction is None or is_plain(cipher_of(memory)):
        return []
    tried = [name for name in prediction.result.tried if name != prediction.result.slot]
    found = [_mismatch(memory, part, table) for name in tried if (part := table.slot(name)) is not None]
    return [hazard for hazard in found if hazard is not None]


def plaintext_in_slot(slot: str) -> Hazard:
    return Hazard(
        what=f"slot {slot} holds a plaintext image in an encrypted slot: the chip reads it as noise and does not "
        "boot it",
        remedy="encrypt the image for that flash offset before it is written by cable (espsecure encrypt-flash-data, "
        "esptool write-flash --encrypt while the eFuses allow it), or let the app update the slot",
        source=_SOURCE,
    )


def encrypted_for_elsewhere(slot: str, meant: str) -> Hazard:
    return Hazard(
        what=f"slot {slot} holds an image that was encrypted for {meant}: the key depends on the flash offset, so the "
        "chip reads it as noise and does not boot it",
        remedy="encrypt the image once for each slot, with that slot's offset as the address",
        source=_SOURCE,
    )


def encrypted_by_another_key(slot: str) -> Hazard:
    return Hazard(
        what=f"slot {slot} holds an image that this chip's key does not open: encrypted with another key, or no image "
        "at all; the chip reads it as noise and does not boot it",
        remedy="encrypt the image with the key that is burnt into this chip; a key made by the chip itself is known to "
        "nobody, then only the app can update it",
        source=_SOURCE,
    )


def _mismatch(memory: Memory, part: Partition, table: PartitionTable) -> Hazard | None:
    cipher = cipher_of(memory)
    slot = part.slot or part.label
    try:
        seen = memory.read(part.offset, HEAD)
    except Inconclusive:
        return None
    raw = cipher.encrypt(part.offset, seen)
    written = len(raw.rstrip(b"\xff"))
    if written == 0 or is_image(seen, written):
        return None
    if is_image(raw, written):
        return plaintext_in_slot(slot)
    meant = next((other for other in table.app_slots if is_image(cipher.decrypt(other.offset, raw), written)), None)
    return encrypted_by_another_key(slot) if meant is None else encrypted_for_elsewhere(slot, meant.slot or meant.label)


def is_image(head: bytes, written: int = HEAD) -> bool:
    """Whether this is the beginning of an app image, of which a power cut may have left only `written` bytes."""
    magic, segments = struct.unpack_from("<BB", head)
    described = written < _DESC_AT + BLOCK or AppDesc.find(head[_DESC_AT:]) is not None
    return magic == 0xE9 and 0 < segments <= 16 and described
