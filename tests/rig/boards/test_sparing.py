"""eFuses of silicon that nobody gave up: whatever content and by whatever way, nothing that burns them is written."""

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.boards import kinds
from rig.boards.firmware import FirmwareBuild
from rig.boards.install import flash_content
from rig.boards.inventory import SerialBoardSection
from rig.boards.serial import open_board
from rig.boards.sparing import burner_in, burners
from rig.errors import NotApplicable
from rig.idf.flash_cipher import cipher_for
from rig.idf.image_build import build_image
from rig.virtual.builds import make_build

NOWHERE = "rfc2217://127.0.0.1:1"
"""A port that nobody listens on: reaching for the board would be a bench fault, not a refusal."""


def desk(**keys):
    return open_board(SerialBoardSection(name="desk", kind="serial", chip="esp32c3", port=NOWHERE, **keys))


def app(secure_version):
    return build_image(chip="esp32c3", version="1.0.0", secure_version=secure_version)


def build(folder, variant, **more):
    return FirmwareBuild.load(make_build(folder / variant, variant=variant, chip="esp32c3", version="1.0.0", **more))


def content(build, bootloader=None, slots=None):
    return flash_content(build, bootloader or build, (b"", b""), slots or {})


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("builds")
    names = ("rollback", "anti_rollback_1", "anti_rollback_1_emulated", "flash_encryption")
    return {name: build(folder, name) for name in names}


@given(sector=st.integers(0, 0x1FF), version=st.integers(0, 0xFFFFFFFF), behind=st.binary(max_size=64))
def test_an_app_burns_what_its_descriptor_says_wherever_it_lies(sector, version, behind):
    regions = {0x10000: b"\xff" * (sector * 0x1000) + app(version) + behind}
    assert [found.what for found in burners(regions)] == (
        [f"an app with secure version {version} burns it when it is confirmed"] if version else []
    )


def test_a_region_that_does_not_begin_with_a_sector_is_looked_through_as_well():
    assert list(burners({0x10800: b"\xff" * 0x800 + app(3)}))


@pytest.mark.parametrize(
    ("text", "feature"),
    [
        (b"E (%lu) %s: Initialization of Flash Encryption key failed (%d)", "flash encryption"),
        (b"secure_boot_v2\0", "secure boot"),
        (b"E (%lu) %s: Checksum failed", None),
    ],
)
def test_a_bootloader_of_espressif_is_known_by_its_texts(text, feature):
    bootloader = b"\xe9" + bytes(0x100) + text + bytes(0x100)
    found = burner_in(bootloader)
    assert (found and re.search(r"bootloader with (.+) burns", found.what)[1]) == feature


@pytest.mark.parametrize("variant", ["anti_rollback_1", "flash_encryption"])
def test_a_board_is_spared_a_build_that_burns(builds, variant):
    with pytest.raises(NotApplicable, match="eFuses of a real chip stay burnt"):
        desk().flash.restore({0: content(builds[variant])})


def test_a_board_is_spared_the_bootloader_of_another_build(builds):
    with pytest.raises(NotApplicable, match="flash encryption burns a key"):
        desk().flash.restore({0: content(builds["rollback"], bootloader=builds["flash_encryption"])})


def test_a_board_is_spared_an_image_in_a_slot_that_no_build_knows_of(builds):
    with pytest.raises(NotApplicable, match="secure version 9"):
        desk().flash.restore({0: content(builds["rollback"], slots={"ota_1": app(9)})})
    with pytest.raises(NotApplicable, match="secure version 9"):
        desk().demand_harmless(app(9))


def test_a_harmless_build_and_an_image_of_version_0_are_none_of_it(builds):
    regions = {0: content(builds["rollback"], slots={"ota_1": app(0)})}
    assert list(burners(regions)) == []
    desk().sparing.demand(regions)
    desk().demand_harmless(app(0))


class TestBoardsThatGiveSomethingUp:
    def test_emulated_eFuses_need_their_partition_in_the_table(self, builds):
        board = desk(efuse="virtual")
        board.sparing.demand({0: content(builds["anti_rollback_1_emulated"])})
        with pytest.raises(NotApplicable, match="secure version 1"):
            board.flash.restore({0: content(builds["anti_rollback_1"])})

    def test_a_slot_alone_lies_beside_a_table_that_was_looked_at(self):
        desk(efuse="virtual").sparing.demand({0x110000: app(2)})

    def test_eFuses_that_may_be_spent_are_those_of_versions_no_keys(self, builds):
        section = SerialBoardSection(name="spare", kind="serial", chip="esp32c3", port=NOWHERE, efuse="burn")
        asked_once, asked_twice = open_board(section), kinds.with_burning(open_board(section), section)
        with pytest.raises(NotApplicable):
            asked_once.flash.restore({0: content(builds["anti_rollback_1"])})
        asked_twice.flash.sparing.demand({0: content(builds["anti_rollback_1"])})
        asked_twice.demand_harmless(app(1))
        with pytest.raises(NotApplicable, match="flash encryption"):
            asked_twice.flash.restore({0: content(builds["flash_encryption"])})

    def test_an_encrypted_chip_is_spared_by_what_it_will_read(self, builds, tmp_path):
        key = os.urandom(32)
        (tmp_path / "key.bin").write_bytes(key)
        board = desk(encryption_key=tmp_path / "key.bin")
        cipher = cipher_for("esp32c3", key)
        harmless, harmful = (app(version).ljust(0x1000, b"\xff") for version in (0, 4))
        board.sparing.demand({0: content(builds["flash_encryption"])})  # its key is burnt already
        board.sparing.demand({0x20000: cipher.encrypt(0x20000, harmless)})
        with pytest.raises(NotApplicable, match="secure version 4"):
            board.flash.restore({0x20000: cipher.encrypt(0x20000, harmful)})
        secure = (b"\xe9" + bytes(0x2000) + b"flash_encrypt secure_boot_v2").ljust(0x4000, b"\xff")
        with pytest.raises(NotApplicable, match="secure boot burns a key"):
            board.flash.restore({0: cipher.encrypt(0, secure)})
