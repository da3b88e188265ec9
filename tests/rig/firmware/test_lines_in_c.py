"""The C codec of lines held to rig/protocol.py, both ways."""

import re
import zlib
from hashlib import sha256

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rig.idf.partitions import PartitionTable
from rig.protocol import MAX_LINE, Line, encode_line, escape, looks_like_line, parse_line
from rig.virtual.builds import FIRMWARE
from tests.rig.firmware.c_side import BAD, GOOD, OTHER

CONTRACT = (FIRMWARE / "PROTOCOL.md").read_text(encoding="utf-8")
EXAMPLES = [line for block in re.findall(r"```rig\n(.*?)```", CONTRACT, re.DOTALL) for line in block.splitlines()]

held = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
ids = st.none() | st.integers(1, 0xFFFFFFFF)
lines = st.builds(Line, ids, names, st.dictionaries(names, st.text(max_size=12), max_size=4))
# Bytes that make up lines, so that random text gets past the first checks.
pieces = st.sampled_from(
    [b"@rig ", b"7", b"-", b" ", b"ok", b"=", b"a", b"%2A", b"%", b"*", b"\r", b"\xff", b"_", b"0"]
)
nearly_lines = (
    st.lists(pieces | st.binary(max_size=3), max_size=20).map(b"".join).map(lambda raw: raw.replace(b"\n", b""))
)


def sealed(body: bytes) -> bytes:
    return body + b" *%08x" % zlib.crc32(body)


def agrees(c_side, raw):
    """Both sides read the same line out of `raw`, or none."""
    verdict, line, is_request = c_side.parse(raw)
    expected = parse_line(raw)
    assert line == expected
    assert is_request is (expected is not None and expected.is_request)
    assert verdict == (GOOD if expected is not None else BAD if looks_like_line(raw) else OTHER)


@held
@given(lines)
def test_both_sides_write_the_same_line(c_side, line):
    fields = [(name, value.encode()) for name, value in line.fields.items()]
    assert c_side.encode(line.id, line.word, fields) == encode_line(line)


@held
@given(lines)
def test_c_reads_what_python_writes(c_side, line):
    for end in (b"", b"\n", b"\r\n", b"\r\r\n"):
        assert c_side.parse(encode_line(line, end))[1] == line


@held
@given(lines, st.data())
def test_a_torn_line_is_no_line(c_side, line, data):
    raw = encode_line(line).rstrip(b"\n")
    cut = data.draw(st.integers(1, len(raw) - 1))
    assert c_side.parse(raw[:cut])[1] is None
    assert c_side.parse(raw[cut:])[1] is None


@held
@given(lines, st.data())
def test_a_line_with_one_byte_changed_is_refused_by_both(c_side, line, data):
    raw = encode_line(line).rstrip(b"\n")
    at = data.draw(st.integers(0, len(raw) - 1))
    bad = raw[:at] + bytes([raw[at] ^ data.draw(st.integers(1, 255))]) + raw[at + 1 :]
    assert c_side.parse(bad)[1] is None
    agrees(c_side, bad)


@held
@given(lines, st.binary(max_size=40), st.binary(max_size=10))
def test_text_around_a_line_is_judged_alike(c_side, line, before, behind):
    agrees(c_side, before.replace(b"\n", b"") + encode_line(line).rstrip() + behind.replace(b"\n", b""))


@held
@given(nearly_lines)
@example(b"@rig 0 ok")
@example(b"@rig 4294967295 ok")
@example(b"@rig 4294967296 ok")
@example(b"@rig 99999999999 ok")
@example(b"@rig 7")
@example(b"@rig ")
@example(b"@rig  ok")
@example(b"@rig 7 ok a=1 a=2")
@example(b"@rig 7 ok a=1 ab=2 a=3")
@example(b"@rig 7 ok a=%2a")
@example(b"@rig 7 ok a=%FF")
@example(b"@rig 7 ok a=%ED%A0%80")
@example(b"@rig 7 ok a=%00")
@example(b"@rig 7 ok a=%2")
@example(b"@rig 7 ok a=b=c")
@example(b"@rig 7 ok  a=b")
@example(b"@rig 7 ok a=b ")
@example(b"@rig 7 ok a")
@example(b"@rig 7 ok =b")
def test_any_text_with_a_right_check_sum_is_judged_alike(c_side, body):
    agrees(c_side, sealed(body))
    agrees(c_side, body)


@held
@given(st.binary(max_size=1200).filter(lambda raw: b"\n" not in raw))
def test_noise_is_judged_alike(c_side, raw):
    agrees(c_side, raw)
    agrees(c_side, b"@rig " + raw)


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_line_of_the_contract_is_read_and_written(c_side, text):
    verdict, line, _ = c_side.parse(text.encode())
    assert verdict == GOOD
    assert line == parse_line(text.encode())
    written = c_side.encode(line.id, line.word, [(name, value.encode()) for name, value in line.fields.items()])
    assert text.endswith(written.decode().rstrip("\n"))


@pytest.mark.parametrize("size", range(MAX_LINE - 2, MAX_LINE + 4))
def test_the_longest_line_is_the_same_on_both_sides(c_side, size):
    spare = size - len(encode_line(Line(1, "ok", {"a": ""})))
    body = f"@rig 1 ok a={'x' * spare}".encode()
    for end in (b"", b"\n", b"\r\n", b"\r\r\r\n"):
        agrees(c_side, sealed(body) + end)
    written = c_side.encode(1, "ok", [("a", b"x" * spare)])
    assert written == (sealed(body) + b"\n" if size <= MAX_LINE else b"")


def test_as_many_fields_as_fit_are_taken(c_side):
    names = [chr(a) for a in range(ord("a"), ord("z") + 1)] + [f"{chr(a)}{n}" for a in range(97, 123) for n in range(9)]
    fields = {name: "" for name in names[:110]}
    agrees(c_side, encode_line(Line(1, "fly", fields)))


@held
@given(st.binary(max_size=60))
@example(b"\xf0\x9f\x98")
@example(b"\xed\xa0\x80\xe0\x80\x80\xf4\x90\x80\x80")
def test_text_that_is_not_utf8_is_mended_as_python_mends_it(c_side, data):
    """What an app descriptor of another image may hold must not make an answer that the host refuses."""
    expected = f"@rig 1 ok a={escape(data.decode(errors='replace'))}".encode()
    written = c_side.encode(1, "ok", [("a", data)])
    assert written.rstrip() == (sealed(expected) if len(expected) <= MAX_LINE - 11 else b"")


@held
@given(st.binary(max_size=30) | st.text(max_size=10).map(str.encode))
def test_utf8_is_what_python_takes_for_it(c_side, data):
    try:
        data.decode()
        valid = True
    except UnicodeDecodeError:
        valid = False
    assert c_side.is_utf8(data) is valid


@held
@given(st.integers(0, 0xFFFFFFFF), st.binary(max_size=64))
def test_numbers_flags_and_bytes_are_written_as_the_host_reads_them(c_side, number, data):
    expected = {"decimal": str(number), "hex": hex(number), "flag": str(int(number != 0)), "bytes": data.hex()}
    assert c_side.encode_numbers(number, data) == encode_line(Line(None, "numbers", expected))


@held
@given(st.integers(0, 1 << 34).flatmap(lambda n: st.sampled_from([str(n), hex(n), hex(n).upper().replace("X", "x")])))
def test_decimal_and_hexadecimal_numbers_of_32_bits_are_taken(c_side, text):
    value = int(text, 0)
    assert c_side.number(text.encode()) == (value if value < 1 << 32 else None)


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", " 1", "1 ", "0x", "x1", "1e3", "0b1", "١", "1\0", "99999999999999999999"]
)
def test_anything_else_is_no_number(c_side, text):
    assert c_side.number(text.encode()) is None


def test_arguments_are_looked_up_by_their_whole_name_and_checked(c_side):
    raw = encode_line(
        Line(7, "diag", {"second": "4", "seconds": "30", "text": "a b", "zero": "x\0y", "sum": "0a" * 32})
    )
    assert c_side.number_argument(raw, "seconds", 1, 3600) == 30
    assert c_side.number_argument(raw, "seconds", 31, 3600) is None
    assert c_side.number_argument(raw, "seconds", 1, 29) is None
    assert c_side.number_argument(raw, "sec", 1, 3600) is None
    assert c_side.text_argument(raw, "text", 4) == (True, True, False, b"a b")
    assert c_side.text_argument(raw, "text", 3)[0] is False
    assert c_side.text_argument(raw, "zero", 100)[0] is False
    assert c_side.text_argument(raw, "none", 1) == (True, False, False, b"")
    assert c_side.text_argument(raw, "sum", 65)[2] is True
    assert c_side.text_argument(encode_line(Line(7, "x", {"sum": "0g" * 32})), "sum", 65)[2] is False
    assert c_side.text_argument(encode_line(Line(7, "x", {"sum": "0a" * 31})), "sum", 65)[2] is False


@held
@given(st.lists(st.binary(max_size=700), max_size=8), lines, st.lists(st.integers(1, 60), max_size=10))
def test_a_request_is_found_behind_any_noise_however_the_stream_is_cut(c_side, noise, line, sizes):
    stream, cut = b"".join(noise) + b"\n" + encode_line(line), []
    while stream:
        size = sizes[len(cut) % len(sizes)] if sizes else len(stream)
        cut.append(stream[:size])
        stream = stream[size:]
    found = c_side.console_lines(cut)
    assert c_side.parse(found[-1])[1] == line
    assert all(raw.endswith(b"\n") and raw.count(b"\n") == 1 for raw in found)


def test_a_request_at_the_end_of_endless_noise_without_line_feed_is_found(c_side):
    raw = encode_line(Line(1, "ping", {"data": "x" * 300}))
    for size in range(1000, 3100, 7):
        (found,) = c_side.console_lines([b"\xa5" * size + raw])
        assert c_side.parse(found)[0] == GOOD


@held
@given(st.binary(max_size=300), st.integers(0, 130))
def test_check_sums_are_those_of_the_standard_library(c_side, data, piece):
    assert c_side.crc32(data) == zlib.crc32(data)
    assert c_side.sha256(data, piece) == sha256(data).digest()


@pytest.mark.parametrize("size", [0, 55, 56, 57, 63, 64, 119, 120, 128, 4096])
def test_the_padding_of_sha256_is_right_at_every_edge(c_side, size):
    assert c_side.sha256(bytes(size), 0) == sha256(bytes(size)).digest()


@pytest.mark.parametrize("csv", sorted((FIRMWARE / "partitions").glob("*.csv")), ids=lambda path: path.stem)
def test_partition_tables_are_read_row_by_row(c_side, csv):
    table = PartitionTable.from_csv(csv.read_text(encoding="utf-8"))
    rows = c_side.table(table.to_binary().ljust(0xC00, b"\xff"))
    expected = [(p.type, p.subtype, p.offset, p.size, p.flags, p.label.encode()) for p in table.entries]
    assert [tuple(row) for row in rows] == expected


rows_or_noise = st.lists(st.just(b"\xaa\x50" + bytes(30)) | st.binary(min_size=32, max_size=32), max_size=5)


@held
@given(rows_or_noise, st.binary(max_size=31))
@example([b"\xaa\x50" + bytes(30)], b"")
@example([b"\xaa\x50" + bytes(30)], b"\xaa\x50")
def test_a_broken_table_ends_at_its_first_row_without_magic_or_at_its_end(c_side, rows, rest):
    data = b"".join(rows) + rest
    rows = c_side.table(data)
    whole = [data[at : at + 32] for at in range(0, len(data) - 31, 32)]
    good = next((n for n, row in enumerate(whole) if row[:2] != b"\xaa\x50"), len(whole))
    assert len(rows) == good
