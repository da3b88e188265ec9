"""The emulated flash chip: writes seen as erases and programs, counted, and cut at exactly one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.emulator.disk import LATE_WRITES, Disk, DiskCut, FlashMutation, mutations_of
from rig.emulator.nbd_server import Gone
from rig.idf.effects import SECTOR_SIZE, Erase, Program
from rig.idf.memory import FlashImage

SIZE = 0x4000
ALL = (0, SIZE)


def changes(offset: int, data: bytes, before: bytes) -> list[FlashMutation]:
    split = mutations_of(offset, data, before)
    assert split.impossible is None
    return list(split.mutations)


@pytest.fixture
def disk() -> Disk:
    return Disk(SIZE)


def test_a_sector_of_ff_is_an_erase_even_if_nothing_changes() -> None:
    for before in (b"\xff", b"\x12"):
        assert changes(0x1000, b"\xff" * 0x1000, before * 0x1000) == [Erase(0x1000)]


def test_a_block_erase_is_one_erase_for_each_sector_in_ascending_order() -> None:
    assert changes(0x1000, b"\xff" * 0x3000, bytes(0x3000)) == [Erase(0x1000), Erase(0x2000), Erase(0x3000)]


def test_a_page_that_was_rounded_up_is_a_program_from_its_first_changed_byte_to_its_last() -> None:
    before = bytes(range(256))
    after = bytearray(before)
    after[0x21] = after[0x24] = 0
    assert changes(0x3100, bytes(after), before) == [Program(0x3121, bytes(after[0x21:0x25]))]


def test_a_write_over_several_pages_is_a_program_for_each_page_that_changed() -> None:
    before = b"\xff" * 0x300
    after = b"\xff" * 0xFF + b"\1\2" + b"\xff" * 0x1FF
    assert changes(0x1000, after, before) == [Program(0x10FF, b"\1"), Program(0x1100, b"\2")]


def test_a_program_that_changes_nothing_is_none() -> None:
    assert changes(0, b"abc", b"abc") == []
    assert changes(0, b"\xff" * 256, b"\xff" * 256) == []


@pytest.mark.parametrize("before", [b"\0", b"\xff"])
def test_an_erase_and_a_program_that_were_merged_are_seen_as_both(before: bytes) -> None:
    after = b"new".ljust(SECTOR_SIZE, b"\xff")
    assert changes(0x1000, after, before * SECTOR_SIZE) == [Erase(0x1000), Program(0x1000, b"new")]


def test_a_program_that_would_set_a_bit_is_impossible_and_says_where() -> None:
    assert mutations_of(0x1010, b"\xf0\x0f\xff", b"\xff\x0e\x01").impossible == 0x1011


def let_time_pass(disk: Disk) -> None:
    """As many writes as QEMU never lets one wait behind."""
    for _ in range(LATE_WRITES + 1):
        disk.write(0, b"")


@pytest.fixture
def told() -> list[object]:
    return []


@pytest.fixture
def written(told: list[object]) -> Disk:
    """A disk whose second sector holds zeros."""
    disk = Disk(SIZE)
    disk.write(0x1000, bytes(SECTOR_SIZE))
    disk.observer = disk.on_impossible = told.append
    return disk


def test_programs_that_overtook_the_erase_of_their_sector_are_seen_behind_it(written: Disk, told: list[object]) -> None:
    written.write(0x1000, b"new".ljust(256, b"\xff"))
    written.write(0x1100, bytes(256))
    assert told == []
    written.write(0x1000, b"newer".ljust(256, b"\xff") + bytes(256) + b"\xff" * (SECTOR_SIZE - 512))
    let_time_pass(written)
    assert told == [Erase(0x1000), Program(0x1000, b"newer"), Program(0x1100, bytes(256))]


def test_a_program_whose_erase_never_comes_is_complained_of(written: Disk, told: list[object]) -> None:
    written.write(0x1000, b"\x00\x01".ljust(256, b"\0"))
    let_time_pass(written)
    assert told == ["a program at flash 0x1001 would set bits that are 0"]
    assert written.read(0x1000, 256) == bytes(256)


def test_what_waited_for_an_erase_is_forgotten_when_power_comes_back(written: Disk, told: list[object]) -> None:
    written.write(0x1000, b"\xff" * 256)
    written.thaw()
    let_time_pass(written)
    assert told == []


WRITE = st.one_of(
    st.tuples(st.integers(0, SIZE // SECTOR_SIZE - 1).map(lambda n: n * SECTOR_SIZE), st.just(b"\xff" * SECTOR_SIZE)),
    st.tuples(st.integers(0, SIZE - 600), st.binary(max_size=600)),
    st.tuples(
        st.integers(0, SIZE // SECTOR_SIZE - 1).map(lambda n: n * SECTOR_SIZE),
        st.binary(max_size=600).map(lambda data: data.ljust(SECTOR_SIZE, b"\xff")),
    ),
)


@given(writes=st.lists(WRITE, max_size=15))
def test_whatever_is_written_the_mutations_alone_tell_what_flash_holds(writes: list[tuple[int, bytes]]) -> None:
    disk, replayed, plain = Disk(SIZE), FlashImage.erased(SIZE), bytearray(b"\xff" * SIZE)
    disk.observer = replayed.apply
    possible: list[str] = []
    disk.on_impossible = possible.append
    for offset, data in writes:
        disk.write(offset, data)
        plain[offset : offset + len(data)] = data
    let_time_pass(disk)
    assert disk.read(0, SIZE) == replayed.read(0, SIZE)
    if not possible:
        assert disk.read(0, SIZE) == plain


@given(before=st.binary(min_size=1, max_size=700), offset=st.integers(0, 600), data=st.data())
def test_a_program_never_reaches_over_a_page(before: bytes, offset: int, data: st.DataObject) -> None:
    after = data.draw(st.binary(min_size=len(before), max_size=len(before)))
    for mutation in mutations_of(offset, after, before).mutations:
        assert isinstance(mutation, Program)
        assert mutation.offset // 256 == (mutation.offset + len(mutation.data) - 1) // 256
        index = mutation.offset - offset
        assert mutation.data[0] != before[index]
        assert mutation.data[-1] != before[index + len(mutation.data) - 1]


def test_an_impossible_program_is_reported_and_changes_nothing(disk: Disk) -> None:
    said: list[str] = []
    disk.on_impossible = said.append
    disk.write(0x100, b"\x0f")
    disk.write(0x100, b"\xf1")
    let_time_pass(disk)
    assert said == ["a program at flash 0x100 would set bits that are 0"]
    assert disk.read(0x100, 1) == b"\x0f"


def test_writes_erases_and_programs_are_counted(disk: Disk) -> None:
    disk.write(0, b"\xff" * 0x1000)
    disk.write(0, b"\0")
    disk.write(0, b"\0")
    assert disk.counts == {"write": 3, "erase": 1, "program": 1}


def test_loading_from_outside_is_neither_counted_nor_cut(disk: Disk) -> None:
    disk.arm(DiskCut(*ALL))
    disk.load(0, b"image")
    assert disk.read(0, 5) == b"image"
    assert not disk.counts
    assert not disk.wait_fired(0)


# --- cuts ----------------------------------------------------------------------------------------------------------


def cut_at(disk: Disk, cut: DiskCut, offset: int, data: bytes) -> None:
    disk.arm(cut)
    with pytest.raises(Gone):
        disk.write(offset, data)
    assert disk.wait_fired(0)


@pytest.mark.parametrize(
    ("phase", "holds"), [("before", b"\xff\xff\xff\xff"), ("torn", b"\1\2\xff\xff"), ("after", b"\1\2\3\4")]
)
def test_a_program_is_cut_before_in_the_middle_or_after(disk: Disk, phase: str, holds: bytes) -> None:
    cut_at(disk, DiskCut(*ALL, phase=phase, keep=2), 0x100, b"\1\2\3\4")  # type: ignore[arg-type]
    assert disk.read(0x100, 4) == holds


@pytest.mark.parametrize(("phase", "erased"), [("before", 0), ("torn", 0x800), ("after", 0x1000)])
def test_an_erase_is_cut_before_in_the_middle_or_after(disk: Disk, phase: str, erased: int) -> None:
    disk.load(0x1000, bytes(0x1000))
    cut_at(disk, DiskCut(*ALL, phase=phase, keep=0x800), 0x1000, b"\xff" * 0x1000)  # type: ignore[arg-type]
    assert disk.read(0x1000, 0x1000) == b"\xff" * erased + bytes(0x1000 - erased)


@pytest.mark.parametrize("keep", [4, 5, 10**6])
def test_a_torn_mutation_that_keeps_all_of_it_is_complete(disk: Disk, keep: int) -> None:
    cut_at(disk, DiskCut(*ALL, phase="torn", keep=keep), 0x100, b"\1\2\3\4")
    assert disk.read(0xFF, 6) == b"\xff\1\2\3\4\xff"


def test_nothing_is_carried_out_after_a_cut_until_power_is_back(disk: Disk) -> None:
    cut_at(disk, DiskCut(*ALL), 0, b"\0")
    assert disk.frozen
    with pytest.raises(Gone):
        disk.write(1, b"\0")
    assert disk.read(0, 2) == b"\0\xff"
    disk.thaw()
    disk.write(1, b"\0")
    assert disk.read(0, 2) == b"\0\0"


def test_a_cut_inside_one_write_leaves_the_rest_of_that_write_undone(disk: Disk) -> None:
    cut_at(disk, DiskCut(0x100, 0x200, kind="program", phase="before"), 0, bytes(0x300))
    assert disk.read(0, 0x300) == bytes(0x100) + b"\xff" * 0x200


def test_the_cut_comes_at_the_nth_mutation_of_its_kind_and_range(disk: Disk) -> None:
    disk.arm(DiskCut(0x1000, 0x2000, kind="program", nth=2))
    disk.write(0x1000, b"\xff" * 0x1000)
    disk.write(0x0FFF, b"\0")
    disk.write(0x2000, b"\0")
    disk.write(0x1000, b"\0")
    assert not disk.wait_fired(0)
    with pytest.raises(Gone):
        disk.write(0x1FFF, b"\0")
    assert disk.wait_fired(0)


def test_a_disarmed_cut_does_not_happen_and_a_new_one_counts_anew(disk: Disk) -> None:
    disk.arm(DiskCut(*ALL, nth=2))
    disk.write(0, b"\0")
    disk.disarm()
    disk.write(1, b"\0")
    disk.arm(DiskCut(*ALL, nth=2))
    disk.write(2, b"\0")
    assert not disk.wait_fired(0)


def test_the_process_is_told_before_anyone_else_that_power_is_gone(disk: Disk) -> None:
    fired = []
    disk.on_cut = lambda: fired.append(disk.wait_fired(0))
    cut_at(disk, DiskCut(*ALL), 0, b"\0")
    assert fired == [False]


def test_a_torn_program_is_observed_as_the_part_that_was_done(disk: Disk) -> None:
    seen: list[FlashMutation] = []
    disk.observer = seen.append
    cut_at(disk, DiskCut(*ALL, phase="torn", keep=1), 0x100, b"\1\2")
    assert seen == [Program(0x100, b"\1")]


def test_a_cut_that_could_never_come_is_refused(disk: Disk) -> None:
    with pytest.raises(ValueError, match="counts from 1"):
        disk.arm(DiskCut(*ALL, nth=0))
    with pytest.raises(ValueError, match="multiple"):
        Disk(0x1800)
