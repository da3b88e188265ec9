"""Opening a port: never through the one state of the lines that resets a board, and never beside another program."""

import fcntl
import os
import socket
import struct
import termios

import pytest
import serial
from serial import rfc2217

from rig.boards.quiet_ports import QuietRfc2217, open_quietly
from rig.virtual.chip import build_chip
from rig.virtual.cpu import Cpu
from rig.virtual.rfc2217 import serve
from tests.rig.boards.wires import Pty, wait_until

DTR, RTS = termios.TIOCM_DTR, termios.TIOCM_RTS
IN_RESET = RTS
"""The usual circuit holds the chip in reset while RTS is on and DTR off."""
BOTH = DTR | RTS


@pytest.fixture
def pty():
    line = Pty()
    yield line
    line.close()


@pytest.fixture
def lines(monkeypatch):
    """States of both lines that a device goes through, from where Linux leaves them on opening."""
    states = [BOTH]
    real = fcntl.ioctl

    def ioctl(handle, request, *arguments):
        if request not in (termios.TIOCMBIS, termios.TIOCMBIC, termios.TIOCMSET):
            return real(handle, request, *arguments)
        (bits,) = struct.unpack("I", arguments[0])
        now = states[-1]
        states.append(
            {termios.TIOCMBIS: now | bits, termios.TIOCMBIC: now & ~bits, termios.TIOCMSET: bits}[request] & BOTH
        )
        return 0

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    return states


def test_both_lines_of_a_device_fall_at_once(pty, lines):
    with open_quietly(pty.path):
        assert set(lines) == {BOTH, 0}
        assert lines[-1] == 0


def test_a_plain_pyserial_port_would_have_reset_the_board(pty, lines):
    port = serial.Serial()
    port.dtr = port.rts = False
    port.port = pty.path
    port.open()
    port.close()
    assert IN_RESET in lines


def test_after_opening_the_lines_move_as_they_are_told(pty, lines):
    with open_quietly(pty.path) as port:
        del lines[:-1]
        port.rts = True
        port.dtr = True
        port.rts = False
    assert lines == [0, RTS, BOTH, DTR]


def test_a_break_does_not_flush_what_came_before(pty):
    attributes = termios.tcgetattr(pty.near)
    attributes[0] |= termios.BRKINT
    termios.tcsetattr(pty.near, termios.TCSANOW, attributes)
    with open_quietly(pty.path) as port:
        port.baudrate = 921600
        assert not termios.tcgetattr(pty.near)[0] & termios.BRKINT


def test_a_device_is_locked_against_others_and_free_again_afterwards(pty):
    with open_quietly(pty.path, exclusive=True), pytest.raises(OSError, match="Could not exclusively lock port"):
        open_quietly(pty.path, exclusive=True)
    with open_quietly(pty.path, exclusive=True) as port:
        assert port.is_open


# --- behind a server --------------------------------------------------------------------------------------------------


def idle(cpu: Cpu) -> None:
    """An app that does nothing."""
    cpu.read()


@pytest.fixture
def served():
    chip = build_chip(f"served{os.getpid()}", "esp32c3", idle)
    with chip, serve(chip) as server:
        yield chip, server
    assert chip.firmware_errors == []


def test_behind_a_server_rts_falls_before_dtr(served, monkeypatch):
    _, server = served
    asked = []
    ask = QuietRfc2217._ask

    def note(self, option, value):
        asked.append(value)
        ask(self, option, value)

    monkeypatch.setattr(QuietRfc2217, "_ask", note)
    with open_quietly(server.url):
        moves = [value for value in asked if value[:1] in (rfc2217.SET_CONTROL_RTS_OFF, rfc2217.SET_CONTROL_DTR_OFF)]
        assert moves == [rfc2217.SET_CONTROL_RTS_OFF, rfc2217.SET_CONTROL_DTR_OFF]


def test_connecting_and_leaving_hold_nothing_in_reset(served, monkeypatch):
    chip, server = served
    states = []
    set_lines = chip.set_lines

    def note(dtr, rts):
        states.append((dtr, rts))
        set_lines(dtr, rts)

    monkeypatch.setattr(chip, "set_lines", note)
    for _ in range(2):
        with open_quietly(server.url) as port:
            assert port.dtr is port.rts is False
    assert set(states) == {(False, False)}


def test_settings_are_negotiated_only_when_they_change(served, monkeypatch):
    _, server = served
    negotiated = []
    real = rfc2217.Serial._reconfigure_port

    def note(self):
        negotiated.append(self._baudrate)
        real(self)

    monkeypatch.setattr(rfc2217.Serial, "_reconfigure_port", note)
    with open_quietly(server.url) as port:
        port.timeout = 3
        port.timeout = 0.1
        port.baudrate = 921600
        port.timeout = 1
        port.baudrate = 115200
        with pytest.raises(NotImplementedError):
            port.write_timeout = 5
        port.write_timeout = None
    assert negotiated == [115200, 921600, 115200]


def test_what_came_before_the_server_closed_is_read_and_then_the_end_is_said(served):
    chip, server = served
    with open_quietly(server.url) as port:
        chip.set_lines(dtr=False, rts=True)
        wait_until(lambda: not port.read(4096), "the chip is silent")
        chip.uart.to_host.put(b"last words", 115200)
        wait_until(lambda: port.in_waiting == 10, "they have arrived")
        server.close()
        assert port.read(100) == b"last words"
        with pytest.raises(OSError, match="the server closed the connection"):
            port.read(1)


def test_a_server_that_speaks_no_rfc2217_is_an_error_and_no_hang():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match="does not seem to support RFC2217"):
            open_quietly(f"rfc2217://127.0.0.1:{port}?timeout=0.3")
