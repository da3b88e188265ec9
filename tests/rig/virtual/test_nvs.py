"""The app's small store: values survive, and a power cut leaves the old value or the new one."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.virtual.cpu import ChipHalted
from rig.virtual.diagnostics import Diagnostics
from rig.virtual.nvs import Nvs
from tests.rig.device import FakeFlash

OFFSET, SIZE = 0x1000, 0x3000
writes = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", "1", "22", "x" * 40])), max_size=150)


def nvs(flash):
    return Nvs(flash, OFFSET, SIZE)


@given(writes)
def test_the_last_value_of_each_key_survives_a_reset(history):
    flash, expected = FakeFlash(0x8000), {}
    store = nvs(flash)
    for key, value in history:
        store.set(key, value)
        expected[key] = value
    reopened = nvs(flash)
    assert {key: reopened.get(key) or "" for key in expected} == expected


@given(writes, st.tuples(st.sampled_from("abc"), st.just("new")), st.integers(0, 2), st.integers(0, 4096))
def test_a_power_cut_leaves_the_old_value_or_the_new_one_and_touches_no_other(history, last, cut, torn):
    flash, expected = FakeFlash(0x8000), {"a": "", "b": "", "c": ""}
    store = nvs(flash)
    for key, value in history:
        store.set(key, value)
        expected[key] = value
    flash.cut, flash.torn = cut, torn
    key, value = last
    with contextlib.suppress(ChipHalted):
        store.set(key, value)
    flash.cut = None
    reopened = nvs(flash)
    found = {name: reopened.get(name) or "" for name in expected}
    assert found in (expected, expected | {key: value})
    reopened.set(key, "after")
    assert nvs(flash).get(key) == "after"


@given(writes, st.integers(0, 20), st.integers(0, 64))
def test_writing_goes_on_after_any_torn_write(history, cut, torn):
    flash = FakeFlash(0x8000)
    for key, value in history:
        flash.cut, flash.torn = cut, torn
        with contextlib.suppress(ChipHalted):
            nvs(flash).set(key, value)
        flash.cut = None
        nvs(flash).set(key, value)
        assert (nvs(flash).get(key) or "") == value


def test_foreign_content_counts_as_empty_and_is_replaced_at_the_first_write():
    flash = FakeFlash(0x8000)
    flash.image.load(OFFSET, bytes(range(256)) * 32)
    store = nvs(flash)
    assert store.get("a") is None
    store.set("a", "1")
    assert nvs(flash).get("a") == "1"


def test_a_value_that_does_not_change_costs_no_flash_write():
    flash = FakeFlash(0x8000)
    store = nvs(flash)
    store.set("a", "1")
    before = flash.mutations
    store.set("a", "1")
    store.erase("b")
    assert flash.mutations == before


def test_only_its_own_two_sectors_are_written():
    flash = FakeFlash(0x8000)
    store = nvs(flash)
    for number in range(200):
        store.set("a", str(number))
        assert nvs(flash).get("a") == str(number)
    assert flash.read(0, OFFSET) == b"\xff" * OFFSET
    assert flash.read(OFFSET + 0x2000, 0x1000) == b"\xff" * 0x1000


@pytest.mark.parametrize(("key", "value"), [("k" * 16, "v"), ("k", "v" * 41)])
def test_what_does_not_fit_a_record_is_refused(key, value):
    with pytest.raises(ValueError, match="longer"):
        nvs(FakeFlash(0x8000)).set(key, value)


def test_an_nvs_partition_of_one_sector_is_refused():
    with pytest.raises(ValueError, match="0x2000"):
        Nvs(FakeFlash(0x8000), 0x1000, 0x1000)


def test_outcome_and_seconds_change_together():
    flash = FakeFlash(0x8000)
    Diagnostics(nvs(flash)).set("delay", 30)
    flash.cut, flash.torn = 0, 40
    with pytest.raises(ChipHalted):
        Diagnostics(nvs(flash)).set("pass", 0)
    flash.cut = None
    found = Diagnostics(nvs(flash))
    assert (found.outcome, found.seconds) == ("delay", 30)


def test_without_an_nvs_partition_the_outcome_lasts_for_one_start():
    diagnostics = Diagnostics(None)
    diagnostics.set("delay", 7)
    assert (diagnostics.outcome, diagnostics.seconds) == ("delay", 7)
    assert Diagnostics(None).outcome is None
