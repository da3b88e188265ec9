"""The kind `serial`: what it can and cannot, a reset line that never lies, and a port that comes and goes."""

import re
import shlex
import subprocess
import sys

import pytest

from rig.boards import serial as kind
from rig.boards.board import Capability, powered
from rig.boards.console import Console, open_quietly
from rig.boards.inventory import SerialBoardSection
from rig.boards.loader import LoaderFlash
from rig.boards.serial import SerialFlash, SerialResetLine
from rig.boards.sparing import Sparing
from rig.errors import BenchFault, UserError
from rig.idf.effects import SECTOR_SIZE
from rig.virtual import port as virtual_port
from rig.virtual.chip import build_chip
from rig.virtual.cpu import Cpu
from rig.virtual.rfc2217 import serve
from tests.rig.boards.wires import PATIENCE_S, Pty, UsbPort, threads_of, wait_until

POWERON = re.compile(rb"rst:0x1 \(POWERON\),boot:0xc \(SPI_FAST_FLASH_BOOT\)")
FROM_FLASH = re.compile(rb"\(SPI_FAST_FLASH_BOOT\)")
POWER = {"on": "true", "off": "true"}


def section(**keys):
    return SerialBoardSection(name="bench-board", kind="serial", chip=keys.pop("chip", "esp32c3"), **keys)


def command(code, *arguments):
    return shlex.join([sys.executable, "-c", code, *arguments])


# --- what it can ------------------------------------------------------------------------------------------------------


def test_without_a_power_switch_it_cannot_cut_power_and_says_why():
    board = kind.open_board(section(port="/dev/ttyUSB0"))
    assert board.power is None
    assert Capability.POWER_CUT not in board.capabilities
    assert board.missing[Capability.POWER_CUT] == (
        "rig.toml names no power switch for this board; its reset line is not one"
    )


def test_with_one_it_can_cut_power_but_not_at_a_flash_mutation():
    board = kind.open_board(section(port="/dev/ttyUSB0", power=POWER))
    assert Capability.POWER_CUT in board.capabilities
    assert board.tap is None
    assert "inside a real chip" in board.missing[Capability.FLASH_MUTATIONS]


def test_a_switch_that_is_known_to_be_slow_cuts_power_but_not_at_a_moment():
    slow = kind.open_board(section(port="/dev/ttyUSB0", power={**POWER, "cut_latency_ms": 1100}))
    assert "takes 1.1 s to cut" in slow.missing[Capability.TIMED_CUT]
    assert Capability.POWER_CUT in slow.capabilities
    quick = kind.open_board(section(port="/dev/ttyUSB0", power={**POWER, "cut_latency_ms": 20}))
    assert {Capability.TIMED_CUT, Capability.POWER_CUT} <= quick.capabilities


def test_each_missing_capability_has_a_reason():
    assert all(kind.missing(section(port="/dev/ttyUSB0")).values())


def test_a_supply_that_sags_is_no_brownout_capability_as_nobody_judges_it():
    power = {"driver": "ppk2", "serial_number": "C0FFEE", "millivolts": 3300}
    lacks = kind.missing(section(port="/dev/ttyUSB0", power=power))
    assert "its supply can sag, but the judge takes every brown-out" in lacks["brownout"]
    assert "power_cut" not in lacks


def test_a_raw_socket_has_no_reset_line_and_no_flash_and_says_what_would_have():
    board = kind.open_board(section(port="socket://127.0.0.1:9"))
    assert "RFC2217" in board.missing["reset_line"]
    assert "esptool" in board.missing["flash"]
    for use in (
        board.reset, board.reset_line.hold, board.reset_line.release,
        lambda: board.flash.read(0, 4), lambda: board.flash.restore({}),
    ):  # fmt: skip
        with pytest.raises(UserError, match=r"bench-board[\s\S]*rfc2217://HOST:PORT"):
            use()


@pytest.mark.parametrize("bad", [{"port": "rfc2217://host"}, {"port": "/dev/x", "power": {"on": "echo '", "off": "x"}}])
def test_what_cannot_be_is_refused_before_anything_is_touched(bad):
    with pytest.raises(UserError, match="bench-board"):
        kind.open_board(section(**bad))


def test_opening_the_board_touches_nothing(tmp_path):
    note = command("open(__import__('sys').argv[1], 'w')", str(tmp_path / "touched"))
    kind.open_board(section(serial_number="no such number", power={"on": note, "off": note}))
    assert list(tmp_path.iterdir()) == []


# --- its port ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def usb(tmp_path):
    port = UsbPort(tmp_path)
    yield port
    port.close()


def test_an_absent_port_is_a_bench_fault_that_names_it(tmp_path):
    board = kind.open_board(section(port=str(tmp_path / "usb-gone")))
    with pytest.raises(BenchFault, match=r"usb-gone is not there[\s\S]*evidence: "):
        board.console.open()


def test_a_port_that_another_program_uses_is_a_bench_fault_that_names_the_program():
    line = Pty()
    monitor = subprocess.Popen(
        [sys.executable, "-c", f"f = open({line.path!r}, 'rb', buffering=0); print('open', flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert monitor.stdout.readline() == b"open\n"
        with pytest.raises(BenchFault, match=rf"{line.path} is used by another program too: .*\({monitor.pid}\)"):
            kind.open_board(section(port=line.path)).console.open()
    finally:
        monitor.communicate()
        line.close()


def test_a_port_that_another_program_has_locked_is_a_bench_fault(usb):
    with (
        open_quietly(usb.line.path, exclusive=True),
        pytest.raises(BenchFault, match=r"Could not exclusively lock port[\s\S]*not held by a monitor"),
    ):
        kind.open_board(section(port=str(usb.link))).console.open()


def test_the_log_goes_on_after_the_port_came_back_under_another_name(usb):
    board = kind.open_board(section(port=str(usb.link)))
    with powered(board):
        usb.say(b"before")
        assert board.console.expect(re.compile(rb"before"), PATIENCE_S)
        usb.unplug()
        wait_until(lambda: board.console.lost, "the loss was noticed")
        usb.plug()
        board.console.write(b"hello")
        assert usb.line.hear(5) == b"hello"
        usb.say(b"after")
        assert board.console.expect(re.compile(rb"after"), PATIENCE_S)
    assert threads_of("bench-board") == []


def test_a_port_that_comes_only_with_the_power_is_waited_for(usb, tmp_path):
    line = usb.line
    usb.link.unlink()
    come = command("import os, sys; os.path.islink(sys.argv[2]) or os.symlink(*sys.argv[1:])", line.path, str(usb.link))
    board = kind.open_board(section(port=str(usb.link), power={"on": come, "off": "true"}))
    with powered(board):
        usb.say(b"here")
        assert board.console.expect(re.compile(rb"here"), PATIENCE_S)


def test_a_port_that_does_not_come_with_the_power_either_is_a_bench_fault(tmp_path):
    board = kind.open_board(section(port=str(tmp_path / "usb-gone"), power=POWER))
    board.console.absence_limit = 0.1
    with pytest.raises(BenchFault, match="usb-gone is not there"):
        board.console.open()


def test_a_port_without_lines_cannot_reset(usb):
    with powered(kind.open_board(section(port=str(usb.link)))) as board:
        with pytest.raises(BenchFault, match="this port has no reset line"):
            board.reset_line.hold()
        with pytest.raises(BenchFault, match="the reset line cannot be moved"):
            board.reset()


# --- its reset line ---------------------------------------------------------------------------------------------------


def idle(cpu: Cpu) -> None:
    """An app that does nothing."""
    cpu.read()


class VirtualPort:
    """A chip on a port of this process, and a serial board's parts on it."""

    def __init__(self, name):
        self.chip = build_chip(name, "esp32c3", idle)
        self.url = virtual_port.plug(self.chip)
        self.console = Console(name, lambda: open_quietly(self.url), PATIENCE_S)
        self.reset_line = SerialResetLine(self.console)
        self.flash = SerialFlash(self.console, "esp32c3", 921600, self.reset_line, Sparing(name))

    def vanish(self):
        virtual_port.unplug(self.chip)
        wait_until(lambda: self.console.lost, "the loss was noticed")

    def come_back(self):
        virtual_port.plug(self.chip)
        assert self.console.port.is_open


@pytest.fixture
def wired(request):
    parts = VirtualPort(f"wired-{request.node.name}")
    with parts.chip:
        parts.console.open()
        yield parts
        parts.console.close()
    virtual_port.unplug(parts.chip)
    assert parts.chip.firmware_errors == []


def test_a_held_chip_does_not_run_and_a_released_one_starts_from_flash(wired):
    wired.reset_line.hold()
    wired.console.drain()
    wired.console.skip()
    lives = wired.chip.lives
    assert wired.console.expect(FROM_FLASH, 0.1) is None
    assert wired.chip.lives == lives
    wired.reset_line.release()
    assert wired.console.expect(FROM_FLASH, PATIENCE_S)


def test_a_pulse_starts_the_chip_from_flash(wired):
    # With nothing in flash the watchdog resets the chip now and then, for another reason.
    assert wired.console.expect(POWERON, PATIENCE_S)
    wired.reset_line.pulse()
    assert wired.console.expect(POWERON, PATIENCE_S)


def test_flash_of_a_chip_that_was_held_all_the_time_is_read(wired):
    wired.reset_line.hold()
    assert wired.flash.read(0, 16) == b"\xff" * 16


@pytest.mark.parametrize("when", ["before", "while"])
def test_flash_is_not_believed_when_the_port_was_away_while_the_chip_was_to_be_held(wired, when):
    if when == "before":
        wired.vanish()
        wired.reset_line.hold()
    else:
        wired.reset_line.hold()
        wired.vanish()
    wired.come_back()
    with pytest.raises(BenchFault) as caught:
        wired.flash.read(0, 16)
    assert "the chip may have run, and what flash held before is not known" in str(caught.value)
    assert "feed the USB bridge from another supply" in str(caught.value)


def test_restoring_flash_settles_what_it_holds(wired):
    wired.vanish()
    wired.reset_line.hold()
    wired.come_back()
    assert wired.flash.restore({0: b"\x01" * SECTOR_SIZE}) == 1
    assert wired.flash.read(0, 1) == b"\x01"


def test_a_port_comes_back_with_its_lines_released(wired):
    wired.reset_line.hold()
    wired.vanish()
    wired.reset_line.release()
    wired.come_back()
    wait_until(lambda: wired.chip.lines == (False, False), "the lines are released")
    assert wired.flash.read(0, 1) == b"\xff"


def test_the_loader_works_on_the_port_that_came_back(wired):
    wired.vanish()
    virtual_port.plug(wired.chip)
    assert wired.flash.read(0, 16) == b"\xff" * 16


# --- behind a server --------------------------------------------------------------------------------------------------


def test_a_wrong_chip_behind_the_port_is_a_user_error_that_names_both():
    chip = build_chip("behind-server", "esp32c3", idle)
    with chip, serve(chip) as server:
        board = kind.open_board(section(port=server.url, chip="esp32s3"))
        with powered(board), pytest.raises(UserError, match=r"this board is an esp32c3, rig\.toml says esp32s3"):
            board.flash.read(0, 16)


def test_the_flash_baud_of_rig_toml_is_used():
    board = kind.open_board(section(port="/dev/ttyUSB0", flash_baud=460800))
    assert isinstance(board.flash, LoaderFlash)
    assert board.flash.baud == 460800
