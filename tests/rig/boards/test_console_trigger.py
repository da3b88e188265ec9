"""An action at a console line: at once, once, and without losing a byte."""

import re
import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.boards.console import LINE_LIMIT, Console, open_quietly
from rig.errors import BenchFault
from tests.rig.boards.wires import PATIENCE_S, Pty, threads_of, wait_until

MARK = re.compile(rb"^power lost$")


class Script:
    """A port from which these chunks come, one for each read."""

    is_open = True
    in_waiting = 0

    def __init__(self, chunks):
        self._chunks = list(chunks)
        self.empty = threading.Event()

    def read(self, size):
        if self._chunks:
            return self._chunks.pop(0)
        self.empty.set()
        threading.Event().wait(0.001)
        return b""

    def close(self):
        pass


@pytest.fixture
def pty():
    line = Pty()
    yield line
    line.close()


@pytest.fixture
def console(pty):
    console = Console("trigger-board", lambda: open_quietly(pty.path))
    console.open()
    yield console
    console.close()
    assert threads_of("trigger-board") == []


def kept(console):
    return b"".join(chunk.data for chunk in console.chunks_since(0))


def test_the_line_fires_the_action_once(pty, console):
    calls = []
    with console.trigger(MARK, lambda: calls.append("off")) as trigger:
        pty.say(b"power on\r\npower lost\r\npower lost\r\n")
        assert trigger.wait(PATIENCE_S)
        pty.say(b"power lost\r\nend")
        assert console.expect(re.compile(rb"end"), PATIENCE_S)
    assert calls == ["off"]
    assert trigger.line == b"power lost"
    assert trigger.time is not None
    assert kept(console) == b"power on\r\npower lost\r\npower lost\r\npower lost\r\nend"


def test_the_action_comes_before_listeners_and_evidence(pty, console):
    release, seen = threading.Event(), []

    def slow(chunk):
        seen.append(chunk.data)
        assert release.wait(PATIENCE_S)

    console.subscribe(slow)
    try:
        with console.trigger(MARK, lambda: seen.append("off")) as trigger:
            pty.say(b"power lost\n")
            assert trigger.wait(PATIENCE_S), "although the listener has not come back"
    finally:
        release.set()
    wait_until(lambda: len(seen) == 2, "the listener got the line too")
    assert set(seen) == {"off", b"power lost\n"}


def test_reading_goes_on_while_the_action_takes_its_time(pty, console):
    release = threading.Event()
    with console.trigger(MARK, lambda: release.wait(PATIENCE_S)) as trigger:
        pty.say(b"power lost\n")
        wait_until(lambda: trigger.time, "the action began")
        pty.say(b"last words")
        assert console.expect(re.compile(rb"last words"), PATIENCE_S)
        assert not trigger.wait(0)
        release.set()
    assert kept(console) == b"power lost\nlast words"


def test_a_line_counts_only_when_its_end_has_come(pty, console):
    with console.trigger(MARK, lambda: None) as trigger:
        pty.say(b"power lost")
        assert console.expect(re.compile(rb"lost"), PATIENCE_S)
        assert trigger.line is None
        pty.say(b"\r\n")
        assert trigger.wait(PATIENCE_S)


def test_a_line_that_began_before_counts_whole(pty, console):
    pty.say(b"not power ")
    assert console.expect(re.compile(rb"power "), PATIENCE_S)
    with console.trigger(MARK, lambda: None) as trigger:
        pty.say(b"lost\npower ")
        assert console.expect(re.compile(rb"lost\npower "), PATIENCE_S)
        assert trigger.line is None
        pty.say(b"lost\n")
        assert trigger.wait(PATIENCE_S)


def test_noise_without_line_ends_neither_fires_nor_hides_the_next_line(pty, console):
    with console.trigger(MARK, lambda: None) as trigger:
        noise = b"\x80\xffpower lost\xc3" * (LINE_LIMIT // 8)
        threading.Thread(target=pty.say, args=(noise,)).start()
        wait_until(lambda: console.position == len(noise), "the noise was read")
        assert trigger.line is None
        pty.say(b"\npower lost\n")
        assert trigger.wait(PATIENCE_S)


def test_what_the_action_raises_is_raised_at_the_end(pty, console):
    def fail():
        raise BenchFault("the relay does not answer")

    def cut():
        with console.trigger(MARK, fail) as trigger:
            pty.say(b"power lost\n")
            wait_until(lambda: trigger.error, "the action failed")
            with pytest.raises(BenchFault, match="relay does not answer"):
                trigger.wait(0)

    with pytest.raises(BenchFault, match="relay does not answer"):
        cut()
    pty.say(b"still read")
    assert console.expect(re.compile(rb"still read"), PATIENCE_S)


def test_one_that_was_left_does_nothing_any_more(pty, console):
    calls = []
    with console.trigger(MARK, lambda: calls.append("off")) as trigger:
        pass
    pty.say(b"power lost\n")
    assert console.expect(re.compile(rb"lost"), PATIENCE_S)
    assert calls == []
    assert not trigger.wait(0)
    wait_until(lambda: len(threads_of("trigger-board")) == 1, "its thread was over")


def test_a_second_one_is_refused(console):
    with console.trigger(MARK, lambda: None), pytest.raises(ValueError, match="a trigger is set already"):
        console.trigger(MARK, lambda: None).__enter__()


def test_it_can_be_set_again_and_again_and_the_port_lent_in_between(pty, console):
    for _ in range(5):
        with console.trigger(MARK, lambda: None) as trigger:
            pty.say(b"power lost\n")
            assert trigger.wait(PATIENCE_S)
        pty.say(b"torn by the borrower: ")
        assert console.expect(re.compile(rb"borrower: "), PATIENCE_S)
        with console.lent() as port:
            pty.say(b"x")
            assert port.read(1) == b"x"
    wait_until(lambda: len(threads_of("trigger-board")) == 1, "only one thread reads")


@given(
    st.lists(st.sampled_from([b"power lost", b"power", b" lost", b"\n", b"\r\n", b"\xff", b"x"]), max_size=12),
    st.sets(st.integers(1, 60)),
)
def test_however_the_bytes_arrive_the_first_whole_matching_line_fires(parts, cuts):
    stream = b"".join(parts)
    ends = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    port = Script(stream[start:end] for start, end in pairwise(ends))
    console = Console("scripted", lambda: port)
    calls = []
    with console.trigger(MARK, lambda: calls.append("off")) as trigger:
        console.open()
        assert port.empty.wait(PATIENCE_S)
    console.close()
    matching = [line.rstrip(b"\r") for line in stream.split(b"\n")[:-1] if MARK.search(line.rstrip(b"\r"))]
    assert calls == ["off"] * bool(matching)
    assert trigger.line == (matching[0] if matching else None)
    assert kept(console) == stream
