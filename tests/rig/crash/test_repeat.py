"""The same update done again after a cut: when it leads to the new app, and the cases in which it cannot."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rig.crash.chain import Boot, Chain, Stage, record
from rig.crash.repeat import Repeater
from rig.idf.config import IDF_VERSIONS, BootConfig
from rig.idf.memory import FlashImage
from rig.idf.partitions import PartitionTable
from tests.rig.crash.hand import (
    ABORTED,
    ANTI_ROLLBACK,
    CONFIG,
    ENTRY_0,
    ERASED,
    INVALID,
    OTADATA,
    PENDING,
    TWO,
    VALID,
    WITH_FACTORY,
    app,
    content,
    corrupt,
    device,
    entry,
    model,
    table,
)  # fmt: skip

IMAGE = app("2.0.0", 1)
OLD = entry(1, VALID)


def repeats(
    flash: FlashImage,
    running: str | None = "ota_0",
    image: bytes = IMAGE,
    config: BootConfig = CONFIG,
    layout: PartitionTable = TWO,
    end: str = "runs",
) -> bool:
    repeater = Repeater(model(config, layout), image, OTADATA)
    return repeater.repeats(flash, chain(flash, running, end))


def chain(flash: FlashImage, running: str | None, end: str = "runs") -> Chain:
    return Chain((Stage((Boot(running, None, end),), record(flash, OTADATA)),), True)  # type: ignore[arg-type]


# --- it leads to the new app -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("idf", IDF_VERSIONS)
@pytest.mark.parametrize(
    "entries",
    [
        (OLD, ERASED),
        (OLD, entry(2, ABORTED)),
        (OLD, entry(2, INVALID)),
        (OLD, entry(2, VALID)[:20]),
        (entry(3, VALID), entry(2, VALID)),
        (ERASED, ERASED),
        (OLD[:20], ERASED),
        (entry(1, ABORTED), entry(2, ABORTED)),
    ],
    ids=["ok", "after a rollback", "after a rejection", "torn", "both", "blank", "degraded", "both failed"],
)
def test_whatever_a_cut_left_in_otadata(idf: str, entries: tuple[bytes, bytes]) -> None:
    config = replace(CONFIG, idf_version=idf)
    assert repeats(device(entries, slots={"ota_1": app("x")[:300]}), config=config, image=app("2.0.0", idf=idf))


def test_an_app_that_still_is_on_probation_confirms_first() -> None:
    assert repeats(device((OLD, entry(2, PENDING))), "ota_1")


def test_from_factory() -> None:
    assert repeats(device(layout=WITH_FACTORY), "factory", layout=WITH_FACTORY)


def test_over_a_damaged_image() -> None:
    assert repeats(device((OLD, ERASED), slots={"ota_1": corrupt(app("x"))}))


# --- it does not -----------------------------------------------------------------------------------------------------


def test_an_image_that_does_not_verify_never_runs() -> None:
    assert not repeats(device((OLD, ERASED)), image=corrupt(IMAGE))


def test_an_image_that_is_larger_than_its_slot() -> None:
    assert not repeats(device((OLD, ERASED)), image=IMAGE + bytes(0x10000))


def test_a_device_with_one_slot_cannot_update_itself() -> None:
    layout = table("ota_0")
    assert not repeats(device((OLD, ERASED), layout=layout), layout=layout)


def test_without_ota_slots_there_is_nowhere_to_put_it() -> None:
    layout = table("factory")
    assert not repeats(device(layout=layout), "factory", layout=layout)


def test_a_burnt_efuse_refuses_an_older_image() -> None:
    flash = device((OLD, ERASED), slots={"ota_0": app("1.0.0", 2)}, burnt=2)
    assert not repeats(flash, config=ANTI_ROLLBACK)
    assert repeats(flash, config=ANTI_ROLLBACK, image=app("2.0.0", 2))


def test_the_last_sequence_number_counts_as_erased() -> None:
    """BOOTLOADER.md 4.1: esp_ota_set_boot_partition says ESP_OK, and the update never boots."""
    assert not repeats(device((ERASED, entry(0xFFFFFFFE, VALID))), "ota_1")


def test_a_sequence_number_that_is_looked_for_without_end() -> None:
    """Of four slots none but the first has a number between 2^32 - 3 and 2^32: the C code counts for ever."""
    layout = table("ota_0", "ota_1", "ota_2", "ota_3")
    flash = device((entry(0xFFFFFFFF - 2, VALID), ERASED), layout=layout)
    assert repeats(flash, "ota_0", layout=layout)
    flash.load(ENTRY_0, entry(0xFFFFFFFF - 1, VALID))
    assert not repeats(flash, "ota_3", layout=layout)


# --- where there is nothing to say -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("running", "end"), [(None, "nothing bootable"), ("ota_0", "hangs"), ("ota_0", "restarts")])
def test_what_does_not_run_is_judged_otherwise(running: str | None, end: str) -> None:
    assert repeats(device(), running, corrupt(IMAGE), end=end)


def test_a_run_without_a_download_has_nothing_to_repeat() -> None:
    assert repeats(device(), image=b"")


# --- the trial itself ------------------------------------------------------------------------------------------------


def test_trying_leaves_the_flash_alone() -> None:
    flash = device((OLD, ERASED))
    before = content(flash)
    assert repeats(flash)
    assert content(flash) == before


def test_it_is_tried_once_for_each_record_and_running_slot() -> None:
    repeater = Repeater(model(), IMAGE, OTADATA)
    good = device((OLD, ERASED))
    assert repeater.repeats(good, chain(good, "ota_0"))
    empty = FlashImage.erased(len(good))
    assert repeater.repeats(empty, chain(good, "ota_0")), "it was tried again"
    assert not repeater.repeats(empty, chain(empty, "ota_0")), "another record was taken for the same"
    assert not repeater.repeats(empty, chain(good, "ota_1")), "another slot was taken for the same"
