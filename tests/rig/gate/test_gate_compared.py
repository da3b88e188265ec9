"""Against the previous release: whatever devices in the field will not have, the gate finds."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.gate import catalogue
from rig.gate.check import Status
from rig.gate.pieces import Piece
from rig.gate.release import Release
from rig.idf.image import build_bootloader, build_image
from rig.idf.partitions import Partition, PartitionTable
from tests.rig.gate.builds import (
    APP,
    ARGS,
    BOOTLOADER,
    CODE,
    configure,
    edit_json,
    failing,
    good_build,
    of_status,
    outcomes,
    pieces,
    read_table,
    write_table,
)

ALONE = {
    "GATE-PROJECT",
    "GATE-SECURE-VERSION",
    "GATE-TABLE-SAME",
    "GATE-BOOTLOADER-RULES",
    "GATE-BOOTLOADER-SAME",
    "GATE-CHIP-SAME",
    "GATE-FLASH-SAME",
    "GATE-SIGNATURE-KEY",
}


@pytest.fixture(scope="module")
def previous(tmp_path_factory):
    return good_build(tmp_path_factory.mktemp("previous"), version="1.0.0")


@pytest.fixture
def build(tmp_path):
    return good_build(tmp_path / "build", version="2.0.0")


def test_the_next_release_passes(build, previous):
    found = outcomes(build, previous)
    assert of_status(found, Status.FAILED) | of_status(found, Status.NOT_DONE) == set()
    assert of_status(found, Status.PASSED) >= ALONE - {"GATE-SIGNATURE-KEY"}
    assert "1.0.0 → 2.0.0" in found["GATE-VERSION"].found


def test_without_a_previous_release_the_comparisons_say_so(build):
    found = outcomes(build)
    assert {name for name in ALONE if found[name].status is Status.NOT_APPLICABLE} == ALONE
    assert all("--previous" in found[name].found for name in ALONE)


def test_the_same_version_again(build, tmp_path):
    assert failing(build, shutil.copytree(build, tmp_path / "old")) == {"GATE-VERSION"}


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("1.9.9", Status.WARNING),
        ("1.9.9-dirty", Status.WARNING),
        ("v1.9-5-gabc", Status.WARNING),
        ("2.0.0-rc1", Status.WARNING),
        ("2.0.1", Status.PASSED),
        ("2.0-3-gabc", Status.PASSED),
        ("nightly", Status.PASSED),
    ],
)
def test_a_version_number_that_goes_down_is_warned_of(build, tmp_path, version, status):
    found = outcomes(good_build(tmp_path, version=version), build)["GATE-VERSION"]
    assert (found.status, "goes down" in found.found) == (status, status is Status.WARNING)


@pytest.mark.parametrize("limit", [0, 0xFFFF])
def test_a_previous_app_for_chips_of_any_revision(build, previous, limit):
    (previous / APP).write_bytes(build_image(chip="esp32c3", version="1.0.0", max_revision=limit, segments=CODE))
    found = outcomes(build, previous)["GATE-CHIP-SAME"]
    assert found.status is Status.WARNING
    assert "before without a limit" in found.found


def test_another_project(previous, tmp_path):
    other = good_build(tmp_path, project="thermostat")
    assert failing(other, previous) == {"GATE-PROJECT"}


def test_a_lower_secure_version(tmp_path):
    old = good_build(tmp_path / "old", variant="anti_rollback", version="1.0.0", secure_version=3)
    lower = good_build(tmp_path / "lower", variant="anti_rollback", secure_version=2)
    equal = good_build(tmp_path / "equal", variant="anti_rollback", secure_version=3)
    assert failing(lower, old) == {"GATE-SECURE-VERSION"}
    assert failing(equal, old) == set()


def test_rollback_switched_on_for_devices_whose_bootloader_has_none(build, tmp_path):
    old = good_build(tmp_path / "old", variant="no_rollback", version="1.0.0")
    found = outcomes(build, old)
    assert of_status(found, Status.FAILED) == {"GATE-BOOTLOADER-RULES"}
    assert found["GATE-BOOTLOADER-SAME"].status is Status.WARNING


def test_a_narrower_efuse_field(tmp_path):
    old = good_build(tmp_path / "old", variant="anti_rollback", version="1.0.0")
    new = good_build(tmp_path / "new", variant="anti_rollback")
    configure(new, BOOTLOADER_APP_SEC_VER_SIZE_EFUSE_FIELD=8)
    assert failing(new, old) == {"GATE-BOOTLOADER-RULES"}


def test_a_bootloader_that_differs_is_warned_of_unless_only_its_build_time_does(build, tmp_path):
    old = shutil.copytree(build, tmp_path / "old")
    for folder, date, code in ((old, "Jan  1 2025 12:00:00", 1), (build, "Feb  2 2025 13:13:13", 1)):
        image = build_bootloader(chip="esp32c3", date_time=date, code=bytes([code]) * 64)
        (folder / BOOTLOADER).write_bytes(image)
    assert outcomes(build, old)["GATE-BOOTLOADER-SAME"].status is Status.PASSED
    (build / BOOTLOADER).write_bytes(build_bootloader(chip="esp32c3", code=bytes([2]) * 64))
    found = outcomes(build, old)["GATE-BOOTLOADER-SAME"]
    assert found.status is Status.WARNING
    assert "in the field keep the previous one" in found.found


def test_an_app_that_old_chips_refuse(build, previous):
    (build / APP).write_bytes(build_image(chip="esp32c3", version="2.0.0", min_revision=4, segments=CODE))
    assert failing(build, previous) == {"GATE-CHIP-SAME"}


def test_larger_flash_than_devices_have(build, previous):
    edit_json(build / ARGS, {"flash_settings": {"flash_mode": "dio", "flash_size": "8MB", "flash_freq": "80m"}})
    assert failing(build, previous) == {"GATE-FLASH-SAME"}


def test_another_flash_mode_is_warned_of(build, previous):
    edit_json(build / ARGS, {"flash_settings": {"flash_mode": "qio", "flash_size": "4MB", "flash_freq": "80m"}})
    found = outcomes(build, previous)
    assert of_status(found, Status.FAILED) == set()
    assert found["GATE-FLASH-SAME"].status is Status.WARNING


def test_an_app_that_fits_only_the_slots_of_a_new_table(build, previous, tmp_path):
    old = shutil.copytree(previous, tmp_path / "old")
    rows = [replace(row, size=0x8000) if row.slot == "ota_1" else row for row in read_table(old)]
    write_table(old, rows)
    assert failing(build, old) == {"GATE-APP-FITS", "GATE-TABLE-SAME"}


def test_a_piece_missing_of_the_previous_release(build, previous, tmp_path):
    old = shutil.copytree(previous, tmp_path / "old")
    (old / APP).unlink()
    found = outcomes(build, old)
    assert of_status(found, Status.FAILED) == set()
    assert of_status(found, Status.NOT_DONE) == {
        "GATE-VERSION",
        "GATE-PROJECT",
        "GATE-SECURE-VERSION",
        "GATE-CHIP-SAME",
        "GATE-FLASH-SAME",
    }


ROWS = PartitionTable.from_csv(
    "nvs, data, nvs, 0x9000, 0x4000\notadata, data, ota, 0xd000, 0x2000\nphy_init, data, phy, 0xf000, 0x1000\n"
    "ota_0, app, ota_0, 0x10000, 1M\nota_1, app, ota_1, 0x110000, 1M\n"
).entries


@st.composite
def changed_rows(draw: st.DrawFn) -> tuple[Partition, ...]:
    """The rows with one field of one row otherwise, one row fewer or more, or two rows exchanged."""
    number = draw(st.integers(0, len(ROWS) - 1))
    row = ROWS[number]
    rows = list(ROWS)
    field = draw(st.sampled_from(["label", "type", "subtype", "offset", "size", "flags", "drop", "add", "swap"]))
    if field == "drop":
        del rows[number]
    elif field == "add":
        rows.insert(number, replace(row, label="more", offset=0x300000, size=0x1000))
    elif field == "swap":
        other = (number + draw(st.integers(1, len(ROWS) - 1))) % len(ROWS)
        rows[number], rows[other] = rows[other], rows[number]
    else:
        limits = {"type": 0xFF, "subtype": 0xFF, "offset": 0xFFFFFFFF, "size": 0xFFFFFFFF, "flags": 0xFFFFFFFF}
        values = st.text("abcxyz_0", min_size=1, max_size=15) if field == "label" else st.integers(0, limits[field])
        value = draw(values.filter(lambda value: value != getattr(row, field)))
        rows[number] = replace(row, **{field: value})
    return tuple(rows)


@pytest.fixture(scope="module")
def loaded(previous):
    return replace(pieces(previous), table=Piece(PartitionTable(ROWS)))


@settings(deadline=None)
@given(rows=changed_rows())
def test_any_single_change_of_the_table_is_found(loaded, rows):
    changed = replace(loaded, table=Piece(PartitionTable(rows)))
    check = catalogue.BY_ID["GATE-TABLE-SAME"]
    found = check.run(Release(changed, loaded))
    assert found.status is Status.FAILED
    first = next(number for number in range(len(ROWS) + 1) if rows[number : number + 1] != ROWS[number : number + 1])
    assert f"row {first}: " in found.found
    assert check.run(Release(loaded, loaded)).status is Status.PASSED
