"""What the mask ROM prints and refuses when it boots from flash."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rig.virtual.chips import SPECS

if TYPE_CHECKING:
    from conftest import Lab

GREETING = b"dummy firmware is up\r\n"


def test_esp32_banner_has_its_old_form(lab: Lab) -> None:
    chip = lab.chip("esp32")
    chip.power_on()
    lines = lab.read_until(chip, b"entry").decode().splitlines()
    assert lines[:8] == [
        "ets Jul 29 2019 12:21:46",
        "",
        "rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)",
        "configsip: 0, SPIWP:0xee",
        "clk_drv:0x00,q_drv:0x00,d_drv:0x00,cs0_drv:0x00,hd_drv:0x00,wp_drv:0x00",
        "mode:DIO, clock div:1",
        "load:0x3fcd5820,len:16",
        "load:0x3fcd5920,len:16",
    ]


@pytest.mark.parametrize("model", SPECS)
def test_an_erased_flash_repeats_invalid_header_and_never_reaches_the_firmware(lab: Lab, model: str) -> None:
    chip = lab.chip(model, bootloader=b"\xff" * 16)
    chip.power_on()
    shown = chip.spec.resets
    log = lab.read_until(chip, b"invalid header: 0xffffffff\r\n")
    log += lab.read_until(chip, f"{chip.spec.boot_flash}\r\ninvalid header: 0xffffffff\r\n".encode())
    assert f"({next(iter(shown.values())).name})".encode() in log
    chip.power_off()
    assert GREETING not in log + chip.host_read(timeout=0)


def test_the_header_word_that_was_found_is_shown(lab: Lab) -> None:
    chip = lab.chip(bootloader=b"\x6e\x20\x63\x6c")
    chip.power_on()
    lab.read_until(chip, b"invalid header: 0x6c63206e\r\n")


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (lambda image: image[:-1] + bytes([image[-1] ^ 1]), b"Checksum failure"),
        (lambda image: image[:1] + b"\x20" + image[2:], b"invalid segment count 32"),
        (lambda image: image[:28] + b"\xff\xff\xff\x7f" + image[32:], b"invalid segment length 0x7fffffff"),
    ],
)
def test_a_broken_bootloader_is_not_started(lab: Lab, broken: object, expected: bytes) -> None:
    chip = lab.chip()
    size = 24 + 2 * 24
    image = chip.flash.read(0, size + 16 - size % 16)
    chip.flash.load(0, broken(image))  # type: ignore[operator]
    chip.power_on()
    log = lab.read_until(chip, expected) + lab.read_until(chip, b"ESP-ROM")
    assert GREETING not in log


def test_flash_mode_and_frequency_come_from_the_image_header(lab: Lab) -> None:
    chip = lab.chip()
    header = bytearray(chip.flash.read(0, 4))
    header[2:4] = b"\x00\x22"
    chip.flash.load(0, bytes(header))
    chip.power_on()
    lab.read_until(chip, b"mode:QIO, clock div:4\r\n")
