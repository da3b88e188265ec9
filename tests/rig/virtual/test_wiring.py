"""DTR and RTS through the two transistors."""

from __future__ import annotations

import pytest

from rig.virtual.wiring import RISE_S, TRANSIT_RISE_S, ResetCircuit

LATER = 10.0


def circuit() -> ResetCircuit:
    fresh = ResetCircuit()
    fresh.power_on(0.0)
    assert fresh.rises_in(LATER) == 0.0
    return fresh


@pytest.mark.parametrize(
    ("dtr", "rts", "reset", "strap"),
    [(False, False, False, False), (True, True, False, False), (False, True, True, False), (True, False, False, True)],
)
def test_levels_follow_the_truth_table(dtr: bool, rts: bool, reset: bool, strap: bool) -> None:
    wires = circuit()
    wires.set_lines(dtr, rts, LATER)
    assert (wires.pulled_low, wires.strap_low) == (reset, strap)


def test_opening_a_port_with_both_lines_asserted_does_not_reset() -> None:
    wires = circuit()
    wires.set_lines(True, False, LATER)
    wires.set_lines(True, True, LATER)
    assert wires.rises_in(LATER) == 0.0


def test_en_rises_late() -> None:
    wires = circuit()
    wires.set_lines(False, True, LATER)
    assert wires.rises_in(LATER + 1) is None
    wires.set_lines(False, False, LATER + 1)
    assert wires.rises_in(LATER + 1) == pytest.approx(RISE_S)
    assert wires.rises_in(LATER + 1 + RISE_S + 0.001) == 0.0


@pytest.mark.parametrize("gap", [0.0, 0.01, TRANSIT_RISE_S * 0.9])
def test_the_classic_sequence_enters_download_mode_however_slow_the_line_changes_are(gap: float) -> None:
    wires = circuit()
    now = LATER
    wires.set_lines(False, True, now)
    wires.set_lines(True, True, now := now + 0.1)
    wires.set_lines(True, False, now := now + gap)
    assert wires.latched_low(now + RISE_S)


def test_the_strap_counts_as_it_was_when_en_rose_even_if_nobody_looked() -> None:
    wires = circuit()
    wires.set_lines(False, True, LATER)
    wires.set_lines(True, False, LATER + 0.1)
    wires.set_lines(False, False, LATER + 0.15)
    assert wires.latched_low(LATER + 100)


def test_a_plain_reset_pulse_boots_from_flash() -> None:
    wires = circuit()
    wires.set_lines(False, True, LATER)
    wires.set_lines(False, False, LATER + 0.1)
    assert not wires.latched_low(LATER + 1)


def test_lines_that_stay_asserted_after_a_pulse_let_the_chip_go_in_the_end() -> None:
    wires = circuit()
    wires.set_lines(False, True, LATER)
    wires.set_lines(True, True, LATER + 0.1)
    assert wires.rises_in(LATER + 0.1 + TRANSIT_RISE_S + 0.001) == 0.0
    assert not wires.latched_low(LATER + 2)


def test_power_on_samples_the_strap_anew() -> None:
    wires = circuit()
    wires.set_lines(True, False, LATER)
    assert not wires.latched_low(LATER)
    wires.power_on(LATER)
    assert wires.latched_low(LATER + RISE_S)
