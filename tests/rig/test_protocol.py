"""The codec of the serial contract, and PROTOCOL.md held to it."""

import re
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.protocol import (
    ANSWER_WORDS,
    MAX_LINE,
    MAX_PAYLOAD,
    PROGRESS_WORDS,
    PROTOCOL_VERSION,
    Damaged,
    Frame,
    FrameReader,
    FrameType,
    Line,
    encode_frame,
    encode_line,
    escape,
    parse_line,
    unescape,
)
from rig.updates.agent import OUTCOMES
from rig.updates.agent_rules import OPTIONAL_RULES, RULES
from rig.virtual.agent import COMMANDS, OPTIONAL_COMMANDS
from rig.virtual.diagnostics import OUTCOMES as DEVICE_OUTCOMES

CONTRACT = (Path(__file__).parents[2] / "firmware_under_test" / "PROTOCOL.md").read_text(encoding="utf-8")

names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
ids = st.none() | st.integers(1, 0xFFFFFFFF)
lines = st.builds(Line, ids, names, st.dictionaries(names, st.text(max_size=12), max_size=4))
frames = st.builds(Frame, st.just(FrameType.DATA), st.integers(0, 0xFFFFFFFF), st.binary(max_size=64))


# --- lines -----------------------------------------------------------------------------------------------------------


@given(lines)
def test_a_line_is_read_back_as_it_was_written(line):
    assert parse_line(encode_line(line)) == line
    assert parse_line(encode_line(line, b"\r\n")) == line


@given(st.text())
def test_an_escaped_value_holds_no_structure_and_comes_back(text):
    escaped = escape(text)
    assert not set(escaped) & set(" *=@\r\n\t")
    assert unescape(escaped) == text


@given(lines, st.data())
def test_a_torn_line_is_no_line(line, data):
    raw = encode_line(line).rstrip(b"\n")
    cut = data.draw(st.integers(0, len(raw) - 1))
    assert parse_line(raw[:cut]) is None
    assert parse_line(raw[cut:]) == (line if cut == 0 else None)


@given(lines, st.data())
def test_a_line_with_one_byte_changed_is_no_line(line, data):
    raw = encode_line(line).rstrip(b"\n")
    at = data.draw(st.integers(0, len(raw) - 1))
    mask = data.draw(st.integers(1, 255))
    assert parse_line(raw[:at] + bytes([raw[at] ^ mask]) + raw[at + 1 :]) is None


@given(lines, st.data(), st.binary(min_size=1, max_size=20).filter(lambda noise: b"\n" not in noise))
def test_log_output_inside_or_behind_a_line_spoils_it(line, data, noise):
    raw = encode_line(line).rstrip(b"\n")
    at = data.draw(st.integers(1, len(raw)))
    spoilt = raw[:at] + noise + raw[at:]
    assert parse_line(spoilt) is None or set(noise) == {ord("\r")}


@given(lines)
def test_a_prompt_or_half_a_log_line_before_a_line_is_ignored(line):
    raw = encode_line(line)
    for before in (b"rig> ", b"\x1b[0;32mI (34) wifi: conn", b"@rig 7 ok a=b *0000"):
        assert parse_line(before + raw) == line


def test_two_lines_run_together_give_only_the_last():
    first, second = Line(1, "ok", {}), Line(2, "ok", {})
    assert parse_line(encode_line(first).rstrip(b"\n") + encode_line(second)) == second


@pytest.mark.parametrize(
    "body",
    [
        "@rig 0 ok",
        "@rig 4294967296 ok",
        "@rig 07 ok",
        "@rig x ok",
        "@rig 7",
        "@rig 7 OK",
        "@rig 7  ok",
        "@rig 7 ok a",
        "@rig 7 ok a=1 a=2",
        "@rig 7 ok a=b=c",
        "@rig 7 ok a=%2a",
        "@rig 7 ok a=%FF",
        "@rig 7 ok a=x*y",
        "@rig 7 ok A=1",
    ],
)
def test_a_line_against_the_grammar_is_no_line_although_its_check_sum_is_right(body):
    assert parse_line(f"{body} *{zlib.crc32(body.encode()):08x}".encode()) is None


def test_an_echoed_request_is_no_answer():
    request = parse_line(b"rig> " + encode_line(Line(7, "hello", {})))
    assert request is not None
    assert request.is_request
    assert not request.is_answer
    assert not request.is_progress


@pytest.mark.parametrize(
    "line", [Line(0, "ok", {}), Line(1 << 32, "ok", {}), Line(1, "Ok", {}), Line(1, "ok", {"a b": "c"})]
)
def test_a_bad_id_or_name_is_refused_before_it_is_sent(line):
    with pytest.raises(ValueError, match=r"id|name"):
        encode_line(line)


def test_a_line_of_512_bytes_passes_and_a_longer_one_is_refused():
    spare = MAX_LINE - len(encode_line(Line(1, "ok", {"a": ""})))
    longest = encode_line(Line(1, "ok", {"a": "x" * spare}))
    assert len(longest) == MAX_LINE
    assert parse_line(longest) is not None
    with pytest.raises(ValueError, match="513 bytes"):
        encode_line(Line(1, "ok", {"a": "x" * (spare + 1)}))


# --- frames ----------------------------------------------------------------------------------------------------------


def read_in_pieces(stream: bytes, sizes: list[int]) -> list[Frame | Damaged]:
    reader, found, at = FrameReader(), [], 0
    for size in [*sizes, len(stream)]:
        found += reader.feed(stream[at : at + size])
        at += size
    return found


@given(st.lists(frames, max_size=5), st.lists(st.integers(0, 40), max_size=20))
def test_frames_come_out_as_sent_however_the_stream_is_cut(sent, sizes):
    assert read_in_pieces(b"".join(map(encode_frame, sent)), sizes) == sent


@given(frames, frames, st.data(), st.lists(st.integers(0, 40), max_size=8))
def test_a_damaged_frame_is_never_taken_and_the_next_but_one_gets_through(first, second, data, sizes):
    raw = encode_frame(first)
    at = data.draw(st.integers(0, len(raw) - 1))
    bad = raw[:at] + bytes([raw[at] ^ data.draw(st.integers(1, 255))]) + raw[at + 1 :]
    # A damaged length may swallow what follows, up to the longest frame.
    padding = encode_frame(Frame(FrameType.DATA, 1, bytes(MAX_PAYLOAD)))
    found = read_in_pieces(bad + padding + padding + encode_frame(second), sizes)
    intact = [entry for entry in found if isinstance(entry, Frame)]
    assert intact[-1] == second
    assert any(isinstance(entry, Damaged) for entry in found)
    assert len(intact) <= 3


@given(frames, st.binary(max_size=30).filter(lambda noise: b"\xa5" not in noise))
def test_noise_between_frames_is_skipped_and_reported(frame, noise):
    raw = encode_frame(frame)
    expected = [frame, Damaged(len(noise)), frame] if noise else [frame, frame]
    assert FrameReader().feed(raw + noise + raw) == expected


def test_a_frame_announcing_too_much_is_dropped_at_once():
    head = b"\xa5\x5a\x01\x00" + bytes(4) + (MAX_PAYLOAD + 1).to_bytes(2, "little")
    good = Frame(FrameType.ABORT, 0, b"")
    found = FrameReader().feed(head + encode_frame(good))
    assert found == [Damaged(len(head)), good]


def test_too_long_a_payload_is_refused():
    with pytest.raises(ValueError, match="4097 bytes"):
        encode_frame(Frame(FrameType.DATA, 0, bytes(MAX_PAYLOAD + 1)))


# --- PROTOCOL.md -----------------------------------------------------------------------------------------------------


def examples(kind: str) -> list[str]:
    blocks = re.findall(rf"```{kind}\n(.*?)```", CONTRACT, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def section(number: int) -> str:
    return CONTRACT.split(f"## {number}. ")[1].split("\n## ")[0]


def command_table() -> dict[str, tuple[bool, float]]:
    rows = re.findall(r"^\| `(\w+)` \|.*\| (yes|no) \| (\d+) s \|$", section(5), re.MULTILINE)
    return {name: (repeatable == "yes", float(limit)) for name, repeatable, limit in rows}


@pytest.mark.parametrize("text", examples("rig"))
def test_every_line_of_the_contract_is_what_the_codec_writes(text):
    line = parse_line(text.encode())
    assert line is not None
    assert text.endswith(encode_line(line).decode().rstrip("\n"))


@pytest.mark.parametrize("text", examples("rig"))
def test_every_request_in_the_contract_is_a_known_command(text):
    line = parse_line(text.encode())
    assert line is not None
    if line.is_request and line.word != "fly":
        assert line.word in {*RULES, *OPTIONAL_RULES}


@pytest.mark.parametrize("text", examples("frame"))
def test_every_frame_of_the_contract_is_what_the_codec_writes(text):
    raw = bytes.fromhex(text)
    (frame,) = FrameReader().feed(raw)
    assert isinstance(frame, Frame)
    assert encode_frame(frame) == raw


def test_the_contract_has_examples_of_every_kind_of_line():
    found = [parse_line(text.encode()) for text in examples("rig")]
    assert {line.word for line in found if line is not None} >= ANSWER_WORDS | PROGRESS_WORDS | {"start", "ready"}
    assert len(examples("frame")) == len(FrameType)


def test_host_and_device_know_the_commands_of_the_contract_and_no_others():
    assert set(RULES) == set(command_table())
    assert set(COMMANDS) == set(command_table())
    assert set(OPTIONAL_COMMANDS) <= set(OPTIONAL_RULES)


def test_the_host_repeats_and_waits_as_the_contract_says():
    assert {name: tuple(rule) for name, rule in RULES.items()} == command_table()


def test_host_and_device_know_the_outcomes_of_the_contract():
    outcomes = tuple(re.findall(r"^\| `(\w+)` \|", section(4), re.MULTILINE))
    assert outcomes == OUTCOMES == DEVICE_OUTCOMES


def test_the_contract_states_its_version():
    assert CONTRACT.split("\n## ")[0].split("Version ")[1].startswith(f"{PROTOCOL_VERSION}.")
