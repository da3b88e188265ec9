"""What of an emulated boot of an image is worked out without a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.emulator.efuse import SIZES, blank_efuses, secure_version, with_secure_version
from rig.emulator.faults import restart_announced
from rig.emulator.image_boot import ImageLaunch
from rig.emulator.image_disk import ImageDisk, Looked
from rig.emulator.read_set import given_out
from rig.idf.effects import Erase, Program
from rig.idf.memory import FlashImage
from rig.protocol import Line

SECTOR = 0x1000


def read_byte(address: int) -> bytes:
    return b"m25p80_read_byte [0x55aa] Read byte 0x%x=0xff\n" % address


# --- what the flash chip gave out ----------------------------------------------------------------------------------


def test_bytes_given_out_are_merged_whatever_their_order() -> None:
    trace = b"".join(map(read_byte, [9, 10, 11, 3, 0x1000, 4, 10, 0x1FFFFF, 5]))
    assert given_out(trace) == ((3, 6), (9, 12), (0x1000, 0x1001), (0x1FFFFF, 0x200000))


def test_other_lines_and_a_line_cut_short_are_nothing_given_out() -> None:
    trace = b"Adding SPI flash device\nm25p80_select [0x55aa] select\n" + read_byte(1) + read_byte(0x1234)[:-6]
    assert given_out(trace) == ((1, 2),)
    assert given_out(b"") == ()


# --- flash behind it -----------------------------------------------------------------------------------------------


def test_what_qemu_reads_before_the_guest_runs_is_not_the_guests() -> None:
    disk = ImageDisk(FlashImage.erased(2 * SECTOR))
    disk.read(0, 2 * SECTOR)
    assert (disk.accesses, disk.pages_taken) == ([], 0)
    disk.guest_runs()
    disk.read(SECTOR, SECTOR)
    assert (disk.accesses, disk.pages_taken) == ([Looked(SECTOR, 2 * SECTOR)], 1)


def test_a_program_is_a_look_at_its_page_and_an_erase_is_none() -> None:
    image = FlashImage(b"\x0f" * 2 * SECTOR)
    disk = ImageDisk(image)
    disk.guest_runs()
    disk.write(0, b"\xff" * SECTOR)
    disk.write(SECTOR, b"\x0f" * 16 + b"\x0e" + b"\x0f" * 239)
    assert disk.accesses == [Erase(0), Looked(SECTOR, SECTOR + 256), Program(SECTOR + 16, b"\x0e")]
    assert (disk.impossible, disk.pages_taken) == (None, 0)
    assert image.read(SECTOR + 15, 3) == b"\x0f\x0e\x0f"


def test_a_program_that_sets_bits_is_said_to_be_impossible() -> None:
    disk = ImageDisk(FlashImage(bytes(SECTOR)))
    disk.write(0x100, b"\1")
    assert disk.impossible is not None
    assert "0x100" in disk.impossible


# --- eFuses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chip", sorted(SIZES))
@pytest.mark.parametrize("version", [0, 1, 5, 16])
def test_the_secure_version_is_a_number_of_bits_and_changes_no_other(chip: str, version: int) -> None:
    blank = blank_efuses(chip)
    assert secure_version(blank, chip) == 0
    burnt = with_secure_version(blank, chip, version)
    assert secure_version(burnt, chip) == version
    assert len(burnt) == len(blank)
    assert sum(byte.bit_count() for byte in burnt) == sum(byte.bit_count() for byte in blank) + version
    assert with_secure_version(burnt, chip, 0) == blank


def test_the_secure_version_is_where_esp_idf_has_it() -> None:
    # esp_efuse_table.csv: bit 142 of block 0, whose first register is the first of the file
    assert with_secure_version(bytes(1024), "esp32c3", 3)[: 142 // 8 + 1] == bytes(17) + b"\xc0"
    assert with_secure_version(bytes(1024), "esp32c3", 3)[18:20] == b"\1\0"


def test_bits_that_are_not_of_the_field_are_no_secure_version() -> None:
    assert secure_version(b"\xff" * 16 + b"\xff\x3f\0\xc0" + b"\xff" * 1004, "esp32c3") == 0


@pytest.mark.parametrize(("chip", "version"), [("esp32c3", 17), ("esp32", 33), ("esp32c3", -1)])
def test_a_secure_version_with_more_bits_than_there_are_is_refused(chip: str, version: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        with_secure_version(blank_efuses(chip), chip, version)


# --- what an app announced, and how QEMU is called -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "announced"),
    [
        ([], False),
        ([Line(None, "shutdown", {})], True),
        ([Line(None, "ready", {})], False),
        ([Line(None, "start", {"state": "PENDING_VERIFY", "diag": "panic"})], True),
        ([Line(None, "start", {"state": "PENDING_VERIFY", "diag": "watchdog"})], True),
        ([Line(None, "start", {"state": "PENDING_VERIFY", "diag": "pass"})], False),
        ([Line(None, "start", {"state": "VALID", "diag": "panic"})], False),
    ],
)
def test_a_restart_is_announced_or_was_asked_for(said: list[Line], announced: bool) -> None:
    assert restart_announced(said) is announced


def test_an_image_boots_unpaced_and_the_same_every_time_with_its_looks_traced() -> None:
    words = ImageLaunch(Path("/opt/qemu"), "esp32c3", "real", Path("/nowhere"), shift=6).command(7)
    text = " ".join(words)
    assert "-icount shift=6,sleep=off " in text
    assert "-seed 1 -trace m25p80_read_byte -D trace7" in text
    assert text.count(" -D ") == 1
