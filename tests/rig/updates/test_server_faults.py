"""Each fault is on the wire what its name says: seen by a client that reads raw bytes."""

import random
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.errors import UserError
from rig.idf.image import parse
from rig.idf.image_build import build_image
from rig.updates.answers import Answer
from rig.updates.faults import parse_fault, parse_rule
from rig.updates.server import UpdateServer
from rig.updates.server_wire import pieces
from tests.rig.updates.wire import PATIENCE_S, QUIET_S, ask, connect, get, hear, unchunked

OLD = build_image(chip="esp32c3", version="1.0.0", secure_version=1)
IMAGE = build_image(chip="esp32c3", version="2.0.0", secure_version=1, segments=[("irom", bytes(range(256)) * 8)])
SIZE = len(IMAGE)


@pytest.fixture
def server():
    with UpdateServer() as server:
        server.offer("app.bin", OLD)
        server.offer("app.bin", IMAGE)
        yield server


@pytest.fixture
def broken(server):
    """A download with the faults named."""

    def broken(*faults, request=None, quiet=PATIENCE_S, due=0):
        for text in faults:
            server.inject(parse_fault(text))
        return get(server, request, quiet, due)

    return broken


def length(heard):
    return int(heard.headers["content-length"])


@pytest.mark.parametrize(("place", "count"), [("0", 0), ("1", 1), ("1000", 1000), ("50%", SIZE // 2), ("100%", SIZE)])
@pytest.mark.parametrize(("name", "ended"), [("disconnect", "fin"), ("reset", "reset"), ("stall", "silent")])
def test_a_connection_ends_after_exactly_so_many_bytes_with_the_full_length_claimed(broken, name, ended, place, count):
    heard = broken(f"{name}@{place}", request=ask(), quiet=QUIET_S if name == "stall" else PATIENCE_S, due=count)
    assert (heard.status, length(heard), heard.ended) == (200, SIZE, ended)
    assert heard.body == IMAGE[:count]


def test_a_disconnect_in_a_range_counts_the_bytes_of_that_answer(broken):
    heard = broken("disconnect@10", request=ask(Range="bytes=100-199"))
    assert (heard.status, length(heard), heard.body) == (206, 100, IMAGE[100:110])


def test_a_stall_that_ends_is_followed_by_the_rest(broken, server):
    heard = broken("stall@500,for=0.2")
    assert (heard.body, heard.ended) == (IMAGE, "fin")
    assert server.served[0].seconds >= 0.2


def test_a_stalled_client_is_recorded_when_it_leaves(broken, server):
    broken("stall@500", request=ask(), quiet=QUIET_S, due=500)
    assert server.wait_served(1, PATIENCE_S)
    assert (server.served[0].ended, server.served[0].sent) == ("stalled until the client left", 500)


def test_a_body_that_drips_never_comes_faster_than_its_rate(broken, server):
    heard = broken(f"drip@{SIZE * 4}")
    assert heard.body == IMAGE
    assert server.served[0].seconds >= 0.25


def test_a_drip_comes_in_small_pieces():
    answer = Answer(200, bytes(1000), length=1000, rate=1000.0)
    assert {size for _, size in pieces(answer, 0, 1000)} == {20}


@pytest.mark.parametrize("delta", [+5, -3, -99999])
def test_a_wrong_length_is_claimed_and_the_whole_body_sent(broken, delta):
    heard = broken(f"length{delta:+d}", request=ask())
    assert (length(heard), heard.body, heard.ended) == (max(0, SIZE + delta), IMAGE, "fin")


def test_without_a_length_the_connections_end_is_the_bodys(broken):
    heard = broken("length=none", request=ask())
    assert "content-length" not in heard.headers
    assert "transfer-encoding" not in heard.headers
    assert (heard.body, heard.ended) == (IMAGE, "fin")


def test_a_chunked_body_is_whole(broken):
    heard = broken("chunked=1000")
    assert heard.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in heard.headers
    chunks, rest = unchunked(heard.body)
    assert rest == b""
    assert (b"".join(chunks), {len(chunk) for chunk in chunks[:-1]}) == (IMAGE, {1000})


def test_a_client_of_http_1_0_gets_no_chunks(broken):
    heard = broken("chunked", request=ask(version="1.0"))
    assert "transfer-encoding" not in heard.headers
    assert (heard.body, heard.ended) == (IMAGE, "fin")


def test_a_disconnect_within_a_chunk_leaves_a_chunk_short(broken):
    heard = broken("chunked=1000", "disconnect@1500")
    chunks, rest = unchunked(heard.body)
    assert (chunks, rest) == ([IMAGE[:1000]], b"3e8\r\n" + IMAGE[1000:1500])


@settings(deadline=None)
@given(chunk=st.integers(1, 99), cuts=st.lists(st.integers(0, 500), max_size=3))
def test_chunks_are_the_same_however_often_the_body_stops_between(chunk, cuts):
    answer = Answer(200, bytes(range(256)) * 2, chunk=chunk)
    whole = b"".join(bytes(data) for data, _ in pieces(answer, 0, 512))
    stops = [0, *sorted(cuts), 512]
    parts = [list(pieces(answer, start, stop)) for start, stop in pairwise(stops)]
    assert b"".join(bytes(data) for part in parts for data, _ in part) == whole
    assert sum(size for part in parts for _, size in part) == 512


@pytest.mark.parametrize(("place", "count"), [("0", 0), ("700", 700), ("50%", SIZE // 2), (str(SIZE - 1), SIZE - 1)])
def test_a_truncated_file_is_a_well_formed_answer(broken, place, count):
    heard = broken(f"truncate@{place}")
    assert (heard.status, length(heard), heard.body, heard.ended) == (200, count, IMAGE[:count], "fin")


def test_a_truncated_file_has_no_ranges_behind_its_end(broken):
    assert broken("truncate@700", request=ask(Range="bytes=700-", Connection="close")).status == 416


def test_one_byte_is_flipped_and_no_other_also_in_ranges(broken, server):
    heard = broken("flip@0x100")
    assert heard.body == IMAGE[:0x100] + bytes([IMAGE[0x100] ^ 0xFF]) + IMAGE[0x101:]
    parts = [get(server, ask(Range=f"bytes={at}-{at + 99}", Connection="close")).body for at in range(0, SIZE, 100)]
    assert b"".join(parts) == heard.body
    server.clear_faults()
    assert get(server).headers["etag"] == heard.headers["etag"]


def test_a_captive_portal_answers_with_a_page(broken):
    heard = broken("html")
    assert (heard.status, heard.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert heard.body.startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("other-chip=esp32", ("esp32", "rig_test_app", "2.0.0", 1)),
        ("other-project", ("esp32c3", "not_rig_test_app", "2.0.0", 1)),
        ("older-version=1.5.0", ("esp32c3", "rig_test_app", "1.5.0", 1)),
        ("lower-secure-version", ("esp32c3", "rig_test_app", "2.0.0", 0)),
    ],
)
def test_a_wrong_image_is_served_whole(broken, fault, says):
    heard = broken(fault)
    image = parse(heard.body)
    assert (image.chip.name, image.desc.project, image.desc.version, image.desc.secure_version) == says
    assert length(heard) == SIZE


def test_an_old_image_is_replayed_at_the_new_ones_url(broken, server):
    heard = broken("replay")
    assert heard.body == OLD
    server.clear_faults()
    assert get(server).headers["etag"] != heard.headers["etag"]


def test_another_file_can_be_served_instead(broken, server):
    server.offer("evil.bin", b"something else")
    assert broken("file=evil.bin").body == b"something else"


@pytest.mark.parametrize("status", [302, 301, 307])
def test_a_redirection_leads_to_where_it_came_from(broken, status):
    heard = broken("redirect-loop" if status == 302 else f"redirect-loop={status}")
    assert (heard.status, heard.headers["location"]) == (status, "http://device.test/app.bin")


@pytest.mark.parametrize(("text", "later"), [("404", None), ("500", None), ("503,retry-after=7", "7")])
def test_an_error_is_answered(broken, text, later):
    heard = broken(f"status={text}")
    assert (str(heard.status), heard.headers.get("retry-after")) == (text[:3], later)
    assert IMAGE not in heard.body


def test_the_right_answer_follows_when_the_fault_is_over(server):
    rule = parse_rule("status=503,times=2")
    server.inject(rule.fault, path="app.bin", times=rule.times)
    assert [get(server).status for _ in range(3)] == [503, 503, 200]
    assert [served.fault for served in server.served] == ["status=503", "status=503", None]


def test_faults_of_one_request_are_done_together(broken):
    heard = broken("flip@5", "drip@100000", "disconnect@100")
    assert heard.body == IMAGE[:5] + bytes([IMAGE[5] ^ 0xFF]) + IMAGE[6:100]


def test_two_clients_are_answered_at_once_and_not_before(server):
    server.inject(parse_fault("together=2"))
    first = connect(server)
    first.sendall(ask(Connection="close"))
    assert server.wait_asked(1, PATIENCE_S)
    assert server.wait_served(1, QUIET_S) is False
    with ThreadPoolExecutor(2) as clients:
        heard = list(clients.map(lambda call: call(), [lambda: hear(first), lambda: get(server)]))
    assert [one.body for one in heard] == [IMAGE, IMAGE]


def test_a_client_that_leaves_while_it_waits_is_not_counted(server):
    server.inject(parse_fault("together=2"))
    with connect(server) as gone:
        gone.sendall(ask())
        assert server.wait_asked(1, PATIENCE_S)
    assert server.wait_served(1, PATIENCE_S)
    assert server.served[0].ended == "client left"
    with connect(server) as waiting:
        waiting.sendall(ask())
        assert server.wait_asked(2, PATIENCE_S)
        assert server.wait_served(2, QUIET_S) is False


def test_a_head_has_no_body_whatever_is_wrong(broken):
    heard = broken("length+5", "disconnect@100", "chunked", request=ask(method="HEAD"))
    assert heard.body == b""


def test_a_stalled_client_does_not_hold_up_others_or_the_end(server):
    rule = parse_rule("stall@10,times=1")
    server.inject(rule.fault, times=rule.times)
    with connect(server) as stalled:
        stalled.sendall(ask())
        assert server.wait_asked(1, PATIENCE_S)
        assert get(server).body == IMAGE
        server.stop()
    assert {served.ended for served in server.served} == {"complete", "server stopped"}


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("file=none.bin", "nothing is offered as none.bin"),
        ("flip@0x100000", "none at 0x100000"),
        ("lower-secure-version=1", "secure version 1"),
        ("truncate@100%", "nothing is cut off"),
        ("truncate@1m", "nothing is cut off"),
        ("disconnect@1m", "the largest file"),
        ("reset@1m", "the largest file"),
        ("stall@1m,for=1", "the largest file"),
        ("tls-downgrade", "needs HTTPS"),
    ],
)
def test_a_fault_that_is_not_possible_is_refused_at_once(server, fault, says):
    with pytest.raises(UserError, match=says):
        server.inject(parse_fault(fault))
    assert get(server).body == IMAGE


def test_a_fault_that_became_impossible_is_no_silent_success(server):
    server.inject(parse_fault("other-project"))
    server.offer("page.html", b"no image at all")
    heard = get(server, ask("/page.html", Connection="close"))
    assert heard.status == 500
    assert b"not possible" in heard.body
    assert server.served[0].faults == ("other-project", "(not possible)")


@pytest.mark.parametrize(
    ("fault", "count", "ended"),
    [("disconnect@200001", 200001, "fin"), ("reset@200001", 200001, "reset"), ("stall@3,for=0.05", None, "fin")],
)
def test_a_large_image_that_the_system_sends_by_itself_is_cut_as_exactly(server, fault, count, ended):
    image = random.Random(1).randbytes(2_000_003)
    server.offer("app.bin", image)
    server.inject(parse_fault(fault))
    heard = get(server, ask(Range="bytes=7-", Connection="close"))
    assert (length(heard), heard.ended) == (len(image) - 7, ended)
    assert len(heard.body) == (count or len(image) - 7)
    assert sha256(heard.body).digest() == sha256(image[7:][:count]).digest()
    assert server.served[0].sent == len(heard.body)
