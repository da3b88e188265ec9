"""Select entries: the numbers ESP-IDF puts in flash, and how the selector judges any content."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.idf.errors import FormatError
from rig.idf.otadata import (
    ERASED,
    ImageState,
    SelectEntry,
    active_index,
    make_entry,
    newest,
    oldest,
    parse,
    seq_crc,
    slot_index,
    state_name,
)

U32 = st.integers(0, 0xFFFFFFFF)
STATES = st.sampled_from([int(state) for state in ImageState]) | U32
ENTRIES = st.builds(SelectEntry, U32 | st.integers(0, 8), st.binary(min_size=20, max_size=20), STATES, U32)
GOOD_ENTRIES = st.builds(make_entry, U32 | st.integers(0, 8), STATES)


@given(st.binary(min_size=32, max_size=32))
def test_any_32_bytes_are_an_entry_that_packs_to_the_same_bytes(data: bytes) -> None:
    assert parse(data).pack() == data


@given(ENTRIES)
def test_a_packed_entry_parses_to_itself(entry: SelectEntry) -> None:
    assert parse(entry.pack()) == entry


@pytest.mark.parametrize("size", [0, 31, 33])
def test_an_entry_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(FormatError, match=f"32 bytes, not {size}"):
        parse(bytes(size))


def test_entries_look_as_on_a_real_device() -> None:
    first = "01000000ffffffffffffffffffffffffffffffffffffffff020000009a984347"
    second = "02000000ffffffffffffffffffffffffffffffffffffffff010000007437f655"
    assert make_entry(1, ImageState.VALID).pack().hex() == first
    assert make_entry(2, ImageState.PENDING_VERIFY).pack().hex() == second
    assert parse(b"\xff" * 32) == ERASED


@given(ENTRIES, STATES, st.binary(min_size=20, max_size=20))
def test_the_crc_covers_the_sequence_number_only(entry: SelectEntry, state: int, label: bytes) -> None:
    assert entry._replace(state=state, label=label).crc_ok == entry.crc_ok
    assert entry._replace(crc=seq_crc(entry.seq)).crc_ok
    assert not entry._replace(crc=seq_crc(entry.seq) ^ 1).crc_ok


@pytest.mark.parametrize(
    ("entry", "sel_invalid", "valid", "initial"),
    [
        pytest.param(make_entry(1, ImageState.NEW), False, True, False, id="new"),
        pytest.param(make_entry(1, ImageState.PENDING_VERIFY), False, True, False, id="pending"),
        pytest.param(make_entry(1, ImageState.VALID), False, True, False, id="valid"),
        pytest.param(make_entry(1, ImageState.UNDEFINED), False, True, False, id="undefined"),
        pytest.param(make_entry(1, 0x55), False, True, False, id="no-such-state"),
        pytest.param(make_entry(1, ImageState.INVALID), True, False, False, id="invalid"),
        pytest.param(make_entry(1, ImageState.ABORTED), True, False, False, id="aborted"),
        pytest.param(make_entry(0xFFFFFFFF, ImageState.VALID), True, False, True, id="erased-seq"),
        pytest.param(ERASED, True, False, True, id="erased"),
        pytest.param(make_entry(1, ImageState.VALID)._replace(crc=0), False, False, True, id="bad-crc"),
        pytest.param(make_entry(1, ImageState.ABORTED)._replace(crc=0), True, False, True, id="bad-crc-aborted"),
    ],
)
def test_entries_are_judged_like_the_selector_does(
    entry: SelectEntry, sel_invalid: bool, valid: bool, initial: bool
) -> None:
    assert (entry.sel_invalid, entry.valid, entry.initial) == (sel_invalid, valid, initial)


@given(GOOD_ENTRIES, GOOD_ENTRIES)
def test_the_active_entry_is_the_valid_one_with_the_larger_number(first: SelectEntry, second: SelectEntry) -> None:
    active = active_index((first, second))
    usable = [entry for entry in (first, second) if entry.valid]
    if not usable:
        assert active == -1
    else:
        assert (first, second)[active].seq == max(entry.seq for entry in usable)
        assert (first, second)[active].valid


def test_of_two_equal_numbers_the_first_entry_wins() -> None:
    pair = (make_entry(3, ImageState.NEW), make_entry(3, ImageState.VALID))
    assert active_index(pair) == 0
    assert newest(pair, (True, True)) == oldest(pair, (True, True)) == 0


def test_numbers_compare_unsigned() -> None:
    assert active_index((make_entry(0x7FFFFFFF, 2), make_entry(0x80000000, 2))) == 1


def test_the_oldest_of_two_failures_is_the_smaller_number() -> None:
    pair = (make_entry(5, ImageState.ABORTED), make_entry(4, ImageState.INVALID))
    assert oldest(pair, (True, True)) == 1
    assert oldest(pair, (True, False)) == 0
    assert oldest(pair, (False, False)) == -1


@pytest.mark.parametrize(
    ("seq", "count", "slot"), [(1, 2, 0), (2, 2, 1), (3, 2, 0), (3, 3, 2), (0, 2, 1), (0, 3, 0), (0, 5, 0), (17, 16, 0)]
)
def test_a_number_selects_a_slot_by_unsigned_remainder(seq: int, count: int, slot: int) -> None:
    assert slot_index(seq, count) == slot


def test_states_are_named_and_numbers_without_a_name_shown_in_hex() -> None:
    assert [state_name(state) for state in (0, 1, 2, 3, 4, 0xFFFFFFFF, 0x55)] == [
        "NEW",
        "PENDING_VERIFY",
        "VALID",
        "INVALID",
        "ABORTED",
        "UNDEFINED",
        "0x55",
    ]
