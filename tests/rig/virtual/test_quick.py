"""Firmware run at once on a flash image: the same as on the chip, without a port and without waiting."""

from __future__ import annotations

import itertools
import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.idf.effects import BurnSecureVersion, Erase, Mutation, Program
from rig.idf.memory import FlashImage
from rig.idf.watched import WatchedFlash
from rig.virtual.chip import build_chip
from rig.virtual.cpu import ChipHalted, Cpu, ResetReason
from rig.virtual.firmware import VirtualFirmware
from rig.virtual.nor import ERASE_SECTOR_S, PROGRAM_PAGE_S
from rig.virtual.quick import LONGEST_WAIT_S, QuickBoot, boot_quickly
from tests.rig.crash.hand import (
    CHIP,
    CONFIG,
    ENTRY_0,
    ERASED,
    NEW,
    NVS,
    PENDING,
    VALID,
    app,
    content,
    corrupt,
    device,
    entry,
    examples,
)  # fmt: skip

PATIENCE = 20_000
"""Bytes of console until the chip must have said what it has to say."""
_names = itertools.count(1)
_STAMP = re.compile(r"^([EWID]) \(\d+\) ")


def power_up(flash: FlashImage) -> list[QuickBoot]:
    """Boot until the app waits or hangs, or the bootloader has given up once."""
    boots = [boot_quickly(VirtualFirmware(CONFIG), flash)]
    while boots[-1].next_reset not in (None, ResetReason.BOOTLOADER) and len(boots) < 8:
        boots.append(boot_quickly(VirtualFirmware(CONFIG), flash, boots[-1].next_reset or ResetReason.POWERON))
    return boots


def said(log: bytes) -> list[str]:
    """What bootloader and app print, without the ROM's lines and without time stamps."""
    lines = [line.rstrip("\r") for line in log.decode(errors="replace").split("\n")]
    return [_STAMP.sub(r"\1 ", line) for line in lines if line.startswith("@rig") or _STAMP.match(line)]


def on_the_chip(flash: FlashImage, last_words: bytes) -> tuple[list[str], list[Mutation], FlashImage]:
    """Console and mutations of a virtual chip with that flash until `last_words`, and its flash then."""
    chip = build_chip(f"quick{next(_names)}", CHIP, VirtualFirmware(CONFIG), time_scale=1000.0)
    chip.flash.load(0, flash.read(0, len(flash)))
    chip.tap.start_recording()
    console = b""
    with chip:
        for _ in range(PATIENCE):
            if last_words in console and console.endswith(b"\n"):
                break
            console += chip.host_read(timeout=0.5, size=1)
    mutations = [record.mutation for record in chip.tap.stop_recording()]
    return said(console), mutations, FlashImage(chip.flash.read(0, len(flash)))


# --- the same as the chip --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "diagnostics", "starts"),
    [
        ((entry(1, VALID), b""), None, 1),
        ((entry(1, VALID), entry(2, NEW)), "pass", 1),
        ((entry(1, VALID), entry(2, NEW)), "fail", 2),
        ((entry(1, VALID), entry(2, NEW)), "reboot", 2),
        ((entry(1, VALID), entry(2, NEW)), "panic", 2),
        ((entry(1, VALID), entry(2, NEW)), "watchdog", 2),
        ((entry(1, VALID), entry(2, PENDING)), "fail", 1),
        ((b"", b""), None, 1),
    ],
)
def test_bootloader_and_app_do_and_say_the_same_as_on_the_chip(
    entries: tuple[bytes, bytes], diagnostics: str | None, starts: int
) -> None:
    flash = device(entries, diagnostics=diagnostics)
    lines, mutations, left = on_the_chip(flash.copy(), b"@rig - ready")
    boots = power_up(flash)
    assert len(boots) == starts
    assert boots[-1].waits
    assert [mutation for boot in boots for mutation in boot.mutations] == mutations
    assert said(b"".join(boot.log for boot in boots)) == lines
    assert content(flash) == content(left)


def test_a_bootloader_that_finds_nothing_says_the_same_as_on_the_chip() -> None:
    flash = device(slots={"ota_0": b"", "ota_1": corrupt(app("ota_1"))})
    nothing = b"No bootable app partitions in the partition table"
    lines, mutations, _ = on_the_chip(flash.copy(), nothing)
    (boot,) = power_up(flash)
    assert boot.next_reset is ResetReason.BOOTLOADER
    assert not boot.waits
    assert list(boot.mutations) == mutations == []
    assert said(boot.log) == lines


# --- how a boot ends -------------------------------------------------------------------------------------------------


def test_an_app_that_waits_for_a_request_has_finished() -> None:
    def firmware(cpu: Cpu) -> None:
        cpu.write(b"ready")
        cpu.read()
        raise AssertionError("nobody asked")

    assert boot_quickly(firmware, FlashImage.erased(0x1000)) == QuickBoot(b"ready", (), None, True)


def test_a_request_is_waited_for_as_long_as_the_app_likes() -> None:
    heard: list[bytes] = []

    def firmware(cpu: Cpu) -> None:
        heard.append(cpu.read(timeout=5.0))
        cpu.write(f"{cpu.now():.0f} s".encode())
        cpu.read()

    assert boot_quickly(firmware, FlashImage.erased(0x1000)).log == b"5 s"
    assert heard == [b""]


@pytest.mark.parametrize("wait", [lambda cpu: cpu.sleep(1.0), lambda cpu: cpu.read(timeout=1.0)])
def test_an_app_in_which_only_time_passes_hangs(wait) -> None:
    longest = 0.0

    def firmware(cpu: Cpu) -> None:
        nonlocal longest
        while True:
            wait(cpu)
            longest = cpu.now()

    boot = boot_quickly(firmware, FlashImage.erased(0x1000))
    assert (boot.next_reset, boot.waits) == (None, False)
    assert LONGEST_WAIT_S - 1 <= longest <= LONGEST_WAIT_S


def test_firmware_that_returns_hangs() -> None:
    assert boot_quickly(lambda cpu: None, FlashImage.erased(0x1000)) == QuickBoot(b"", (), None, False)


@pytest.mark.parametrize("reason", list(ResetReason))
def test_the_next_reset_is_the_one_the_code_asked_for(reason: ResetReason) -> None:
    def firmware(cpu: Cpu) -> None:
        cpu.write(cpu.reset_reason.encode())
        cpu.restart(reason)

    boot = boot_quickly(firmware, FlashImage.erased(0x1000), reason)
    assert (boot.log.decode(), boot.next_reset, boot.waits) == (str(reason), reason, False)


@pytest.mark.parametrize("last_words", [lambda cpu: cpu.restart(ResetReason.SOFTWARE), lambda cpu: cpu.read()])
def test_code_that_catches_every_exception_is_still_stopped(last_words) -> None:
    def firmware(cpu: Cpu) -> None:
        try:
            last_words(cpu)
        except Exception:
            cpu.write(b"survived")

    assert boot_quickly(firmware, FlashImage.erased(0x1000)).log == b""


def test_a_bug_in_the_firmware_is_no_outcome() -> None:
    def firmware(cpu: Cpu) -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        boot_quickly(firmware, FlashImage.erased(0x1000))


# --- flash and eFuse -------------------------------------------------------------------------------------------------


def test_a_program_goes_page_by_page_and_all_of_it_is_in_the_image() -> None:
    def firmware(cpu: Cpu) -> None:
        cpu.flash.erase_sector(0)
        cpu.flash.program(200, bytes(400))
        cpu.write(f"{cpu.now():.4f}".encode())

    image = FlashImage(bytes(range(256)) * 16)
    boot = boot_quickly(firmware, image)
    assert boot.mutations == (
        Erase(0), Program(200, bytes(56)), Program(256, bytes(256)), Program(512, bytes(88))
    )  # fmt: skip
    assert image.read(0, 0x1000) == b"\xff" * 200 + bytes(400) + b"\xff" * (0x1000 - 600)
    assert float(boot.log) == pytest.approx(ERASE_SECTOR_S + 3 * PROGRAM_PAGE_S)


def test_an_efuse_burn_is_a_mutation_and_stays_burnt() -> None:
    def firmware(cpu: Cpu) -> None:
        cpu.efuse.burn_secure_version(cpu.efuse.secure_version + 2)
        cpu.write(str(cpu.efuse.secure_version).encode())

    image = FlashImage.erased(0x1000, secure_version=1)
    boot = boot_quickly(firmware, image)
    assert (boot.log, boot.mutations, image.secure_version) == (b"3", (BurnSecureVersion(1, 3),), 3)


def test_what_was_written_before_a_halt_is_kept() -> None:
    def firmware(cpu: Cpu) -> None:
        cpu.flash.program(0, b"\0")
        raise ChipHalted

    boot = boot_quickly(firmware, FlashImage.erased(0x1000))
    assert (boot.mutations, boot.next_reset, boot.waits) == ((Program(0, b"\0"),), None, False)


# --- the read set ----------------------------------------------------------------------------------------------------


@given(
    st.tuples(st.sampled_from([b"", entry(1, VALID), entry(3, PENDING)]), st.sampled_from([b"", entry(2, NEW)])),
    st.sampled_from([None, "pass", "fail", "reboot", "hang"]),
    st.sampled_from([app("ota_1"), corrupt(app("ota_1")), b"", app("ota_1")[:300]]),
    st.integers(0, 99),
)
@examples(40)
def test_bytes_that_no_boot_read_make_no_difference_to_it(
    entries: tuple[bytes, bytes], diagnostics: str | None, ota_1: bytes, seed: int
) -> None:
    """What the covering of crash images rests on: this firmware is a function of what it reads."""
    image = device(entries, slots={"ota_1": ota_1}, diagnostics=diagnostics)
    watched = WatchedFlash.of(image)
    boots = power_up(watched)
    other = bytearray(Random(seed).randbytes(len(image)))
    for start, end in watched.reads:
        other[start:end] = image.read(start, end - start)
    again = WatchedFlash(other)
    assert power_up(again) == boots
    assert again.reads == watched.reads


def test_the_read_set_is_the_table_the_entries_the_store_and_the_app() -> None:
    flash = WatchedFlash.of(device((entry(1, VALID), b"")))
    power_up(flash)
    read = {at for span in flash.reads for at in range(*span)}
    assert set(range(0x8000, 0x8000 + 5 * 32)) <= read
    assert set(range(ENTRY_0, ENTRY_0 + len(ERASED))) <= read
    assert set(range(NVS, NVS + 32)) <= read
    assert set(range(0x10000, 0x10000 + len(app("ota_0")))) <= read
    assert not set(range(0x20000, 0x30000)) & read, "the other slot was not asked for"
