"""The update server when nothing is wrong on purpose: right answers, limits, and how it begins and ends."""

import contextlib
import json
import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.boards.firmware import FirmwareBuild
from rig.errors import UserError
from rig.updates.answers import Asked, File, answer
from rig.updates.server import UpdateServer
from rig.virtual.builds import make_build
from tests.rig.updates.wire import PATIENCE_S, ask, connect, get, hear, parsed

IMAGE = bytes(range(256)) * 4
LARGE = bytes(64 * 1024 * 1024)


@pytest.fixture
def server():
    with UpdateServer() as server:
        server.offer("app.bin", IMAGE)
        yield server


def test_an_image_is_served_whole_with_its_length_and_a_tag(server):
    heard = get(server)
    assert (heard.status, heard.body, heard.ended) == (200, IMAGE, "fin")
    assert heard.headers["content-length"] == str(len(IMAGE))
    assert heard.headers["accept-ranges"] == "bytes"
    assert server.url("app.bin") == f"http://127.0.0.1:{server.port}/app.bin"


def test_head_says_the_same_without_a_body(server):
    whole, head = get(server), get(server, ask(method="HEAD", Connection="close"))
    assert head.body == b""
    assert {**head.headers, "date": ""} == {**whole.headers, "date": ""}


def test_a_range_is_served_as_206_and_one_behind_the_end_as_416(server):
    part = get(server, ask(Range="bytes=100-199", Connection="close"))
    assert (part.status, part.body) == (206, IMAGE[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(IMAGE)}"
    behind = get(server, ask(Range=f"bytes={len(IMAGE)}-", Connection="close"))
    assert (behind.status, behind.headers["content-range"]) == (416, f"bytes */{len(IMAGE)}")


def test_a_client_that_has_the_image_already_is_told_so(server):
    tag = get(server).headers["etag"]
    for sent in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        heard = get(server, ask(If_None_Match=sent, Connection="close"))
        assert (heard.status, heard.body) == (304, b"")
    assert get(server, ask(If_None_Match='"other"', Connection="close")).status == 200


def test_a_resumed_download_gets_the_whole_file_if_the_file_has_changed(server):
    tag = get(server).headers["etag"]
    assert get(server, ask(Range="bytes=5-", If_Range=tag, Connection="close")).status == 206
    server.offer("app.bin", IMAGE[::-1])
    changed = get(server, ask(Range="bytes=5-", If_Range=tag, Connection="close"))
    assert (changed.status, changed.body) == (200, IMAGE[::-1])


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(1, 300))
def test_an_image_fetched_in_ranges_is_the_image(start, step):
    file = File.of(IMAGE[:300])
    parts = []
    for at in range(start, 300, step):
        asked = Asked("GET", "/app.bin", range=f"bytes={at}-{at + step - 1}")
        parts.append(bytes(answer(asked, file).body))
        assert answer(replace(asked, method="HEAD"), file).has_body is False
    assert b"".join(parts) == file.data[start:]


def test_one_connection_serves_many_requests(server):
    with connect(server) as connection:
        for _ in range(3):
            connection.sendall(ask())
            data = b""
            while len(data) < len(IMAGE) or not data.endswith(IMAGE):
                data += connection.recv(65536)
            assert parsed(data, "").body == IMAGE


def test_everything_a_build_flashes_has_a_stable_url(server, tmp_path):
    build = FirmwareBuild.load(make_build(tmp_path, variant="rollback", chip="esp32c3", version="2.0.0"))
    paths = server.offer_build(build)
    assert paths[0] == "/app.bin"
    assert "/bootloader/bootloader.bin" in paths
    assert "/partition_table/partition-table.bin" in paths
    assert len(paths) == len(build.flash_files) + 1
    assert get(server).body == build.app_path.read_bytes()
    heard = get(server, ask("/bootloader/bootloader.bin", Connection="close"))
    assert heard.body == build.bootloader_path.read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "/../etc/passwd",
        "/a/../app.bin",
        "/%2e%2e/etc/passwd",
        "/%252e%252e/x",
        "/..%2fapp.bin",
        "/a\\..\\b",
        "/%00",
        "/./app.bin",
    ],
)
def test_a_path_that_climbs_is_refused(server, path):
    heard = get(server, ask(path))
    assert (heard.status, heard.ended) == (400, "fin")


def test_other_methods_bodies_and_unknown_paths_are_refused(server):
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        heard = get(server, ask(method=method))
        assert (heard.status, heard.headers["allow"], heard.ended) == (405, "GET, HEAD", "fin")
    assert get(server, ask(Content_Length="5") + b"12345").status == 413
    assert get(server, ask(Transfer_Encoding="chunked") + b"0\r\n\r\n").status == 413
    missing = get(server, ask("/none.bin", Connection="close"))
    assert missing.status == 404
    assert b"/app.bin" in missing.body


def test_oversized_and_broken_requests_are_refused_and_recorded(server, caplog):
    long_field = ask(X_Long="x" * 20_000)
    many_fields = ask(**{f"X_{number}": "y" for number in range(200)})
    for request in (long_field, many_fields, ask("/" + "a" * 20_000), b"\x16\x03\x01\x02\x00hello\r\n\r\n"):
        heard = get(server, request)
        assert (heard.status, heard.ended) == (400, "fin")
    assert server.wait_served(4, PATIENCE_S)
    assert all(served.ended.startswith("refused: ") and served.status == 400 for served in server.served)
    assert not caplog.records, "it is no fault of the server's, so no traceback of it"


@pytest.mark.parametrize(
    "name", ["", "/app.bin", "a//b", "../app.bin", "a/../b", ".hidden", "a b", "a?b", "a%2e", "a\\b"]
)
def test_a_name_that_could_mean_something_else_is_refused(server, name):
    with pytest.raises(UserError, match="cannot be offered"):
        server.offer(name, IMAGE)


def test_an_image_without_a_byte_is_refused(server):
    with pytest.raises(UserError, match="has no bytes") as refused:
        server.offer("empty.bin", b"")
    assert "truncate@0" in str(refused.value)


def test_a_port_in_use_is_a_user_error():
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = UpdateServer(port=other.getsockname()[1])
        with pytest.raises(UserError, match="cannot listen") as refused:
            taken.start()
    assert "choose another port" in str(refused.value)
    taken.stop()


def test_no_host_is_not_every_address_of_this_machine():
    with pytest.raises(UserError, match="no address"):
        UpdateServer(host="").start()


def test_a_host_that_is_none_of_this_machine_is_a_user_error():
    with pytest.raises(UserError, match=r"cannot listen on 192\.0\.2\.1"):
        UpdateServer(host="192.0.2.1").start()


def test_it_listens_on_loopback_unless_told_otherwise(server):
    assert server.host == "127.0.0.1"
    with UpdateServer(host="0.0.0.0") as everywhere:
        everywhere.offer("app.bin", IMAGE)
        assert everywhere.url("app.bin", "10.0.2.2") == f"http://10.0.2.2:{everywhere.port}/app.bin"
        assert get(everywhere).body == IMAGE


def test_it_can_be_stopped_twice_and_started_again():
    server = UpdateServer()
    server.offer("app.bin", IMAGE)
    with pytest.raises(UserError, match="has no URL"):
        server.url("app.bin")
    for _ in range(2):
        with server:
            assert get(server).body == IMAGE
        server.stop()
    assert not any(thread.name.startswith("update server") for thread in threading.enumerate())


def test_a_client_that_never_reads_holds_up_neither_others_nor_the_end(server):
    server.offer("large.bin", LARGE)
    with connect(server) as deaf:
        deaf.sendall(ask("/large.bin"))
        assert server.wait_asked(1, PATIENCE_S)
        assert get(server).body == IMAGE
        server.stop()
        stuck = next(served for served in server.served if served.path == "/large.bin")
    assert stuck.ended == "server stopped"
    assert stuck.sent < len(LARGE)


def test_a_client_that_never_asks_does_not_hold_up_the_end(server):
    with connect(server) as silent:
        silent.sendall(b"GET /app.bin HT")
        server.stop()
        with contextlib.suppress(ConnectionResetError):
            assert silent.recv(1) == b""


def test_a_client_that_leaves_is_recorded_with_what_it_could_have_got(server):
    server.offer("large.bin", LARGE)
    with connect(server) as hasty:
        hasty.sendall(ask("/large.bin"))
        got = 0
        while got < 5000:  # more than the head: some of the body has been sent
            got += len(hasty.recv(5000))
    assert server.wait_served(1, PATIENCE_S)
    (served,) = server.served
    assert (served.ended, served.status) == ("client left", 200)
    assert 0 < served.sent < len(LARGE)


def test_many_clients_at_once_each_get_the_whole_image(server):
    with ThreadPoolExecutor(32) as clients:
        assert all(heard.body == IMAGE for heard in clients.map(lambda _: get(server), range(64)))
    assert server.wait_served(64, PATIENCE_S)


def test_a_large_image_over_http_comes_unharmed(server):
    image = random.Random(1).randbytes(3_000_001)
    server.offer("app.bin", image)
    heard = get(server)
    assert len(heard.body) == len(image)
    assert sha256(heard.body).digest() == sha256(image).digest()


def test_all_it_did_is_recorded_for_the_evidence(server, tmp_path):
    get(server, ask(Range="bytes=0-9", Connection="close"))
    get(server, ask("/none.bin", method="HEAD", Connection="close"))
    assert server.wait_served(2, PATIENCE_S)
    first, second = server.served
    assert (first.method, first.path, first.range, first.status, first.sent) == (
        "GET",
        "/app.bin",
        "bytes=0-9",
        206,
        10,
    )
    assert (first.fault, first.ended) == (None, "complete")
    assert first.client.startswith("127.0.0.1:")
    assert (second.method, second.status, second.sent) == ("HEAD", 404, 0)
    file = server.journal.save(tmp_path)
    assert file == tmp_path / "updates.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["path"], line["status"], line["sent"], line["faults"]) for line in lines] == [
        ("/app.bin", 206, 10, []),
        ("/none.bin", 404, 0, []),
    ]


def test_waiting_for_what_does_not_come_ends(server):
    assert server.wait_served(1, 0.05) is False
    connection = connect(server)
    connection.sendall(ask(Connection="close"))
    assert hear(connection).status == 200
    assert server.wait_served(1, PATIENCE_S) is True
