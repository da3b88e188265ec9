"""Watched flash: whatever a decision looked at is noted, so that bytes that are not noted cannot matter to it."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.idf.config import BootConfig
from rig.idf.effects import SECTOR_SIZE, BurnSecureVersion, Erase, Log, Program
from rig.idf.memory import FlashImage, verify
from rig.idf.vector_images import image
from rig.idf.watched import WatchedFlash, merged

SIZE = 3 * SECTOR_SIZE
SLOT, WITH_APP = 0x10000, 0x11000
CONFIG = BootConfig()
SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda span: (span[0], span[0] + span[1])))
OFFSETS = st.integers(0, SIZE - 1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), OFFSETS, st.integers(1, 5000)),
        st.tuples(st.just("erase"), st.integers(0, 2).map(lambda number: number * SECTOR_SIZE), st.just(0)),
        st.tuples(st.just("program"), OFFSETS, st.integers(1, 300)),
    ),
    max_size=8,
)


def noise(seed: int, size: int = SIZE) -> bytes:
    return Random(seed).randbytes(size)


def with_app(spec: str = "ok:1:1") -> FlashImage:
    flash = FlashImage.erased(WITH_APP)
    flash.load(SLOT, image(spec))
    return flash


def do(flash: FlashImage, steps: list[tuple[str, int, int]]) -> list[bytes]:
    """What a program that does these steps gets to see."""
    seen = []
    for kind, offset, size in steps:
        if kind == "read":
            seen.append(flash.read(offset, size))
        elif kind == "erase":
            flash.apply(Erase(offset))
        else:
            flash.apply(Program(offset, noise(offset, size)))
    return seen


# --- the property it is for ------------------------------------------------------------------------------------------


@given(STEPS, st.integers(0, 9), st.integers(1, 9))
@settings(deadline=None)
def test_a_byte_that_is_not_noted_changes_nothing_that_is_seen(
    steps: list[tuple[str, int, int]], content: int, other: int
) -> None:
    flash = WatchedFlash(noise(content))
    seen = do(flash, steps)
    # Everything that is not noted is something else.
    elsewhere = bytearray(noise(content + other))
    for start, end in flash.reads:
        elsewhere[start:end] = noise(content)[start:end]
    again = WatchedFlash(elsewhere)
    assert do(again, steps) == seen
    assert again.reads == flash.reads


@given(STEPS, st.integers(0, 9))
@settings(deadline=None)
def test_a_byte_that_is_read_before_its_sector_is_erased_is_noted(
    steps: list[tuple[str, int, int]], content: int
) -> None:
    flash = WatchedFlash(noise(content))
    do(flash, steps)
    erased: set[int] = set()
    expected: set[int] = set()
    for kind, offset, size in steps:
        if kind == "erase":
            erased |= set(range(offset, offset + SECTOR_SIZE))
        elif kind == "read":
            expected |= set(range(offset, offset + size)) - erased
    noted = {at for start, end in flash.reads for at in range(start, end)}
    assert {at for at in noted if at < SIZE} == {at for at in expected if at < SIZE}


def test_it_holds_what_any_flash_holds() -> None:
    steps = [("program", 100, 50), ("erase", SECTOR_SIZE, 0), ("program", SECTOR_SIZE, 300), ("read", 90, 5000)]
    assert do(WatchedFlash(noise(1)), steps) == do(FlashImage(noise(1)), steps)


# --- reads, erases, programs -----------------------------------------------------------------------------------------


def test_nothing_is_noted_before_something_is_read() -> None:
    flash = WatchedFlash(noise(1))
    flash.apply(Program(10, b"\0"))
    flash.apply(Erase(0))
    flash.apply(BurnSecureVersion(0, 1))
    flash.apply(Log("I", "boot", "hello"))
    assert flash.reads == ()


def test_what_was_erased_here_is_the_same_whatever_flash_held() -> None:
    flash = WatchedFlash(noise(1))
    flash.apply(Erase(SECTOR_SIZE))
    flash.read(SECTOR_SIZE, SECTOR_SIZE)
    assert flash.reads == ()


def test_what_was_only_programmed_depends_on_what_flash_held() -> None:
    flash = WatchedFlash(noise(1))
    flash.apply(Program(10, bytes(4)))
    flash.read(10, 4)
    assert flash.reads == ((10, 14),)


def test_a_read_across_an_erased_sector_counts_on_both_sides_of_it() -> None:
    flash = WatchedFlash(noise(1))
    flash.apply(Erase(SECTOR_SIZE))
    flash.read(SECTOR_SIZE - 5, SECTOR_SIZE + 10)
    assert flash.reads == ((SECTOR_SIZE - 5, SECTOR_SIZE), (2 * SECTOR_SIZE, 2 * SECTOR_SIZE + 5))


def test_an_erase_does_not_undo_that_its_sector_was_read() -> None:
    flash = WatchedFlash(noise(1))
    flash.read(0, 32)
    flash.apply(Erase(0))
    assert flash.reads == ((0, 32),)


# --- verdicts on images ----------------------------------------------------------------------------------------------


def test_a_verdict_counts_as_everything_it_rests_on() -> None:
    flash = WatchedFlash.of(with_app())
    assert verify(flash, SLOT, SECTOR_SIZE, CONFIG).check.ok
    ((start, end),) = flash.reads
    assert (start, end) == (SLOT, SLOT + len(image("ok:1:1")))


def test_a_verdict_from_memory_counts_like_a_fresh_one() -> None:
    fresh = WatchedFlash.of(with_app())
    verify(fresh, SLOT, SECTOR_SIZE, CONFIG)
    known = with_app()
    verify(known, SLOT, SECTOR_SIZE, CONFIG)
    remembering = WatchedFlash.of(known)
    assert verify(remembering, SLOT, SECTOR_SIZE, CONFIG).check.ok
    assert remembering.reads == fresh.reads


@pytest.mark.parametrize("spec", ["badsum:1", "badhash:1", "badmagic:1", "chip:1", "segs:1", "seglen:1", "erased"])
def test_the_verdict_on_a_bad_image_rests_on_what_is_noted(spec: str) -> None:
    flash = WatchedFlash.of(with_app(spec))
    assert not verify(flash, SLOT, SECTOR_SIZE, CONFIG).check.ok
    other = bytearray(noise(5, WITH_APP))
    for start, end in flash.reads:
        other[start:end] = flash.read(start, end - start)
    assert verify(FlashImage(other), SLOT, SECTOR_SIZE, CONFIG) == verify(flash, SLOT, SECTOR_SIZE, CONFIG)


def test_a_verdict_on_what_was_written_here_rests_on_nothing_from_before() -> None:
    flash = WatchedFlash(noise(1, WITH_APP))
    flash.apply(Erase(SLOT))
    flash.apply(Program(SLOT, image("ok:1:1")))
    assert verify(flash, SLOT, SECTOR_SIZE, CONFIG).check.ok
    assert flash.reads == ()


def test_a_verdict_is_not_remembered_once_its_image_has_changed() -> None:
    flash = WatchedFlash.of(with_app())
    assert verify(flash, SLOT, SECTOR_SIZE, CONFIG).check.ok
    flash.apply(Program(SLOT + 40, bytes(300)))
    assert not verify(flash, SLOT, SECTOR_SIZE, CONFIG).check.ok


# --- copies ----------------------------------------------------------------------------------------------------------


def test_a_copy_of_an_image_leaves_it_alone_and_begins_with_nothing_noted() -> None:
    original = FlashImage(noise(1), secure_version=3)
    flash = WatchedFlash.of(original)
    assert (flash.secure_version, flash.reads) == (3, ())
    flash.apply(Erase(0))
    flash.apply(BurnSecureVersion(3, 4))
    assert original.read(0, SIZE) == noise(1)
    assert original.secure_version == 3


def test_what_is_counted_by_hand_is_noted_too() -> None:
    flash = WatchedFlash(noise(1))
    flash.note(0, SIZE)
    flash.read(10, 10)
    assert flash.reads == ((0, SIZE),)


# --- ranges ----------------------------------------------------------------------------------------------------------


@given(SPANS)
def test_merged_ranges_are_the_same_bytes_in_as_few_ranges_as_there_can_be(spans: list[tuple[int, int]]) -> None:
    found = merged(spans)
    assert {at for span in found for at in range(*span)} == {at for span in spans for at in range(*span)}
    assert all(start < end for start, end in found)
    assert all(one[1] < other[0] for one, other in pairwise(found))
