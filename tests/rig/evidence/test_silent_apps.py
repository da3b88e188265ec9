"""An app without the serial contract: what bootloader log and otadata show is judged, everything else is skipped."""

import json

import pytest

from rig.boards.firmware import FirmwareBuild
from rig.boards.shelf import SynthesisedShelf
from rig.errors import Inconclusive, NotApplicable
from rig.evidence.records import Verdict
from rig.evidence.trial import Trial
from rig.idf.otadata import ImageState
from rig.virtual.agent import DeviceAgent
from tests.qualification.states import BLANK, entry
from tests.rig import faulty

LOG_ONLY = SynthesisedShelf.build


def without_agent(shelf, variant, version):
    """The same build as a product team has it that never heard of the component."""
    build = LOG_ONLY(shelf, variant, version)
    path = build.path / "config" / "sdkconfig.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in settings.items() if not key.startswith("RIG_AGENT")}))
    return FirmwareBuild.load(build.path)


@pytest.fixture
def silent(bench, tmp_path, monkeypatch):
    """A trial on a board whose apps print their log and nothing of the contract."""
    monkeypatch.setattr(DeviceAgent, "event", lambda *_: None)
    monkeypatch.setattr(SynthesisedShelf, "build", without_agent)
    return Trial(bench.board, SynthesisedShelf(tmp_path / "silent", bench.board.chip, "v5.5"), tmp_path / "evidence")


def test_a_first_boot_is_judged_by_log_and_otadata(silent):
    silent.install("rollback")
    start = silent.boot()
    assert (start.slot, start.version, start.state) == ("ota_0", "1.0.0", "?")
    trace = silent.finish()
    assert trace.booted == ["ota_0"]
    assert trace.otadata == (entry(1, "VALID"), BLANK)


def test_a_slot_that_cannot_boot_is_left_without_asking_the_app(silent):
    silent.install(
        "rollback",
        otadata=(entry(1, "VALID"), entry(2, "NEW")),
        slots={"ota_0": "1.0.0", "ota_1": silent.corrupt_image("2.0.0")},
    )
    silent.boot()
    assert silent.finish().booted == ["ota_0"]


def test_what_needs_the_app_does_not_apply_and_says_how_to_mend_that(silent):
    silent.install("rollback")
    silent.boot()
    with pytest.raises(NotApplicable, match=r"does not speak the serial contract[\s\S]*rig_agent"):
        silent.update("2.0.0")


def test_a_bootloader_that_deviates_is_found_out_all_the_same(silent, monkeypatch):
    faulty.taking(ImageState.ABORTED, ImageState.VALID)(monkeypatch)
    silent.install("rollback", otadata=(entry(1, "VALID"), entry(2, "ABORTED")), slots={"ota_1": "2.0.0"})
    silent.boot()
    assert silent.judge().verdict is Verdict.FIRMWARE_FAIL


def test_an_app_whose_log_hides_its_start_is_inconclusive(silent, impatient, monkeypatch):
    silent.install("rollback_quiet")
    with pytest.raises(Inconclusive, match="no start of an app was seen"):
        silent.boot()
