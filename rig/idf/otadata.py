"""The two select entries of the otadata partition: reading, writing and judging them.

Follows bootloader_common_loader.c (`bootloader_common_ota_select_*`, `bootloader_common_select_otadata`) and
esp_flash_partitions.h of ESP-IDF v4.4.8 to v6.1-beta1, which agree. Entry i lies at the start of sector i.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from rig.idf.errors import FormatError

ENTRY_SIZE = 32
ERASED_SEQ = 0xFFFFFFFF
ERASED_LABEL = b"\xff" * 20
_ENTRY = struct.Struct("<I20sII")


class ImageState(IntEnum):
    """`esp_ota_img_states_t`. Flash may hold any other number: the bootloader treats it as UNDEFINED."""

    NEW = 0
    PENDING_VERIFY = 1
    VALID = 2
    INVALID = 3
    ABORTED = 4
    UNDEFINED = 0xFFFFFFFF


_NAMES = {int(state): state.name for state in ImageState}
_BARRED = frozenset({int(ImageState.INVALID), int(ImageState.ABORTED)})


@lru_cache(maxsize=4096)
def seq_crc(seq: int) -> int:
    """The CRC an entry with this sequence number carries; it covers nothing else of the entry."""
    return zlib.crc32(seq.to_bytes(4, "little"), 0xFFFFFFFF)


class SelectEntry(NamedTuple):
    """`esp_ota_select_entry_t`: `label` is 20 bytes that nothing reads, `state` any 32-bit number."""

    seq: int
    label: bytes
    state: int
    crc: int

    def pack(self) -> bytes:
        """The 32 bytes as they lie in flash."""
        return _ENTRY.pack(*self)

    @property
    def crc_ok(self) -> bool:
        return self.crc == seq_crc(self.seq)

    @property
    def sel_invalid(self) -> bool:
        """Never selected, whatever the CRC (bootloader_common_ota_select_invalid)."""
        return self.seq == ERASED_SEQ or self.state in _BARRED

    @property
    def valid(self) -> bool:
        """May be selected (bootloader_common_ota_select_valid)."""
        return self.seq != ERASED_SEQ and self.state not in _BARRED and self.crc == seq_crc(self.seq)

    @property
    def initial(self) -> bool:
        """Counts as never written: erased or broken, whatever the state (bootloader_utility.c)."""
        return self.seq == ERASED_SEQ or self.crc != seq_crc(self.seq)


ERASED = SelectEntry(ERASED_SEQ, ERASED_LABEL, ImageState.UNDEFINED, 0xFFFFFFFF)


@lru_cache(maxsize=4096)
def parse(data: bytes) -> SelectEntry:
    """The entry in 32 bytes of flash; any content is an entry. Raises FormatError for another length."""
    if len(data) != ENTRY_SIZE:
        raise FormatError(f"a select entry has {ENTRY_SIZE} bytes, not {len(data)}")
    return SelectEntry._make(_ENTRY.unpack(data))


def make_entry(seq: int, state: int, label: bytes = ERASED_LABEL) -> SelectEntry:
    """An entry whose CRC is right."""
    return SelectEntry(seq, label, state, seq_crc(seq))


def slot_index(seq: int, app_count: int) -> int:
    """The OTA slot that `seq` selects among `app_count` (1 or more); unsigned, so seq 0 wraps round."""
    return ((seq - 1) & 0xFFFFFFFF) % app_count


def state_name(state: int) -> str:
    """`NEW` … `UNDEFINED`, and hexadecimal (`0x55`) for a number that has no name."""
    return _NAMES.get(state) or f"0x{state:x}"


def newest(entries: Sequence[SelectEntry], eligible: Sequence[bool]) -> int:
    """Index of the eligible entry with the larger sequence number, 0 on a tie, -1 for none."""
    if eligible[0] and eligible[1]:
        return 0 if entries[0].seq >= entries[1].seq else 1
    return 0 if eligible[0] else 1 if eligible[1] else -1


def oldest(entries: Sequence[SelectEntry], eligible: Sequence[bool]) -> int:
    """Index of the eligible entry with the smaller sequence number, 0 on a tie, -1 for none."""
    if eligible[0] and eligible[1]:
        return 0 if entries[0].seq <= entries[1].seq else 1
    return 0 if eligible[0] else 1 if eligible[1] else -1


def active_index(entries: Sequence[SelectEntry]) -> int:
    """The entry the next boot goes by, -1 for none (bootloader_common_get_active_otadata)."""
    return newest(entries, (entries[0].valid, entries[1].valid))
