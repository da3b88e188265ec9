"""Which parts of flash are encrypted on a chip with flash encryption, and a whole flash content made so.

Follows `is_partition_encrypted` in components/esp_partition/partition.c and `encrypt_partition` in
components/bootloader_support/src/flash_encryption/flash_encrypt.c. The cache deciphers everything it reads, so the
bootloader reads all of flash this way; what is not encrypted is read and written past the cache.
"""

from __future__ import annotations

from rig.idf.effects import SECTOR_SIZE
from rig.idf.flash_cipher import BLOCK, FlashCipher, is_plain
from rig.idf.partitions import Partition, PartitionTable
from rig.idf.partitions_csv import APP, BOOTLOADER, DATA, PARTITION_TABLE, SUBTYPES

_DATA_SUBTYPES = frozenset(SUBTYPES[DATA][name] for name in ("ota", "tee_ota", "nvs_keys"))


def is_encrypted(part: Partition) -> bool:
    """Whether a chip with flash encryption keeps this partition encrypted: apps, otadata, nvs_keys, flagged."""
    if part.type in (APP, BOOTLOADER, PARTITION_TABLE) or (part.type == DATA and part.subtype in _DATA_SUBTYPES):
        return True
    return part.encrypted


def encrypted_content(content: bytes, cipher: FlashCipher, table: PartitionTable, table_offset: int) -> bytes:
    """Flash `content` (from offset 0) as the host must write it; itself without encryption.

    Of bootloader and images only their own blocks are encrypted, so the rest of a partition stays erased, as
    `idf.py encrypted-flash` leaves it; the partition table's sector and otadata are encrypted as a whole, for an entry
    that is to read as blank.
    """
    if is_plain(cipher):
        return content
    raw = bytearray(content)
    spans = [_written(content, 0, table_offset), (table_offset, table_offset + SECTOR_SIZE)]
    for part in filter(is_encrypted, table.entries):
        spans.append((part.offset, part.end) if part.is_otadata else _written(content, part.offset, part.end))
    for start, end in spans:
        raw[start:end] = cipher.encrypt(start, content[start:end])
    return bytes(raw)


def _written(content: bytes, start: int, end: int) -> tuple[int, int]:
    """The blocks from the first to the last byte that is not erased."""
    data = content[start:end]
    used = data.rstrip(b"\xff")
    first = len(used) - len(used.lstrip(b"\xff"))
    return start + first - first % BLOCK, start + len(used) + -len(used) % BLOCK
