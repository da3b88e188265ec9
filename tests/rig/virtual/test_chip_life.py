"""Power, resets and lives of the chip."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from rig.idf.effects import SECTOR_SIZE, BurnSecureVersion, Erase
from rig.virtual.chip import build_chip
from rig.virtual.chips import SPECS
from rig.virtual.cpu import ChipHalted, Cpu, ResetReason
from rig.virtual.tap import Cut

if TYPE_CHECKING:
    from conftest import Lab

GREETING = b"dummy firmware is up\r\n"

pytestmark = pytest.mark.usefixtures("no_thread_left")


def test_power_on_boots_from_flash(lab: Lab) -> None:
    chip = lab.chip()
    chip.power_on()
    log = lab.read_until(chip, GREETING).decode()
    assert log.splitlines() == [
        "ESP-ROM:esp32c3-api1-20210207",
        "Build:Feb  7 2021",
        "rst:0x1 (POWERON),boot:0xc (SPI_FAST_FLASH_BOOT)",
        "SPIWP:0xee",
        "mode:DIO, clock div:1",
        "load:0x3fcd5820,len:0x10",
        "load:0x3fcd5920,len:0x10",
        "entry 0x403cc710",
        "dummy firmware is up",
    ]


def test_nothing_comes_out_after_power_off_and_what_was_sent_before_stays_readable(lab: Lab) -> None:
    def chatter(cpu: Cpu) -> None:
        while True:
            cpu.write(b"x")

    chip = lab.chip(firmware=chatter)
    chip.power_on()
    lab.read_until(chip, b"x")
    chip.power_off()
    assert not chip.powered
    before = len(chip.uart.to_host)
    assert before > 0
    assert len(chip.host_read(timeout=0)) == before
    assert chip.host_read(timeout=0.05) == b""


def test_power_can_be_switched_many_times(lab: Lab) -> None:
    chip = lab.chip()
    for _ in range(5):
        chip.power_on()
        chip.power_on()
        lab.read_until(chip, GREETING)
        chip.power_off()
        chip.power_off()
    assert chip.lives == 5


def test_a_reset_pulse_restarts_the_firmware(lab: Lab) -> None:
    chip = lab.chip()
    chip.power_on()
    lab.read_until(chip, GREETING)
    chip.set_lines(dtr=False, rts=True)
    chip.host_write(b"not heard")
    chip.set_lines(dtr=False, rts=False)
    log = lab.read_until(chip, GREETING)
    assert b"rst:0x1 (POWERON),boot:0xc (SPI_FAST_FLASH_BOOT)" in log
    chip.host_write(b"again")
    assert lab.read_until(chip, b"again") == b"again"


def test_a_chip_held_in_reset_does_not_boot_when_power_comes(lab: Lab) -> None:
    chip = lab.chip()
    chip.set_lines(dtr=False, rts=True)
    chip.power_on()
    assert chip.host_read(timeout=0.1) == b""
    chip.set_lines(dtr=False, rts=False)
    lab.read_until(chip, GREETING)


def test_the_strap_held_low_at_power_on_gives_download_mode(lab: Lab) -> None:
    chip = lab.chip()
    chip.set_lines(dtr=True, rts=False)
    chip.power_on()
    log = lab.read_until(chip, b"waiting for download\r\n")
    assert b"boot:0x4 (DOWNLOAD(USB/UART0/1))" in log


@pytest.mark.parametrize("model", SPECS)
@pytest.mark.parametrize("reason", [ResetReason.SOFTWARE, ResetReason.BOOTLOADER, ResetReason.WATCHDOG])
def test_a_restart_from_inside_shows_the_reason_of_that_chip(lab: Lab, model: str, reason: ResetReason) -> None:
    def restarts_once(cpu: Cpu) -> None:
        if cpu.reset_reason is ResetReason.POWERON:
            cpu.restart(reason)
        cpu.write(f"came back by {cpu.reset_reason}\r\n".encode())

    chip = lab.chip(model, firmware=restarts_once)
    chip.power_on()
    log = lab.read_until(chip, f"came back by {reason}\r\n".encode())
    shown = chip.spec.resets[reason]
    assert f"rst:{shown.number:#x} ({shown.name}),{chip.spec.boot_flash}".encode() in log


def test_esp32c3_reset_reasons_are_those_of_the_silicon() -> None:
    shown = {reason: str(SPECS["esp32c3"].resets[reason].number) for reason in ResetReason}
    assert shown[ResetReason.SOFTWARE] == str(0xC)
    assert shown[ResetReason.BOOTLOADER] == str(0x3)
    assert shown[ResetReason.EN_PIN] == str(0x1)


def test_a_reset_interrupts_sleep_at_once_and_unwinds_the_firmware(lab: Lab) -> None:
    unwound = threading.Event()

    def sleeper(cpu: Cpu) -> None:
        cpu.write(GREETING)
        try:
            cpu.sleep(1e9)
        except ChipHalted:
            unwound.set()
            raise

    chip = lab.chip(firmware=sleeper)
    chip.power_on()
    lab.read_until(chip, GREETING)
    chip.set_lines(dtr=False, rts=True)
    chip.set_lines(dtr=False, rts=False)
    lab.read_until(chip, GREETING)
    assert unwound.is_set()


def test_code_that_catches_exceptions_does_not_survive_a_power_cut(lab: Lab) -> None:
    def stubborn(cpu: Cpu) -> None:
        cpu.write(GREETING)
        while True:
            try:
                cpu.sleep(0.02)
            except Exception:
                continue

    chip = lab.chip(firmware=stubborn)
    chip.power_on()
    lab.read_until(chip, GREETING)
    chip.power_off()


def test_every_call_of_a_dead_life_raises(lab: Lab) -> None:
    lives: list[Cpu] = []
    chip = lab.chip(firmware=lives.append)
    chip.power_on()
    lab.read_until(chip, b"entry")
    chip.power_off()
    (cpu,) = lives
    for call in (
        cpu.now,
        lambda: cpu.sleep(0),
        lambda: cpu.write(b"x"),
        cpu.read,
        lambda: cpu.flash.read(0, 1),
        lambda: cpu.flash.erase_sector(0),
        lambda: cpu.flash.program(0, b"x"),
        lambda: cpu.efuse.secure_version,
        lambda: cpu.efuse.burn_secure_version(1),
        lambda: cpu.restart(ResetReason.SOFTWARE),
    ):
        with pytest.raises(ChipHalted):
            call()


def test_virtual_time_passes_by_sleeping_and_flash_work_only(lab: Lab) -> None:
    times: list[float] = []

    def worker(cpu: Cpu) -> None:
        times.append(cpu.now())
        cpu.sleep(0.5)
        times.append(cpu.now())
        cpu.flash.erase_sector(0x10000)
        times.append(cpu.now())
        assert cpu.read(timeout=0.1) == b""
        times.append(cpu.now())
        cpu.write(GREETING)

    chip = lab.chip(firmware=worker)
    chip.power_on()
    lab.read_until(chip, GREETING)
    assert times == pytest.approx([0.0, 0.5, 0.545, 0.645], abs=1e-6)


def test_a_cut_inside_a_flash_operation_takes_power_away_exactly_there(lab: Lab) -> None:
    def writer(cpu: Cpu) -> None:
        for sector in range(4):
            cpu.flash.erase_sector(0x10000 + sector * SECTOR_SIZE)

    chip = lab.chip(firmware=writer)
    chip.flash.load(0x10000, bytes(4 * SECTOR_SIZE))
    chip.tap.start_recording()
    chip.tap.arm(Cut(kind="erase", nth=3, phase="before"))
    chip.power_on()
    assert chip.wait_power_lost(30)
    assert chip.tap.fired
    assert chip.flash.read(0x10000, 4 * SECTOR_SIZE) == b"\xff" * 2 * SECTOR_SIZE + bytes(2 * SECTOR_SIZE)
    assert chip.tap.records == ((1, Erase(0x10000)), (1, Erase(0x11000)))
    chip.power_on()
    lab.read_until(chip, b"entry")
    chip.power_off()
    assert {record.life for record in chip.tap.records[2:]} <= {2}


def test_efuses_only_grow_and_survive_power_cuts(lab: Lab) -> None:
    def burner(cpu: Cpu) -> None:
        cpu.efuse.burn_secure_version(cpu.efuse.secure_version + 2)
        cpu.efuse.burn_secure_version(1)
        cpu.write(b"burnt %d\r\n" % cpu.efuse.secure_version)

    chip = lab.chip(firmware=burner)
    chip.tap.start_recording()
    for version in (2, 4):
        chip.power_on()
        lab.read_until(chip, b"burnt %d\r\n" % version)
        chip.power_off()
    assert [record.mutation for record in chip.tap.records] == [BurnSecureVersion(0, 2), BurnSecureVersion(2, 4)]


@pytest.mark.parametrize(("phase", "left"), [("before", 0), ("torn", 0), ("after", 1)])
def test_a_cut_at_an_efuse_burn_is_all_or_nothing(lab: Lab, phase: str, left: int) -> None:
    chip = lab.chip(firmware=lambda cpu: cpu.efuse.burn_secure_version(1))
    chip.tap.arm(Cut(kind="burn", phase=phase))  # type: ignore[arg-type]
    chip.power_on()
    assert chip.wait_power_lost(30)
    assert chip.efuse.secure_version == left


def test_a_secure_version_wider_than_the_field_is_refused() -> None:
    chip = build_chip("spare", "esp32c3", lambda cpu: None)
    with pytest.raises(ValueError, match="16 eFuse bits"):
        chip.efuse.burn_secure_version(17)


def test_a_bug_in_the_firmware_is_kept_and_the_chip_hangs(lab: Lab) -> None:
    def buggy(cpu: Cpu) -> None:
        cpu.write(GREETING)
        raise KeyError("bug")

    chip = lab.chip(firmware=buggy)
    chip.power_on()
    lab.read_until(chip, GREETING)
    assert chip.host_read(timeout=0.05) == b""
    chip.power_off()
    assert [type(error) for error in chip.firmware_errors] == [KeyError]
    chip.firmware_errors.clear()


def test_an_unknown_chip_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="esp32c3, esp32, esp32s3, esp32c6"):
        build_chip("x", "esp8266", lambda cpu: None)


def test_bytes_the_old_life_did_not_read_are_lost_with_it(lab: Lab) -> None:
    def echoes_after_reset(cpu: Cpu) -> None:
        cpu.write(GREETING)
        if cpu.reset_reason is ResetReason.POWERON:
            cpu.sleep(1e9)
        cpu.write(cpu.read())

    chip = lab.chip(firmware=echoes_after_reset)
    chip.power_on()
    lab.read_until(chip, GREETING)
    chip.host_write(b"for nobody")
    chip.set_lines(dtr=False, rts=True)
    chip.set_lines(dtr=False, rts=False)
    lab.read_until(chip, GREETING)
    chip.host_write(b"for you")
    assert lab.read_until(chip, b"you") == b"for you"
