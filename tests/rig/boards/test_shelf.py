"""Firmware on demand: made once, read back like any build, and what it says is what was asked for."""

import pytest

from rig.boards.shelf import FirmwareShelf
from rig.errors import UserError
from rig.idf.image import parse


@pytest.fixture
def shelf(tmp_path):
    return FirmwareShelf(tmp_path, "esp32c3", "v5.5")


def test_a_build_is_for_the_board_in_the_version_asked_for(shelf):
    build = shelf.build("factory", "1.2.3")
    assert (build.chip, build.version) == ("esp32c3", "1.2.3")
    assert build.table.slot("factory") is not None
    assert build.boot_config.idf_version == "v5.5"


def test_a_build_is_made_once(shelf):
    first = shelf.build("rollback", "1.0.0")
    made = first.app_path.stat().st_mtime_ns
    assert shelf.build("rollback", "1.0.0") is first
    assert first.app_path.stat().st_mtime_ns == made


def test_variants_and_versions_do_not_mix(shelf):
    builds = [
        shelf.build(variant, version) for variant in ("rollback", "no_rollback") for version in ("1.0.0", "2.0.0")
    ]
    assert len({build.app_path for build in builds}) == 4
    assert [build.boot_config.rollback for build in builds] == [True, True, False, False]
    assert [build.version for build in builds] == ["1.0.0", "2.0.0"] * 2


@pytest.mark.parametrize("idf", ["v4.4", "v5.1", "v6.1"])
def test_the_bootloader_follows_the_idf_version_of_the_bench(tmp_path, idf):
    assert FirmwareShelf(tmp_path, "esp32c3", idf).build("rollback", "1.0.0").boot_config.idf_version == idf


def test_the_app_is_the_image_of_the_build(shelf):
    image = parse(shelf.app("rollback", "3.1.4"))
    assert image.desc is not None
    assert (image.desc.version, image.chip.name) == ("3.1.4", "esp32c3")


@pytest.mark.parametrize("chip", ["esp32c3", "esp32", "esp32s3", "esp32c6"])
def test_the_app_for_another_chip_is_good_but_never_for_this_one(tmp_path, chip):
    image = parse(FirmwareShelf(tmp_path, chip, "v5.5").app_for_another_chip("2.0.0"))
    assert image.chip.name != chip
    assert image.desc is not None
    assert image.desc.version == "2.0.0"


def test_an_unknown_variant_is_refused_with_the_variants_there_are(shelf):
    with pytest.raises(UserError, match=r"unknown build variant 'rolback'[\s\S]*no_rollback, rollback"):
        shelf.build("rolback", "1.0.0")
