"""The real esptool, unpatched, on the simulated chip."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import esptool
import pytest

from rig.idf.chips import CHIPS
from rig.idf.effects import SECTOR_SIZE, Erase
from rig.virtual.chip import build_chip
from rig.virtual.chips import SPECS
from rig.virtual.cpu import Cpu
from rig.virtual.port import plugged
from rig.virtual.tap import Cut

if TYPE_CHECKING:
    from conftest import Lab

GREETING = b"dummy firmware is up\r\n"
ESPTOOL_NAMES = {"esp32c3": "ESP32-C3", "esp32": "ESP32", "esp32s3": "ESP32-S3", "esp32c6": "ESP32-C6"}
ALL_CHIPS = pytest.mark.parametrize("model", SPECS)
STUB_AND_ROM = pytest.mark.parametrize("loader", [(), ("--no-stub",)], ids=["stub", "no-stub"])


@pytest.fixture
def firmware_file(tmp_path: Path) -> Path:
    """Half compressible, not a multiple of any block size."""
    path = tmp_path / "firmware.bin"
    path.write_bytes(random.Random(1).randbytes(3000) + b"\x5a" * 5001)
    return path


def stored(path: Path) -> bytes:
    """esptool pads to a multiple of four with 0xFF."""
    content = path.read_bytes()
    return content + b"\xff" * (-len(content) % 4)


@ALL_CHIPS
def test_the_chip_is_detected_with_its_revision_and_mac(
    lab: Lab, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chip = lab.chip(model)
    chip.power_on()
    lab.esptool(chip, "read-mac")
    output = capsys.readouterr().out
    assert f"Connected to {ESPTOOL_NAMES[model]} on virtual://" in output
    revision = CHIPS[model].revision  # what the bootloader on this chip believes to run on
    assert f"(revision v{revision // 100}.{revision % 100})" in output
    assert chip.spec.default_mac in output
    assert "40MHz" in output


@STUB_AND_ROM
@ALL_CHIPS
def test_flash_id_tells_manufacturer_and_size(
    lab: Lab, model: str, loader: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    chip = lab.chip(model)
    chip.power_on()
    lab.esptool(chip, "--chip", model, *loader, "flash-id")
    output = capsys.readouterr().out
    assert "Manufacturer: ef" in output
    assert "Detected flash size: 4MB" in output


@STUB_AND_ROM
@ALL_CHIPS
def test_written_files_are_in_flash_and_verify(
    lab: Lab, model: str, loader: tuple[str, ...], firmware_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chip = lab.chip(model)
    chip.power_on()
    lab.esptool(chip, *loader, "write-flash", "--no-progress", "0x10000", str(firmware_file))
    assert "Hash of data verified." in capsys.readouterr().out
    assert chip.flash.read(0x10000, 8004) == stored(firmware_file)
    lab.esptool(chip, *loader, "verify-flash", "0x10000", str(firmware_file))
    assert "Verification successful" in capsys.readouterr().out


@STUB_AND_ROM
@pytest.mark.parametrize("compression", ["--compress", "--no-compress"])
@pytest.mark.parametrize("baud", ["57600", "921600"])
def test_writing_works_compressed_and_plain_at_any_baud_rate(
    lab: Lab, loader: tuple[str, ...], compression: str, baud: str, firmware_file: Path
) -> None:
    chip = lab.chip()
    chip.power_on()
    lab.esptool(
        chip, "--baud", baud, *loader, "write-flash", "--no-progress", compression, "0x10000", str(firmware_file)
    )
    assert chip.flash.read(0x10000, 8004) == stored(firmware_file)


@STUB_AND_ROM
def test_writing_erases_each_sector_of_the_range_once_and_no_other(
    lab: Lab, loader: tuple[str, ...], firmware_file: Path
) -> None:
    chip = lab.chip()
    chip.flash.load(0x10000, bytes(0x4000))
    chip.power_on()
    lab.esptool(chip, *loader, "write-flash", "--no-progress", "0x11000", str(firmware_file))
    assert [sector for sector, count in enumerate(chip.flash.wear) if count] == [0x11, 0x12]
    assert set(chip.flash.wear) == {0, 1}
    assert chip.flash.read(0x10000, 0x1000) == bytes(0x1000)


def test_several_files_are_written_in_one_go_after_erasing_everything(lab: Lab, firmware_file: Path) -> None:
    chip = lab.chip()
    chip.flash.load(0x200000, b"old")
    chip.power_on()
    files = ["0x1000", str(firmware_file), "0x100000", str(firmware_file)]
    lab.esptool(chip, "write-flash", "--no-progress", "--erase-all", *files)
    assert chip.flash.read(0x1000, 8004) == chip.flash.read(0x100000, 8004) == stored(firmware_file)
    assert chip.flash.read(0x200000, 3) == b"\xff\xff\xff"


def test_an_unaligned_address_keeps_to_what_the_stub_does(lab: Lab, firmware_file: Path) -> None:
    chip = lab.chip()
    chip.flash.load(0x10000, bytes(0x1000))
    chip.power_on()
    lab.esptool(chip, "write-flash", "--no-progress", "0x10234", str(firmware_file))
    assert chip.flash.read(0x10000, 0x234) == b"\xff" * 0x234
    assert chip.flash.read(0x10234, 8004) == stored(firmware_file)


@STUB_AND_ROM
@pytest.mark.parametrize("size", [1, 4096, 5 * 4096 + 123])
def test_read_flash_gives_what_is_in_flash(lab: Lab, tmp_path: Path, loader: tuple[str, ...], size: int) -> None:
    chip = lab.chip()
    content = random.Random(2).randbytes(size)
    chip.flash.load(0x20001, content)
    chip.power_on()
    target = tmp_path / "read.bin"
    lab.esptool(chip, *loader, "read-flash", "--no-progress", "0x20001", str(size), str(target))
    assert target.read_bytes() == content


@STUB_AND_ROM
def test_erase_region_erases_that_region(lab: Lab, loader: tuple[str, ...]) -> None:
    chip = lab.chip()
    chip.flash.load(0x10000, bytes(0x4000))
    chip.power_on()
    lab.esptool(chip, *loader, "erase-region", "0x11000", "0x2000")
    assert chip.flash.read(0x10000, 0x4000) == bytes(0x1000) + b"\xff" * 0x2000 + bytes(0x1000)


def test_erase_flash_erases_everything_and_the_chip_finds_nothing_to_boot(lab: Lab) -> None:
    chip = lab.chip()
    chip.power_on()
    lab.esptool(chip, "erase-flash")
    assert chip.flash.read(0, chip.flash.size) == b"\xff" * chip.flash.size
    assert all(chip.flash.wear)
    lab.read_until(chip, b"invalid header: 0xffffffff")


@pytest.mark.parametrize("model", ["esp32c3", "esp32s3", "esp32c6"])
def test_security_info_names_the_chip(lab: Lab, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    chip = lab.chip(model)
    chip.power_on()
    lab.esptool(chip, "get-security-info")
    output = capsys.readouterr().out
    assert f"Chip ID: {chip.spec.chip_id}" in output
    assert "Secure Boot: Disabled" in output


def test_esp32_has_no_security_info(lab: Lab) -> None:
    chip = lab.chip("esp32")
    chip.power_on()
    with pytest.raises(esptool.FatalError):
        lab.esptool(chip, "--no-stub", "get-security-info")


@ALL_CHIPS
def test_after_any_command_a_hard_reset_boots_the_firmware(lab: Lab, model: str) -> None:
    chip = lab.chip(model)
    chip.power_on()
    lab.esptool(chip, "--baud", "921600", "chip-id" if model == "esp32c3" else "read-mac")
    log = lab.read_until(chip, GREETING)
    assert chip.spec.boot_flash.encode() in log


def chatter(cpu: Cpu) -> None:
    """An app that never stops talking, and says why it was started."""
    while True:
        cpu.write(f"I (1) app: here by {cpu.reset_reason}\r\n".encode())
        cpu.sleep(0.02)


def test_run_leaves_the_rom_loader_and_starts_the_program_in_flash_without_a_reset(lab: Lab) -> None:
    chip = lab.chip(firmware=chatter)
    chip.power_on()
    lab.read_until(chip, b"here by power on")
    lab.esptool(chip, "--no-stub", "--after", "no-reset-stub", "run")
    lab.read_until(chip, b"here by EN pin")
    assert chip.lives == 2


def test_run_with_the_stub_boots_by_the_reset_that_follows(lab: Lab) -> None:
    chip = lab.chip(firmware=chatter)
    chip.power_on()
    lab.read_until(chip, b"here by power on")
    lab.esptool(chip, "run")
    lab.read_until(chip, b"here by EN pin")
    assert chip.lives == 3


def test_staying_in_the_rom_loader_lets_the_next_command_connect_without_reset(lab: Lab) -> None:
    chip = lab.chip()
    chip.power_on()
    lab.esptool(chip, "--after", "no-reset", "read-mac")
    resets = chip.lives
    lab.esptool(chip, "--before", "no-reset", "--after", "no-reset-stub", "read-mac")
    lab.esptool(chip, "--before", "no-reset", "--after", "no-reset-stub", "read-mac")
    assert chip.lives <= resets + 1


def test_a_watchdog_reset_boots_with_that_reason(lab: Lab) -> None:
    chip = lab.chip(firmware=chatter)
    chip.power_on()
    lab.read_until(chip, b"here by power on")
    lab.esptool(chip, "--after", "watchdog-reset", "read-mac")
    lab.read_until(chip, b"here by watchdog")


def test_a_wrong_file_is_found_by_verify(lab: Lab, firmware_file: Path) -> None:
    chip = lab.chip()
    chip.power_on()
    with pytest.raises(esptool.FatalError, match="Verification failed"):
        lab.esptool(chip, "verify-flash", "0x10000", str(firmware_file))


def test_writing_past_the_end_of_flash_is_refused(lab: Lab, firmware_file: Path) -> None:
    chip = lab.chip()
    chip.power_on()
    with pytest.raises(esptool.FatalError):
        lab.esptool(chip, "write-flash", "--no-progress", "0x3ff000", str(firmware_file))


def test_an_app_that_chatters_does_not_keep_esptool_from_connecting(lab: Lab) -> None:
    chip = lab.chip(firmware=chatter)
    chip.power_on()
    lab.read_until(chip, b"here by power on")
    lab.esptool(chip, "read-mac")


def test_a_power_cut_while_flashing_fails_esptool_and_leaves_a_prefix(lab: Lab, firmware_file: Path) -> None:
    chip = lab.chip()
    chip.power_on()
    chip.tap.start_recording()
    chip.tap.arm(Cut(kind="program", start=0x10000, nth=5))
    with pytest.raises(esptool.FatalError):
        lab.esptool(chip, "--connect-attempts", "1", "write-flash", "--no-progress", "0x10000", str(firmware_file))
    assert not chip.powered
    assert chip.flash.read(0x10000, 0x400) == firmware_file.read_bytes()[:0x400]
    assert chip.flash.read(0x10400, 0xC00) == b"\xff" * 0xC00
    assert Erase(0x10000) in [record.mutation for record in chip.tap.records]


def test_other_flash_sizes_are_detected(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    chip = build_chip("sixteen", "esp32s3", lambda cpu: None, flash_size=16 * 1024 * 1024)
    with plugged(chip) as url:
        esptool.main(["--port", url, "flash-id"])
    assert "Detected flash size: 16MB" in capsys.readouterr().out
    assert chip.flash.size // SECTOR_SIZE == len(chip.flash.wear)


def test_unknown_registers_read_zero_and_are_counted(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    chip = lab.chip()
    chip.power_on()
    lab.esptool(chip, "--no-stub", "--after", "no-reset", "write-mem", "0x600c0000", "0x1234")
    assert chip.registers is not None
    assert chip.registers.unknown_writes[0x600C0000] == 1
    lab.esptool(chip, "--no-stub", "--after", "no-reset", "read-mem", "0x600c0000")
    assert "0x600c0000 = 0x00000000" in capsys.readouterr().out
    assert chip.registers.unknown_reads[0x600C0000] == 1
