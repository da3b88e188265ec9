"""The C transfer state machine held to the simulated device's, which the host's tests already trust."""

import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rig.protocol import MAX_PAYLOAD, Frame, FrameType, encode_frame, parse_line
from rig.virtual.cpu import ChipHalted
from rig.virtual.transfer import Receiver, Update
from tests.rig.device import FakeCpu

RUNNING, COMPLETE, WRITE_FAILED, INVALID_SIZE, ABORTED, TIMEOUT = range(6)
ERRORS = {
    WRITE_FAILED: "ESP_ERR_X",
    INVALID_SIZE: "ESP_ERR_INVALID_SIZE",
    ABORTED: "ESP_FAIL",
    TIMEOUT: "ESP_ERR_TIMEOUT",
}
TIMEOUT_S = 2

held = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def data_frame(offset, payload):
    return encode_frame(Frame(FrameType.DATA, offset, payload))


def flip(raw):
    return raw[:12] + bytes([raw[12] ^ 1]) + raw[13:]


IMAGE = bytes(range(200)) * 2
# Frames as a sender makes them, right and wrong, and what else may come over the line.
places = st.integers(0, 7).map(lambda n: 50 * n)
good = places.map(lambda at: data_frame(at, IMAGE[at : at + 50]))
odd = st.tuples(st.integers(0, 410), st.integers(0, 60)).map(lambda p: data_frame(p[0], IMAGE[p[0] : p[0] + p[1]]))
pieces = st.one_of(
    good, good, good.map(flip), odd, st.binary(max_size=10), st.just(encode_frame(Frame(FrameType.ABORT, 0, b"")))
)
# Silences are exact in binary, so that both clocks agree.
silences = st.sampled_from([0.125, 0.5, 1.875, 2.0, 2.5])
scripts = st.lists(st.one_of(pieces, pieces, pieces, silences), max_size=14)


def in_order():
    return [data_frame(at, IMAGE[at : at + 50]) for at in range(0, 400, 50)]


class Record(FakeCpu):
    """What the simulated receiver writes and says, as the C side reports it."""

    def __init__(self, script):
        super().__init__(script)
        self.events = []
        self.error = None

    def write(self, data):
        line = parse_line(data.rstrip())
        if line.word == "fail":
            self.error = line.fields["error"]
        else:
            self.events.append((line.word[0], int(line.fields["offset"])))


def simulated(script, refuse_at):
    """Events, and `ESP_OK`, an error name, or None when the script ended first."""
    cpu, stored = Record(script), bytearray()

    def store(data):
        if len(stored) >= refuse_at:
            return "ESP_ERR_X"
        stored.extend(data)
        cpu.events.append(("w", data))
        return "ESP_OK"

    update = Update(1, "ota_1", len(IMAGE), None, float(TIMEOUT_S))
    try:
        return cpu.events, Receiver(cpu, update, store).receive()
    except ChipHalted:
        return cpu.events, cpu.error


def compiled(c_side, script, refuse_at):
    """The same from the C side; the script's silences drive its clock as they drive FakeCpu's."""
    now, left, events, status = 0, TIMEOUT_S * 1000, [], RUNNING
    c_side.transfer_begin(now, len(IMAGE), TIMEOUT_S * 1000, MAX_PAYLOAD, refuse_at)
    for entry in script:
        data = entry if isinstance(entry, bytes) else b""
        if not data and isinstance(entry, float):
            if entry * 1000 < left:
                now, left = now + int(entry * 1000), left - int(entry * 1000)
                continue
            now += left
        found, status, left = c_side.transfer_take(now, data)
        events += found
        if status != RUNNING:
            break
    return events, "ESP_OK" if status == COMPLETE else ERRORS.get(status)


@held
@given(scripts, st.sampled_from([0, 100, 1 << 30]))
def test_it_writes_and_says_what_the_simulated_device_does(c_side, script, refuse_at):
    events, end = compiled(c_side, script, refuse_at)
    # Behind it a silence in which the device sees that the line is empty and says `fail`; too short for a time limit.
    expected, expected_end = simulated([*script, 0.1015625], refuse_at)
    assert (events, end) == (expected, expected_end)


@held
@given(st.lists(st.tuples(st.integers(0, 8), pieces), max_size=6), st.lists(st.integers(1, 90), max_size=20))
def test_whatever_is_between_the_frames_each_byte_is_written_once_and_in_order(c_side, extra, sizes):
    """Unless an abort frame or a frame past the end stops it."""
    stream = in_order()
    for place, piece in sorted(extra, key=lambda entry: -entry[0]):
        stream.insert(place, piece)
    raw, written, status, at = b"".join(stream), b"", RUNNING, 0
    c_side.transfer_begin(0, len(IMAGE), 1000, MAX_PAYLOAD)
    for size in [*sizes, len(raw)]:
        events, status, _ = c_side.transfer_take(0, raw[at : at + size])
        at += size
        written += b"".join(data for kind, data in events if kind == "w")
        if status != RUNNING:
            break
    assert IMAGE.startswith(written)
    assert (status == COMPLETE) is (written == IMAGE)


def test_the_last_ack_ends_it_and_what_follows_in_the_same_breath_is_dropped(c_side):
    c_side.transfer_begin(0, 50, 1000, MAX_PAYLOAD)
    frame = data_frame(0, IMAGE[:50])
    events, status, _ = c_side.transfer_take(0, frame + frame + data_frame(9000, b"x"))
    assert (events, status) == ([("w", IMAGE[:50]), ("a", 50)], COMPLETE)


def test_the_same_nak_is_said_once_in_100_ms_of_device_time(c_side):
    c_side.transfer_begin(0, 400, 60000, MAX_PAYLOAD)
    late = data_frame(100, IMAGE[100:150])
    said = [c_side.transfer_take(now, late)[0] for now in (0, 1, 99, 100, 199, 200)]
    assert said == [[("n", 0)], [], [], [("n", 0)], [], [("n", 0)]]
    progress = c_side.transfer_take(200, data_frame(0, IMAGE[:50]) + late)[0]
    assert progress == [("w", IMAGE[:50]), ("a", 50), ("n", 50)]


def test_damage_is_answered_with_nak_and_does_not_count_as_being_heard(c_side):
    c_side.transfer_begin(0, 400, 1000, MAX_PAYLOAD)
    assert c_side.transfer_take(600, flip(data_frame(0, IMAGE[:50])) + bytes(20)) == ([("n", 0)], RUNNING, 400)
    assert c_side.transfer_take(1000, b"\x55") == ([("n", 0)], TIMEOUT, 0)


def test_a_duplicate_counts_as_being_heard(c_side):
    c_side.transfer_begin(0, 400, 1000, MAX_PAYLOAD)
    frame = data_frame(0, IMAGE[:50])
    assert c_side.transfer_take(900, frame)[2] == 1000
    assert c_side.transfer_take(1800, frame) == ([("a", 50)], RUNNING, 1000)


@pytest.mark.parametrize(("offset", "size"), [(20, 40), (49, 2), (0, 51)])
def test_a_frame_that_begins_in_what_is_written_and_ends_behind_it_is_not_written(c_side, offset, size):
    c_side.transfer_begin(0, 400, 1000, MAX_PAYLOAD)
    c_side.transfer_take(0, data_frame(0, IMAGE[:50]))
    assert c_side.transfer_take(0, data_frame(offset, bytes(size))) == ([("n", 50)], RUNNING, 1000)


@pytest.mark.parametrize("offset", [0xFFFFFFFF, 0xFFFFFFFE, 399, 400])
def test_a_frame_past_the_size_ends_it_even_where_32_bits_would_wrap(c_side, offset):
    c_side.transfer_begin(0, 400, 1000, MAX_PAYLOAD)
    assert c_side.transfer_take(0, data_frame(offset, b"xx"))[1] == INVALID_SIZE


@pytest.mark.parametrize("seed", range(8))
def test_a_stream_of_noise_with_right_headers_never_writes(c_side, seed):
    """Headers that promise data, lengths that lie, check-sums that are wrong: nothing reaches flash."""
    noise, state = b"", seed
    while len(noise) < 20000:
        state = zlib.crc32(state.to_bytes(4, "little"))
        noise += b"\xa5\x5a\x01\x00" + bytes(4) + (state & 0x1FFF).to_bytes(2, "little") + state.to_bytes(4, "big") * 8
    c_side.transfer_begin(0, 1 << 20, 1000, MAX_PAYLOAD)
    for at in range(0, len(noise), 333):
        events, status, _ = c_side.transfer_take(0, noise[at : at + 333])
        assert status == RUNNING
        assert [event for event in events if event != ("n", 0)] == []
