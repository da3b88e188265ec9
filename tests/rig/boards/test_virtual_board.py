"""The kind `virtual`, and what holds for every board: left powered, closed and disarmed whatever happened to it."""

import itertools
import re

import pytest

from rig.boards import kinds, virtual
from rig.boards.board import Board, Capability, Cut, powered
from rig.boards.console import Console
from rig.boards.inventory import VirtualBoardSection
from rig.errors import BenchFault, UserError
from rig.evidence.handling import Handling
from rig.evidence.witnesses import Witnesses
from rig.virtual import port
from rig.virtual.cpu import ChipHalted
from tests.rig.bench import close_board, open_board, virtual_bench

BLOCK = bytes(range(256)) * 16
ROM = re.compile(rb"ESP-ROM:[^\n]*\n|ets [A-Z][^\n]*\n")
FAILURES = [ValueError("in a test"), BenchFault("in the bench"), KeyboardInterrupt(), SystemExit(3)]


@pytest.fixture
def pair():
    board, chip = open_board()
    yield board, chip
    close_board(chip)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with virtual_bench(tmp_path_factory.mktemp("bench")) as bench:
        yield bench


# --- every board -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_a_board_is_left_powered_closed_and_disarmed_whatever_is_raised(pair, failure):
    board, chip = pair

    def break_off(board):
        with powered(board):
            board.tap.arm(Cut(0, 0x400000))
            board.power.off()
            raise failure

    with pytest.raises(type(failure)):
        break_off(board)
    assert chip.powered
    with pytest.raises(BenchFault, match="the console is not open"):
        _ = board.console.port
    chip.flash.erase_sector(0x10000)
    assert chip.powered, "an armed cut would have struck"


def test_a_board_whose_cut_has_struck_is_left_powered(pair):
    board, chip = pair
    with powered(board):
        board.tap.arm(Cut(0, 0x400000))
        with pytest.raises(ChipHalted):
            chip.flash.erase_sector(0x10000)
        assert not chip.powered
    assert chip.powered


class Recorder:
    """Console, power switch and tap of a board; notes what is done, and fails at one of them."""

    def __init__(self, failing=None):
        self.done = []
        self.failing = failing

    def __getattr__(self, name):
        def act():
            self.done.append(name)
            if name == self.failing:
                raise OSError(f"{name} failed")

        return act


@pytest.mark.parametrize(
    ("failing", "done"),
    [
        # The last one lets go of the device that switches power.
        (None, ["open", "on", "disarm", "on", "close", "close"]),
        ("open", ["open", "close"]),
        ("on", ["open", "on", "disarm", "on", "close", "close"]),
        ("disarm", ["open", "on", "disarm", "on", "close", "close"]),
    ],
)
def test_a_failing_part_does_not_keep_the_others_from_being_put_right(failing, done):
    parts = Recorder(failing)
    board = Board("b", "k", "esp32c3", parts, None, None, power=parts, tap=parts)
    if failing is None:
        with powered(board):
            pass
    else:
        with pytest.raises(OSError, match=f"{failing} failed"), powered(board):
            pass
    assert parts.done == done


def test_a_board_without_switch_and_tap_is_only_opened_and_closed():
    parts = Recorder()
    with powered(Board("b", "k", "esp32c3", parts, None, None)):
        assert parts.done == ["open"]
    assert parts.done == ["open", "close"]


# --- the virtual one -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chip", ["esp32c3", "esp32", "esp32s3", "esp32c6"])
def test_every_chip_opens_starts_and_is_told_apart(chip):
    board, device = open_board(chip)
    try:
        assert (board.kind, board.chip) == ("virtual", chip)
        assert not device.powered
        with powered(board):
            assert board.console.expect(ROM, timeout=20)
            assert board.flash.read(0x1000, 16) == b"\xff" * 16
    finally:
        close_board(device)


def test_every_capability_is_there_or_missing_for_a_reason(pair):
    board, _ = pair
    missing = {str(name) for name in board.missing}
    assert board.capabilities | missing == {str(capability) for capability in Capability}
    assert not board.capabilities & missing
    assert {"power_cut", "flash_mutations"} <= board.capabilities
    assert all(len(reason.split()) > 3 for reason in board.missing.values())


def test_describing_a_kind_opens_nothing():
    section = VirtualBoardSection(name="only-described", kind="virtual", chip="esp32s3", tags=("fast",))
    facts = kinds.describe(section)
    assert (facts["name"], facts["kind"], facts["chip"], facts["tags"]) == (
        "only-described",
        "virtual",
        "esp32s3",
        ["fast"],
    )
    assert facts["missing"] == {str(name): reason for name, reason in virtual.missing(section).items()}
    assert "only-described" not in port._chips


def test_two_boards_of_one_name_are_refused(pair):
    board, _ = pair
    with pytest.raises(ValueError, match="another virtual chip named"):
        kinds.open_board(VirtualBoardSection(name=board.name, kind="virtual"))


def test_opening_the_console_does_not_reset_the_board(pair):
    board, _ = pair
    with powered(board):
        assert board.console.expect(re.compile(rb"invalid header"), timeout=20)
        board.console.close()
        board.console.open()
        assert board.console.expect(re.compile(rb"invalid header"), timeout=20)
    log = b"".join(chunk.data for chunk in board.console.chunks_since(0))
    assert b"POWERON" in log
    assert log.count(b"(POWERON)") == 1


def test_resetting_the_board_starts_the_chip_anew_and_loses_no_byte(bench):
    trial = bench.trial()
    trial.install("rollback")
    trial.boot()
    before = bench.board.console.position
    bench.board.console.skip()
    bench.board.reset()
    assert bench.board.console.expect(re.compile(rb"@rig - ready [^\n]*\n"), timeout=20)
    data = b"".join(chunk.data for chunk in bench.board.console.chunks_since(before))
    assert data.startswith(b"ESP-ROM:esp32c3")


def test_power_off_ends_the_output_and_power_on_begins_it_with_the_first_byte(bench):
    trial = bench.trial()
    trial.install("rollback")
    trial.boot()
    bench.board.power.off()
    bench.board.console.drain()
    before = bench.board.console.position
    bench.board.console.skip()
    assert not bench.chip.powered
    bench.board.power.on()
    assert bench.board.console.expect(re.compile(rb"@rig - start [^\n]*\n"), timeout=20)
    data = b"".join(chunk.data for chunk in bench.board.console.chunks_since(before))
    assert data.startswith(b"ESP-ROM:esp32c3")
    assert b"(POWERON)" in data


CUTS = [
    (Cut(0x10000, 0x14000, "erase", 2, "before"), [False, True]),
    (Cut(0x10000, 0x14000, "erase", 2, "after"), [False, False]),
    (Cut(0x11000, 0x12000, "erase", 1, "before"), [False, True]),
]


@pytest.mark.parametrize(("cut", "kept"), CUTS, ids=["second, before", "second, after", "by place"])
def test_power_is_cut_at_exactly_the_mutation_asked_for(pair, cut, kept):
    board, chip = pair
    chip.flash.load(0x10000, BLOCK * 2)
    with powered(board):
        assert not board.tap.wait_fired(0)
        board.tap.arm(cut)
        with pytest.raises(ChipHalted):
            chip.flash.erase_range(0x10000, 0x2000)
        assert board.tap.wait_fired(10)
        assert not chip.powered
        assert [chip.flash.read(0x10000 + n * 0x1000, 0x1000) == BLOCK for n in (0, 1)] == kept


def test_a_new_cut_forgets_that_the_one_before_has_struck(pair):
    board, chip = pair
    with powered(board):
        board.tap.arm(Cut(0x10000, 0x11000))
        with pytest.raises(ChipHalted):
            chip.flash.program(0x10000, BLOCK)
        assert board.tap.wait_fired(10)
        board.tap.arm(Cut(0x20000, 0x21000))
        assert not board.tap.wait_fired(0)


# --- handling --------------------------------------------------------------------------------------------------------


def test_a_board_that_prints_without_power_is_a_bench_fault(pair, monkeypatch):
    board, _ = pair
    received = itertools.count()
    monkeypatch.setattr("rig.boards.console.SILENCE_LIMIT_S", 0.1)
    monkeypatch.setattr(Console, "position", property(lambda self: next(received)))
    with (
        powered(board),
        pytest.raises(BenchFault, match=r"goes on printing[\s\S]*check the power switch"),
    ):
        Handling(board, Witnesses(board.console)).power_cycle()


def test_a_board_without_a_switch_cannot_be_power_cycled_but_starts_by_its_reset_line(bench):
    plain = Board(
        bench.board.name, "virtual", "esp32c3", bench.board.console, bench.board.flash, bench.board.reset_line
    )
    witnesses = Witnesses(plain.console)
    handling = Handling(plain, witnesses)
    with pytest.raises(UserError, match="no power switch"):
        handling.power_cycle()
    handling.start_from_flash()
    assert [mark.what for mark in witnesses.marks] == ["reset line"]
    assert plain.console.expect(ROM, timeout=20)


def test_reading_back_lets_nothing_run_before(bench):
    trial = bench.trial()
    trial.install("rollback")
    trial.boot()
    assert bench.board.console.expect(re.compile(rb"@rig - ready [^\n]*\n"), timeout=20)
    witnesses, end = trial.witnesses, bench.board.console.position
    lives = bench.chip.lives
    bench.chip.tap.start_recording()
    Handling(bench.board, witnesses).read_back(trial.build)
    assert bench.chip.tap.stop_recording() == (), "no bootloader wrote otadata meanwhile"
    assert bench.chip.lives > lives
    assert bench.board.console.position == end, "what esptool reads is not in the log"
    stored = tuple(bench.chip.flash.read(0xD000 + n * 0x1000, 32) for n in (0, 1))
    assert witnesses.samples[-1].entries == stored
    assert witnesses.marks[-1].what == "flash read"


def test_restoring_begins_the_trial_anew_with_what_was_installed(bench):
    trial = bench.trial()
    trial.install("rollback")
    trial.boot()
    assert trial.witnesses.position > 0
    trial.install("rollback", otadata=(b"\x01" * 32, b""))
    assert trial.witnesses.position == 0
    assert [mark.what for mark in trial.witnesses.marks] == []
    assert [(sample.source, sample.position) for sample in trial.witnesses.samples] == [("installed", 0)]
    assert trial.witnesses.samples[0].entries == (b"\x01" * 32, b"\xff" * 32)
    assert trial.witnesses.known.read(0, 0x8000) == bench.chip.flash.read(0, 0x8000)
