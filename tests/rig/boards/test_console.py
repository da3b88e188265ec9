"""The console reader: nothing lost, nothing toggled, and clear words for a dead port. The port is a real pty."""

import os
import re
import threading
import time

import pytest
import serial

from rig.boards.console import Console, open_quietly
from rig.errors import BenchFault


class Pty:
    """A serial line with a program at its far end."""

    def __init__(self):
        self.far, self._near = os.openpty()
        self.path = os.ttyname(self._near)

    def say(self, data: bytes):
        os.write(self.far, data)

    def close(self):
        os.close(self.far)
        os.close(self._near)


@pytest.fixture
def pty():
    line = Pty()
    yield line
    line.close()


@pytest.fixture
def console(pty):
    console = Console("bench-board", lambda: open_quietly(pty.path))
    console.open()
    yield console
    console.close()


def test_every_byte_is_kept_in_order_with_its_time(pty, console):
    wanted = b"".join(b"line %d\r\n" % number for number in range(2000))
    threading.Thread(target=pty.say, args=(wanted,)).start()
    assert console.expect(re.compile(rb"line 1999\r\n"), timeout=10)
    chunks = console.chunks_since(0)
    assert b"".join(chunk.data for chunk in chunks) == wanted
    times = [chunk.time for chunk in chunks]
    assert times == sorted(times)


def test_expect_goes_on_after_the_previous_match(pty, console):
    pty.say(b"slot=1 slot=2 ")
    assert console.expect(re.compile(rb"slot=(\d)"), timeout=10)[1] == b"1"
    assert console.expect(re.compile(rb"slot=(\d)"), timeout=10)[1] == b"2"
    assert console.expect(re.compile(rb"slot=(\d)"), timeout=0.05) is None


def test_skip_forgets_what_was_not_waited_for(pty, console):
    pty.say(b"old")
    assert console.expect(re.compile(rb"ol"), timeout=10)
    while console.position < 3:
        time.sleep(0.001)
    console.skip()
    pty.say(b"new")
    assert console.expect(re.compile(rb"."), timeout=10)[0] == b"n"


def test_a_lent_port_is_read_by_the_borrower_alone(pty, console):
    with console.lent() as port:
        port.baudrate = 9600
        pty.say(b"for the borrower")
        got = b""
        while len(got) < 16:
            got += port.read(16)
        assert got == b"for the borrower"
    assert console.port.baudrate == 115200
    pty.say(b"for the reader")
    assert console.expect(re.compile(rb"for the reader"), timeout=10)
    assert console.position == len(b"for the reader")


def test_a_subscriber_sees_what_comes_until_it_leaves(pty, console):
    seen = []
    console.subscribe(seen.append)
    pty.say(b"a")
    assert console.expect(re.compile(rb"a"), timeout=10)
    console.unsubscribe(seen.append)
    pty.say(b"b")
    assert console.expect(re.compile(rb"b"), timeout=10)
    assert b"".join(chunk.data for chunk in seen) == b"a"


def test_opening_does_not_move_dtr_and_rts(monkeypatch):
    lines = []
    for name in ("_update_dtr_state", "_update_rts_state"):
        monkeypatch.setattr(serial.Serial, name, lambda self, name=name: lines.append((name, self.dtr, self.rts)))
    line = Pty()
    try:
        port = open_quietly(line.path)
        port.close()
    finally:
        line.close()
    assert all(not dtr and not rts for _, dtr, rts in lines)


def test_an_absent_port_is_a_bench_fault_that_names_the_board():
    console = Console("bench-board", lambda: open_quietly("/dev/no-such-port"))
    with pytest.raises(BenchFault, match="bench-board"):
        console.open()
    console.close()


def test_a_port_that_vanishes_is_opened_again_when_it_is_back():
    first, second = Pty(), Pty()
    paths = [first.path, "/dev/no-such-port", second.path]
    console = Console("bench-board", lambda: open_quietly(paths.pop(0)))
    console.open()
    try:
        first.say(b"before the cut")
        assert console.expect(re.compile(rb"before the cut"), timeout=10)
        first.close()
        while paths:
            time.sleep(0.01)
        while console.port.port != second.path or console.lost:
            time.sleep(0.01)
        second.say(b"after the cut")
        assert console.expect(re.compile(rb"after the cut"), timeout=20)
        assert console.lost is None
    finally:
        console.close()
        second.close()


def test_closing_twice_leaves_no_thread(pty):
    console = Console("closing", lambda: open_quietly(pty.path))
    console.open()
    console.close()
    console.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "console-closing"]
