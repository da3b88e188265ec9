"""Damaged recordings: every one is refused with a message for a person, whatever is wrong with it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.crash.recording import Recording, base_path, content_hash, load
from rig.errors import UserError
from tests.rig.crash.hand import VALID, device, entry, examples, small_update

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["mutations", "sha256", "erase", "program", "data", "burn"]), inner, max_size=3
        ),
    ),
    max_leaves=4,
)
Change = Callable[[list[dict[str, Any]]], None]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return small_update().save(tmp_path)


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]


def put(path: Path, lines: list[Any]) -> None:
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode(), 1))


def at_the_end(recording: Recording) -> str:
    flash = recording.start()
    for mutation in recording.mutations:
        flash.apply(mutation)
    return content_hash(flash)


def refused(path: Path) -> str:
    """What a person is told; always with something to try."""
    with pytest.raises(UserError) as error:
        load(path)
    assert error.value.hint is not None
    assert "rig crash record" in error.value.hint
    return error.value.what


# --- cut short -------------------------------------------------------------------------------------------------------


def test_a_file_cut_short_at_any_byte_is_refused(saved: Path) -> None:
    whole = saved.read_bytes()
    for size in range(len(whole)):
        saved.write_bytes(whole[:size])
        assert saved.name in refused(saved)


def test_a_file_with_any_byte_damaged_is_refused_or_means_the_same(saved: Path) -> None:
    whole = saved.read_bytes()
    for at in range(len(whole)):
        saved.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            loaded = load(saved)
        except UserError:
            pass
        else:
            # gzip's own fields for time, compression and operating system.
            assert at < 10
            assert loaded.fingerprint == small_update().fingerprint


def test_text_cut_short_anywhere_is_refused(saved: Path) -> None:
    """As if by a disk that was full, under a compression that knows of no end."""
    text = gzip.decompress(saved.read_bytes())
    for size in range(0, len(text) - 1, 2):
        saved.write_bytes(gzip.compress(text[:size], 0))
        refused(saved)


def test_whole_lines_missing_at_the_end_are_noticed(saved: Path) -> None:
    lines = lines_of(saved)
    for count in range(1, len(lines)):
        put(saved, lines[:count])
        assert "its last line is missing" in refused(saved)


def test_a_line_missing_in_the_middle_is_noticed(saved: Path) -> None:
    lines = lines_of(saved)
    for at in range(1, len(lines) - 1):
        put(saved, lines[:at] + lines[at + 1 :])
        assert f"has {len(lines) - 3} mutations, its last line says {len(lines) - 2}" in refused(saved)


def test_two_lines_in_another_order_are_noticed(saved: Path) -> None:
    lines = lines_of(saved)
    lines[1], lines[2] = lines[2], lines[1]
    put(saved, lines)
    assert "does not lead to the flash content" in refused(saved)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"\x1f\x8b",
        b"no gzip at all",
        gzip.compress(b"", mtime=0),
        gzip.compress(b"\xff\xfe", mtime=0),
    ],
    ids=repr,
)
def test_something_else_entirely_is_refused(saved: Path, content: bytes) -> None:
    saved.write_bytes(content)
    assert saved.name in refused(saved)


def test_a_line_of_brackets_without_end_is_refused(saved: Path) -> None:
    first = gzip.decompress(saved.read_bytes()).splitlines()[0]
    saved.write_bytes(gzip.compress(first + b"\n" + b"[" * 100_000))
    refused(saved)


def test_a_recording_that_is_not_there(tmp_path: Path) -> None:
    assert "there is no recording" in refused(tmp_path / "none.crash.gz")


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "folder.crash.gz").mkdir()
    refused(tmp_path / "folder.crash.gz")


# --- wrong content ---------------------------------------------------------------------------------------------------


def header(**changes: object) -> Change:
    return lambda lines: lines[0].update(changes)


def mutation(**line: object) -> Change:
    """The first mutation, an erase, is another one."""

    def change(lines: list[dict[str, Any]]) -> None:
        lines[1] = dict(line)

    return change


def last(**changes: object) -> Change:
    return lambda lines: lines[-1].update(changes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (header(format="something-else"), "cannot be understood"),
        (header(version=2), "cannot be understood"),
        (header(scenario=None), "cannot be understood"),
        (header(surplus=1), "cannot be understood"),
        (header(begin=-1), "cannot be understood"),
        (header(begin=10), "has 9 mutations, and is to begin after 10 of them"),
        (header(flash_size="big"), "cannot be understood"),
        (header(flash_size=0x20000), "behind the flash's end at 0x20000"),
        (header(flash_size=0x28000), "more than the flash of 0x28000"),
        (header(secure_version=1), "does not lead to the flash content"),
        (header(base_sha256="0" * 64), "is missing"),
        (header(boot_config={"chip": "esp9"}), "unknown chip"),
        (header(boot_config={"chip": ["esp32"]}), "cannot be understood"),
        (header(boot_config={"surplus": 1}), "unknown keys"),
        (header(boot_config={"partition_table_offset": "x"}), "cannot be understood"),
        (header(boot_config={"partition_table_offset": 0x20000}), "no app slot in the table at 0x20000"),
        (mutation(erase=0x20001), "no sector's start"),
        (mutation(erase=0x400000), "behind the flash's end at 0x400000"),
        (mutation(erase=-0x1000), "cannot be understood"),
        (mutation(erase="0x20000"), "cannot be understood"),
        (mutation(erase=float("inf")), "cannot be understood"),
        (mutation(erase=None), "cannot be understood"),
        (mutation(erase=0), "does not lead to the flash content"),
        (mutation(program=0x3FFFFF, data="AAAA"), "behind the flash's end at 0x400000"),
        (mutation(program=-1, data="AA=="), "cannot be understood"),
        (mutation(program=0), "cannot be understood"),
        (mutation(program=0, data="%%%"), "cannot be understood"),
        (mutation(program=0, data="A"), "cannot be understood"),
        (mutation(program=0, data=5), "cannot be understood"),
        (mutation(burn=[1]), "cannot be understood"),
        (mutation(burn=[0, "x"]), "cannot be understood"),
        (mutation(burn=[0, float("nan")]), "cannot be understood"),
        (mutation(burn=5), "cannot be understood"),
        (mutation(), "cannot be understood"),
        (last(mutations=8), "mutations, its last line says 8"),
        (last(mutations="9"), "mutations, its last line says 9"),
        (last(mutations=None), "mutations, its last line says None"),
        (last(sha256="0" * 64), "does not lead to the flash content"),
        (last(sha256=None), "does not lead to the flash content"),
        (lambda lines: lines[-1].pop("sha256"), "does not lead to the flash content"),
    ],
)
def test_wrong_content_is_refused(saved: Path, change: Change, said: str) -> None:
    lines = lines_of(saved)
    change(lines)
    put(saved, lines)
    assert said in refused(saved)


@pytest.mark.parametrize("value", [None, 7, "mutations", [], ["mutations"], {}, {"sha256": "0"}])
def test_a_last_line_of_another_shape_is_refused(saved: Path, value: object) -> None:
    put(saved, [*lines_of(saved)[:-1], value])
    assert "its last line is missing" in refused(saved)


@given(st.integers(0, 10), JSON)
@examples(100)
def test_any_value_in_place_of_a_line_is_refused_or_leads_to_the_same_flash(
    saved: Path, at: int, value: object
) -> None:
    small_update().save(saved.parent)
    lines = lines_of(saved)
    lines[min(at, len(lines) - 1)] = value
    put(saved, lines)
    try:
        loaded = load(saved)
    except UserError:
        return
    assert at_the_end(loaded) == at_the_end(small_update())


# --- the base --------------------------------------------------------------------------------------------------------


def test_a_missing_base_is_named(saved: Path) -> None:
    base = base_path(saved.parent, small_update().header.base_sha256)
    base.unlink()
    assert base.name in refused(saved)


def test_a_base_cut_short_at_any_byte_is_refused(saved: Path) -> None:
    base = base_path(saved.parent, small_update().header.base_sha256)
    whole = base.read_bytes()
    for size in range(0, len(whole), 7):
        base.write_bytes(whole[:size])
        assert base.name in refused(saved)


def test_another_image_in_place_of_the_base_is_refused(saved: Path) -> None:
    base = base_path(saved.parent, small_update().header.base_sha256)
    other = device((entry(3, VALID), b""))
    base.write_bytes(gzip.compress(other.read(0, len(other))))
    assert "is not the image that the recording names" in refused(saved)
