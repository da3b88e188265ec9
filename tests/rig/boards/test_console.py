"""The console reader: nothing lost, nothing toggled, and clear words for a dead port. The port is a real pty."""

import re
import termios
import threading
import time

import pytest

from rig.boards.console import Console, open_quietly
from rig.errors import BenchFault
from tests.rig.boards.wires import PATIENCE_S, Pty, UsbPort, threads_of, wait_until


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
        first.hang_up()
        while paths:
            time.sleep(0.01)
        while console.port.port != second.path or console.lost:
            time.sleep(0.01)
        second.say(b"after the cut")
        assert console.expect(re.compile(rb"after the cut"), timeout=20)
        assert console.lost is None
    finally:
        console.close()
        first.close()
        second.close()


def test_closing_twice_leaves_no_thread(pty):
    console = Console("closing", lambda: open_quietly(pty.path))
    console.open()
    console.close()
    console.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "console-closing"]


# --- a port that goes away and comes back ---------------------------------------------------------------------------


@pytest.fixture
def usb(tmp_path):
    port = UsbPort(tmp_path)
    yield port
    port.close()


def reading(usb, absence_limit):
    """A console that opens the device the link points at."""
    console = Console("usb-board", lambda: open_quietly(str(usb.link.resolve(strict=True))), absence_limit)
    console.open()
    return console


@pytest.fixture
def usb_console(usb):
    console = reading(usb, PATIENCE_S)
    yield console
    console.close()
    assert threads_of("usb-board") == []


def gone(console):
    wait_until(lambda: console.lost, "the loss was noticed")


def soon(work):
    """Starts `work` in a thread; what it came to, when asked."""
    result = []

    def run():
        try:
            result.append(work())
        except Exception as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def outcome():
        thread.join(PATIENCE_S)
        return result[0]

    return outcome


def test_it_comes_back_under_another_name_and_nothing_read_before_is_lost(usb, usb_console):
    usb.say(b"before the cut")
    assert usb_console.expect(re.compile(rb"cut"), PATIENCE_S)
    first = usb_console.port.port
    usb.unplug()
    gone(usb_console)
    usb.plug()
    assert usb_console.port.port == usb.line.path != first
    usb.say(b"after it")
    assert usb_console.expect(re.compile(rb"after it"), PATIENCE_S)
    assert b"".join(chunk.data for chunk in usb_console.chunks_since(0)) == b"before the cutafter it"
    assert usb_console.openings == 2
    (gap,) = usb_console.gaps
    assert gap.position == len(b"before the cut")
    assert gap.start < gap.end


def test_what_was_read_before_the_port_failed_is_kept():
    class Failing:
        """A port that fails right after its first bytes."""

        is_open = True

        def read(self, size):
            return b"last words"

        @property
        def in_waiting(self):
            raise OSError("Input/output error")

        def close(self):
            pass

    ports = [Failing()]
    console = Console("failing-board", lambda: ports.pop() if ports else open_quietly("/dev/no-such-port"))
    console.open()
    try:
        assert console.expect(re.compile(rb"last words"), PATIENCE_S)
        gone(console)
    finally:
        console.close()


def test_writing_waits_until_the_port_is_back(usb, usb_console):
    usb.unplug()
    gone(usb_console)
    written = soon(lambda: usb_console.write(b"hello"))
    usb.plug()
    assert written() is None
    assert usb.line.hear(5) == b"hello"


def test_borrowing_waits_until_the_port_is_back_and_gets_the_new_one(usb, usb_console):
    def borrow():
        with usb_console.lent() as port:
            return port.port

    usb.unplug()
    gone(usb_console)
    borrowed = soon(borrow)
    usb.plug()
    assert borrowed() == usb.line.path


def test_a_port_that_vanishes_while_it_is_lent_is_opened_again(usb, usb_console):
    def write_into_nothing():
        with usb_console.lent() as port:
            usb.unplug()
            port.write(b"to nobody")

    with pytest.raises(OSError, match="Input/output error"):
        write_into_nothing()
    usb.plug()
    assert usb_console.port.port == usb.line.path
    usb.say(b"back")
    assert usb_console.expect(re.compile(rb"back"), PATIENCE_S)


def test_a_line_torn_by_the_loss_is_not_glued_to_the_next_one(usb, usb_console):
    with usb_console.trigger(re.compile(rb"^power lost$"), lambda: None) as trigger:
        usb.say(b"power ")
        assert usb_console.expect(re.compile(rb"power "), PATIENCE_S)
        usb.unplug()
        gone(usb_console)
        usb.plug()
        assert usb_console.port
        usb.say(b"lost\n")
        assert usb_console.expect(re.compile(rb"lost\n"), PATIENCE_S)
        assert trigger.line is None
        usb.say(b"power lost\n")
        assert trigger.wait(PATIENCE_S)


@pytest.mark.parametrize("what", ["expect", "write", "lent", "port"])
def test_a_port_that_stays_away_is_a_bench_fault_that_says_what_is_missing(usb, what):
    uses = {
        "expect": lambda: console.expect(re.compile(rb"never"), PATIENCE_S),
        "write": lambda: console.write(b"hello"),
        "lent": lambda: console.lent().__enter__(),
        "port": lambda: console.port,
    }
    console = reading(usb, absence_limit=0.1)
    try:
        usb.unplug()
        gone(console)
        with pytest.raises(BenchFault) as caught:
            uses[what]()
        text = str(caught.value)
        assert "went away and has not come back for 0.1 s" in text
        assert usb.link.name in text
        assert "board usb-board" in text
        usb.plug()
        wait_until(lambda: not console.lost, "it is back all the same")
        usb.say(b"never say never")
        assert uses[what]() is not NotImplemented
    finally:
        console.close()


def test_closing_does_not_wait_for_a_port_that_is_away(usb):
    console = reading(usb, absence_limit=600)
    usb.unplug()
    gone(console)
    console.close()
    assert threads_of("usb-board") == []
    with pytest.raises(BenchFault, match="the console is not open"):
        _ = console.port


def test_every_byte_value_comes_through_whatever_the_terminal_was_set_to_before(pty):
    attributes = termios.tcgetattr(pty.near)
    attributes[0] |= termios.ISTRIP | termios.INLCR | termios.ICRNL | termios.IXON | termios.BRKINT | termios.PARMRK
    attributes[3] |= termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN
    termios.tcsetattr(pty.near, termios.TCSANOW, attributes)
    console = Console("garbage", lambda: open_quietly(pty.path))
    console.open()
    try:
        wanted = bytes(range(256)) * 8 + "halb ein Ä".encode()[:-1] + b"\xf0\x9f"
        threading.Thread(target=pty.say, args=(wanted,)).start()
        wait_until(lambda: console.position == len(wanted), "all of it was read")
        assert b"".join(chunk.data for chunk in console.chunks_since(0)) == wanted
    finally:
        console.close()
