"""Flash encryption: what lies in flash is ciphertext, and updates, rollback and power cuts go as without it.

An erased sector is the exception: the chip deciphers it into noise, so an erased entry is not blank but broken.
"""

import pytest

from rig.evidence.cut_hazards import CONFIRMATION_LOST, UPDATE_LOST
from rig.evidence.encryption_hazards import encrypted_by_another_key, encrypted_for_elsewhere, plaintext_in_slot
from rig.evidence.hazards import STICKY_OTADATA
from rig.evidence.seen import ERASED_AS_NOISE
from rig.idf.otadata import ERASED_LABEL, parse
from tests.qualification.states import BLANK, entry

requirement = pytest.mark.requirement
pytestmark = pytest.mark.needs("flash_encryption")

VARIANT = "flash_encryption"


@pytest.fixture
def running(trial):
    """A board that runs ota_0 and whose next app waits to be told to confirm."""
    trial.install(VARIANT, otadata=(entry(1, "VALID"), BLANK))
    trial.boot()
    trial.diagnostics("manual")
    return trial


def blocks(data):
    """Every whole block of the cipher in `data`."""
    return {data[start : start + 16] for start in range(0, len(data) - 15, 16)}


@requirement(
    "ENC-01", "Flash holds ciphertext only of the apps and of otadata, which the chip reads as what was meant."
)
def test_flash_holds_ciphertext_only(running):
    image = running.image_of(VARIANT, "1.0.0")
    raw = running.cable.read("ota_0", len(image))
    assert blocks(raw).isdisjoint(blocks(image))
    assert running.cable.read_as_chip("ota_0", len(image)) == image
    assert not parse(running.cable.read("otadata", 32)).crc_ok
    assert running.cable.read_as_chip("otadata", 32) == entry(1, "VALID")
    assert running.finish().booted == ["ota_0"]


@requirement("ENC-11", "An update is encrypted by the device as it is written, and boots.")
def test_an_update_is_encrypted_by_the_device(running):
    image = running.image_of(VARIANT, "2.0.0")
    running.update("2.0.0")
    running.restart()
    running.confirm()
    assert blocks(running.cable.read("ota_1", len(image))).isdisjoint(blocks(image))
    assert running.cable.read_as_chip("ota_1", len(image)) == image
    trace = running.finish()
    assert trace.booted == ["ota_0", "ota_1"]
    assert trace.otadata == (entry(1, "VALID"), entry(2, "VALID"))


@requirement(
    "ENC-12", "Rollback works as without encryption: a failed app becomes INVALID, an unconfirmed one ABORTED."
)
@pytest.mark.parametrize(("outcome", "left"), [("fail", "INVALID"), ("reboot", "ABORTED")])
def test_rollback_on_encrypted_flash(running, outcome, left):
    running.diagnostics(outcome)
    running.update("2.0.0")
    running.start_restart()
    running.wait_start()
    start = running.wait_start()
    assert (start.slot, start.version) == ("ota_0", "1.0.0")
    trace = running.finish()
    assert trace.booted == ["ota_0", "ota_1", "ota_0"]
    assert trace.otadata == (entry(1, "VALID"), entry(2, left))


@requirement("ENC-13", "A plaintext image put into an encrypted slot by cable is not booted, and the verdict names it.")
def test_a_plaintext_image_is_not_booted(trial):
    trial.install(VARIANT, otadata=(entry(1, "VALID"), entry(2, "NEW")))
    trial.cable.write("ota_1", trial.image_of(VARIANT, "2.0.0"))
    assert trial.boot().slot == "ota_0"
    assert trial.slot_image("ota_1") == "invalid"
    assert plaintext_in_slot("ota_1") in trial.finish().hazards


@requirement(
    "ENC-14", "An image encrypted with another key, or for another slot, is not booted, and the verdict names it."
)
@pytest.mark.parametrize("wrong", ["key", "slot"])
def test_an_image_encrypted_for_something_else_is_not_booted(trial, wrong):
    trial.install(VARIANT, otadata=(entry(1, "VALID"), entry(2, "VALID")))
    image = trial.image_of(VARIANT, "2.0.0")
    if wrong == "key":
        trial.cable.write("ota_1", trial.cable.encrypted_by_another_key("ota_1", image))
        named = encrypted_by_another_key("ota_1")
    else:
        trial.cable.write("ota_1", trial.cable.encrypted_for("ota_0", image))
        named = encrypted_for_elsewhere("ota_1", "ota_0")
    assert trial.boot().slot == "ota_0"
    assert named in trial.finish().hazards


@requirement("ENC-15", "An image encrypted for its slot by the host boots like one that the device wrote.")
def test_an_image_encrypted_by_the_host_boots(trial):
    trial.install(VARIANT, otadata=(entry(1, "VALID"), entry(2, "VALID")))
    trial.cable.write("ota_1", trial.cable.encrypted_for("ota_1", trial.image_of(VARIANT, "2.0.0")))
    start = trial.boot()
    assert (start.slot, start.version) == ("ota_1", "2.0.0")
    assert trial.finish().hazards == []


@requirement(
    "ENC-16",
    "Erased otadata reads as noise, not as blank: without a factory app the first app that verifies boots, on every "
    "boot, and nothing is recorded until the app chooses a slot; reported as a hazard.",
)
def test_erased_otadata_is_not_blank(trial):
    trial.install(VARIANT)
    trial.cable.write("otadata", b"\xff" * 0x2000)
    trial.boot()
    start = trial.restart()
    assert (start.slot, start.state) == ("ota_0", "ESP_ERR_NOT_FOUND")
    trace = trial.finish()
    assert trace.otadata == (ERASED_AS_NOISE, ERASED_AS_NOISE)
    assert STICKY_OTADATA in trace.hazards


@requirement("ENC-17", "Choosing a slot mends otadata that reads as noise.")
def test_choosing_a_slot_mends_erased_otadata(trial):
    trial.install(VARIANT)
    trial.cable.write("otadata", b"\xff" * 0x2000)
    trial.boot()
    trial.diagnostics("manual")
    trial.set_boot("ota_0")
    assert trial.restart().state == "PENDING_VERIFY"
    trial.confirm()
    first, second = trial.finish().otadata
    # The noise lives on in the entry's label, which nothing reads.
    assert parse(first)._replace(label=ERASED_LABEL).pack() == entry(1, "VALID")
    assert second == ERASED_AS_NOISE


@requirement(
    "ENC-18",
    "Power lost between erase and write of PENDING_VERIFY: the entry reads as noise and the old app boots, also when half "
    "of it was written; reported as a hazard.",
)
@pytest.mark.needs("power_cut", "flash_mutations")
@pytest.mark.parametrize(("kind", "phase"), [("erase", "after"), ("program", "torn")])
def test_cut_while_pending_verify_is_written_encrypted(running, kind, phase):
    running.update("2.0.0")
    with running.power_lost_at("otadata", kind=kind, phase=phase):
        running.start_restart()
    running.power_on()
    trace = running.finish()
    assert trace.booted == ["ota_0", None, "ota_0"]
    assert (trace.otadata[1] == ERASED_AS_NOISE) is (kind == "erase")
    assert trace.otadata[1] != BLANK
    assert UPDATE_LOST in trace.hazards


@requirement(
    "ENC-19",
    "Power lost between erase and write of a confirmation: the entry reads as noise and the old app boots; reported as a "
    "hazard.",
)
@pytest.mark.needs("power_cut", "flash_mutations")
def test_cut_during_a_confirmation_on_encrypted_flash(running):
    running.update("2.0.0")
    running.restart()
    with running.power_lost_at("otadata", kind="erase", phase="after"):
        running.confirm()
    running.power_on()
    trace = running.finish()
    assert trace.booted == ["ota_0", "ota_1", "ota_0"]
    assert trace.otadata == (entry(1, "VALID"), ERASED_AS_NOISE)
    assert CONFIRMATION_LOST in trace.hazards


@requirement(
    "ENC-20", "Power lost while an update is written encrypted leaves the running app; the update can be repeated."
)
@pytest.mark.needs("power_cut", "flash_mutations")
def test_cut_while_an_update_is_encrypted(running):
    with running.power_lost_at("ota_1", kind="program", nth=20, phase="torn"):
        running.update("2.0.0")
    running.power_on()
    running.diagnostics("manual")
    running.update("2.0.0")
    running.restart()
    running.confirm()
    trace = running.finish()
    assert trace.booted == ["ota_0", "ota_0", "ota_1"]
    image = running.image_of(VARIANT, "2.0.0")
    assert running.cable.read_as_chip("ota_1", len(image)) == image
