"""`virtual://NAME` as a pyserial port."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import serial

from rig.virtual.chip import build_chip
from rig.virtual.port import plug, unplug

if TYPE_CHECKING:
    from conftest import Lab

GREETING = b"dummy firmware is up\r\n"
pytestmark = pytest.mark.usefixtures("no_thread_left")


def open_port(chip: Any, **settings: Any) -> serial.SerialBase:
    return serial.serial_for_url(f"virtual://{chip.name}", 115200, timeout=30, **settings)


def test_opening_and_closing_does_not_reset(lab: Lab) -> None:
    chip = lab.chip()
    chip.power_on()
    for _ in range(3):
        with open_port(chip) as port:
            assert (port.dtr, port.rts) == (True, True)
            port.write(b"ping")
    lab.read_until(chip, GREETING)
    assert chip.lives == 1
    assert chip.lines == (False, False)


def test_what_was_sent_before_the_port_was_opened_is_not_lost(lab: Lab) -> None:
    chip = lab.chip()
    chip.power_on()
    while len(chip.uart.to_host) < len(GREETING):
        pass
    with open_port(chip) as port:
        assert port.read_until(GREETING).startswith(b"ESP-ROM")


def test_bytes_go_both_ways(lab: Lab) -> None:
    chip = lab.chip()
    chip.power_on()
    with open_port(chip) as port:
        port.read_until(GREETING)
        assert port.write(b"hello") == 5
        assert port.read(5) == b"hello"
        port.timeout = 0
        assert port.read(1) == b""


def test_lines_set_before_opening_act_at_opening(lab: Lab) -> None:
    chip = lab.chip()
    chip.power_on()
    lab.read_until(chip, GREETING)
    port = serial.serial_for_url(f"virtual://{chip.name}", 115200, do_not_open=True, timeout=30)
    port.dtr, port.rts = False, True
    port.open()
    port.rts = False
    assert GREETING in port.read_until(GREETING)
    port.close()
    assert chip.lives == 2


def test_the_wrong_baud_rate_garbles(lab: Lab) -> None:
    chip = lab.chip()
    chip.power_on()
    with open_port(chip) as port:
        port.baudrate = 9600
        assert b"ESP-ROM" not in port.read(40)
        port.baudrate = 115200
        port.read_until(GREETING)


def test_reading_can_be_cancelled(lab: Lab) -> None:
    chip = lab.chip()
    with open_port(chip) as port:
        port.timeout = None
        result: list[bytes] = []
        reader = threading.Thread(target=lambda: result.append(port.read(1)))
        reader.start()
        while reader.is_alive():
            port.cancel_read()
            reader.join(0.01)
        assert result == [b""]


def test_only_one_exclusive_handle(lab: Lab) -> None:
    chip = lab.chip()
    with open_port(chip, exclusive=True):
        with pytest.raises(serial.SerialException, match="busy"):
            open_port(chip, exclusive=True)
        open_port(chip).close()
    open_port(chip, exclusive=True).close()


def test_an_unplugged_chip_fails_like_a_pulled_cable(lab: Lab) -> None:
    chip = lab.chip()
    port = open_port(chip)
    unplug(chip)
    with pytest.raises(serial.SerialException, match="disconnected"):
        port.read(1)
    with pytest.raises(serial.SerialException, match="disconnected"):
        port.write(b"x")
    port.close()


def test_an_unknown_name_says_which_chips_there_are(lab: Lab) -> None:
    chip = lab.chip()
    with pytest.raises(serial.SerialException, match=chip.name):
        serial.serial_for_url("virtual://nobody")


def test_two_chips_cannot_share_a_name(lab: Lab) -> None:
    chip = lab.chip()
    with pytest.raises(ValueError, match=chip.name.upper()):
        plug(build_chip(chip.name.upper(), "esp32", lambda cpu: None))
