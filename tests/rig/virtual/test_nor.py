"""NOR flash: what programming, erasing and losing power leave behind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.idf.effects import SECTOR_SIZE, Erase, Program
from rig.virtual.clock import Clock
from rig.virtual.cpu import ChipHalted
from rig.virtual.nor import FlashMisuse, NorFlash, StrictNorFlash, UnerasedProgram
from rig.virtual.tap import MAX_UNDEFINED, Cut

SIZE = 4 * SECTOR_SIZE
offsets = st.integers(0, SIZE - 600)
contents = st.binary(min_size=1, max_size=600)


def filled(pattern: bytes) -> NorFlash:
    flash = NorFlash(SIZE)
    flash.load(0, (pattern * (SIZE // len(pattern) + 1))[:SIZE])
    return flash


def test_new_flash_is_erased() -> None:
    assert NorFlash(SIZE).read(0, SIZE) == b"\xff" * SIZE


def test_reading_past_the_end_gives_erased_bytes() -> None:
    assert filled(b"\0").read(SIZE - 2, 5) == b"\0\0\xff\xff\xff"


@given(offset=offsets, old=contents, new=contents)
def test_programming_never_sets_a_bit(offset: int, old: bytes, new: bytes) -> None:
    flash = NorFlash(SIZE)
    flash.load(offset, old)
    before = flash.read(0, SIZE)
    flash.program(offset, new)
    expected = bytearray(before)
    for index, value in enumerate(new):
        expected[offset + index] &= value
    assert flash.read(0, SIZE) == bytes(expected)


@given(offset=offsets, data=contents)
def test_programming_is_split_at_page_boundaries(offset: int, data: bytes) -> None:
    flash = NorFlash(SIZE)
    flash.tap.start_recording()
    flash.program(offset, data)
    pages = [record.mutation for record in flash.tap.stop_recording()]
    assert all(
        isinstance(page, Program) and page.offset // 256 == (page.offset + len(page.data) - 1) // 256 for page in pages
    )
    assert b"".join(page.data for page in pages if isinstance(page, Program)) == data


def test_erasing_sets_one_sector_and_counts_its_wear() -> None:
    flash = filled(b"\0")
    flash.erase_sector(SECTOR_SIZE)
    assert flash.read(0, SIZE) == bytes(SECTOR_SIZE) + b"\xff" * SECTOR_SIZE + bytes(2 * SECTOR_SIZE)
    assert flash.wear == [0, 1, 0, 0]


def test_a_range_erase_is_one_erase_for_each_sector_it_touches() -> None:
    flash = filled(b"\0")
    flash.tap.start_recording()
    flash.erase_range(SECTOR_SIZE - 1, 2)
    assert [record.mutation for record in flash.tap.records] == [Erase(0), Erase(SECTOR_SIZE)]


def test_operations_take_virtual_time() -> None:
    clock = Clock()
    flash = NorFlash(SIZE, clock)
    flash.erase_sector(0)
    flash.program(0, bytes(257))
    assert clock.now() == pytest.approx(0.045 + 2 * 0.0007)


@pytest.mark.parametrize("offset", [1, SIZE, -SECTOR_SIZE])
def test_an_erase_outside_or_misaligned_is_refused(offset: int) -> None:
    with pytest.raises(FlashMisuse):
        NorFlash(SIZE).erase_sector(offset)


def test_programming_past_the_end_is_refused() -> None:
    with pytest.raises(FlashMisuse):
        NorFlash(SIZE).program(SIZE - 1, b"\0\0")


def test_strict_flash_refuses_to_set_a_bit_by_programming() -> None:
    flash = StrictNorFlash(SIZE)
    flash.program(0, b"\x0f")
    flash.program(0, b"\x03")
    with pytest.raises(UnerasedProgram, match="0x0 is 0x03"):
        flash.program(0, b"\x07")


@given(keep=st.none() | st.integers(0, SECTOR_SIZE), seed=st.integers(0, 2**32))
def test_a_torn_erase_leaves_erased_then_undefined_then_old_bytes(keep: int | None, seed: int) -> None:
    flash = filled(b"\x5a")
    flash.tap.arm(Cut(kind="erase", phase="torn", keep=keep, seed=seed))
    with pytest.raises(ChipHalted):
        flash.erase_sector(SECTOR_SIZE)
    sector = flash.read(SECTOR_SIZE, SECTOR_SIZE)
    old_part = len(sector) - len(sector.rstrip(b"\x5a"))
    erased_part = len(sector) - len(sector.lstrip(b"\xff"))
    assert SECTOR_SIZE - old_part - erased_part <= MAX_UNDEFINED
    if keep is not None:
        assert erased_part >= keep
    assert flash.read(0, SECTOR_SIZE) + flash.read(2 * SECTOR_SIZE, SECTOR_SIZE) == b"\x5a" * 2 * SECTOR_SIZE
    assert flash.wear[1] == 1


@given(length=st.integers(1, 256), keep=st.none() | st.integers(0, 256), seed=st.integers(0, 2**32))
def test_a_torn_program_leaves_a_prefix(length: int, keep: int | None, seed: int) -> None:
    flash = NorFlash(SIZE)
    flash.tap.arm(Cut(kind="program", phase="torn", keep=keep, seed=seed))
    with pytest.raises(ChipHalted):
        flash.program(0, bytes(length))
    written = flash.read(0, 256).count(0)
    assert flash.read(0, 256) == bytes(written) + b"\xff" * (256 - written)
    assert written <= length
    if keep is not None:
        assert written == min(keep, length)


@given(nth=st.integers(1, 12), phase=st.sampled_from(["before", "after"]))
def test_a_cut_at_mutation_n_leaves_exactly_the_mutations_before_it(nth: int, phase: str) -> None:
    def work(flash: NorFlash) -> None:
        for sector in range(4):
            flash.erase_sector(sector * SECTOR_SIZE)
            flash.program(sector * SECTOR_SIZE + 250, bytes([sector]) * 12)

    whole, cut = filled(b"\0"), filled(b"\0")
    whole.tap.start_recording()
    work(whole)
    cut.tap.arm(Cut(nth=nth, phase=phase))  # type: ignore[arg-type]
    with pytest.raises(ChipHalted):
        work(cut)
    expected = filled(b"\0")
    for record in whole.tap.records[: nth - (phase == "before")]:
        if isinstance(record.mutation, Erase):
            expected.erase_sector(record.mutation.offset)
        elif isinstance(record.mutation, Program):
            expected.program(record.mutation.offset, record.mutation.data)
    assert cut.read(0, SIZE) == expected.read(0, SIZE)
