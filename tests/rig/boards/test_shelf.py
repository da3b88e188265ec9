"""Firmware on demand: made once, read back like any build, and what it says is what was asked for."""

import pytest

from rig.boards.shelf import BuiltShelf, InsteadOf, SynthesisedShelf
from rig.errors import NotApplicable, UserError
from rig.idf.image import parse
from rig.virtual.builds import make_build


@pytest.fixture
def shelf(tmp_path):
    return SynthesisedShelf(tmp_path, "esp32c3", "v5.5")


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
    assert SynthesisedShelf(tmp_path, "esp32c3", idf).build("rollback", "1.0.0").boot_config.idf_version == idf


def test_the_app_is_the_image_of_the_build(shelf):
    image = parse(shelf.app("rollback", "3.1.4"))
    assert image.desc is not None
    assert (image.desc.version, image.chip.name) == ("3.1.4", "esp32c3")


@pytest.mark.parametrize("chip", ["esp32c3", "esp32", "esp32s3", "esp32c6"])
def test_the_app_for_another_chip_is_good_but_never_for_this_one(tmp_path, chip):
    image = parse(SynthesisedShelf(tmp_path, chip, "v5.5").app_for_another_chip("2.0.0"))
    assert image.chip.name != chip
    assert image.desc is not None
    assert image.desc.version == "2.0.0"


def test_an_unknown_variant_is_refused_with_the_variants_there_are(shelf):
    with pytest.raises(UserError, match=r"unknown build variant 'rolback'[\s\S]*no_rollback.*, rollback"):
        shelf.build("rolback", "1.0.0")


# --- builds that lie in a folder -------------------------------------------------------------------------------------


@pytest.fixture
def built(tmp_path):
    """A shelf as `rig build` fills it, with one build."""
    make_build(tmp_path / "builds/esp32c3/rollback/1.0.0", variant="rollback", chip="esp32c3", version="1.0.0")
    return BuiltShelf(tmp_path / "builds", "esp32c3", tmp_path / "scratch")


def test_what_was_built_is_found(built):
    assert built.build("rollback", "1.0.0").version == "1.0.0"
    assert parse(built.app("rollback", "1.0.0")).desc.version == "1.0.0"


@pytest.mark.parametrize(("variant", "version"), [("factory", "1.0.0"), ("rollback", "2.0.0")])
def test_what_was_not_built_is_no_fault_and_says_how_to_build_it(built, variant, version):
    with pytest.raises(NotApplicable, match=rf"{variant} {version} is not built") as caught:
        built.build(variant, version)
    assert caught.value.hint == f"rig build --target esp32c3 --variant {variant}"


def test_a_variant_that_nobody_knows_is_a_user_error(built):
    with pytest.raises(UserError, match="unknown build variant 'rolback'"):
        built.build("rolback", "1.0.0")


@pytest.mark.parametrize(
    ("chip", "version", "said"),
    [("esp32s3", "2.0.0", "this build is for esp32s3, not esp32c3"), ("esp32c3", "3.0.0", "version 3.0.0, its folder")],
)
def test_a_build_in_the_wrong_folder_is_refused(built, tmp_path, chip, version, said):
    make_build(tmp_path / "builds/esp32c3/rollback/2.0.0", variant="rollback", chip=chip, version=version)
    with pytest.raises(UserError, match=said):
        built.build("rollback", "2.0.0")


def test_an_app_for_another_chip_needs_no_build(built):
    assert parse(built.app_for_another_chip("2.0.0")).chip.name != "esp32c3"


def test_another_variant_takes_the_place_of_rollback_and_of_nothing_else(shelf):
    control = InsteadOf(shelf, "no_rollback")
    plain = shelf.build("no_rollback", "1.0.0")
    assert control.build("rollback", "1.0.0").bootloader_path == plain.bootloader_path
    assert control.build("factory", "1.0.0") == shelf.build("factory", "1.0.0")
    assert control.app("rollback", "1.0.0") == shelf.app("no_rollback", "1.0.0")


def test_what_takes_the_place_of_rollback_is_held_to_rollback(shelf):
    control = InsteadOf(shelf, "no_rollback")
    assert control.build("rollback", "1.0.0").boot_config.rollback
    assert not control.build("no_rollback", "1.0.0").boot_config.rollback
