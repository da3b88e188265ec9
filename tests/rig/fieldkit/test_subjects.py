"""Every scenario of the catalogue on the model and on the virtual chip at once: both do what it expects."""

from dataclasses import replace
from pathlib import Path

import pytest

from rig.boards.sparing import Sparing
from rig.errors import NotApplicable
from rig.fieldkit.at_once import at_once_subject
from rig.fieldkit.firmware import MadeToMeasure
from rig.fieldkit.lockstep import walk_of
from rig.fieldkit.on_board import board_subject
from rig.fieldkit.on_model import ModelSubject
from rig.fieldkit.play import differences, play
from rig.fieldkit.scenario import Expect, Firmware, Scenario, load
from rig.fieldkit.steps import Boot, Image, Update
from rig.fieldkit.subject import Done, NoApp
from rig.virtual.firmware import VirtualFirmware
from tests.rig.bench import virtual_bench

SCENARIOS = sorted((Path(__file__).parents[2] / "scenarios").glob("*.toml"))
CASES = [(path, version) for path in SCENARIOS for version in load(path).idf_versions]


def chip_of(scenario):
    return scenario.firmware.chip or "esp32c3"


@pytest.mark.parametrize(("path", "version"), CASES, ids=lambda case: getattr(case, "stem", case))
def test_firmware_does_what_is_expected_and_the_model_agrees_in_every_step(tmp_path, path, version):
    scenario = load(path)
    shelf = MadeToMeasure(scenario.firmware, chip_of(scenario), version, tmp_path)
    subject = at_once_subject(VirtualFirmware(), shelf)
    if any(step.do == "cut_at_line" for step in scenario.steps):
        # the model prints no lines at which power could be cut
        played = play(scenario, subject, version)
    else:
        walk, found = walk_of(scenario, version, subject, ModelSubject(shelf))
        assert found is None
        played = walk.played
    assert differences(played, scenario.expected(version)) == []


class TestAnAppThatNobodyTalksTo:
    """Who asks an app that does not run gets an error of its own, and nothing hangs."""

    def subject(self, folder):
        scenario = load(SCENARIOS[0].with_name("first-boot-of-a-blank-device.toml"))
        shelf = MadeToMeasure(scenario.firmware, "esp32c3", "v5.5", folder)
        subject = at_once_subject(VirtualFirmware(), shelf)
        subject.install(scenario, "v5.5")
        return scenario, subject

    def test_before_the_first_boot(self, tmp_path):
        scenario, subject = self.subject(tmp_path)
        with pytest.raises(NoApp):
            subject.do(load(SCENARIOS[0].with_name("crash-before-confirm.toml")).steps[2])
        assert subject.do(scenario.steps[0]).end == "runs"

    def test_what_is_left_can_be_read_either_way(self, tmp_path):
        scenario, subject = self.subject(tmp_path)
        done = subject.do(scenario.steps[0])
        assert isinstance(done, Done)
        running = subject.left()
        subject.close()
        assert subject.left() == running


class TestABoardWhoseEfusesAreToStay:
    """As an attached one: a scenario is refused before anything that burns them reaches it."""

    @pytest.fixture
    def subject(self, tmp_path):
        with virtual_bench(tmp_path) as bench:
            yield board_subject(replace(bench.board, sparing=Sparing(bench.board.name)), bench.shelf)

    def test_an_update_that_burns_when_it_is_confirmed_is_not_sent(self, subject):
        subject.install(Scenario(name="x", summary="x", steps=(Boot(),), expect=(Expect(),)), "v5.5")
        subject.do(Boot())
        with pytest.raises(NotApplicable, match="secure version 2"):
            subject.do(Update(image=Image(version="2.0.0", variant="anti_rollback_2")))
        assert subject.do(Update(image=Image(version="2.0.0", variant="anti_rollback"))).answer == "ESP_OK"

    @pytest.mark.parametrize("variant", ["flash_encryption", "pre_encrypted_flash_encryption"])
    def test_firmware_that_would_make_a_key_is_not_installed(self, subject, variant):
        wanted = Scenario(name="x", summary="x", firmware=Firmware(variant=variant), steps=(Boot(),))
        with pytest.raises(NotApplicable, match="encrypts flash"):
            subject.install(wanted, "v5.5")
