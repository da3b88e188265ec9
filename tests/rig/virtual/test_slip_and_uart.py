"""Framing and the wire."""

from __future__ import annotations

import itertools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.virtual.loader import checksum
from rig.virtual.slip import Decoder, encode
from rig.virtual.uart import BytePipe, same_baud

nasty = st.binary(min_size=1, max_size=40) | st.lists(st.sampled_from([0xC0, 0xDB, 0xDC, 0xDD]), min_size=1).map(bytes)


@given(packets=st.lists(nasty), cuts=st.lists(st.integers(0, 2000)), noise=st.binary(max_size=5))
def test_packets_survive_framing_in_any_portions(packets: list[bytes], cuts: list[int], noise: bytes) -> None:
    stream = noise.replace(b"\xc0", b"") + b"".join(encode(packet) for packet in packets)
    decoder, decoded = Decoder(), []
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for start, end in itertools.pairwise(edges):
        decoded += decoder.feed(stream[start:end])
    assert decoded == packets


@given(st.binary(max_size=300))
def test_the_checksum_is_the_xor_of_all_bytes(data: bytes) -> None:
    expected = 0xEF
    for value in data:
        expected ^= value
    assert checksum(data) == expected


def pipe_with(*chunks: tuple[bytes, int]) -> BytePipe:
    pipe = BytePipe(threading.Condition(threading.RLock()))
    for data, baud in chunks:
        pipe.put(data, baud)
    return pipe


@given(st.lists(st.binary(max_size=20)), st.integers(1, 7))
def test_nothing_is_lost_however_it_is_taken(chunks: list[bytes], portion: int) -> None:
    pipe = pipe_with(*((chunk, 115200) for chunk in chunks))
    taken = b""
    while len(pipe):
        taken += pipe.take(portion, 115200)
    assert taken == b"".join(chunks)


def test_another_baud_rate_garbles_only_what_was_sent_with_it() -> None:
    pipe = pipe_with((b"slow", 115200), (b"fast", 921600))
    received = pipe.take(None, 921600)
    assert received[:4] != b"slow"
    assert received[4:] == b"fast"


@pytest.mark.parametrize(("other", "same"), [(115200, True), (116000, True), (74880, False), (921600, False)])
def test_rates_within_three_percent_are_the_same(other: int, same: bool) -> None:
    assert same_baud(115200, other) is same
