"""From a log to what explains it: real runs of ESP-IDF, and runs of the virtual chip whose beginning is known."""

import gzip
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.errors import RigError
from rig.fieldkit import steps
from rig.fieldkit.at_once import at_once_subject
from rig.fieldkit.entries import entry_words
from rig.fieldkit.firmware import MadeToMeasure
from rig.fieldkit.infer.explanations import infer
from rig.fieldkit.infer.layout import layouts
from rig.fieldkit.infer.search import ways
from rig.fieldkit.infer.sighting import sightings
from rig.fieldkit.infer.world import World
from rig.fieldkit.log_case import Case
from rig.fieldkit.log_reading import read_log
from rig.fieldkit.play import differences, play
from rig.fieldkit.scenario import Firmware, Scenario, Start
from rig.fieldkit.steps import Image
from rig.idf.chips import chip
from rig.idf.config import BootConfig
from rig.virtual.firmware import VirtualFirmware

LOGS = Path(__file__).parents[2] / "data" / "logs"
ROLLBACK, NO_ROLLBACK, MIXED = "app rollback", "no app rollback", "app rollback, but not in the bootloader"
BLANK = ("erased", "erased")


def content(path):
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def read(path):
    return Case(read_log([content(path)]))


def explained(case):
    with tempfile.TemporaryDirectory() as scratch:
        count = 0

        def player(scenario, version):
            nonlocal count
            count += 1
            shelf = MadeToMeasure(scenario.firmware, "esp32c3", version, Path(scratch) / str(count))
            try:
                return play(scenario, at_once_subject(VirtualFirmware(), shelf), version)
            except RigError:
                return None

        return infer(case, "log", player)


def done(scenario):
    """What was done besides starting."""
    return [step.do for step in scenario.steps if step.do not in ("boot", "restart", "reset", "diagnostics")]


@pytest.mark.parametrize(
    ("name", "configuration", "acts"),
    [
        ("rb_crash_abort", ROLLBACK, ["update", "crash"]),
        ("rb_autoinvalid", ROLLBACK, ["update", "reject"]),
        ("rb_update_ok_autovalid", ROLLBACK, ["update", "confirm"]),
        ("rb_setboot_aborted_again", ROLLBACK, ["update", "crash", "update", "crash"]),
        ("rb_power_cut_during_ota_write", ROLLBACK, ["update"]),
        ("rb_valid_slot_rots", ROLLBACK, ["update", "confirm", "corrupt"]),
        ("rb_otadata_both_aborted", ROLLBACK, ["update", "confirm", "otadata"]),
        ("dbg_power_cut_while_pending", ROLLBACK, ["update"]),
        ("fac_setboot_factory", ROLLBACK, ["update", "confirm", "set_boot"]),
        ("fac_crash", ROLLBACK, ["update", "crash"]),
        ("norb_crash_loops", NO_ROLLBACK, ["update", *["crash"] * 5]),
        ("mix_oldbl_newapp_ok", MIXED, ["update"]),
    ],
)
def test_the_likeliest_explanation_of_a_real_run_is_what_was_done(name, configuration, acts):
    found = explained(read(LOGS / "qemu" / f"{name}.log.gz"))
    first = found.explanations[0]
    assert (first.rollback, first.scenario.start.otadata) == (configuration, BLANK)
    assert done(first.scenario) == acts


@pytest.mark.parametrize("path", sorted((LOGS / "qemu").glob("*.log.gz")), ids=lambda path: path.name.split(".log")[0])
def test_every_real_run_is_explained_or_it_is_said_why_not(path):
    found = explained(read(path))
    if path.name.startswith("arb"):
        assert found.explanations == []
        assert "eFuse" in found.why_none
        return
    assert found.explanations
    costs = [item.cost for item in found.explanations]
    assert costs == sorted(costs)


def test_what_is_told_comes_about_when_it_is_played(tmp_path):
    found = explained(read(LOGS / "field" / "esplink-abort-before-confirm-back-to-factory.log"))
    assert found.explanations[0].scenario.expect[0].booted == ("ota_0", "factory")
    for number, item in enumerate(found.explanations):
        version = item.idf_versions[0]
        shelf = MadeToMeasure(item.scenario.firmware, "esp32c3", version, tmp_path / str(number))
        played = play(item.scenario, at_once_subject(VirtualFirmware(), shelf), version)
        assert differences(played, item.scenario.expected(version)) == []


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("skyfeeder-checksum-changes-every-boot", "no app was started"),
        ("aws-https-ota-1-html-instead-of-image", "no boot"),
    ],
)
def test_a_log_that_tells_nothing_of_otadata_has_no_explanation(name, word):
    found = explained(read(LOGS / "field" / f"{name}.log"))
    assert found.explanations == []
    assert word in found.why_none


def test_boots_that_no_bootloader_makes_have_no_explanation():
    """Factory where otadata chooses ota_1, without a line that says why."""
    log = content(LOGS / "qemu" / "fac_crash.log.gz").replace(b"Defaulting to factory image", b"Welcome")
    found = explained(Case(read_log([log])))
    assert found.explanations == []
    assert "no otadata, configuration" in found.why_none


# --- runs whose beginning is known ---------------------------------------------------------------------------------

SHELF = {}
SCRATCH = tempfile.TemporaryDirectory()
states = st.sampled_from(["VALID", "NEW", "PENDING_VERIFY", "ABORTED"])
orders = st.sampled_from([(1, 2), (2, 1), (3, 2)])
two_entries = st.builds(lambda one, two, seq: (f"seq {seq[0]} {one}", f"seq {seq[1]} {two}"), states, states, orders)
pairs = two_entries | st.builds(lambda one: (f"seq 1 {one}", "erased"), states) | st.just(BLANK)
acts = st.lists(
    st.sampled_from(
        [steps.Restart(), steps.Crash(), steps.Reset(), steps.Confirm(), steps.Update(image=Image(version="3.0.0"))]
    ),
    max_size=6,
)
OF_THE_TEST_APP = re.compile(rb"^.*(@rig|rig_app|rig_agent).*\n", re.MULTILINE)


@settings(max_examples=25)
@given(otadata=pairs, middle=acts)
def test_the_true_beginning_is_among_those_that_are_found(otadata, middle):
    """Even if only ESP-IDF's own lines are left in the log, as in a product's."""
    scenario = Scenario(
        name="known",
        summary="Its beginning is known.",
        firmware=Firmware(),
        start=Start(otadata=otadata, slots={"ota_1": Image()}, diagnostics="manual"),
        steps=(steps.Boot(), *middle, steps.Restart()),
    )
    if "shelf" not in SHELF:
        SHELF["shelf"] = MadeToMeasure(Firmware(), "esp32c3", "v5.5", Path(SCRATCH.name))
    subject = at_once_subject(VirtualFirmware(), SHELF["shelf"])
    played = play(scenario, subject, "v5.5")
    case = Case(read_log([OF_THE_TEST_APP.sub(b"", played.console)]))
    seen = sightings(case)
    (layout,) = layouts(case.boots, seen)
    config = BootConfig(idf_version="v5.5", chip="esp32c3", chip_revision=chip("esp32c3").revision, rollback=True)
    found = {tuple(map(entry_words, way.begin)) for way in ways(World(layout, config, config), seen)}
    assert otadata in found
