"""The judge follows downloads: sound apps pass whatever the server does, and apps that deviate are found out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.evidence.app_calls import AppCall, model_call
from rig.evidence.records import Verdict
from rig.evidence.witnesses import KnownFlash
from rig.idf.chips import chip
from rig.idf.config import BootConfig
from rig.idf.partitions import PartitionTable
from rig.updates.faults import parse_fault
from rig.updates.server import UpdateServer
from rig.virtual.builds import FIRMWARE
from rig.virtual.https_ota import HttpsOta
from rig.virtual.ota import Ota
from tests.qualification.states import entry
from tests.rig import faulty
from tests.rig.device import small_app
from tests.rig.stories import NEW, VALID, verdict_of

FAIL, PASS = Verdict.FIRMWARE_FAIL, Verdict.PASS
ENTRY_1 = faulty.OTADATA + 0x1000
BEFORE = (entry(3, VALID), entry(2, VALID))
AFTER_BEGIN = (entry(3, VALID), b"\xff" * 32)
CHOSEN = faulty.program(ENTRY_1, entry(4, NEW))
APP = "app.bin"


@pytest.fixture
def server():
    with UpdateServer() as server:
        yield server


def downloads(server, fault=None):
    """The story of an app in ota_0 that downloads once, whatever comes of it."""

    def story(trial):
        image = trial.image_of("network", "2.0.0")
        server.offer(APP, image)
        if fault is not None:
            server.inject(parse_fault(fault))
        trial.install("network", otadata=BEFORE, slots={"ota_1": "0.9.0"})
        trial.boot()
        trial.network.connect()
        trial.network.failed_download(server.url(APP), image)

    return story


@pytest.mark.parametrize("fault", [None, "disconnect@50%", "truncate@50%", "other-chip", "html", "status=503"])
def test_a_sound_app_passes_whatever_the_server_does(trial, server, fault):
    assert verdict_of(trial, downloads(server, fault)) == (PASS, "")


DEVIATING = [
    (
        "chooses the new slot although the download broke off",
        {"abort": CHOSEN},
        "disconnect@50%",
        "download ota_1 (app in ota_0) left other otadata than the model",
    ),
    (
        "takes half an image for a whole one",
        {"end": lambda self: "ESP_OK", "set_boot": CHOSEN},
        "truncate@50%",
        "it was to be 41328 bytes in ota_1",
    ),
    (
        "writes the entry of the app that runs",
        {"set_boot": faulty.program(faulty.OTADATA, entry(4, NEW))},
        None,
        "download ota_1 (app in ota_0) left other otadata than the model",
    ),
]


@pytest.mark.parametrize(("what", "calls", "fault", "words"), DEVIATING, ids=[case[0] for case in DEVIATING])
def test_an_app_that_deviates_fails(trial, server, monkeypatch, what, calls, fault, words):
    faulty.ota(**calls)(monkeypatch)
    verdict, reason = verdict_of(trial, downloads(server, fault))
    assert verdict is FAIL
    assert words in reason


@pytest.mark.parametrize("fault", ["other-project", "other-chip"])
def test_an_app_that_chooses_what_it_refuses_fails(trial, server, monkeypatch, fault):
    real = HttpsOta.description

    def description(self):
        CHOSEN(self._ota)
        return real(self)

    monkeypatch.setattr(HttpsOta, "description", description)
    verdict, reason = verdict_of(trial, downloads(server, fault))
    assert verdict is FAIL
    assert "download ota_1 (app in ota_0) left other otadata than the model" in reason


def test_an_app_that_chooses_before_all_has_come_fails_when_power_is_lost(trial, server, monkeypatch):
    real = Ota.begin

    def begin(self, slot, size, mode):
        error = real(self, slot, size, mode)
        CHOSEN(self)
        return error

    monkeypatch.setattr(Ota, "begin", begin)

    def story(trial):
        server.offer(APP, trial.image_of("network", "2.0.0"))
        trial.install("network", otadata=BEFORE)
        trial.boot()
        trial.network.connect()
        with trial.power_lost_at("ota_1", kind="program", nth=20):
            trial.network.download(server.url(APP), "2.0.0")
        trial.power_on()

    verdict, reason = verdict_of(trial, story)
    assert verdict is FAIL
    assert "download ota_1 (app in ota_0) had chosen the slot when power was lost" in reason


# --- the model alone -------------------------------------------------------------------------------------------------

TABLE = PartitionTable.from_csv((FIRMWARE / "partitions" / "2ota_large.csv").read_text(encoding="utf-8"))
IMAGE = small_app("2.0.0")

BROKE_OFF = ("ESP_FAIL", "ESP_ERR_TIMEOUT", "ESP_ERR_INVALID_VERSION", "ESP_ERR_HTTP_WRITE_DATA")


def outcome(error, came, idf="v5.5", data=IMAGE):
    flash = KnownFlash(b"\xff" * 0x10000 + small_app("1.0.0", idf_version=idf).ljust(0x3D0000 - 0x10000, b"\xff"))
    config = BootConfig(chip="esp32c3", chip_revision=chip("esp32c3").revision, idf_version=idf, rollback=True)
    call = AppCall("download", 0, "ota_0", "ota_1", data, error, came=came)
    return model_call(call, BEFORE, flash, TABLE, config)


@pytest.mark.parametrize(("idf", "left"), [("v5.1", BEFORE), ("v5.5", AFTER_BEGIN), ("v6.1", AFTER_BEGIN)])
@settings(max_examples=20)
@given(error=st.sampled_from(BROKE_OFF), came=st.integers(0, len(IMAGE)))
def test_a_transfer_that_broke_off_leaves_what_esp_ota_begin_left(error, idf, left, came):
    said = outcome(error, came, idf)
    assert (said.error, said.prediction.otadata) == (error, left)


@pytest.mark.parametrize("error", [*BROKE_OFF, "ESP_ERR_HTTP_CONNECT", "ESP_ERR_INVALID_STATE"])
def test_what_did_not_begin_leaves_everything(error):
    said = outcome(error, None)
    assert (said.error, said.prediction.otadata) == (error, BEFORE)


def test_what_came_whole_is_chosen():
    said = outcome("ESP_OK", None)
    assert said.error == "ESP_OK"
    assert said.prediction.otadata[1] == entry(4, NEW)


def test_an_app_that_finds_a_good_image_bad_is_contradicted():
    assert outcome("ESP_ERR_OTA_VALIDATE_FAILED", len(IMAGE)).error == "ESP_OK"


@pytest.mark.parametrize("came", [1, 24, 300, len(IMAGE) - 1])
def test_part_of_an_image_is_not_accepted(came):
    assert outcome("ESP_ERR_OTA_VALIDATE_FAILED", came).error == "ESP_ERR_OTA_VALIDATE_FAILED"


def test_lost_power_may_leave_any_state_on_the_way():
    states = outcome(None, None).prediction.states
    assert [states[0], states[1]] == [BEFORE, AFTER_BEGIN]
    assert states[-1] == (entry(3, VALID), entry(4, NEW))
