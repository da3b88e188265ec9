"""Which app the bootloader starts, with and without a factory app."""

import pytest

from rig.evidence.hazards import STICKY_OTADATA
from tests.qualification.states import BLANK, bad_crc, entry

requirement = pytest.mark.requirement


@requirement("BOOT-01", "With blank otadata and a factory app, the factory app boots and otadata stays blank.")
def test_blank_otadata_boots_factory(trial):
    trial.install("factory", otadata=(BLANK, BLANK))
    trial.boot()
    trace = trial.finish()
    assert trace.transitions == []
    assert trace.booted == ["factory"]
    assert trace.otadata == (BLANK, BLANK)


@requirement("BOOT-02", "With blank otadata and no factory app, ota_0 boots and is recorded as VALID.")
def test_blank_otadata_without_factory_boots_ota_0(trial):
    trial.install("rollback", otadata=(BLANK, BLANK))
    trial.boot()
    trace = trial.finish()
    assert trace.transitions == [("ota_0", "none", "VALID", "bootloader")]
    assert trace.booted == ["ota_0"]
    assert trace.otadata == (entry(1, "VALID"), BLANK)


@requirement(
    "BOOT-03", "It is otadata that decides: with blank otadata factory boots even if the OTA slots hold good apps."
)
def test_filled_slots_do_not_keep_factory_from_booting(trial):
    trial.install("factory", otadata=(BLANK, BLANK), slots={"ota_0": "2.0.0", "ota_1": "3.0.0"})
    trial.boot()
    trace = trial.finish()
    assert trace.transitions == []
    assert trace.booted == ["factory"]


@requirement("BOOT-04", "Of two good otadata entries the one with the higher sequence number decides.")
@pytest.mark.parametrize(
    ("otadata", "slot"),
    [
        pytest.param((entry(1, "VALID"), entry(2, "VALID")), "ota_1", id="second is newer"),
        pytest.param((entry(3, "VALID"), entry(2, "VALID")), "ota_0", id="first is newer"),
    ],
)
def test_the_newer_entry_decides(trial, otadata, slot):
    trial.install("rollback", otadata=otadata, slots={"ota_0": "1.0.0", "ota_1": "2.0.0"})
    trial.boot()
    trace = trial.finish()
    assert trace.transitions == []
    assert trace.booted == [slot]


@requirement("BOOT-05", "An otadata entry with a bad checksum is not used while the other one is good.")
@pytest.mark.parametrize(
    ("otadata", "slot"),
    [
        pytest.param((bad_crc(3), entry(2, "VALID")), "ota_1", id="entry 0 corrupt"),
        pytest.param((entry(1, "VALID"), bad_crc(2)), "ota_0", id="entry 1 corrupt"),
    ],
)
def test_a_corrupt_entry_is_passed_over(trial, otadata, slot):
    trial.install("rollback", otadata=otadata, slots={"ota_0": "1.0.0", "ota_1": "2.0.0"})
    trial.boot()
    trace = trial.finish()
    assert trace.transitions == []
    assert trace.booted == [slot]
    assert trace.otadata == otadata


@requirement("BOOT-06", "With both otadata entries corrupt the factory app boots.")
def test_both_entries_corrupt_boots_factory(trial):
    otadata = (bad_crc(1), bad_crc(2))
    trial.install("factory", otadata=otadata, slots={"ota_0": "2.0.0", "ota_1": "3.0.0"})
    trial.boot()
    trace = trial.finish()
    assert trace.transitions == []
    assert trace.booted == ["factory"]
    assert trace.otadata == otadata


@requirement(
    "BOOT-07",
    "With both otadata entries corrupt and no factory app, the slots are tried from ota_0 upwards at every boot.",
)
def test_both_entries_corrupt_without_factory_tries_all_slots(trial):
    otadata = (bad_crc(1), bad_crc(2))
    trial.install("rollback", otadata=otadata, slots={"ota_0": "1.0.0", "ota_1": "2.0.0"})
    trial.boot()
    trial.reset()
    trace = trial.finish()
    assert trace.booted == ["ota_0", "ota_0"]
    assert trace.otadata == otadata, "ESP-IDF never repairs this otadata"
    assert STICKY_OTADATA in trace.hazards


@requirement("BOOT-08", "With three slots, the sequence number chooses slot (seq - 1) mod 3.")
@pytest.mark.parametrize(("seq", "slot"), [(1, "ota_0"), (2, "ota_1"), (3, "ota_2"), (4, "ota_0"), (9, "ota_2")])
def test_sequence_number_maps_to_slot(trial, seq, slot):
    trial.install(
        "three_slots",
        otadata=(entry(seq, "VALID"), BLANK),
        slots={"ota_0": "1.0.0", "ota_1": "2.0.0", "ota_2": "3.0.0"},
    )
    trial.boot()
    trace = trial.finish()
    assert trace.transitions == []
    assert trace.booted == [slot]


@requirement(
    "BOOT-09",
    "An app whose image is corrupt is not booted; the slots below it are tried, then factory, then those above.",
)
@pytest.mark.parametrize(
    ("variant", "broken", "otadata", "slot"),
    [
        pytest.param("factory", "ota_0", (entry(1, "VALID"), BLANK), "factory", id="ota_0 to factory"),
        pytest.param("factory", "ota_1", (BLANK, entry(2, "VALID")), "ota_0", id="ota_1 to ota_0"),
        pytest.param("rollback", "ota_0", (entry(1, "VALID"), BLANK), "ota_1", id="ota_0 to ota_1"),
    ],
)
def test_a_corrupt_image_is_passed_over(trial, variant, broken, otadata, slot):
    slots = {"ota_0": "2.0.0", "ota_1": "3.0.0"}
    trial.install(variant, otadata=otadata, slots={**slots, broken: trial.corrupt_image("4.0.0")})
    trial.boot()
    trace = trial.finish()
    assert trace.transitions == []
    assert trace.booted == [slot]
    assert trace.otadata == otadata, "a fallback changes nothing in otadata"


@requirement("BOOT-10", "An app that is marked INVALID or ABORTED is not booted while another entry is good.")
@pytest.mark.parametrize("state", ["INVALID", "ABORTED"])
def test_a_rejected_app_is_not_selected(trial, state):
    otadata = (entry(1, "VALID"), entry(2, state))
    trial.install("rollback", otadata=otadata, slots={"ota_0": "1.0.0", "ota_1": "2.0.0"})
    trial.boot()
    trial.reset()
    trace = trial.finish()
    assert trace.transitions == []
    assert trace.booted == ["ota_0", "ota_0"]
    assert trace.otadata == otadata


@requirement("BOOT-11", "With no bootable image in any slot the board resets for ever and starts no app.")
def test_nothing_bootable(trial):
    broken = trial.corrupt_image("2.0.0")
    trial.install("rollback", otadata=(entry(1, "VALID"), BLANK), slots={"ota_0": broken, "ota_1": broken})
    trial.boot_without_app()
    trace = trial.finish()
    assert set(trace.booted) == {None}
    assert trace.transitions == []
