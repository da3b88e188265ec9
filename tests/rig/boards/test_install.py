"""What flash holds when a test begins: every byte of it is said, by the build, by the test, or erased."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.boards.firmware import FirmwareBuild
from rig.boards.install import end_of, flash_content, regions_without, slot_of
from rig.errors import UserError
from rig.idf.partitions import Partition
from rig.virtual.builds import make_build

BLANK = (b"", b"")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("builds")

    def build(variant, chip="esp32c3"):
        path = folder / f"{variant}-{chip}"
        if not path.exists():
            make_build(path, variant=variant, chip=chip, version="1.0.0")
        return FirmwareBuild.load(path)

    return build


def described(build, bootloader=None, otadata=BLANK, slots=None):
    return flash_content(build, bootloader or build, otadata, slots or {})


@pytest.mark.parametrize("variant", ["rollback", "factory", "three_slots", "factory_reset"])
@pytest.mark.parametrize("chip", ["esp32c3", "esp32"])
def test_the_files_of_the_build_are_where_its_flasher_args_say_and_the_rest_is_erased(shelf, variant, chip):
    build = shelf(variant, chip)
    content = bytearray(described(build))
    assert len(content) == end_of(build.table)
    for offset, path in build.flash_files.items():
        data = path.read_bytes()
        assert content[offset : offset + len(data)] == data
        content[offset : offset + len(data)] = b"\xff" * len(data)
    assert content.count(0xFF) == len(content)


def test_the_bootloader_of_another_build_takes_the_place_of_its_own(shelf):
    build, other = shelf("rollback"), shelf("no_rollback")
    own, taken = described(build), described(build, bootloader=other)
    data = other.bootloader_path.read_bytes()
    at = other.bootloader_offset
    assert taken[at : at + len(data)] == data
    assert data != build.bootloader_path.read_bytes()
    assert taken[0x8000:] == own[0x8000:]


@given(st.binary(max_size=32), st.binary(max_size=32))
def test_select_entries_lie_at_the_start_of_their_sectors_and_nothing_else_changes(shelf, first, second):
    build = shelf("rollback")
    plain, content = described(build), described(build, otadata=(first, second))
    at = build.otadata_offset
    assert content[at : at + 0x1000] == first.ljust(0x1000, b"\xff")
    assert content[at + 0x1000 : at + 0x2000] == second.ljust(0x1000, b"\xff")
    assert content[:at] + content[at + 0x2000 :] == plain[:at] + plain[at + 0x2000 :]


@pytest.mark.parametrize("size", [0, 1, 0x1000, 0xFFFFF, 0x100000])
def test_a_slot_holds_what_is_given_and_is_erased_behind_it(shelf, size):
    build = shelf("rollback")
    slot = slot_of(build.table, "ota_1")
    content = described(build, slots={"ota_1": b"\x5a" * size})
    assert content[slot.offset : slot.end] == (b"\x5a" * size).ljust(slot.size, b"\xff")


def test_what_is_given_for_a_slot_replaces_the_app_of_the_build(shelf):
    build = shelf("rollback")
    slot = slot_of(build.table, "ota_0")
    content = described(build, slots={"ota_0": b"short"})
    assert content[slot.offset : slot.end] == b"short".ljust(slot.size, b"\xff")


def test_an_image_larger_than_its_slot_is_refused_with_both_sizes(shelf):
    with pytest.raises(UserError, match="1048577 bytes do not fit into ota_1 of 1048576 bytes"):
        described(shelf("rollback"), slots={"ota_1": b"x" * 0x100001})


def test_an_unknown_slot_is_refused_with_the_slots_there_are(shelf):
    with pytest.raises(UserError, match=r"no slot 'ota_2'[\s\S]*factory, ota_0, ota_1"):
        slot_of(shelf("factory").table, "ota_2")


@given(st.integers(0, 15), st.integers(1, 8))
def test_leaving_out_a_partition_leaves_all_the_rest(first, sectors):
    content = bytes(number % 251 for number in range(0x1000)) * 16
    kept = Partition("nvs", 1, 2, first * 0x1000, min(sectors, 16 - first) * 0x1000)
    regions = regions_without(content, kept)
    covered = {place for offset, data in regions.items() for place in range(offset, offset + len(data))}
    assert covered == set(range(len(content))) - set(range(kept.offset, kept.end))
    assert all(content[offset : offset + len(data)] == data for offset, data in regions.items())


def test_without_a_partition_to_keep_everything_is_one_region():
    assert regions_without(b"abc", None) == {0: b"abc"}
