"""The Range header against RFC 9110."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.updates.ranges import ByteRange, Unsatisfiable, parse_range

SIZES = st.integers(0, 1000)


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=90-", 90, 100),
        ("bytes=-10", 90, 100),
        ("bytes=-500", 0, 100),
        ("bytes=90-500", 90, 100),
        ("Bytes = 5-5", 5, 6),
    ],
)
def test_a_range_names_bytes(header, start, stop):
    assert parse_range(header, 100) == ByteRange(start, stop)


@pytest.mark.parametrize(
    "header",
    [None, "", "bytes", "bytes=", "bytes=-", "bytes=9-3", "bytes=1-2,5-6", "lines=1-2", "bytes=a-b", "bytes=+1-2"],
)
def test_what_is_no_range_asks_for_the_whole_file(header):
    assert parse_range(header, 100) is None


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_without_a_byte_cannot_be_satisfied(header):
    with pytest.raises(Unsatisfiable):
        parse_range(header, 100)


@settings(deadline=None)
@given(first=st.integers(0, 1200), last=st.none() | st.integers(0, 1200), size=SIZES)
def test_a_range_holds_exactly_the_bytes_it_names(first, last, size):
    named = [at for at in range(size) if at >= first and (last is None or at <= last)]
    try:
        part = parse_range(f"bytes={first}-{'' if last is None else last}", size)
    except Unsatisfiable:
        assert named == []
        return
    if part is None:
        assert last is not None
        assert last < first
        return
    assert list(range(part.start, part.stop)) == named


@settings(deadline=None)
@given(st.text(max_size=30), SIZES)
def test_no_header_makes_it_fail_or_leave_the_file(text, size):
    try:
        part = parse_range(text, size)
    except Unsatisfiable:
        return
    assert part is None or 0 <= part.start < part.stop <= size
