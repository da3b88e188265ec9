"""Faults as they are written: what is understood, what is refused, and for which requests one holds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.errors import UserError
from rig.updates.fault_base import Place
from rig.updates.fault_script import FaultScript
from rig.updates.faults import FAULTS, Rule, parse_fault, parse_rule

PLACES = st.one_of(
    st.integers(0, 1 << 30).map(str), st.integers(0, 100).map(lambda part: f"{part}%"), st.integers(0, 999).map(hex)
)
NUMBERS = st.integers(1, 1 << 20).map(str)
WRITTEN = st.one_of(
    st.tuples(st.sampled_from(["truncate@", "disconnect@", "reset@", "stall@", "flip@"]), PLACES).map("".join),
    st.tuples(st.sampled_from(["drip@", "length+", "length-", "chunked="]), NUMBERS).map("".join),
    st.tuples(st.just("status="), st.integers(400, 599).map(str)).map("".join),
    st.sampled_from([
        "length=none", "chunked", "html", "replay", "file=a/b.bin", "other-chip", "other-chip=esp32s3", "other-project",
        "other-project=pump", "older-version=0.9", "lower-secure-version", "lower-secure-version=3", "redirect-loop",
        "redirect-loop=307", "status=503,retry-after=5", "stall@10,for=2.5", "together", "together=3",
        "expired-certificate", "wrong-host-certificate", "unknown-authority", "tls-downgrade", "tls-downgrade=1.0",
    ]),
)  # fmt: skip


@settings(deadline=None)
@given(WRITTEN)
def test_a_fault_written_out_again_is_the_same_fault(text):
    fault = parse_fault(text)
    assert parse_fault(str(fault)) == fault


@settings(deadline=None)
@given(WRITTEN, st.none() | st.integers(1, 99), st.integers(0, 9))
def test_a_limited_fault_written_out_again_is_the_same(text, times, after):
    rule = Rule(parse_fault(text), None, times, after)
    assert parse_rule(str(rule)) == rule


@settings(deadline=None)
@given(st.text(alphabet="abcdstlruenth-@=+,%0123456789x. ", max_size=40))
def test_whatever_is_written_is_a_fault_or_a_user_error(text):
    try:
        rule = parse_rule(text)
    except UserError:
        return
    assert isinstance(rule.fault, FAULTS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("explode", "there is no fault 'explode'"),
        ("", "is not written like a fault"),
        ("truncate", "truncate is written truncate@N"),
        ("truncate=5", "truncate is written"),
        ("truncate@101%", "truncate is written"),
        ("truncate@-1", "truncate is written"),
        ("truncate@nan%", "truncate is written"),
        ("stall@5,for=never", "stall is written"),
        ("stall@5,until=2", "stall has no 'until'"),
        ("drip@0", "drip is written"),
        ("length+0", "length is written"),
        ("status=200", "status is written"),
        ("status=503,retry-after=soon", "status is written"),
        ("redirect-loop=200", "redirect-loop is written"),
        ("html@5", "html is written html"),
        ("tls-downgrade=1.2", "tls-downgrade is written"),
        ("lower-secure-version=-1", "lower-secure-version"),
        ("html,times=0", "times is 0"),
        ("html,times=two", "times is a number"),
        ("html,times=1,times=2", "there twice"),
        ("expired-certificate,path=/app.bin", "cannot be limited to /app.bin"),
    ],
)
def test_what_is_wrong_is_said(text, says):
    with pytest.raises(UserError, match=says):
        parse_rule(text)


def test_places_are_bytes_in_several_forms_or_a_part():
    assert [Place.parse(text).of(1000) for text in ("7", "0x10", "2k", "1m", "50%", "100%")] == [
        7, 16, 2048, 1048576, 500, 1000,
    ]  # fmt: skip


def test_every_fault_says_how_it_is_written_and_what_it_does_in_one_line():
    for fault in FAULTS:
        assert fault.syntax.startswith(fault.name)
        assert len(f"  {fault.syntax:<28}{fault.summary}") <= 100


def said(script, path, requests):
    return [" ".join(map(str, script.for_request(path))) for _ in range(requests)]


def test_a_fault_holds_for_its_path_for_so_many_requests_after_so_many():
    script = FaultScript()
    script.add(parse_rule("html,path=app.bin,times=2,after=1"))
    assert said(script, "/other.bin", 2) == ["", ""]
    assert said(script, "/app.bin", 5) == ["", "html", "html", "", ""]


def test_faults_of_one_request_come_in_the_order_given_and_count_for_themselves():
    script = FaultScript()
    for text in ("flip@1,times=1", "stall@2", "status=500,after=2"):
        script.add(parse_rule(text))
    assert said(script, "/app.bin", 3) == ["flip@1 stall@2", "stall@2", "stall@2 status=500"]


def test_faults_of_the_handshake_count_connections_not_requests():
    script = FaultScript()
    script.add(parse_rule("expired-certificate,times=1"))
    assert said(script, "/app.bin", 1) == [""]
    assert [str(script.for_connection()) for _ in range(2)] == ["expired-certificate", "None"]


def test_cleared_faults_hold_no_more():
    script = FaultScript()
    script.add(parse_rule("html"))
    script.clear()
    assert said(script, "/app.bin", 1) == [""]
