"""The device's side of an update over UART, frame by frame, in exact device time."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.protocol import Frame, FrameType, encode_frame, parse_line
from rig.virtual.cpu import ChipHalted
from rig.virtual.transfer import Receiver, Update
from tests.rig.device import FakeCpu


def data(offset: int, payload: bytes) -> bytes:
    return encode_frame(Frame(FrameType.DATA, offset, payload))


def receive(script, size, timeout=60.0, write_error=None):
    """What was written, what the device said, and how it ended."""
    cpu = FakeCpu(script)
    written = bytearray()

    def write(payload: bytes) -> str:
        if write_error is not None and len(written) >= write_error[0]:
            return write_error[1]
        written.extend(payload)
        return "ESP_OK"

    update = Update(9, "ota_1", size, None, timeout)
    try:
        result = Receiver(cpu, update, write).receive()
    except ChipHalted:
        result = "still waiting"
    said = []
    for raw in cpu.sent.split(b"\r\n")[:-1]:
        line = parse_line(raw)
        assert line is not None
        assert line.id == 9
        said.append((line.word, *line.fields.values()))
    return bytes(written), said, result


def test_every_frame_is_written_and_acknowledged():
    written, said, result = receive([data(0, b"ab"), data(2, b"cd") + data(4, b"e")], 5)
    assert written == b"abcde"
    assert said == [("ack", "2"), ("ack", "4"), ("ack", "5")]
    assert result == "ESP_OK"


def test_what_comes_with_the_last_frame_is_dropped():
    _, said, result = receive([data(0, b"ab") + data(2, b"cd") + b"noise" + data(0, b"ab")], 4)
    assert said == [("ack", "2"), ("ack", "4")]
    assert result == "ESP_OK"


def test_a_frame_sent_twice_is_written_once_and_acknowledged_again():
    written, said, _ = receive([data(0, b"ab"), data(0, b"ab"), data(2, b"c")], 3)
    assert written == b"abc"
    assert said == [("ack", "2"), ("ack", "2"), ("ack", "3")]


def test_a_gap_is_asked_for_once_in_a_tenth_of_a_second():
    script = [data(0, b"ab"), data(4, b"ef"), data(6, b"gh"), 0.05, data(8, b"ij"), 0.06, data(4, b"ef")]
    written, said, _ = receive(script, 10)
    assert written == b"ab"
    assert said == [("ack", "2"), ("nak", "2"), ("nak", "2")]


def test_a_damaged_frame_is_asked_for_again():
    bad = bytearray(data(0, b"ab"))
    bad[12] ^= 1
    written, said, result = receive([bytes(bad), data(0, b"ab")], 2)
    assert (written, said, result) == (b"ab", [("nak", "0"), ("ack", "2")], "ESP_OK")


def test_a_frame_that_overlaps_what_is_written_is_not_written():
    written, said, _ = receive([data(0, b"abcd"), data(2, b"cdef")], 6)
    assert written == b"abcd"
    assert said == [("ack", "4"), ("nak", "4")]


def test_an_abort_frame_ends_the_transfer():
    script = [data(0, b"ab"), encode_frame(Frame(FrameType.ABORT, 0, b"")), 1.0]
    assert receive(script, 9)[1:] == ([("ack", "2"), ("fail", "ESP_FAIL", "2")], "ESP_FAIL")


def test_a_frame_past_the_announced_size_ends_the_transfer():
    assert receive([data(0, b"abc"), 1.0], 2)[1:] == ([("fail", "ESP_ERR_INVALID_SIZE", "0")], "ESP_ERR_INVALID_SIZE")


def test_a_write_that_fails_ends_the_transfer_with_its_error():
    error = (2, "ESP_ERR_OTA_VALIDATE_FAILED")
    _, said, result = receive([data(0, b"ab"), data(2, b"cd"), 1.0], 4, write_error=error)
    assert said == [("ack", "2"), ("fail", "ESP_ERR_OTA_VALIDATE_FAILED", "2")]
    assert result == "ESP_ERR_OTA_VALIDATE_FAILED"


@pytest.mark.parametrize(
    ("silence", "result"), [(59.9, "still waiting"), (60.5, "ESP_ERR_TIMEOUT"), (4000.0, "ESP_ERR_TIMEOUT")]
)
def test_silence_is_borne_for_sixty_seconds_of_device_time(silence, result):
    assert receive([data(0, b"ab"), silence], 9)[2] == result


def test_noise_does_not_count_as_a_sign_of_life():
    assert receive([data(0, b"ab"), *[30.0, b"noise"] * 2, 1.0], 9)[2] == "ESP_ERR_TIMEOUT"
    assert receive([data(0, b"ab"), 40.0, data(2, b"c"), 40.0, data(3, b"d")], 4)[2] == "ESP_OK"


def test_after_a_failure_input_is_discarded_until_the_line_is_quiet():
    abort = encode_frame(Frame(FrameType.ABORT, 0, b""))
    cpu = FakeCpu([abort, 0.05, b"rest of the window", 0.05, b"more", 0.2, b"@rig"])
    assert Receiver(cpu, Update(9, "ota_1", 9, None, 60.0), lambda _: "ESP_OK").receive() == "ESP_FAIL"
    assert cpu.read(1.0) == b"@rig"


@given(st.binary(min_size=1, max_size=200), st.lists(st.binary(max_size=40), max_size=6), st.randoms())
def test_whatever_comes_over_the_line_only_the_image_is_ever_written(image, noise, random):
    frames = [data(at, image[at : at + 16]) for at in range(0, len(image), 16)]
    script = [*frames, *noise, *(frame[: random.randrange(len(frame))] for frame in frames[:3])]
    random.shuffle(script)
    # Zeros finish whatever length a torn frame announced.
    written, _, result = receive([*script, bytes(5000), *frames], len(image))
    assert (written, result) == (image, "ESP_OK")


def test_the_hash_is_that_of_what_was_written():
    update = Update(9, "ota_1", 4, sha256(b"abcd").hexdigest(), 60.0)
    Receiver(FakeCpu([data(0, b"ab"), data(0, b"ab"), data(2, b"cd")]), update, lambda _: "ESP_OK").receive()
    assert update.hash_matches
