"""Torn operations: what an interrupted erase or program may leave in NOR flash, and nothing else."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rig.crash.torn import UNDEFINED, forms, kind_of, tear
from rig.idf.effects import SECTOR_SIZE, BurnSecureVersion, Erase, Program
from tests.rig.crash.hand import ENTRY_1, ERASED, NEW, entry, examples

SEEDS = st.text(max_size=20)
SECTORS = st.builds(lambda seed, ones: Random(seed).randbytes(SECTOR_SIZE) if not ones else b"\xff" * SECTOR_SIZE,
                    st.integers(0, 1000), st.booleans())  # fmt: skip
PAGES = st.integers(1, 256).flatmap(
    lambda size: st.tuples(st.binary(min_size=size, max_size=size), st.binary(min_size=size, max_size=size))
)
FINE = st.booleans()


def bits(data: bytes) -> int:
    return int.from_bytes(data, "little")


# --- an interrupted erase --------------------------------------------------------------------------------------------


@given(SECTORS, SEEDS, FINE)
@examples(15)
def test_after_an_interrupted_erase_every_byte_is_old_or_erased_but_for_one_short_undefined_stretch(
    old: bytes, seed: str, fine: bool
) -> None:
    for form in forms(Erase(0), fine):
        left = tear(Erase(0), form, old, seed)
        assert len(left) == SECTOR_SIZE
        strange = [at for at, (now, was) in enumerate(zip(left, old, strict=True)) if now not in (was, 0xFF)]
        if kind_of(form) == "bytes":
            assert strange == []
        elif int(form[-1]) % 2:
            assert not strange or max(strange) - min(strange) < UNDEFINED
        else:
            assert bits(old) & ~bits(left) == 0, "an erase clears no bit"


@given(SECTORS, st.integers(1, SECTOR_SIZE - 1))
@examples(100)
def test_erased_from_either_end_by_so_many_bytes_exactly(old: bytes, size: int) -> None:
    assert tear(Erase(0), f"torn-erase-{size}", old, "") == b"\xff" * size + old[size:]
    assert tear(Erase(0), f"torn-erase-tail-{size}", old, "") == old[:-size] + b"\xff" * size


def test_an_undefined_stretch_lies_between_what_is_erased_and_what_is_old() -> None:
    old = bytes(SECTOR_SIZE)
    for seed in map(str, range(50)):
        left = tear(Erase(0), "torn-erase-loose-1", old, seed)
        erased = next(at for at in range(SECTOR_SIZE) if left[at] != 0xFF)
        assert left[erased + UNDEFINED :] == old[erased + UNDEFINED :]
        assert erased < 32 + UNDEFINED, "it would lie behind the select entry, where nobody looks"


# --- an interrupted program ------------------------------------------------------------------------------------------


@given(PAGES, SEEDS, FINE)
@examples(100)
@example((ERASED, entry(2, NEW)), "", True)
def test_an_interrupted_program_clears_only_bits_that_were_to_be_cleared(
    pages: tuple[bytes, bytes], seed: str, fine: bool
) -> None:
    old, data = pages
    for form in forms(Program(0, data), fine):
        left = tear(Program(0, data), form, old, seed)
        assert len(left) == len(data)
        assert bits(left) & ~bits(old) == 0, f"{form} sets a bit"
        assert bits(old) & ~bits(left) & bits(data) == 0, f"{form} clears a bit that was to stay"


@given(PAGES, FINE)
@examples(100)
def test_so_many_bytes_are_programmed_and_the_rest_is_old(pages: tuple[bytes, bytes], fine: bool) -> None:
    old, data = pages
    done = bytes(a & b for a, b in zip(old, data, strict=True))
    for form in forms(Program(0, data), fine):
        if kind_of(form) == "bytes":
            size = int(form.removeprefix("torn-program-"))
            assert 0 < size < len(data)
            assert tear(Program(0, data), form, old, "") == done[:size] + old[size:]


@given(PAGES, SEEDS)
@examples(100)
def test_a_torn_word_leaves_every_other_word_done(pages: tuple[bytes, bytes], seed: str) -> None:
    old, data = pages
    done = bytes(a & b for a, b in zip(old, data, strict=True))
    for form in forms(Program(0, data), True):
        if form.startswith("torn-program-word-"):
            at = 4 * int(form.removeprefix("torn-program-word-"))
            left = tear(Program(0, data), form, old, seed)
            assert left[:at] + left[at + 4 :] == done[:at] + done[at + 4 :]


# --- which forms there are -------------------------------------------------------------------------------------------


def test_a_select_entry_is_torn_at_every_byte_boundary() -> None:
    erase = forms(Erase(ENTRY_1), True)
    assert {f"torn-erase-{size}" for size in range(1, 33)} <= set(erase)
    program = forms(Program(ENTRY_1, entry(2, NEW)), True)
    # None of it, and all of it, are the images before and after.
    assert [form for form in program if kind_of(form) == "bytes"] == [f"torn-program-{size}" for size in range(1, 32)]


def test_each_word_of_a_select_entry_that_changes_is_torn_by_itself() -> None:
    words = [form for form in forms(Program(ENTRY_1, entry(2, NEW)), True) if "word" in form]
    # ota_seq, ota_state and crc; the label stays erased.
    assert words == ["torn-program-word-0", "torn-program-word-6", "torn-program-word-7"]


def test_a_part_of_a_select_entry_is_torn_at_every_byte_boundary_of_that_part() -> None:
    found = forms(Program(ENTRY_1 + 24, bytes(8)), True)
    assert [form for form in found if kind_of(form) == "bytes"] == [f"torn-program-{size}" for size in range(1, 8)]


def test_elsewhere_a_few_forms_are_enough() -> None:
    assert forms(Erase(0x20000), False) == (
        "torn-erase-1",
        "torn-erase-2048",
        "torn-erase-tail-2048",
        "torn-erase-loose-1",
    )
    assert forms(Program(0x20000, bytes(256)), False) == (
        "torn-program-1",
        "torn-program-128",
        "torn-program-255",
        "torn-program-bits-1",
    )
    assert forms(Program(0x20000, bytes(1)), False) == ("torn-program-bits-1",)


def test_an_efuse_burn_is_atomic() -> None:
    assert forms(BurnSecureVersion(0, 1), True) == forms(BurnSecureVersion(0, 1), False) == ()


@given(PAGES, FINE)
@examples(100)
@example((b"\xff\xff", b"\0\0"), False)
def test_no_form_occurs_twice(pages: tuple[bytes, bytes], fine: bool) -> None:
    for mutation in (Erase(0), Program(0, pages[1])):
        names = forms(mutation, fine)
        assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("torn-erase-1", "bytes"),
        ("torn-erase-tail-2048", "bytes"),
        ("torn-erase-loose-1", "bits"),
        ("torn-program-31", "bytes"),
        ("torn-program-bits-1", "bits"),
        ("torn-program-word-6", "bits"),
    ],
)
def test_forms_by_bytes_are_told_from_forms_by_bits(form: str, kind: str) -> None:
    assert kind_of(form) == kind


# --- stable ----------------------------------------------------------------------------------------------------------


def test_a_name_means_the_same_bytes_for_ever() -> None:
    program, seed = Program(ENTRY_1, entry(2, NEW)), "update-ok/m0423/torn-program-bits-1"
    assert tear(program, "torn-program-bits-1", ERASED, seed).hex() == (
        "ea865a82ffffffffffffffffffffffffffffffffffffffff8b3d1677f47ff67d"
    )
    assert tear(program, "torn-program-word-6", ERASED, "update-ok/m0423/torn-program-word-6").hex() == (
        "02000000ffffffffffffffffffffffffffffffffffffffff2dc3be617437f655"
    )
    assert tear(Erase(0), "torn-erase-loose-1", bytes(SECTOR_SIZE), "s")[:32].hex() == (
        "ffffffffffffffffffffffff52f79eb4ea4d8109ae603f685a63b6ea00000000"
    )
    assert tear(Erase(0), "torn-erase-loose-2", bytes(SECTOR_SIZE), "s")[:16].hex() == (
        "e616e4bf8ba0f089b1c7f5ad001c2cb9"
    )


def test_what_is_drawn_depends_on_the_seed_and_on_the_form() -> None:
    program = Program(0, bytes(32))
    drawn = {tear(program, f"torn-program-bits-{n}", ERASED, seed) for n in (1, 2) for seed in ("a", "b")}
    assert len(drawn) == 4


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        "",
        "erase-1",
        "torn-",
        "torn-erase",
        "torn-erase-",
        "torn-erase-x",
        "torn-erase-0",
        "torn-erase-4096",
        "torn-erase-9999",
        "torn-erase-tail-0",
        "torn-erase-tail-4096",
        "torn-erase-tail-5000",
        "torn-erase-loose-0",
        "torn-erase-bits-1",
        "torn-program-1",
        "torn-program-bits-1",
    ],
)
def test_a_form_that_an_erase_does_not_have_is_refused(form: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        tear(Erase(0), form, bytes(SECTOR_SIZE), "")


@pytest.mark.parametrize(
    "form",
    [
        "",
        "program-1",
        "torn-program",
        "torn-program-x",
        "torn-program-0",
        "torn-program-32",
        "torn-program-99",
        "torn-program-word-8",
        "torn-program-bits-0",
        "torn-program-loose-1",
        "torn-erase-1",
        "torn-erase-loose-1",
    ],
)
def test_a_form_that_a_program_does_not_have_is_refused(form: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        tear(Program(0, bytes(32)), form, ERASED, "")
