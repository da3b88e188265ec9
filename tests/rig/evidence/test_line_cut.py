"""Power that the board cuts itself: how the bench notices, closes the switch again, and what it does not believe."""

from __future__ import annotations

import dataclasses
import time
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from rig.boards import inventory, kinds, serial
from rig.boards.board import Capability
from rig.cli import main
from rig.errors import Inconclusive, UserError
from rig.evidence import cutting, line_cut
from rig.evidence.cut_hazards import CONFIRMATION_LOST
from rig.evidence.line_cut import BANNER_S, CLOSED_S, Silence, close_switch, is_dead, patience_for
from rig.evidence.trial import Trial
from rig.virtual import cut_line
from tests.qualification.states import BLANK, entry

WHOLE_ERASE_US = 450_000
SERIAL = '[[board]]\nname = "desk"\nkind = "serial"\nchip = "esp32c3"\nport = "/dev/ttyUSB0"\n'


class Scene:
    """A console, a clock, a reset line and a power switch that a test moves by hand."""

    def __init__(self, banner_after: float | None = None) -> None:
        self.position = 0
        self.now = 1000.0
        self.done: list[object] = []
        self.banner_after = banner_after
        self.console = self.reset_line = self
        self.power: Scene | None = self

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.done.append(seconds)
        if self.banner_after is not None and self.now >= 1000.0 + self.banner_after:
            self.position = 400

    def pulse(self) -> None:
        self.done.append("pulse")
        if self.banner_after == 0:
            self.position = 400

    def hold(self) -> None:
        self.done.append("hold")

    def off(self) -> None:
        self.done.append("off")


@pytest.fixture
def stage(monkeypatch):
    """Puts a scene in the place of the clock."""

    def put(scene):
        monkeypatch.setattr(line_cut, "time", scene)
        return scene

    return put


@pytest.fixture
def quick(monkeypatch):
    """No board on this bench is silent for long."""
    monkeypatch.setattr(line_cut, "SILENCE_S", {"otadata": 0.2, "slot": 0.2})
    monkeypatch.setattr(line_cut, "BANNER_S", 0.2)


@pytest.fixture
def updating(trial, quick):
    """Runs ota_0, its update to ota_1 waits to be confirmed."""
    trial.install("cut_line", otadata=(entry(1, "VALID"), BLANK))
    trial.boot()
    trial.diagnostics("manual")
    trial.update("2.0.0")
    trial.restart()
    return trial


def test_silence_lasts_from_the_last_byte(stage):
    scene = stage(Scene())
    silence = Silence(scene, 1.0)
    assert not silence.lasts(), "it begins with the first question"
    scene.now += 0.9
    assert not silence.lasts()
    scene.position += 1
    assert not silence.lasts()
    scene.now += 0.9
    assert not silence.lasts()
    scene.now += 0.1
    assert silence.lasts()
    scene.position += 1
    assert not silence.lasts()


@pytest.mark.parametrize(
    ("op", "delay_us", "seconds"),
    [
        ("otadata_erase", 0, 1.0),
        ("otadata_program", 1_000_000, 2.0),
        ("slot_erase", 0, 5.0),
        ("slot_program", 100, 5.0001),
    ],
)
def test_a_board_may_be_silent_for_as_long_as_it_works(op, delay_us, seconds):
    assert patience_for(op, delay_us) == pytest.approx(seconds)


@pytest.mark.parametrize("banner_after", [0, BANNER_S / 2])
def test_a_board_that_answers_its_reset_line_is_alive(stage, banner_after):
    scene = stage(Scene(banner_after))
    assert not is_dead(scene)
    assert scene.done[0] == "pulse"


def test_a_board_that_says_nothing_after_a_reset_is_dead(stage):
    scene = stage(Scene(banner_after=10 * BANNER_S))
    assert is_dead(scene)
    assert scene.done[0] == "pulse"
    assert scene.now >= 1000.0 + BANNER_S


def test_a_power_switch_closes_it_by_going_off(stage):
    scene = stage(Scene())
    close_switch(scene)
    assert scene.done == ["off"]


def test_without_a_power_switch_it_closes_while_the_chip_is_held_in_reset(stage):
    scene = stage(Scene())
    scene.power = None
    close_switch(scene)
    assert scene.done == ["hold", CLOSED_S]
    assert cut_line.OFF_S < CLOSED_S


def test_a_virtual_board_is_alive_and_dead(bench):
    bench.board.power.on()
    assert not is_dead(bench.board)
    bench.board.power.off()
    bench.board.console.drain()  # what it had said before may still be on its way on a busy machine
    assert is_dead(bench.board)


def test_a_cut_that_happened_is_part_of_the_story(updating):
    with updating.power_lost_by_line("otadata_erase", delay_us=WHOLE_ERASE_US):
        updating.confirm()
    updating.power_on()
    trace = updating.finish()
    assert trace.booted == ["ota_0", "ota_1", "ota_0"]
    assert CONFIRMATION_LOST in trace.hazards


def test_a_board_without_a_power_switch_is_waited_for(bench, quick, monkeypatch):
    """The switch of the line closes by itself, with the chip held in reset."""

    def sleep(seconds):
        if seconds == CLOSED_S:
            timer = bench.chip.cut_line._reclosing
            timer.cancel()
            timer.function()
        else:
            time.sleep(seconds)

    monkeypatch.setattr(line_cut, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    bench.board.power.on()
    board = dataclasses.replace(bench.board, power=None)
    trial = Trial(board, bench.shelf, bench.trial().folder)
    trial.install("cut_line", otadata=(entry(1, "VALID"), BLANK))
    trial.boot()
    trial.diagnostics("manual")
    trial.update("2.0.0")
    trial.restart()
    with trial.power_lost_by_line("otadata_erase", delay_us=WHOLE_ERASE_US):
        trial.confirm()
    assert bench.chip.powered
    trial.power_on()
    assert trial.finish().booted == ["ota_0", "ota_1", "ota_0"]


def test_a_line_that_never_rises_is_inconclusive_and_leaves_the_board_without_power(updating, bench):
    with (
        pytest.raises(Inconclusive, match=r"(?s)the otadata_erase number 9 of the app never came.*console\.log"),
        updating.power_lost_by_line("otadata_erase", nth=9),
    ):
        updating.confirm()
    assert "power cut" not in [mark.what for mark in updating.witnesses.marks]
    assert not bench.chip.powered


def test_a_board_that_goes_on_talking_is_inconclusive(updating, monkeypatch):
    monkeypatch.setattr(cutting, "CUT_TIMEOUT_S", 0.1)
    monkeypatch.setattr(Silence, "lasts", lambda _: False)
    with pytest.raises(Inconclusive, match="never came"), updating.power_lost_by_line("otadata_erase", nth=9):
        updating.confirm()


def test_what_fails_meanwhile_is_raised_and_the_switch_is_closed_all_the_same(updating, bench):
    with pytest.raises(UserError, match="mood"), updating.power_lost_by_line("otadata_erase"):
        updating.diagnostics("mood")
    assert not bench.chip.powered


@pytest.mark.parametrize(("key", "has"), [("", False), ("cut_line = false\n", False), ("cut_line = true\n", True)])
def test_a_serial_board_has_a_line_if_rig_toml_says_so(tmp_path, key, has):
    file = tmp_path / "rig.toml"
    file.write_text(SERIAL + key)
    section = inventory.load(file).find("desk")
    assert (Capability.CUT_LINE in serial.open_board(section).capabilities) is has
    assert kinds.describe(section)["missing"].get("cut_line") == (None if has else serial.NO_CUT_LINE)
    shown = CliRunner().invoke(main, ["list", "--config", str(file)]).output
    can, cannot = shown.split("    cannot", 1)
    assert ("cut_line" in can) is has
    assert ("cut_line: rig.toml does not say" in cannot) is not has
