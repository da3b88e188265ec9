"""The C reader of frames held to `rig.protocol.FrameReader`, however the stream is cut and damaged."""

import re
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rig.protocol import MAX_PAYLOAD, Damaged, Frame, FrameReader, FrameType, encode_frame
from rig.virtual.builds import FIRMWARE

CONTRACT = (FIRMWARE / "PROTOCOL.md").read_text(encoding="utf-8")
EXAMPLES = [line for block in re.findall(r"```frame\n(.*?)```", CONTRACT, re.DOTALL) for line in block.splitlines()]

held = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
frames = st.builds(Frame, st.sampled_from([1, 2]), st.integers(0, 0xFFFFFFFF), st.binary(max_size=64))
# What a stream may hold besides frames; much of it begins like one.
noise = st.binary(max_size=20) | st.sampled_from(
    [
        b"\xa5",
        b"\xa5\x5a",
        b"\xa5\x5a\x01\x00",
        b"\xa5\xa5\x5a\x5a",
        b"\xa5\x5a\x01\x00\0\0\0\0\x20\x00",
        b"@rig 1 ping\n",
    ]
)


def damaged(frame_and_change):
    frame, at, mask = frame_and_change
    raw = encode_frame(frame)
    at %= len(raw)
    return raw[:at] + bytes([raw[at] ^ mask]) + raw[at + 1 :]


damaged_frames = st.tuples(frames, st.integers(0, 100), st.integers(1, 255)).map(damaged)
streams = st.lists(frames.map(encode_frame) | noise | damaged_frames, max_size=6).map(b"".join)


def cut(stream, sizes):
    found, at = [], 0
    for size in [*sizes, len(stream)]:
        found.append(stream[at : at + size])
        at += size
    return found


def python_reads(pieces):
    """As the C side reports: None for damage, at once however often a piece has it."""
    reader = FrameReader()
    return [[None if isinstance(entry, Damaged) else entry for entry in reader.feed(piece)] for piece in pieces]


@held
@given(streams, st.lists(st.integers(0, 40), max_size=20))
def test_both_sides_find_the_same_frames_and_damage_at_the_same_byte(c_side, stream, sizes):
    pieces = cut(stream, sizes)
    assert c_side.frames(pieces, MAX_PAYLOAD) == python_reads(pieces)


@held
@given(st.lists(st.integers(0, MAX_PAYLOAD), min_size=1, max_size=4), st.lists(st.integers(1, 5000), max_size=8))
def test_frames_up_to_the_largest_come_out_whole(c_side, sizes, cuts):
    sent = [Frame(FrameType.DATA, n, bytes([n + 1]) * size) for n, size in enumerate(sizes)]
    found = c_side.frames(cut(b"".join(map(encode_frame, sent)), cuts), MAX_PAYLOAD)
    assert [frame for piece in found for frame in piece] == sent


@held
@given(frames, st.data())
def test_a_frame_with_one_byte_changed_is_never_taken(c_side, frame, data):
    bad = damaged((frame, data.draw(st.integers(0, 77)), data.draw(st.integers(1, 255))))
    behind = encode_frame(Frame(FrameType.ABORT, 0, b""))
    # A damaged length may wait for up to the longest frame.
    found = c_side.frames([bad + bytes(MAX_PAYLOAD) + behind], MAX_PAYLOAD)[0]
    assert [entry for entry in found if entry is not None] == [Frame(2, 0, b"")]


@held
@given(st.binary(max_size=3000), st.lists(st.integers(0, 300), max_size=20))
def test_any_bytes_leave_the_reader_able_to_read(c_side, stream, sizes):
    frame = Frame(FrameType.DATA, 7, b"after the noise")
    padding = bytes(300)
    found = c_side.frames([*cut(stream, sizes), padding, encode_frame(frame)], 256)
    assert found[-1][-1] == frame


def test_a_payload_above_the_announced_frame_is_damage_at_once(c_side):
    large, good = Frame(FrameType.DATA, 0, bytes(257)), Frame(FrameType.DATA, 0, bytes(256))
    found = c_side.frames([encode_frame(large)[:10], encode_frame(good)], 256)
    assert found == [[None], [good]]


@pytest.mark.parametrize(("at", "value"), [(2, 0), (2, 3), (3, 1), (3, 0xFF)])
def test_an_unknown_type_or_a_byte_that_must_be_zero_is_damage_although_the_check_sum_is_right(c_side, at, value):
    body = bytearray(encode_frame(Frame(FrameType.DATA, 0, b"abc"))[:-4])
    body[at] = value
    raw = bytes(body) + zlib.crc32(body[2:]).to_bytes(4, "little")
    assert c_side.frames([raw], MAX_PAYLOAD) == python_reads([raw]) == [[None]]


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_frame_of_the_contract_is_read(c_side, text):
    raw = bytes.fromhex(text)
    assert c_side.frames([raw], MAX_PAYLOAD) == [FrameReader().feed(raw)]
