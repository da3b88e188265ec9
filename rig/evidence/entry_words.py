"""Select entries in words where flash may be encrypted: an erased one is read as noise, a plaintext one, too."""

from __future__ import annotations

from rig.evidence.observe import describe_entry
from rig.idf.effects import SECTOR_SIZE
from rig.idf.flash_cipher import FlashCipher, is_plain
from rig.idf.otadata import ENTRY_SIZE, ERASED_SEQ, parse

ERASED = "erased, reads as noise"

Entries = tuple[bytes, bytes]


def erased_entries(cipher: FlashCipher, otadata: int) -> Entries:
    """How both entries of the otadata partition at flash offset `otadata` are read while their sectors are erased."""
    blank = b"\xff" * ENTRY_SIZE
    return cipher.decrypt(otadata, blank), cipher.decrypt(otadata + SECTOR_SIZE, blank)


def words(entries: Entries, number: int, cipher: FlashCipher, otadata: int) -> str:
    """Entry `number` as it is read, or what really lies there if that says more."""
    entry = entries[number]
    if is_plain(cipher):
        return describe_entry(entry)
    if entry == erased_entries(cipher, otadata)[number]:
        return ERASED
    raw = parse(cipher.encrypt(otadata + number * SECTOR_SIZE, entry))
    if raw.crc_ok and raw.seq != ERASED_SEQ:
        return f"{describe_entry(raw.pack())}, in plaintext, reads as noise"
    return describe_entry(entry)
