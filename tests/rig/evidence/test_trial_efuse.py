"""eFuses in a trial: never touched on a board that is not given up for it, counted on one that is."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from rig.boards.board import Capability
from rig.boards.efuses import BurntEfuse
from rig.errors import NotApplicable
from rig.evidence.hazards import BRICKED, CONFIRMED_ANOTHER_BRICKS
from rig.evidence.records import Verdict
from rig.evidence.trial import Trial
from rig.idf.effects import Program
from rig.virtual.agent import DeviceAgent
from rig.virtual.ota import Ota
from tests.qualification.states import BLANK, entry
from tests.rig.bench import virtual_bench
from tests.rig.stories import verdict_of

RUNNING = (entry(1, "VALID"), BLANK)


def on(bench, tmp_path, **changes):
    """A trial on the bench's board with something of it changed."""
    return Trial(replace(bench.board, **changes), bench.shelf, tmp_path / "evidence")


def test_nothing_that_may_burn_comes_onto_a_board_whose_efuses_are_to_stay(bench, tmp_path):
    trial = on(bench, tmp_path, efuse=None, missing={Capability.EFUSE: "they stay as they are"})
    for come in (
        lambda: trial.install("anti_rollback"),
        lambda: trial.install("rollback", bootloader_of="anti_rollback"),
        lambda: trial.image_of("anti_rollback_1", "2.0.0"),
    ):
        with pytest.raises(NotApplicable, match="has no efuse: they stay as they are"):
            come()
    trial.install("rollback")
    trial.boot()
    assert trial.finish().secure_version is None


def test_a_trial_on_a_board_that_is_spent_says_what_it_has_burnt(bench, tmp_path):
    bench.chip.efuse.renew()
    trial = on(bench, tmp_path, efuse=BurntEfuse(bench.board.flash))
    trial.install("anti_rollback", otadata=RUNNING)
    trial.boot()
    trial.update(trial.image_of("anti_rollback_1", "2.0.0"))
    trial.restart()
    trial.finish()
    assert trial.record()["burnt"] == (0, 1)
    again = Trial(trial.board, bench.shelf, tmp_path / "again")
    with pytest.raises(NotApplicable, match="at secure version 1 already, this test needs 0"):
        again.install("anti_rollback", otadata=RUNNING)
    assert bench.chip.efuse.secure_version == 1
    bench.chip.efuse.renew()


def test_every_reading_is_kept_as_evidence(trial):
    trial.install("anti_rollback_1", secure_version=1)
    trial.boot()
    trial.finish()
    trial.record()
    kept = json.loads((trial.folder / "trace.json").read_text(encoding="utf-8"))["secure_versions"]
    assert [(reading["source"], reading["value"]) for reading in kept] == [("installed", 1), ("chip", 1)]
    assert '"burnt"' not in (trial.folder / "trace.json").read_text(encoding="utf-8")


def test_an_app_sees_no_more_of_the_field_than_it_was_built_for(trial):
    trial.install("anti_rollback_narrow", otadata=RUNNING, secure_version=5)
    trial.boot()
    assert trial.secure_version() == 2
    trial.diagnostics("manual")
    trial.update("2.0.0")
    trial.restart()
    trial.confirm_error()
    assert trial.finish().secure_version == 5


def is_offered_an_older_version(trial):
    """On ESP-IDF v5.1 the entry of the slot stays VALID, so the next boot looks at what is in it."""
    otadata = (entry(3, "VALID"), entry(2, "VALID"))
    trial.install("anti_rollback_1", otadata=otadata, slots={"ota_1": "0.9.0"}, secure_version=1)
    trial.boot()
    assert trial.update_error(trial.image_of("anti_rollback", "2.0.0")) == "ESP_ERR_OTA_SMALL_SEC_VER"
    trial.reset()


@pytest.mark.parametrize("erases", [True, False])
def test_a_slot_that_was_refused_for_its_secure_version_is_known_to_be_erased(tmp_path, monkeypatch, erases):
    real = Ota.set_boot

    def set_boot(self, slot):
        part = self.table.slot_for_app(slot)
        kept = self.memory.read(part.offset, 0x1000)
        error = real(self, slot)
        if not erases:
            self.run(steps(Program(part.offset, kept)))
        return error

    monkeypatch.setattr(Ota, "set_boot", set_boot)
    with virtual_bench(tmp_path, idf="v5.1") as bench:
        verdict, reason = verdict_of(bench.trial(), is_offered_an_older_version)
    assert verdict is (Verdict.PASS if erases else Verdict.INCONCLUSIVE)
    assert erases or "are missing (boot: Failed to get partition description" in reason


def steps(*effects):
    yield from effects


def test_the_outcome_of_diagnostics_can_be_set_for_a_chip_that_is_past_the_app_that_sets_it(trial):
    trial.install(
        "anti_rollback",
        otadata=(entry(1, "VALID"), entry(2, "NEW")),
        slots={"ota_1": trial.image_of("anti_rollback_1", "2.0.0")},
        diagnostics="manual",
        secure_version=1,
    )
    start = trial.boot()
    assert (start.slot, start.state) == ("ota_1", "PENDING_VERIFY")
    assert trial.secure_version() == 1
    assert trial.reject_error() == "ESP_ERR_OTA_ROLLBACK_FAILED"
    assert trial.state("ota_1") == "PENDING_VERIFY"
    assert trial.finish().booted == ["ota_1"]


def test_an_app_that_confirms_at_every_start_is_flagged_as_a_hazard_that_bricks(trial, monkeypatch):
    real = DeviceAgent.event

    def event(self, name, fields):
        real(self, name, fields)
        if name == "start":
            self.ota.confirm()
            real(self, "diag", {"outcome": "pass", "result": "confirmed"})

    monkeypatch.setattr(DeviceAgent, "event", event)
    trial.install("anti_rollback", otadata=RUNNING)
    trial.boot()
    trial.update(trial.image_of("anti_rollback_1", "2.0.0"))
    with trial.power_lost_at("ota_1", kind="program", nth=20):
        trial.update(trial.image_of("anti_rollback_1", "3.0.0"))
    trial.power_on()
    trial.start_restart()
    trial.wait_given_up()
    trace = trial.finish()
    assert trace.booted[:3] == ["ota_0", "ota_0", None]
    assert [hazard for hazard in trace.hazards if hazard.severity == "bricks"] == [BRICKED, CONFIRMED_ANOTHER_BRICKS]
