"""Flash as code on a chip with flash encryption reaches it: through the cache, which deciphers all it reads.

The flash itself holds nothing but what was written: an erased sector reads as noise, and so does a block that a power
cut tore. What is not to be encrypted (NVS, the serial loader) goes to `cpu.flash`, past the cache. Sources: ESP-IDF
bootloader_flash.c (`bootloader_mmap`, `bootloader_flash_write`), partition_target.c, esp_flash_api.c
(`esp_flash_write_encrypted`).
"""

from __future__ import annotations

from rig.idf.bootloader import BootResult
from rig.idf.effects import Log, Steps
from rig.idf.flash_cipher import FlashCipher, read_decrypted
from rig.virtual.cpu import Cpu, FlashPort
from rig.virtual.efuse_keys import FlashEncryption


class EncryptedFlash:
    """Implements `FlashPort` over what lies in flash; programs whole blocks of 16 bytes (FormatError otherwise)."""

    def __init__(self, raw: FlashPort, cipher: FlashCipher) -> None:
        self._raw = raw
        self._cipher = cipher
        self.size = raw.size

    def read(self, offset: int, size: int) -> bytes:
        return read_decrypted(self._raw.read, self._cipher, offset, size)

    def erase_sector(self, offset: int) -> None:
        self._raw.erase_sector(offset)

    def program(self, offset: int, data: bytes) -> None:
        self._raw.program(offset, self._cipher.encrypt(offset, data))


def encryption_of(cpu: Cpu) -> FlashEncryption | None:
    """What the chip's eFuses switch on, if anything."""
    found: FlashEncryption | None = getattr(cpu.efuse, "flash_encryption", None)
    return found


def cached(cpu: Cpu) -> FlashPort:
    """The flash through the cache: as it is, without flash encryption."""
    encryption = encryption_of(cpu)
    return cpu.flash if encryption is None else EncryptedFlash(cpu.flash, encryption.cipher)


def checking_encryption(steps: Steps[BootResult], cpu: Cpu) -> Steps[BootResult]:
    """The lines of a bootloader built with flash encryption, before it lets its entropy source go (load_image).

    A chip whose eFuses do not switch encryption on would now make a key and encrypt its flash in place: that is not
    modelled, so it hangs after a line that says so.
    """
    while True:
        try:
            effect = next(steps)
        except StopIteration as stop:
            result: BootResult = stop.value
            return result
        if isinstance(effect, Log) and effect.text.startswith("Disabling RNG early entropy source"):
            yield Log("I", "boot", "Checking flash encryption...")
            encryption = encryption_of(cpu)
            if encryption is None:
                yield Log("E", "flash_encrypt", "encrypting flash in place at first boot is not modelled: burn a key")
                raise Unmodelled
            left = encryption.flashes_left
            yield Log("I", "flash_encrypt", f"flash encryption is enabled ({left} plaintext flashes left)")
        yield effect


class Unmodelled(Exception):
    """The chip would do what the virtual board does not model; it hangs."""
