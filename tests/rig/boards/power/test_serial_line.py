"""Power by a line of a second bridge: the real lines of a virtual chip, served by RFC2217, stand for that bridge's."""

import os
import signal
import subprocess
import sys
import termios
import threading

import pytest
import serial

from rig.boards import lease
from rig.boards.board import powered
from rig.boards.inventory import SerialBoardSection
from rig.boards.power.serial_line import Keys, SerialLinePower
from rig.boards.serial import open_board
from rig.errors import BenchFault, UserError
from rig.virtual.chip import build_chip
from rig.virtual.cpu import Cpu
from rig.virtual.rfc2217 import serve
from tests.rig.boards.wires import Pty, UsbPort, wait_until

NAMES = ("dtr", "rts")


@pytest.fixture
def bridge(request):
    """A served chip, and all states (DTR, RTS) that its lines go through."""
    chip = build_chip(f"bridge-{os.getpid()}-{request.node.name[:40]}", "esp32c3", Cpu)
    chip.states = [chip.lines]
    real = chip.set_lines

    def set_lines(*, dtr: bool, rts: bool) -> None:
        real(dtr=dtr, rts=rts)
        chip.states.append((dtr, rts))

    chip.set_lines = set_lines
    with serve(chip) as server:
        chip.url = server.url
        yield chip


@pytest.fixture
def pty():
    line = Pty()
    yield line
    line.close()


def switch(url: str, line="rts", active="on", patience_s=5.0) -> SerialLinePower:
    return SerialLinePower("c3", Keys(port=url, line=line, active=active), patience_s)


@pytest.mark.parametrize("line", NAMES)
@pytest.mark.parametrize("active", ["on", "off"])
def test_the_line_that_is_named_moves_and_the_other_one_stays_off(bridge, line, active):
    power = switch(bridge.url, line, active)
    seen = []
    for act in (power.off, power.on, power.on, power.off):
        act()
        seen.append(dict(zip(NAMES, bridge.lines, strict=True)))
    power.close()
    given = [state.pop(line) == (active == "on") for state in seen]
    assert given == [False, True, True, False]
    assert [*seen[0].values(), *seen[-1].values()] == [False, False]


@pytest.mark.parametrize("line", NAMES)
def test_opening_the_port_to_switch_on_never_takes_power_away(bridge, line):
    power = switch(bridge.url, line, "off")
    power.on()
    power.on()
    power.close()
    assert {state[NAMES.index(line)] for state in bridge.states} == {False}


def test_nothing_is_opened_before_it_is_used(bridge):
    keys = Keys(port=bridge.url, line="rts")
    keys.open("c3")
    assert "RTS of rfc2217://" in keys.check("c3", {})
    assert len(bridge.states) == 1


def test_power_comes_back_from_a_fresh_switch_when_a_process_was_killed_without(bridge):
    program = (
        "import time; from rig.boards.power.serial_line import Keys; "
        f"Keys(port={bridge.url!r}, line='rts').open('c3').off(); print('off', flush=True); time.sleep(600)"
    )
    killed = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert killed.stdout.readline() == "off\n"
    assert not bridge.lines[1]
    killed.send_signal(signal.SIGKILL)
    power = switch(bridge.url)
    power.on()
    assert bridge.lines[1]
    power.close()
    killed.communicate()


def test_a_board_that_is_given_back_frees_its_switch_for_the_next_run(bridge, pty, tmp_path, monkeypatch):
    monkeypatch.setenv(lease.FOLDER, str(tmp_path))
    keys = Keys(port=bridge.url, line="rts")
    section = SerialBoardSection(name="c3", kind="serial", chip="esp32c3", port=pty.path, power=keys)
    first, second = open_board(section), open_board(section)
    for board in (first, second):
        with powered(board):
            assert bridge.lines[1]


def test_a_server_that_was_started_anew_is_found_again(bridge):
    with serve(bridge) as first:
        power, port = switch(first.url), first.port
        power.on()
    with serve(bridge, port):
        power.off()
        power.on()
        assert bridge.lines == (False, True)
        power.close()


@pytest.mark.parametrize(("active", "hangs_up"), [("on", 0), ("off", termios.HUPCL)])
def test_the_kernel_is_told_what_the_lines_do_when_we_are_gone(pty, active, hangs_up):
    """With a line that gives power they stay, with one that takes it they fall; a pty has no lines but the flag."""
    attributes = termios.tcgetattr(pty.near)
    attributes[2] = attributes[2] & ~termios.HUPCL | (termios.HUPCL - hangs_up)
    termios.tcsetattr(pty.near, termios.TCSANOW, attributes)
    with pytest.raises(BenchFault):
        switch(pty.path, active=active).on()
    assert termios.tcgetattr(pty.near)[2] & termios.HUPCL == hangs_up


def test_a_port_without_lines_is_a_bench_fault_and_never_a_switch_that_does_nothing(pty):
    with pytest.raises(BenchFault, match=r"has no line RTS, so power cannot be switched \(board c3\)"):
        switch(pty.path).off()


def test_a_port_that_somebody_holds_is_waited_for_and_then_a_bench_fault(pty):
    with serial.Serial(pty.path, exclusive=True), pytest.raises(BenchFault, match="is in use"):
        switch(pty.path, patience_s=0.1).on()


def test_a_port_that_the_run_before_gives_back_in_time_is_taken(pty):
    held = serial.Serial(pty.path, exclusive=True)
    asked = threading.Event()
    power = switch(pty.path, patience_s=60)
    opened = power._opened

    def opening(level):
        asked.set()
        return opened(level)

    power._opened = opening
    threading.Thread(target=lambda: (asked.wait(), held.close())).start()
    with pytest.raises(BenchFault, match="has no line RTS"):
        power.on()


def test_a_bridge_that_is_not_there_is_a_bench_fault(tmp_path):
    port = UsbPort(tmp_path)
    port.unplug()
    power = switch(str(port.link))
    with pytest.raises(BenchFault):
        power.on()
    with pytest.raises(BenchFault):
        power._keys.check("c3", {})
    port.close()


def test_a_server_that_is_not_there_is_a_bench_fault():
    with pytest.raises(BenchFault, match=r"RTS of rfc2217://127\.0\.0\.1:1 cannot be moved"):
        switch("rfc2217://127.0.0.1:1").on()


def test_a_raw_socket_is_refused_when_rig_toml_is_read():
    with pytest.raises(ValueError, match="carries no DTR and RTS"):
        Keys(port="socket://10.0.0.1:23", line="rts")


def test_a_url_that_is_none_is_refused_before_anything_is_used():
    with pytest.raises(UserError):
        Keys(port="http://10.0.0.1", line="rts").open("c3")


def test_the_line_has_moved_when_the_call_returns_and_the_port_is_free_after_close(bridge):
    power = switch(bridge.url)
    power.on()
    assert bridge.lines == (False, True)
    power.close()
    wait_until(lambda: bridge.lines == (False, False), "the server had noticed that its client was gone")
