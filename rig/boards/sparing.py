"""What would burn eFuses for good if it ran, and boards that are not given up for that.

A burnt eFuse cannot be taken back, so this looks at the bytes themselves, last before they reach a chip of silicon,
whatever a scenario, a recording, a dump or an sdkconfig says of them:

* an app with a secure version above 0: the app burns it when it is confirmed, the bootloader when its entry is VALID
  (esp_ota_ops.c, bootloader_utility.c). Without anti-rollback the descriptor says 0 (esp_app_desc.c).
* a bootloader with flash encryption or secure boot: its first boot makes a key and burns it (flash_encrypt.c,
  secure_boot.c). Found by its error texts, which it keeps at every log level but NONE.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rig.errors import NotApplicable
from rig.idf.effects import SECTOR_SIZE
from rig.idf.errors import FormatError
from rig.idf.flash_cipher import BLOCK, PLAIN, FlashCipher
from rig.idf.image import AppDesc
from rig.idf.image_check import DESC_AT, MAGIC
from rig.idf.partitions import MAX_LENGTH, PartitionTable
from rig.virtual.features import Features

HEAD = 512
"""Bytes in which an app's descriptor lies, and a multiple of a cipher's unit."""
EMULATED = (1, 0x05)
"""Type and subtype of the partition for emulated eFuses (ESP_PARTITION_SUBTYPE_DATA_EFUSE_EM)."""
KEY_TEXTS: Mapping[bytes, Literal["flash encryption", "secure boot"]] = {
    b"secure_boot": "secure boot",
    b"flash encryption": "flash encryption",
    b"flash_encrypt": "flash encryption",
}
"""The first that is found counts: a chip whose flash is encrypted has one of the two keys only."""
APP_ALIGNMENT = 0x10000
_TABLE = b"\xaa\x50"
Versions = Literal["stay", "emulated", "spent"]


class Burner(NamedTuple):
    """One thing that burns eFuses: `what` as a person calls it, `burns` which of them."""

    what: str
    burns: Literal["secure version", "flash encryption", "secure boot"]


def burner_in(image: bytes) -> Burner | None:
    """What the image that `image` begins with would burn; None for a harmless one, and for what is no image."""
    if image[:1] != bytes([MAGIC]):
        return None
    desc = AppDesc.find(image[DESC_AT:])
    if desc is not None:
        if desc.secure_version == 0:
            return None
        return Burner(
            f"an app with secure version {desc.secure_version} burns it when it is confirmed", "secure version"
        )
    feature = _key_feature(image)
    return None if feature is None else Burner(f"a bootloader with {feature} burns a key at its first boot", feature)


def burners(regions: Mapping[int, bytes], cipher: FlashCipher = PLAIN) -> Iterator[Burner]:
    """Every one in flash content by flash offset in bytes, as a chip with that cipher reads it."""
    for offset, data in _sectors(regions):
        for reads in (PLAIN,) if cipher is PLAIN else (PLAIN, cipher):
            head = _deciphered(reads, offset, data[:HEAD])
            if head[:1] != bytes([MAGIC]):
                continue
            # A bootloader's texts lie far behind its head, an app's descriptor in it.
            app = AppDesc.find(head[DESC_AT:]) is not None
            found = burner_in(head if app else _deciphered(reads, offset, data))
            if found is not None:
                yield found


@dataclass(frozen=True)
class Sparing:
    """What one board gives up. `versions`: its secure version stays, is emulated by ESP-IDF, or may be spent.

    `cipher`: how the chip reads its flash; with one it has burnt its key already.
    """

    board: str
    versions: Versions = "stay"
    cipher: FlashCipher = PLAIN

    def demand(self, regions: Mapping[int, bytes]) -> None:
        """NotApplicable if this content, by flash offset in bytes, would burn what is to stay. Nothing is written."""
        for found in burners(regions, self.cipher):
            self._refuse(found, self.versions == "emulated" and _emulates(regions, self.cipher))

    def demand_image(self, image: bytes) -> None:
        """The same for an image that the app on the board is to install."""
        found = burner_in(image)
        if found is not None:
            self._refuse(found, self.versions == "emulated")

    def _refuse(self, found: Burner, emulated: bool) -> None:
        allowed = {
            "secure version": self.versions == "spent" or emulated,
            "flash encryption": self.cipher is not PLAIN,
            "secure boot": False,
        }[found.burns]
        if not allowed:
            raise NotApplicable(
                f"eFuses of a real chip stay burnt, and {found.what}",
                board=self.board,
                hint="take a virtual or QEMU board; docs/anti-rollback.md says how a board is given up for it",
            )


def _sectors(regions: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
    """Where an image or a table may begin, and what follows there up to where the next app may begin."""
    for offset, data in regions.items():
        view = memoryview(data)
        for start in range(-offset % SECTOR_SIZE, len(data), SECTOR_SIZE):
            size = APP_ALIGNMENT - (offset + start) % APP_ALIGNMENT
            yield offset + start, bytes(view[start : start + size])


def _deciphered(cipher: FlashCipher, offset: int, data: bytes) -> bytes:
    return cipher.decrypt(offset, data[: len(data) // BLOCK * BLOCK])


def _key_feature(bootloader: bytes) -> Literal["flash encryption", "secure boot"] | None:
    try:
        features = Features.find(bootloader)
        if features.marked() in bootloader:
            return "flash encryption" if features.flash_encryption else None
    except FormatError:
        pass
    text = bootloader.lower()
    return next((feature for mark, feature in KEY_TEXTS.items() if mark in text), None)


def _emulates(regions: Mapping[int, bytes], cipher: FlashCipher) -> bool:
    """Whether the table has the partition; content without a table lies beside one that was looked at before."""
    tables = []
    for offset, data in _sectors(regions):
        for content in (data[:MAX_LENGTH], _deciphered(cipher, offset, data[:MAX_LENGTH])):
            if content.startswith(_TABLE):
                tables.append(content)
    return not tables or any(_has_emulated(table) for table in tables)


def _has_emulated(table: bytes) -> bool:
    try:
        return any((row.type, row.subtype) == EMULATED for row in PartitionTable.from_binary(table).entries)
    except FormatError:
        return False
