"""The console as a channel of lines: what arrived is never lost, and a cut power supply is noticed at once."""

import re

import pytest

from rig.boards import channel as channel_module
from rig.boards.channel import SLICE_S, ConsoleChannel, PowerLost


class Clock:
    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


class Script:
    """A console on which lines arrive at given seconds of a clock that moves only while somebody waits."""

    def __init__(self, clock):
        self.clock = clock
        self.due = []
        self.sent = b""
        self.waits = []
        self.power_lost_at = None

    def says(self, after, text):
        self.due.append((self.clock.now + after, text))
        return self

    def loses_power(self, after):
        self.power_lost_at = self.clock.now + after

    def has_lost_power(self):
        return self.power_lost_at is not None and self.clock.now >= self.power_lost_at

    def write(self, data):
        self.sent += data

    def expect(self, pattern, timeout):
        self.waits.append(timeout)
        end = self.clock.now + timeout
        if self.due and self.due[0][0] <= end:
            when, text = self.due.pop(0)
            self.clock.now = max(self.clock.now, when)
            match = re.compile(pattern).match(text)
            assert match is not None
            return match
        self.clock.now = end
        return None


@pytest.fixture
def console(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(channel_module, "time", clock)
    return Script(clock)


@pytest.fixture
def channel(console):
    return ConsoleChannel(console, console.has_lost_power)


def anything(_):
    return True


def test_a_line_comes_without_its_end(console, channel):
    console.says(0.0, b"first\r\n").says(0.0, b"second\n")
    assert channel.expect_line(anything, 1.0) == b"first"
    assert channel.expect_line(anything, 1.0) == b"second"


def test_lines_that_are_not_wanted_are_passed_over_for_good(console, channel):
    console.says(0.1, b"noise\n").says(0.2, b"wanted\n").says(0.3, b"later\n")
    assert channel.expect_line(lambda line: line == b"wanted", 1.0) == b"wanted"
    assert channel.expect_line(anything, 1.0) == b"later"


@pytest.mark.parametrize("timeout", [0.0, 0.01, SLICE_S, 3.0])
def test_silence_ends_in_a_timeout_after_the_time_asked_for(console, channel, timeout):
    began = console.clock.now
    with pytest.raises(TimeoutError):
        channel.expect_line(anything, timeout)
    assert console.clock.now - began == pytest.approx(timeout)


def test_lines_that_are_not_wanted_do_not_prolong_the_wait(console, channel):
    for number in range(100):
        console.says(0.1 * number, b"noise\n")
    began = console.clock.now
    with pytest.raises(TimeoutError):
        channel.expect_line(lambda line: False, 2.0)
    assert console.clock.now - began == pytest.approx(2.0, abs=0.1)


def test_a_lost_supply_is_noticed_within_a_slice_not_at_the_timeout(console, channel):
    console.loses_power(after=1.0)
    began = console.clock.now
    with pytest.raises(PowerLost):
        channel.expect_line(anything, 120.0)
    assert console.clock.now - began <= 1.0 + SLICE_S + 1e-6
    assert max(console.waits) <= SLICE_S


def test_what_was_printed_before_the_loss_is_delivered_first(console, channel):
    console.says(0.0, b"last words\n")
    console.loses_power(after=0.0)
    assert channel.expect_line(anything, 1.0) == b"last words"
    with pytest.raises(PowerLost):
        channel.expect_line(anything, 1.0)


def test_writing_reaches_the_board_as_long_as_it_has_power(console, channel):
    channel.write(b"hello\n")
    assert console.sent == b"hello\n"
    console.loses_power(after=0.0)
    with pytest.raises(PowerLost):
        channel.write(b"nobody hears this\n")
    assert console.sent == b"hello\n"


def test_a_console_that_never_falls_silent_is_waited_for_no_longer_than_asked(console):
    for second in range(100):
        console.says(second / 10, b"not this\n")
    with pytest.raises(TimeoutError):
        ConsoleChannel(console, console.has_lost_power).expect_line(lambda line: False, 2.0)
    assert len(console.due) >= 79
