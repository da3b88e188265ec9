"""Crash images of a recording: which there are, in which order, what each holds, and that they are never all held."""

from __future__ import annotations

import tracemalloc
import weakref
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.crash.images import CrashImages, name_of
from rig.crash.names import Cut, parse
from rig.crash.recording import Recording
from rig.crash.torn import forms
from rig.errors import UserError
from rig.idf.effects import BurnSecureVersion, Erase, Mutation, Program
from rig.idf.memory import FlashImage
from tests.rig.crash.hand import (
    ENTRY_0,
    ENTRY_1,
    NEW,
    OTADATA,
    SECTOR,
    VALID,
    content,
    device,
    entry,
    examples,
    recording,
)

SLOT = 0x20000
RUN: tuple[Mutation, ...] = (
    Erase(SLOT),
    Program(SLOT, b"\xe9" + bytes(199)),
    Erase(ENTRY_1),
    Program(ENTRY_1, entry(2, NEW)),
    BurnSecureVersion(0, 1),
    Program(0x9040, b"nvs"),
)
PLACES = st.sampled_from([ENTRY_0, ENTRY_1, SLOT, 0x9000])
MUTATIONS = st.lists(
    st.one_of(
        st.builds(Erase, PLACES),
        st.builds(Program, st.builds(int.__add__, PLACES, st.integers(0, 64)), st.binary(min_size=1, max_size=64)),
        st.just(BurnSecureVersion(0, 1)),
    ),
    max_size=6,
)


def run(begin: int = 0, mutations: tuple[Mutation, ...] = RUN) -> Recording:
    return recording(device((entry(1, VALID), b"")), mutations, begin=begin)


def by_hand(start: FlashImage, mutations: tuple[Mutation, ...]) -> FlashImage:
    """Flash and eFuse after these mutations, byte by byte."""
    cells, burnt = bytearray(start.read(0, len(start))), start.secure_version
    for mutation in mutations:
        if isinstance(mutation, BurnSecureVersion):
            burnt = mutation.after
        elif isinstance(mutation, Erase):
            for at in range(mutation.offset, mutation.offset + SECTOR):
                cells[at] = 0xFF
        else:
            for at, byte in enumerate(mutation.data, mutation.offset):
                cells[at] &= byte
    return FlashImage(cells, burnt)


# --- which, and in which order ---------------------------------------------------------------------------------------


def test_before_the_first_mutation_then_of_each_its_torn_forms_and_the_whole() -> None:
    names = [name_of(run(), point) for point in CrashImages.of(run()).points()]
    assert names[:11] == [
        "by-hand/m0000",
        "by-hand/m0001/torn-erase-1",
        "by-hand/m0001/torn-erase-2048",
        "by-hand/m0001/torn-erase-tail-2048",
        "by-hand/m0001/torn-erase-loose-1",
        "by-hand/m0001",
        "by-hand/m0002/torn-program-1",
        "by-hand/m0002/torn-program-100",
        "by-hand/m0002/torn-program-199",
        "by-hand/m0002/torn-program-bits-1",
        "by-hand/m0002",
    ]
    assert names[-7:] == [
        "by-hand/m0004/torn-program-word-7",
        "by-hand/m0004",
        "by-hand/m0005",  # an eFuse burn is not torn
        "by-hand/m0006/torn-program-1",
        "by-hand/m0006/torn-program-2",
        "by-hand/m0006/torn-program-bits-1",
        "by-hand/m0006",
    ]


def test_what_came_before_the_part_that_matters_is_not_cut() -> None:
    cuts = [point.cut for point in CrashImages.of(run(begin=3)).points()]
    assert cuts[0] == Cut(3)
    assert {cut.number for cut in cuts[1:]} == {4, 5, 6}


@given(MUTATIONS, st.data())
@examples(100)
def test_as_many_as_are_promised_all_different_and_ascending(mutations: list[Mutation], data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(mutations)))
    made = run(begin, tuple(mutations))
    images = CrashImages.of(made)
    points = list(images.points())
    assert len(points) == len(images)
    assert len({name_of(made, point) for point in points}) == len(points)
    assert [point.cut.number for point in points] == sorted(point.cut.number for point in points)
    assert [point.cut.number for point in points if not point.cut.form] == list(range(begin, len(mutations) + 1))


@pytest.mark.parametrize("entry_at", [ENTRY_0, ENTRY_1])
@pytest.mark.parametrize(
    ("before", "size", "touches"),
    [(-8, 8, False), (-8, 9, True), (-1, 40, True), (0, 1, True), (0, 64, True), (31, 1, True), (32, 8, False)],
)
def test_only_what_touches_a_select_entry_is_torn_at_every_byte(
    entry_at: int, before: int, size: int, touches: bool
) -> None:
    program = Program(entry_at + before, bytes(size))
    assert CrashImages.of(run()).forms(program) == forms(program, touches)


@pytest.mark.parametrize(
    ("sector", "fine"), [(OTADATA - SECTOR, False), (ENTRY_0, True), (ENTRY_1, True), (OTADATA + 2 * SECTOR, False)]
)
def test_only_the_erase_of_a_select_entry_is_torn_at_every_byte(sector: int, fine: bool) -> None:
    assert CrashImages.of(run()).forms(Erase(sector)) == forms(Erase(sector), fine)


# --- what each holds -------------------------------------------------------------------------------------------------


@given(MUTATIONS, st.data())
@examples(30)
def test_a_name_builds_the_whole_mutations_before_and_of_the_torn_one_only_its_own_bytes(
    mutations: list[Mutation], data: st.DataObject
) -> None:
    made = run(0, tuple(mutations))
    images = CrashImages.of(made)
    point = data.draw(st.sampled_from(list(images.points())))
    number, form = parse(name_of(made, point)).cuts[0]
    built = images.build(images.point(Cut(number, form)))
    if not form:
        assert content(built) == content(by_hand(made.start(), made.mutations[:number]))
        return
    torn = made.mutations[number - 1]
    before = by_hand(made.start(), made.mutations[: number - 1])
    start, size = torn.offset, SECTOR if isinstance(torn, Erase) else len(torn.data)
    left, old = built.read(start, size), before.read(start, size)
    around = built.copy()
    around.load(start, old)
    assert content(around) == content(before)
    if form.startswith(("torn-erase-tail-", "torn-erase-loose-", "torn-program-bits-", "torn-program-word-")):
        return
    done = int(form.rpartition("-")[2])
    part = (
        b"\xff" * done
        if isinstance(torn, Erase)
        else bytes(was & new for was, new in zip(old[:done], torn.data[:done], strict=True))
    )
    assert left == part + old[done:]


def test_images_are_the_same_in_whatever_order_they_are_asked_for() -> None:
    images = CrashImages.of(run())
    in_order = {point.cut: content(images.build(point)) for point in images.points()}
    cuts = list(in_order)
    Random(0).shuffle(cuts)
    for cut in cuts:
        assert content(images.build(images.point(cut))) == in_order[cut], cut


def test_of_a_torn_mutation_only_those_before_it_are_whole() -> None:
    """How far the run had come is told from these."""
    images = CrashImages.of(run())
    for point in images.points():
        whole = point.cut.number - bool(point.cut.form)
        assert point.prefix == whole
        assert content(images.before(point)) == content(by_hand(run().start(), RUN[:whole]))


def test_the_same_form_of_the_same_operation_draws_anew_each_time() -> None:
    twice = (*RUN[2:4], *RUN[2:4])
    images = CrashImages.of(run(0, twice))
    first, second = (images.point(Cut(number, "torn-program-bits-1")) for number in (2, 4))
    assert first.patch != second.patch


def test_what_is_drawn_for_an_image_does_not_depend_on_the_others() -> None:
    """A name has the same bytes in a sweep and in a replay, and others in another scenario."""
    cut = Cut(4, "torn-program-bits-2")
    swept = {point.cut: point for point in CrashImages.of(run()).points()}[cut]
    assert CrashImages.of(run()).point(cut) == swept
    elsewhere = recording(device((entry(1, VALID), b"")), RUN, scenario="another")
    assert CrashImages.of(elsewhere).point(cut) != swept


def test_an_image_is_a_copy_of_its_own() -> None:
    images = CrashImages.of(run())
    before = content(images.build(images.point(Cut(2))))
    images.build(images.point(Cut(2))).load(0, bytes(0x30000))
    assert content(images.build(images.point(Cut(2)))) == before


def test_an_efuse_burn_is_in_the_images_after_it_and_in_none_before() -> None:
    images = CrashImages.of(run())
    burnt = {point.cut.number: images.build(point).secure_version for point in images.points()}
    assert burnt == {0: 0, 1: 0, 2: 0, 3: 0, 4: 0, 5: 1, 6: 1}
    assert content(images.build(images.point(Cut(5))))[0] == content(images.build(images.point(Cut(4))))[0]


def test_an_efuse_that_was_burnt_before_is_burnt_in_every_image() -> None:
    made = recording(device((entry(1, VALID), b""), burnt=2), RUN[:1])
    images = CrashImages.of(made)
    assert {images.build(point).secure_version for point in images.points()} == {2}


def test_without_otadata_nothing_is_torn_finely() -> None:
    images = CrashImages(device(), RUN, None, "seed")
    assert images.forms(Erase(ENTRY_1)) == forms(Erase(ENTRY_1), False)


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [-1, 7, 9999])
@pytest.mark.parametrize("form", ["", "torn-erase-1"])
def test_a_mutation_out_of_range_is_refused_with_the_range(number: int, form: str) -> None:
    with pytest.raises(UserError, match=f"no mutation {number}") as refused:
        CrashImages.of(run()).point(Cut(number, form))
    assert refused.value.hint is not None
    assert "6" in refused.value.hint


@pytest.mark.parametrize(
    ("cut", "one_that_there_is"),
    [
        (Cut(0, "torn-erase-1"), "none"),
        (Cut(5, "torn-program-1"), "none"),
        (Cut(1, "torn-program-1"), "torn-erase-2048"),
        (Cut(1, "torn-erase-3"), "torn-erase-2048"),
        (Cut(4, "torn-program-32"), "torn-program-31"),
        (Cut(4, "torn-program-word-1"), "torn-program-word-6"),
        (Cut(4, "torn-nonsense"), "torn-program-1"),
    ],
)
def test_a_form_that_the_mutation_does_not_have_is_refused_with_those_it_has(cut: Cut, one_that_there_is: str) -> None:
    with pytest.raises(UserError, match=f"mutation {cut.number} has no form '{cut.form}'") as refused:
        CrashImages.of(run()).point(cut)
    assert refused.value.hint is not None
    assert one_that_there_is in refused.value.hint


# --- memory ----------------------------------------------------------------------------------------------------------


def test_images_are_never_all_held() -> None:
    """300 erases of a flash of 192 KiB: some 13,000 images, which together would be 2.5 GB."""
    images = CrashImages.of(run(0, tuple(Erase(ENTRY_0 + SECTOR * (number % 2)) for number in range(300))))
    assert len(images) > 13_000
    alive: weakref.WeakSet[FlashImage] = weakref.WeakSet()
    tracemalloc.start()
    try:
        for number, point in enumerate(images.points()):
            if number % 50 == 0:
                alive.add(images.build(point))
            assert len(alive) <= 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * 192 * 1024


def test_the_first_images_come_without_the_last_ones_being_looked_at() -> None:
    class NoLooking(Program):
        """A mutation that nobody may look at."""

        @property
        def offset(self) -> int:  # type: ignore[override]
            raise AssertionError("looked at ahead of time")

    points = CrashImages(device(), (Erase(SLOT), NoLooking(0, b"")), OTADATA, "seed").points()
    assert [str(next(points).cut) for _ in range(3)] == ["m0000", "m0001/torn-erase-1", "m0001/torn-erase-2048"]
