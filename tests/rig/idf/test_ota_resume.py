"""`esp_ota_resume`, effect by effect: see components/app_update/esp_ota_ops.c."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.idf.chips import chip
from rig.idf.config import BootConfig
from rig.idf.effects import SECTOR_SIZE, Erase, Program
from rig.idf.errors import FormatError
from rig.idf.memory import FlashImage, complete
from rig.idf.ota_ops import AppContext, esp_ota_begin, esp_ota_end, esp_ota_write
from rig.idf.ota_resume import esp_ota_resume
from rig.idf.otadata import ImageState, make_entry
from rig.idf.partitions import PartitionTable
from rig.virtual.builds import FIRMWARE
from tests.rig.device import app

TABLE = PartitionTable.from_csv((FIRMWARE / "partitions" / "2ota_large.csv").read_text(encoding="utf-8"))
OTADATA, OTA_1, SIZE = 0xD000, 0x1F0000, 0x1E0000
IMAGE = app("network", "2.0.0")


def context(idf="v5.5", state=ImageState.VALID):
    flash = FlashImage.erased(0x400000)
    flash.load(OTADATA, make_entry(1, state).pack())
    config = BootConfig(chip="esp32c3", chip_revision=chip("esp32c3").revision, idf_version=idf, rollback=True)
    return AppContext(flash, TABLE, config, "ota_0")


@pytest.mark.parametrize("idf", ["v4.4", "v5.1"])
def test_it_came_with_v5_5(idf):
    with pytest.raises(FormatError, match=r"esp_ota_resume came with ESP-IDF v5\.5"):
        complete(esp_ota_resume(context(idf), "ota_1", 4096), FlashImage.erased(SECTOR_SIZE))


@pytest.mark.parametrize(
    ("slot", "offset", "error"),
    [
        (None, 0, "ESP_ERR_INVALID_ARG"),
        ("ota_0", 0, "ESP_ERR_OTA_PARTITION_CONFLICT"),
        ("ota_1", SIZE + 1, "ESP_ERR_INVALID_ARG"),
        ("ota_1", SIZE, "ESP_OK"),
    ],
)
def test_what_cannot_be_resumed(slot, offset, error):
    ctx = context()
    (said, handle), effects = complete(esp_ota_resume(ctx, slot, offset), ctx.memory)
    assert (said, handle is not None) == (error, error == "ESP_OK")
    assert effects == []


def test_it_touches_nothing_and_takes_an_app_on_probation_where_begin_does_not():
    ctx = context(state=ImageState.PENDING_VERIFY)
    (begun, _), _ = complete(esp_ota_begin(ctx, "ota_1", 0), ctx.memory)
    (resumed, _), effects = complete(esp_ota_resume(ctx, "ota_1", 4096), ctx.memory)
    assert (begun, resumed) == ("ESP_ERR_OTA_ROLLBACK_INVALID_STATE", "ESP_OK")
    assert effects == []


@pytest.mark.parametrize(("idf", "error"), [("v6.0", "ESP_OK"), ("v6.1", "ESP_ERR_OTA_ALREADY_IN_PROGRESS")])
def test_from_v6_1_on_a_slot_can_be_open_only_once(idf, error):
    ctx = context(idf)
    complete(esp_ota_resume(ctx, "ota_1", 4096), ctx.memory)
    assert complete(esp_ota_resume(ctx, "ota_1", 4096), ctx.memory)[0][0] == error


@settings(max_examples=25)
@given(sectors=st.integers(1, len(IMAGE) // SECTOR_SIZE), piece=st.integers(500, 5000), torn=st.integers(0, 4096))
def test_what_is_gone_on_with_at_a_sector_is_whole_whatever_lay_behind(sectors, piece, torn):
    ctx, kept = context(), sectors * SECTOR_SIZE
    flash = ctx.memory
    assert isinstance(flash, FlashImage)
    flash.load(OTA_1, IMAGE[:kept] + bytes(torn))
    (_, handle), effects = complete(esp_ota_resume(ctx, "ota_1", kept), flash)
    for start in range(kept, len(IMAGE), piece):
        error, done = complete(esp_ota_write(ctx, handle, IMAGE[start : start + piece]), flash)
        effects += done
        assert error == "ESP_OK"
    assert complete(esp_ota_end(ctx, handle), flash)[0] == "ESP_OK"
    assert flash.read(OTA_1, len(IMAGE)) == IMAGE
    offsets = [effect.offset for effect in effects if isinstance(effect, (Erase, Program))]
    assert min(offsets, default=OTA_1 + kept) == OTA_1 + kept
