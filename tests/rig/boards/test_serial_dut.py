"""`dut.serial` is pytest-embedded's EspSerial, on the console's own port, also after that came back as another one."""

import re

import pytest
from pytest_embedded_serial_esp.serial import EspSerial

from fixtures.esp_serial import BoardSerial
from rig.virtual import port
from tests.rig.bench import virtual_bench
from tests.rig.boards.wires import PATIENCE_S, wait_until

POWERON = re.compile(rb"rst:0x1 \(POWERON\),boot:0xc \(SPI_FAST_FLASH_BOOT\)")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with virtual_bench(tmp_path_factory.mktemp("bench")) as bench:
        yield bench


@pytest.fixture
def serial(bench):
    return BoardSerial(bench.board)


def test_it_is_pytest_embeddeds_own_class_on_the_port_of_the_console(bench, serial):
    assert isinstance(serial, EspSerial)
    assert serial.proc is bench.board.console.port
    assert (serial.port, serial.baud, serial.target) == (bench.board.console.port.port, 115200, "esp32c3")


def test_a_hard_reset_keeps_the_first_line(bench, serial):
    bench.board.console.skip()
    serial.hard_reset()
    assert bench.board.console.expect(POWERON, PATIENCE_S)


def test_it_erases_flash_by_esptool_and_the_console_reads_on(bench, serial):
    bench.chip.flash.load(0x10000, b"\x00" * 16)
    serial.erase_flash()
    assert bench.chip.flash.read(0x10000, 16) == b"\xff" * 16
    assert "Flash memory erased successfully" in serial.said.getvalue()
    serial.hard_reset()
    assert bench.board.console.expect(POWERON, PATIENCE_S)


def test_after_a_loss_everybody_uses_the_port_that_came_back(bench, serial):
    old, esp = serial.proc, serial.esp
    port.unplug(bench.chip)
    wait_until(lambda: bench.board.console.lost, "the loss was noticed")
    port.plug(bench.chip)
    assert serial.proc is bench.board.console.port is not old
    assert serial.esp is not esp
    serial.erase_flash()
    serial.close()
    assert serial.proc.is_open, "the port is the board's"
