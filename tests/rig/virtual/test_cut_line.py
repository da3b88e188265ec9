"""The cut line of a virtual board: what is counted, what a cut leaves in flash, what outlives which reset."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from rig.idf.effects import SECTOR_SIZE, Erase, Mutation, Program
from rig.idf.partitions import PartitionTable
from rig.protocol import Line, encode_line
from rig.updates.agent import AgentError
from rig.updates.agent_results import CutLine as Armed
from rig.virtual import cut_line
from rig.virtual.cpu import ChipHalted, Cpu, ResetReason
from rig.virtual.cut_line import CutLine, Setting, Where, line_of
from rig.virtual.features import CUT_LINE_GPIO
from rig.virtual.nor import ERASE_SECTOR_S, PROGRAM_PAGE_S, NorFlash
from rig.virtual.tap import MAX_UNDEFINED
from tests.rig.device import PATIENCE_S, Device, app, build, make_device

if TYPE_CHECKING:
    from conftest import Lab

__all__ = ["make_device"]

OTADATA = ((0xD000, 0xF000),)
FIRST, SECOND, BEHIND = 0xD000, 0xE000, 0xF000
OLD = bytes(range(256)) * 16
NEVER_S = 1e9

Makes = Callable[..., Device]


class FakeTimer:
    """`threading.Timer` that runs out when a test says so."""

    made: list[FakeTimer]

    def __init__(self, seconds: float, run_out: Callable[[], None]) -> None:
        self.seconds = seconds
        self.run_out = run_out
        self.started = self.cancelled = self.daemon = False
        self.made.append(self)

    def start(self) -> None:
        self.started = True

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture(autouse=True)
def timers(monkeypatch: pytest.MonkeyPatch) -> list[FakeTimer]:
    made: list[FakeTimer] = []
    monkeypatch.setattr(FakeTimer, "made", made, raising=False)
    monkeypatch.setattr(cut_line.threading, "Timer", FakeTimer)
    return made


@pytest.fixture
def flash() -> NorFlash:
    flash = NorFlash(0x20000)
    for offset in (FIRST, SECOND, BEHIND):
        flash.load(offset, OLD)
    return flash


@pytest.fixture
def line(flash: NorFlash) -> CutLine:
    return CutLine(flash)


def erases(nth: int = 1, delay_s: float = 0.0, where: Where = "app") -> Setting:
    return Setting(where, True, OTADATA, nth, delay_s)


def programs(nth: int = 1, delay_s: float = 0.0) -> Setting:
    return Setting("app", False, OTADATA, nth, delay_s)


def cuts(flash: NorFlash, *mutations: Mutation) -> list[bool]:
    """Whether each loses power."""
    found = []
    for mutation in mutations:
        try:
            if isinstance(mutation, Program):
                flash.program(*mutation)
            else:
                flash.erase_sector(mutation[0])
        except ChipHalted:
            found.append(True)
        else:
            found.append(False)
    return found


# --- what is counted --------------------------------------------------------------------------------------------------


def test_nothing_is_cut_unless_it_is_armed(flash: NorFlash, line: CutLine) -> None:
    assert cuts(flash, Erase(FIRST), Program(FIRST, b"x")) == [False, False]
    assert not line.is_open


def test_only_erases_in_the_range_are_counted_up_to_the_nth_and_it_cuts_once(flash: NorFlash, line: CutLine) -> None:
    line.arm(erases(nth=2))
    others = cuts(flash, Erase(BEHIND), Program(FIRST, b"x"), Erase(FIRST - SECTOR_SIZE))
    assert others == [False] * 3
    assert cuts(flash, Erase(FIRST), Erase(SECOND), Erase(FIRST), Erase(SECOND)) == [False, True, False, False]


def test_each_page_of_a_write_is_a_program(flash: NorFlash, line: CutLine) -> None:
    line.arm(programs(nth=3, delay_s=1.0))
    flash.erase_range(FIRST, 2 * SECTOR_SIZE)
    with pytest.raises(ChipHalted):
        flash.program(FIRST + 0x80, bytes(0x400))
    # 0x80 up to its page's end, a whole page, and the third
    assert flash.read(FIRST, 0x500) == b"\xff" * 0x80 + bytes(0x280) + b"\xff" * 0x200


def test_arming_again_replaces_and_counts_anew(flash: NorFlash, line: CutLine) -> None:
    line.arm(erases(nth=2))
    assert cuts(flash, Erase(FIRST)) == [False]
    line.arm(erases(nth=2))
    assert cuts(flash, Erase(FIRST)) == [False]
    line.arm(programs())
    assert cuts(flash, Erase(FIRST), Program(FIRST, b"x"), Erase(FIRST)) == [False, True, False]


def test_disarmed_it_cuts_nothing(flash: NorFlash, line: CutLine) -> None:
    line.arm(erases())
    line.disarm()
    assert cuts(flash, Erase(FIRST), Erase(SECOND)) == [False, False]


# --- what it leaves ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.999])
def test_a_delay_within_an_erase_leaves_it_torn(flash: NorFlash, line: CutLine, share: float) -> None:
    line.arm(erases(delay_s=share * ERASE_SECTOR_S))
    flash.tap.start_recording()
    assert cuts(flash, Erase(FIRST)) == [True]
    done, left = int(share * SECTOR_SIZE), flash.read(FIRST, SECTOR_SIZE)
    assert left[:done] == b"\xff" * done
    assert left[done + MAX_UNDEFINED :] == OLD[done + MAX_UNDEFINED :]
    assert flash.tap.records == ()
    assert flash.clock.now() == pytest.approx(share * ERASE_SECTOR_S)


@pytest.mark.parametrize("delay_s", [ERASE_SECTOR_S, 0.45])
def test_a_delay_beyond_an_erase_leaves_it_whole_and_nothing_after_it(
    flash: NorFlash, line: CutLine, delay_s: float
) -> None:
    line.arm(erases(delay_s=delay_s))
    flash.tap.start_recording()
    with pytest.raises(ChipHalted):
        flash.erase_range(FIRST, 2 * SECTOR_SIZE)
    assert flash.read(FIRST, 2 * SECTOR_SIZE) == b"\xff" * SECTOR_SIZE + OLD
    assert [record.mutation for record in flash.tap.records] == [Erase(FIRST)]
    assert flash.clock.now() == pytest.approx(delay_s)


@pytest.mark.parametrize(("share", "kept"), [(0.0, 0), (0.5, 16), (1.0, 32), (500.0, 32)])
def test_of_a_program_so_much_is_there_as_was_over(flash: NorFlash, line: CutLine, share: float, kept: int) -> None:
    flash.erase_sector(FIRST)
    line.arm(programs(delay_s=share * PROGRAM_PAGE_S))
    assert cuts(flash, Program(FIRST, bytes(32))) == [True]
    assert flash.read(FIRST, 32) == bytes(kept) + b"\xff" * (32 - kept)


def test_power_is_gone_when_the_operation_stops(flash: NorFlash, line: CutLine) -> None:
    seen: list[bytes] = []
    flash.on_power_lost = lambda: seen.append(flash.read(FIRST, SECTOR_SIZE))
    line.arm(erases(delay_s=1.0))
    assert cuts(flash, Erase(FIRST)) == [True]
    assert seen == [b"\xff" * SECTOR_SIZE]


# --- app and bootloader, and what outlives a reset --------------------------------------------------------------------


def test_what_is_for_the_bootloader_waits_for_its_next_start(flash: NorFlash, line: CutLine) -> None:
    line.arm(erases(where="bootloader"))
    assert line.waits
    assert cuts(flash, Erase(FIRST)) == [False]
    line.reset(forgets=False)
    assert line.waits
    assert cuts(flash, Erase(FIRST)) == [False], "a bootloader that does not know of it"
    line.count()
    assert cuts(flash, Erase(FIRST), Erase(FIRST)) == [True, False]


def test_what_is_for_the_app_is_gone_with_any_reset(flash: NorFlash, line: CutLine) -> None:
    line.arm(erases())
    assert not line.waits
    line.reset(forgets=False)
    assert cuts(flash, Erase(FIRST)) == [False]


def test_what_is_for_the_bootloader_is_gone_with_its_memory(flash: NorFlash, line: CutLine) -> None:
    line.arm(erases(where="bootloader"))
    line.reset(forgets=True)
    assert not line.waits


def test_a_start_of_the_bootloader_that_does_not_come_to_it_was_the_one_it_was_for(
    flash: NorFlash, line: CutLine
) -> None:
    line.arm(erases(nth=2, where="bootloader"))
    line.reset(forgets=False)
    line.count()
    assert cuts(flash, Erase(FIRST)) == [False]
    line.reset(forgets=False)
    assert not line.waits


# --- the supply -------------------------------------------------------------------------------------------------------


def test_the_switch_opens_with_the_cut_and_closes_by_itself(
    flash: NorFlash, line: CutLine, timers: list[FakeTimer]
) -> None:
    closed: list[bool] = []
    line.on_closed = lambda: closed.append(line.is_open)
    line.arm(erases())
    assert not line.is_open
    cuts(flash, Erase(FIRST))
    assert line.is_open
    (timer,) = timers
    assert (timer.seconds, timer.started, timer.daemon) == (cut_line.OFF_S, True, True)
    timer.run_out()
    assert closed == [False]
    assert not line.is_open


def test_a_supply_that_went_off_closes_it_and_its_timer_does_nothing_any_more(
    flash: NorFlash, line: CutLine, timers: list[FakeTimer]
) -> None:
    line.on_closed = lambda: pytest.fail("closed twice")
    line.arm(erases())
    cuts(flash, Erase(FIRST))
    line.close()
    assert not line.is_open
    assert timers[0].cancelled
    timers[0].run_out()
    line.close()


# --- on a chip --------------------------------------------------------------------------------------------------------


def arming(setting: Setting, restart: ResetReason | None = None) -> Callable[[Cpu], None]:
    """Code that says how it came up, counts if something waits, arms once, and erases an entry."""
    lives: list[ResetReason] = []

    def firmware(cpu: Cpu) -> None:
        line = line_of(cpu)
        assert line is not None
        lives.append(cpu.reset_reason)
        if line.waits:
            line.count()
        cpu.write(f"{cpu.reset_reason}, waits: {line.waits}\r\n".encode())
        if len(lives) == 1:
            line.arm(setting)
            if restart is not None:
                cpu.restart(restart)
        if setting.where == "app" or len(lives) > 1:
            cpu.flash.erase_sector(FIRST)
        cpu.write(b"erased\r\n")
        cpu.sleep(NEVER_S)

    return firmware


def test_a_chip_loses_its_power_and_keeps_none_until_the_supply_was_switched(lab: Lab) -> None:
    chip = lab.chip(firmware=arming(erases(delay_s=1.0)))
    chip.power_on()
    assert chip.wait_power_lost(PATIENCE_S)
    chip.power_on()
    chip.set_lines(dtr=False, rts=True)
    chip.set_lines(dtr=False, rts=False)
    assert not chip.powered
    assert chip.lives == 1
    chip.power_off()
    chip.power_on()
    log = lab.read_until(chip, b"erased\r\n")
    assert b"rst:0x1 (POWERON)" in log
    assert chip.lives == 2


def test_a_chip_whose_switch_closes_by_itself_starts_by_power_on(lab: Lab, timers: list[FakeTimer]) -> None:
    chip = lab.chip(firmware=arming(erases(delay_s=1.0)))
    chip.power_on()
    assert chip.wait_power_lost(PATIENCE_S)
    timers[0].run_out()
    assert chip.powered
    log = lab.read_until(chip, b"erased\r\n")
    assert f"{ResetReason.POWERON}, waits: False".encode() in log


@pytest.mark.parametrize("reason", [ResetReason.SOFTWARE, ResetReason.BOOTLOADER, ResetReason.WATCHDOG])
def test_what_is_for_the_bootloader_outlives_a_reset_from_inside(lab: Lab, reason: ResetReason) -> None:
    chip = lab.chip(firmware=arming(erases(delay_s=1.0, where="bootloader"), restart=reason))
    chip.power_on()
    lab.read_until(chip, f"{reason}, waits: True".encode())
    assert chip.wait_power_lost(PATIENCE_S)
    assert chip.flash.wear[FIRST // SECTOR_SIZE] == 1


@pytest.mark.parametrize("how", ["reset line", "power"])
def test_what_is_for_the_bootloader_is_forgotten_by_power_on_and_reset_line(lab: Lab, how: str) -> None:
    chip = lab.chip(firmware=arming(erases(where="bootloader")))
    chip.power_on()
    lab.read_until(chip, b"erased\r\n")
    if how == "power":
        chip.power_off()
        chip.power_on()
    else:
        chip.set_lines(dtr=False, rts=True)
        chip.set_lines(dtr=False, rts=False)
    assert b"waits: False" in lab.read_until(chip, b"erased\r\n")
    assert chip.powered


# --- as the bootloader and the app have it ----------------------------------------------------------------------------


def ask(device: Device, command: str, **fields: str) -> None:
    """A request whose answer will not come."""
    device.write(encode_line(Line(1, command, fields)))


def restart(device: Device) -> None:
    """Have the app restart itself, and wait for the next."""
    device.agent.reboot()
    device.agent.wait_ready(PATIENCE_S)


def test_the_app_answers_what_it_armed_and_on_which_gpio(make_device: Makes) -> None:
    device = make_device("cut_line")
    device.start()
    armed = device.agent.arm_cut_line("slot_program", nth=3, delay_us=1_000_000)
    assert armed == Armed("slot_program", "app", 3, 1_000_000, CUT_LINE_GPIO)
    least = device.agent.request("cut_line", op="otadata_erase")
    assert Armed.read(least) == Armed("otadata_erase", "app", 1, 0, CUT_LINE_GPIO)
    assert device.agent.request("cut_line", op="off", **{"in": "rom", "nth": "x"}).text("gpio") == str(CUT_LINE_GPIO)


def test_the_app_cuts_power_within_the_operation_it_was_told(make_device: Makes) -> None:
    device = make_device("cut_line")
    device.start()
    assert device.states() == ["VALID", "-"]
    device.agent.arm_cut_line("otadata_erase", delay_us=1_000_000)
    ask(device, "set_boot", slot="ota_0")
    assert device.chip.wait_power_lost(PATIENCE_S)
    # The entry of the app that runs was not touched; set_boot writes the other one, and came as far as its erase.
    assert device.states() == ["VALID", "-"]
    assert device.chip.flash.wear[SECOND // SECTOR_SIZE] == 1


def test_off_disarms(make_device: Makes) -> None:
    device = make_device("cut_line")
    device.start()
    device.agent.arm_cut_line("otadata_erase")
    device.agent.disarm_cut_line()
    device.agent.set_boot("ota_0")
    device.agent.arm_cut_line("otadata_erase", where="bootloader")
    device.agent.disarm_cut_line()
    restart(device)
    assert device.chip.powered


def an_update_waits(device: Device) -> None:
    """The next start of the bootloader writes PENDING_VERIFY for ota_1."""
    device.start()
    device.chip.flash.load(0x110000, app("cut_line", "2.0.0"))
    device.agent.set_boot("ota_1")


@pytest.mark.parametrize(("op", "delay_us"), [("otadata_erase", 450_000), ("otadata_program", 0)])
def test_the_bootloader_cuts_power_once(make_device: Makes, op: str, delay_us: int) -> None:
    device = make_device("cut_line")
    an_update_waits(device)
    device.agent.arm_cut_line(op, where="bootloader", delay_us=delay_us)
    device.agent.reboot()
    assert device.chip.wait_power_lost(PATIENCE_S)
    assert "PENDING_VERIFY" not in device.states()
    device.chip.power_off()
    an_update_waits(device)
    restart(device)
    assert "VALID" in device.states()


def test_a_bootloader_without_the_component_does_nothing_and_the_app_clears_what_was_armed(make_device: Makes) -> None:
    device = make_device("cut_line")
    with_it, without = (build(variant)[0] for variant in ("cut_line", "rollback"))
    an_update_waits(device)
    device.agent.arm_cut_line("otadata_erase", where="bootloader")
    device.chip.flash.load(0, without)
    restart(device)
    assert "VALID" in device.states()
    device.chip.flash.load(0, with_it)
    device.agent.set_boot("ota_0")
    restart(device)
    assert device.chip.powered


def test_an_app_without_it_says_so(make_device: Makes) -> None:
    device = make_device("rollback")
    device.start()
    with pytest.raises(AgentError, match="ESP_ERR_NOT_SUPPORTED"):
        device.agent.arm_cut_line("otadata_erase")


def test_an_operation_out_of_range_is_refused_and_what_was_armed_stays(make_device: Makes) -> None:
    device = make_device("cut_line")
    device.start()
    device.agent.arm_cut_line("otadata_erase", delay_us=1_000_000)
    with pytest.raises(AgentError, match="ESP_ERR_INVALID_ARG: nth: 1 to 100000"):
        device.agent.arm_cut_line("otadata_program", nth=0)
    ask(device, "set_boot", slot="ota_0")
    assert device.chip.wait_power_lost(PATIENCE_S)


def test_a_table_without_otadata_has_nothing_to_count(make_device: Makes) -> None:
    device = make_device("cut_line")
    rows = "nvs, data, nvs, 0x9000, 0x4000\nfactory, app, factory, 0x10000, 1M\n"
    device.chip.flash.load(0x8000, PartitionTable.from_csv(rows).to_binary())
    device.start()
    with pytest.raises(AgentError, match="ESP_ERR_NOT_FOUND"):
        device.agent.arm_cut_line("otadata_erase")
    assert device.agent.arm_cut_line("slot_erase").gpio == CUT_LINE_GPIO
