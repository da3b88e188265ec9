"""Power cut some time after a moment of a trial: on an event, a line, a mutation or at the start, with what it took."""

from __future__ import annotations

import dataclasses
import time

import pytest

from rig.errors import BenchFault, UserError
from rig.evidence.moments import AtMutation, AtStart, OnEvent
from rig.evidence.timed_cut import pace
from rig.evidence.trial import Trial
from rig.protocol import Line, encode_line
from tests.qualification.states import BLANK, entry
from tests.rig.stories import ABORTED, VALID, starts_for_the_first_time, waits_to_be_confirmed_before_restart


class SlowSwitch:
    """The chip's supply, with something that happens between the call and the end of power."""

    def __init__(self, power):
        self._power = power
        self.before_off = lambda: None

    def on(self):
        self._power.on()

    def off(self):
        # Once: other power cycles are not what the test is about.
        work, self.before_off = self.before_off, lambda: None
        work()
        self._power.off()


def wait_for_line(console, text):
    seen = console.position
    deadline = time.monotonic() + 30
    while text not in b"".join(chunk.data for chunk in console.chunks_since(0))[seen:]:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_cut_on_an_event_of_the_contract_has_its_times(trial, bench):
    starts_for_the_first_time(trial)
    with trial.power_lost_after(OnEvent("ok", {"data": "second"})) as cut:
        trial.agent.ping("first")
        assert cut.called is None
        trial.agent.ping("second")
        trial.agent.ping("third")
    assert not bench.chip.powered
    assert cut.moment <= cut.called <= cut.done
    line = next(chunk for chunk in trial.witnesses.chunks if b"data=second" in chunk.data)
    assert cut.moment == line.time, "the moment is when the last byte of the line had come"
    assert [mark.what for mark in trial.witnesses.marks].count("power cut") == 1
    trial.power_on()
    assert trial.finish().booted == ["ota_0", "ota_0"]


def test_a_cut_some_time_after_a_moment_leaves_the_board_that_time(trial, bench):
    starts_for_the_first_time(trial)
    with trial.power_lost_after(OnEvent("ready"), delay=200.0) as cut:
        trial.restart()
        trial.agent.ping("still there")
    assert cut.delay == 200.0 / bench.board.clock_rate
    assert cut.called >= cut.moment + cut.delay
    assert b"data=still%20there" in b"".join(chunk.data for chunk in trial.witnesses.chunks)
    assert not bench.chip.powered


def test_bytes_that_come_after_the_call_of_the_switch_are_told(trial, bench):
    """A supply with much capacitance, or a switch with a relay: the board goes on for a while."""
    slow = SlowSwitch(bench.board.power)
    trial = Trial(dataclasses.replace(bench.board, power=slow), bench.shelf, trial.folder)
    starts_for_the_first_time(trial)
    slow.before_off = lambda: wait_for_line(bench.board.console, b"ready")
    with trial.power_lost_after(OnEvent("shutdown")) as cut:
        trial.start_restart()
        trial.wait_start()
    assert cut.called < cut.last_byte
    assert cut.last_byte == trial.witnesses.chunks[-1].time


@pytest.mark.parametrize("line", [b"@rig - start protocol=1 *00000000", b"@rig - sta", b"I (1) app: start", b"start"])
def test_what_is_no_intact_line_of_the_contract_is_no_event(line):
    assert not OnEvent("start").search(line)


def test_an_event_is_told_from_the_echo_of_a_request_and_by_its_fields():
    said = {"running": "ota_1", "state": "PENDING_VERIFY"}
    line = encode_line(Line(None, "start", said)).rstrip()
    assert OnEvent("start", {"running": "ota_1"}).search(b"rig> " + line)
    assert not OnEvent("start", {"running": "ota_0"}).search(line)
    assert not OnEvent("start", {"runs": "ota_1"}).search(line)
    assert not OnEvent("ready").search(line)
    assert not OnEvent("reboot").search(encode_line(Line(5, "reboot", {})).rstrip())
    assert OnEvent("ack", {"offset": "4096"}).search(encode_line(Line(5, "ack", {"offset": "4096"})).rstrip())


def test_a_run_that_fails_before_the_moment_cuts_nothing(trial, bench):
    starts_for_the_first_time(trial)
    with pytest.raises(UserError, match="no slot 'ota_7'"), trial.power_lost_after(OnEvent("shutdown"), delay=1e6):
        trial.set_boot("ota_7")
    assert bench.chip.powered
    trial.restart()
    assert trial.finish().booted == ["ota_0", "ota_0"]


def test_an_interrupted_wait_cuts_nothing(trial, bench):
    starts_for_the_first_time(trial)
    cutting = trial.power_lost_after(OnEvent("shutdown"), delay=1e6)
    cut = cutting.__enter__()
    trial.restart()
    assert not cutting.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert cut.moment is not None
    assert cut.called is None
    assert bench.chip.powered


def test_what_goes_wrong_because_power_is_gone_is_not_the_tests_fault(trial, bench):
    starts_for_the_first_time(trial)
    with trial.power_lost_after(OnEvent("shutdown")) as cut:
        trial.start_restart()
        assert cut.wait(30)
        raise BenchFault("writing to the serial port failed")
    trial.power_on()
    assert trial.finish().booted[-1] == "ota_0"


def test_a_switch_that_does_not_obey_is_a_bench_fault(trial, bench):
    slow = SlowSwitch(bench.board.power)
    trial = Trial(dataclasses.replace(bench.board, power=slow), bench.shelf, trial.folder)
    starts_for_the_first_time(trial)

    def fail():
        raise BenchFault("the relay does not answer")

    slow.before_off = fail
    with pytest.raises(BenchFault, match="the relay does not answer"), trial.power_lost_after(OnEvent("shutdown")):
        trial.start_restart()


def test_after_a_cut_the_test_cannot_turn_power_on_by_accident(trial, bench):
    starts_for_the_first_time(trial)
    with trial.power_lost_after(AtStart()) as cut:
        assert cut.wait(30)
        trial.boot()
        pytest.fail("the board came up")
    assert not bench.chip.powered
    trial.power_on()
    assert trial.finish().booted == ["ota_0", "ota_0"]


def test_a_cut_at_a_mutation_of_the_run_is_the_taps(trial, bench):
    waits_to_be_confirmed_before_restart(trial)
    with trial.power_lost_after(AtMutation(1)) as cut:
        trial.start_restart()
    assert cut.called is None
    assert not bench.chip.powered
    trial.power_on()
    assert trial.finish().otadata == (entry(1, VALID), BLANK)


def test_a_cut_some_time_after_a_mutation_comes_later(trial, bench):
    waits_to_be_confirmed_before_restart(trial)
    with trial.power_lost_after(AtMutation(2), delay=1.0) as cut:
        trial.start_restart()
    assert cut.called >= cut.moment + cut.delay > cut.moment
    trial.power_on()
    assert trial.finish().otadata == (entry(1, VALID), entry(2, ABORTED))


@pytest.mark.parametrize("moment", [AtStart(), AtMutation(1), OnEvent("ready")])
def test_a_board_without_a_switch_cannot_be_cut(trial, bench, moment):
    trial = Trial(dataclasses.replace(bench.board, power=None, tap=None), bench.shelf, trial.folder)
    starts_for_the_first_time(trial)
    with pytest.raises(UserError, match="this board has no power switch"), trial.power_lost_after(moment):
        pass


def test_a_board_without_a_tap_knows_no_mutations(trial, bench):
    trial = Trial(dataclasses.replace(bench.board, tap=None), bench.shelf, trial.folder)
    starts_for_the_first_time(trial)
    for delay in (0.0, 1.0):
        with pytest.raises(UserError, match="cannot cut power at a flash mutation"):
            trial.power_lost_after(AtMutation(1), delay).__enter__()


def test_a_delay_means_the_boards_seconds(bench):
    assert pace(bench.board) == bench.board.clock_rate > 1
    emulated = dataclasses.replace(bench.board, restarts=object())
    assert pace(emulated) == 1.0, "an emulator's clock leaps only while its guest is idle"


def test_otadata_is_not_read_again_while_the_chip_is_still_in_its_loader(trial, bench):
    starts_for_the_first_time(trial)
    assert trial.read_back() == trial.read_back()
    read = len(bench.board.flash.transcript)
    trial.read_back()
    assert len(bench.board.flash.transcript) == read
    trial.power_up()
    trial.read_back()
    assert len(bench.board.flash.transcript) == read + 1
    assert [mark.what for mark in trial.witnesses.marks].count("flash read") == 2
