"""A virtual chip with flash encryption: keys as espefuse burns them, ciphertext in flash, plaintext in the CPU."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import espefuse
import espsecure
import pytest

from rig.idf.errors import FormatError
from rig.idf.flash_cipher import XtsAes
from rig.idf.memory import FlashImage
from rig.virtual.chip import VirtualChip
from rig.virtual.chips import chip_spec
from rig.virtual.cpu import Cpu
from rig.virtual.efuse import Efuses, mac_bytes
from rig.virtual.efuse_keys import burn_flash_key, crypt_count, flash_encryption, key_purposes
from rig.virtual.encrypted_flash import EncryptedFlash, cached
from tests.rig.device import Device, FakeFlash, make_device
from tests.rig.virtual.conftest import tiny_bootloader

if TYPE_CHECKING:
    from conftest import Lab

__all__ = ["make_device"]

TEXT = b"read through the cache"
SPOT = 0x20000
BURN = {
    "esp32": [
        ["burn-key", "flash_encryption", "KEY"],
        ["burn-efuse", "FLASH_CRYPT_CONFIG", "0xf", "FLASH_CRYPT_CNT", "1"],
    ],
    "esp32c3": [["burn-key", "BLOCK_KEY0", "KEY", "XTS_AES_128_KEY"], ["burn-efuse", "SPI_BOOT_CRYPT_CNT", "1"]],
    "esp32s3": [["burn-key", "BLOCK_KEY0", "KEY", "XTS_AES_256_KEY"], ["burn-efuse", "SPI_BOOT_CRYPT_CNT", "1"]],
}


def by_espsecure(chip: str, key: bytes, offset: int, data: bytes) -> bytes:
    """What espsecure's encrypt-flash-data makes of `data`."""
    files = [io.BytesIO(content) for content in (key, b"", data)]
    for number, file in enumerate(files):
        file.name = f"memory {number}"
    with contextlib.redirect_stdout(io.StringIO()):
        espsecure.encrypt_flash_data(files[0], files[1], offset, 0xF, chip != "esp32", files[2])
    return files[1].getvalue()


def reader(cpu: Cpu) -> None:
    cpu.write(cached(cpu).read(SPOT + 1, len(TEXT) - 1) + b"|\r\n")


def encrypted_chip(lab: Lab, model: str, key: bytes) -> VirtualChip:
    """A chip whose flash was encrypted by espsecure, not yet told the key."""
    image = tiny_bootloader()
    image = image.ljust(len(image) + -len(image) % 16, b"\xff")
    offset = chip_spec(model).bootloader_offset
    chip = lab.chip(model, firmware=reader, bootloader=by_espsecure(model, key, offset, image))
    chip.flash.load(SPOT, by_espsecure(model, key, SPOT, TEXT.ljust(32, b"\0")))
    return chip


@pytest.mark.parametrize("model", BURN)
def test_a_key_burnt_by_espefuse_opens_what_espsecure_encrypted(lab: Lab, model: str, tmp_path: Path) -> None:
    key = os.urandom(64 if model == "esp32s3" else 32)
    (tmp_path / "key").write_bytes(key)
    chip = encrypted_chip(lab, model, key)
    chip.power_on()
    for command in BURN[model]:
        arguments = [str(tmp_path / "key") if word == "KEY" else word for word in command]
        espefuse.main(["--port", f"virtual://{chip.name}", "--do-not-confirm", *arguments])
    chip.power_off()
    chip.power_on()
    assert TEXT[1:] in lab.read_until(chip, b"|\r\n")
    assert chip.flash.read(SPOT, 32).count(TEXT) == 0
    mine = Efuses(chip.spec, chip.mac)
    burn_flash_key(mine, key)
    block = 1 if model == "esp32" else 4
    assert [mine.block(block), mine.block(block + 1)] == [chip.efuse.block(block), chip.efuse.block(block + 1)]
    assert key_purposes(mine) == key_purposes(chip.efuse)


def test_esptool_sees_that_encryption_is_on(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    chip = lab.chip("esp32c3")
    burn_flash_key(chip.efuse, os.urandom(32))
    chip.power_on()
    lab.esptool(chip, "get-security-info")
    said = capsys.readouterr().out
    assert "Flash Encryption: Enabled" in said
    assert "BLOCK_KEY0 - XTS_AES_128_KEY" in said
    assert "(SPI_BOOT_CRYPT_CNT): 0x1" in said


def test_software_cannot_read_the_key(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    chip = lab.chip("esp32c3")
    burn_flash_key(chip.efuse, b"secret key of 32 bytes, burnt in")
    chip.power_on()
    espefuse.main(["--port", f"virtual://{chip.name}", "summary"])
    said = capsys.readouterr().out
    assert "?? ?? ?? ??" in said
    assert b"secret"[::-1].hex(" ") not in said
    assert chip.efuse.block(4) != 0


def test_a_plaintext_bootloader_is_noise_to_the_rom(lab: Lab) -> None:
    chip = lab.chip("esp32c3", firmware=reader)
    burn_flash_key(chip.efuse, os.urandom(32))
    chip.power_on()
    lab.read_until(chip, b"invalid header: 0x")


@pytest.fixture(params=["esp32", "esp32c3"])
def efuses(request: pytest.FixtureRequest) -> Efuses:
    spec = chip_spec(request.param)
    return Efuses(spec, mac_bytes(spec.default_mac))


def test_an_odd_number_of_bits_switches_encryption_on(efuses: Efuses) -> None:
    field = "FLASH_CRYPT_CNT" if efuses.spec.name == "esp32" else "SPI_BOOT_CRYPT_CNT"
    assert flash_encryption(efuses) is None
    burn_flash_key(efuses, bytes(range(32)))
    width = efuses.spec.efuse_fields[field].width
    left = []
    for bits in range(1, width + 1):
        efuses.burn_field(field, (1 << bits) - 1)
        on = flash_encryption(efuses)
        left.append(None if on is None else on.flashes_left)
    assert crypt_count(efuses) == (1 << width) - 1
    assert left == ([3, None, 2, None, 1, None, 0] if efuses.spec.name == "esp32" else [1, None, 0])


def test_encryption_without_a_key_is_refused_not_guessed() -> None:
    spec = chip_spec("esp32c3")
    efuses = Efuses(spec, mac_bytes(spec.default_mac))
    efuses.burn_field("SPI_BOOT_CRYPT_CNT", 1)
    with pytest.raises(FormatError, match="without a key"):
        flash_encryption(efuses)


@pytest.mark.parametrize(("model", "size"), [("esp32c3", 64), ("esp32", 16), ("esp32s3", 96)])
def test_keys_of_a_wrong_size_are_not_burnt(model: str, size: int) -> None:
    spec = chip_spec(model)
    efuses = Efuses(spec, mac_bytes(spec.default_mac))
    with pytest.raises(FormatError, match=f"no flash encryption key of {size} bytes"):
        burn_flash_key(efuses, bytes(size))
    assert crypt_count(efuses) == 0


class TestThroughTheCache:
    cipher = XtsAes(bytes(range(32)))

    def make(self) -> tuple[FakeFlash, EncryptedFlash]:
        raw = FakeFlash(0x4000)
        return raw, EncryptedFlash(raw, self.cipher)

    def test_what_is_programmed_is_read_and_lies_there_as_ciphertext(self) -> None:
        raw, seen = self.make()
        seen.program(0x1010, b"sixteen bytes ok" * 3)
        assert seen.read(0x1018, 16) == b"bytes oksixteen "
        assert raw.read(0x1010, 48) == self.cipher.encrypt(0x1010, b"sixteen bytes ok" * 3)

    def test_an_erased_sector_reads_as_noise(self) -> None:
        raw, seen = self.make()
        seen.program(0, bytes(16))
        seen.erase_sector(0)
        assert raw.read(0, 0x1000) == b"\xff" * 0x1000
        assert seen.read(0, 32) == self.cipher.decrypt(0, b"\xff" * 32) != b"\xff" * 32

    def test_half_a_block_cannot_be_programmed(self) -> None:
        raw, seen = self.make()
        for offset, data in ((0, b"8 bytes."), (8, bytes(16))):
            with pytest.raises(FormatError):
                seen.program(offset, data)
        assert raw.image.read(0, 0x4000) == FlashImage.erased(0x4000).read(0, 0x4000)


def test_first_boot_encryption_is_said_to_be_unmodelled(make_device: Callable[..., Device]) -> None:
    device = make_device("flash_encryption")
    device.chip.power_on()
    device.wait_text("encrypting flash in place at first boot is not modelled")
    assert crypt_count(device.chip.efuse) == 0
