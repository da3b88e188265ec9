"""`rig doctor` proves boards fit by using them, and names what is wrong with one that is not."""

import threading
from dataclasses import replace
from itertools import count

import pytest

from rig import prove
from rig.boards import kinds
from rig.boards.board import powered
from rig.boards.inventory import VirtualBoardSection
from rig.boards.loader import LoaderFlash
from rig.doctor import State, proofs
from rig.errors import BenchFault, NotApplicable
from rig.idf.effects import SECTOR_SIZE

NUMBERS = count()
"""A process has one virtual chip of a name."""
LAST = 0x3FF000


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    monkeypatch.setattr(prove, "SILENT_S", 0.2)
    monkeypatch.setattr(prove, "BANNER_LIMIT_S", 2.0)
    monkeypatch.setattr(prove, "CUTS", 2)


def section():
    return VirtualBoardSection(name=f"proven-{next(NUMBERS)}", kind="virtual")


@pytest.fixture
def board():
    with powered(kinds.open_board(section())) as board:
        yield board


class Switch:
    """The board's own switch, wrong on purpose."""

    def __init__(self, real, *, cuts=True, delay=0.0):
        self.real, self.cuts, self.delay, self.is_on = real, cuts, delay, True

    def on(self):
        self.real.on()
        self.is_on = True

    def off(self):
        self.is_on = False
        if self.cuts and self.delay:
            threading.Timer(self.delay, self.real.off).start()
            threading.Event().wait(2 * self.delay)
        elif self.cuts:
            self.real.off()


class WornFlash(LoaderFlash):
    """Flash whose last sector no longer takes what is written."""

    def restore(self, regions):
        return super().restore({at: data for at, data in regions.items() if at != LAST})


def test_a_board_that_is_fit_passes_every_proof_and_keeps_its_flash():
    board = kinds.open_board(section())
    with powered(board):
        kept = b"\xff" * SECTOR_SIZE + b"kept".ljust(SECTOR_SIZE, b"\xff")
        board.flash.restore({LAST - SECTOR_SIZE: kept})
        shown = dict(prove.prove(board))
        assert {name for name, text in shown.items() if not isinstance(text, str)} == set()
        assert set(shown) == set(prove.PROOFS)
        assert "POWERON" in shown["power cut"]
        assert "4096 KiB" in shown["flash"]
        assert f"the blank sector at {LAST - SECTOR_SIZE:#x} was written" in shown["sector"]
        assert board.flash.read(LAST - SECTOR_SIZE, 2 * SECTOR_SIZE) == kept


def test_a_hub_that_claims_to_switch_and_does_not_is_found_out(board):
    board = replace(board, power=Switch(board.power, cuts=False))
    with pytest.raises(BenchFault, match="goes on printing although it should have no power"):
        prove.power_cuts(board)
    board.flash.read(0, 4)  # in its loader it is silent, with power or without
    with pytest.raises(BenchFault, match="the chip kept its supply") as said:
        prove.power_cuts(board)
    assert "does the board's lamp go out?" in said.value.hint
    with pytest.raises(BenchFault, match="still answers 2 s after its power was switched off"):
        prove.measured_cuts(board, board.flash, 1)
    assert board.power.is_on


def test_the_time_of_a_cut_is_measured_from_the_call_to_the_last_answer(board):
    cuts = prove.measured_cuts(replace(board, power=Switch(board.power, delay=0.3)), board.flash, 2)
    assert all(0.2 < latency < 2.5 for latency in cuts.latencies)
    assert min(cuts.latencies) > cuts.between


def test_a_slow_switch_is_a_note_with_the_line_for_rig_toml(board):
    with pytest.raises(NotApplicable, match="too slow to cut at a moment") as said:
        prove.cut_latency(replace(board, power=Switch(board.power, delay=0.4)))
    assert said.value.hint.startswith("cut_latency_ms = ")


def test_a_board_that_goes_on_printing_without_power_is_found_out(board):
    noisy = Switch(board.power)
    noisy.off = lambda: threading.Timer(0.1, board.reset).start()
    with pytest.raises(BenchFault, match="printed while it was to be without power"):
        prove.power_cuts(replace(board, power=noisy))


def test_a_worn_sector_is_found_out_and_left_as_it_was(board):
    flash = WornFlash(board.console, "esp32c3")
    with pytest.raises(BenchFault, match="does not keep what is written"):
        prove.spare_sector(replace(board, flash=flash))
    assert board.flash.read(LAST, 4) == b"\xff" * 4


def test_the_pattern_of_a_doctor_that_was_killed_is_cleared_away(board):
    board.flash.restore({LAST: prove.PATTERN})
    prove.spare_sector(board)
    assert board.flash.read(LAST, SECTOR_SIZE) == b"\xff" * SECTOR_SIZE


def test_sectors_that_hold_data_are_not_written(board):
    full = {LAST + SECTOR_SIZE - prove.SPARE_BYTES: b"data" * (prove.SPARE_BYTES // 4)}
    board.flash.restore(full)
    with pytest.raises(NotApplicable, match="no sector of the last 64 KiB of flash is blank, so none was written"):
        prove.spare_sector(board)
    assert board.flash.restore(full) == 0


def test_a_port_that_resets_the_board_when_it_is_opened_is_found_out(board, monkeypatch):
    open_console = board.console.open
    monkeypatch.setattr(board.console, "open", lambda: (open_console(), board.reset()))
    with pytest.raises(BenchFault, match="opening the port resets the board"):
        prove.opening_is_quiet(board)


def test_a_board_without_a_switch_is_not_cut(board):
    with pytest.raises(NotApplicable, match="no power switch"):
        prove.power_cuts(replace(board, power=None))


def test_an_error_of_one_proof_does_not_hide_the_others(board, monkeypatch):
    def torn(_board):
        raise OSError("the port is gone")

    monkeypatch.setattr(prove, "PROOFS", {"torn": torn, "reset": prove.resets})
    shown = dict(prove.prove(board))
    assert shown["torn"].what == "the port is gone"
    assert "POWERON" in shown["reset"]


def test_proofs_become_findings(monkeypatch):
    def bad(_board):
        raise BenchFault("it smokes", hint="pull the plug")

    def absent(_board):
        raise NotApplicable("no switch", hint="buy one")

    monkeypatch.setattr(prove, "PROOFS", {"good": lambda _board: "fine", "bad": bad, "absent": absent})
    found = {finding.name: finding for finding in proofs(section())}
    assert [(found[name].state, found[name].text) for name in ("good", "bad", "absent")] == [
        (State.OK, "fine"),
        (State.MISSING, "it smokes"),
        (State.NOTE, "no switch"),
    ]
    assert found["bad"].remedy == "pull the plug"
