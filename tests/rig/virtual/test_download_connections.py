"""Whom the virtual board's app talks to while it downloads, and when it stops listening."""

from __future__ import annotations

import datetime
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rig.protocol import Line, encode_line
from rig.updates.agent_url import UrlOptions
from rig.updates.ca import Authority
from rig.updates.faults import parse_fault
from rig.updates.server import UpdateServer
from rig.virtual import network
from rig.virtual.builds import read_variant
from rig.virtual.features import Features
from tests.rig.device import PATIENCE_S, app, make_device
from tests.rig.downloads import Answers, Makes, authority, failure, recorded, server, started

__all__ = ["authority", "make_device", "server"]


def test_nobody_there_is_told_by_name(make_device: Makes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert failure(started(make_device), f"http://127.0.0.1:{port}/app.bin") == ("ESP_ERR_HTTP_CONNECT", None)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", "ESP_FAIL"),
        (b"220 smtp ready\r\n", "ESP_FAIL"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "ESP_FAIL"),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "ESP_ERR_INVALID_ARG"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "ESP_FAIL"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "ESP_FAIL"),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", "ESP_ERR_HTTP_NOT_MODIFIED"),
    ],
    ids=["nothing", "no http", "no length", "no place", "no bytes", "no chunk", "nothing new"],
)
def test_a_server_that_talks_nonsense_is_given_up(make_device: Makes, answer: bytes, error: str) -> None:
    device = started(make_device)
    answers = Answers(answer)
    with recorded(device) as mutations:
        assert failure(device, answers.url) == (error, None)
    assert mutations == []
    answers.close()


def test_chunks_that_end_early_are_no_image(make_device: Makes) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    image = app("network", "2.0.0")[:6000]
    answers = Answers(head + b"%x\r\n" % len(image) + image + b"\r\n")
    error, offset = failure(started(make_device), answers.url)
    assert (error, offset) == ("ESP_FAIL", len(image))
    answers.close()


def test_a_redirection_may_lead_to_another_server_or_another_path(make_device: Makes, server: UpdateServer) -> None:
    elsewhere = f"HTTP/1.1 307 there\r\nLocation: {server.url('app.bin')}\r\nContent-Length: 2\r\n\r\nno".encode()
    answers = Answers(elsewhere)
    device = started(make_device)
    assert device.agent.update_url(answers.url).boot == "ota_1"
    answers.close()
    path = b"HTTP/1.1 301 there\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n"
    answers = Answers(path)
    # The device sends its next request on the same connection, which this server has closed.
    assert failure(device, answers.url)[0] in ("ESP_FAIL", "ESP_ERR_HTTP_WRITE_DATA")
    answers.close()


@pytest.mark.parametrize(
    ("idf", "error"),
    [
        ("v5.1", None),
        ("v5.5", "ESP_ERR_HTTP_REDIRECT_DOWNGRADE"),
        ("v6.0", None),
        ("v6.1", "ESP_ERR_HTTP_REDIRECT_DOWNGRADE"),
    ],
)
def test_a_redirection_from_https_to_http(
    make_device: Makes, server: UpdateServer, authority: Authority, idf: str, error: str | None
) -> None:
    device = started(make_device, idf=idf)
    device.agent.set_ca(authority.pem)
    image = app("network", "2.0.0", idf=idf)
    server.offer("app.bin", image)
    with _redirecting_tls(authority, server.url("app.bin")) as url:
        if error is None:
            assert device.agent.update_url(url).length == len(image)
        else:
            assert failure(device, url) == (error, None)


@contextmanager
def _redirecting_tls(authority: Authority, to: str) -> Iterator[str]:
    context = authority.server_certificate(hosts=["127.0.0.1"]).context()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        plain, _ = listener.accept()
        with context.wrap_socket(plain, server_side=True) as connection:
            connection.recv(65536)
            connection.sendall(f"HTTP/1.1 302 x\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode())
            connection.recv(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}/app.bin"
    listener.close()
    thread.join(PATIENCE_S)


def test_only_the_given_authority_and_the_right_name_are_trusted(make_device: Makes, authority: Authority) -> None:
    device = started(make_device)
    tls = authority.server_certificate(hosts=["update.example"])
    with UpdateServer(tls=tls) as server:
        server.offer("app.bin", app("network", "2.0.0"))
        url = server.url("app.bin")
        assert failure(device, url) == ("ESP_ERR_INVALID_STATE", None)
        device.agent.set_ca(Authority.create().pem)
        assert failure(device, url, UrlOptions("update.example")) == ("ESP_ERR_HTTP_CONNECT", None)
        device.agent.set_ca(authority.pem)
        assert failure(device, url) == ("ESP_ERR_HTTP_CONNECT", None)
        assert device.agent.update_url(url, UrlOptions("update.example")).boot == "ota_1"


def test_dates_are_compared_with_the_devices_clock(make_device: Makes, authority: Authority) -> None:
    begins = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    tls = authority.server_certificate(hosts=["127.0.0.1"], not_before=begins)
    device = started(make_device)
    device.agent.set_ca(authority.pem)
    with UpdateServer(tls=tls) as server:
        server.offer("app.bin", app("network", "2.0.0"))
        # nobody has told it the time, so it is 1970
        assert failure(device, server.url("app.bin")) == ("ESP_ERR_HTTP_CONNECT", None)
        device.agent.network(time=int(begins.timestamp()) + 60)
        assert device.agent.update_url(server.url("app.bin")).boot == "ota_1"


def test_an_app_without_date_checks_takes_an_expired_certificate(
    make_device: Makes, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "_demand_dates", lambda secured, trust: None)
    device = started(make_device)
    device.agent.set_ca(authority.pem)
    with UpdateServer(tls=authority.server_certificate(hosts=["127.0.0.1"])) as server:
        server.offer("app.bin", app("network", "2.0.0"))
        server.inject(parse_fault("expired-certificate"))
        assert device.agent.update_url(server.url("app.bin")).boot == "ota_1"


def test_dates_are_checked_by_the_builds_that_say_so() -> None:
    said = {name: Features.from_sdkconfig(read_variant(name)).checks_dates for name in ("network", "rollback")}
    assert said == {"network": True, "rollback": False}


@pytest.mark.parametrize("pem", [b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_certificates_that_are_none_let_nobody_in(make_device: Makes, authority: Authority, pem: bytes) -> None:
    device = started(make_device)
    device.agent.set_ca(pem)
    with UpdateServer(tls=authority.server_certificate(hosts=["127.0.0.1"])) as server:
        server.offer("app.bin", app("network", "2.0.0"))
        assert failure(device, server.url("app.bin")) == ("ESP_ERR_HTTP_CONNECT", None)


# --- silence and the end of a life -----------------------------------------------------------------------------------


@pytest.fixture
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "LEAST_WAIT_S", 0.3)


@pytest.mark.usefixtures("short_wait")
@pytest.mark.parametrize(("fault", "offset"), [("stall@0", None), ("stall@20000", 20000)])
def test_silence_is_given_up_after_the_timeout(
    make_device: Makes, server: UpdateServer, fault: str, offset: int | None
) -> None:
    server.inject(parse_fault(fault))
    device = started(make_device)
    assert failure(device, server.url("app.bin"), UrlOptions(timeout=3)) == ("ESP_ERR_TIMEOUT", offset)


def test_silence_is_measured_in_device_time(
    make_device: Makes, server: UpdateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "LEAST_WAIT_S", 0.0)
    server.inject(parse_fault("stall@20000"))
    device = started(make_device)
    before = device.agent.hello().uptime_ms
    failure(device, server.url("app.bin"), UrlOptions(timeout=10))
    assert device.agent.hello().uptime_ms - before >= 10_000


@pytest.mark.parametrize("end", ["power", "reset line"])
def test_a_reset_or_a_power_cut_ends_a_download_that_waits(make_device: Makes, server: UpdateServer, end: str) -> None:
    server.inject(parse_fault("stall@20000"))
    device = started(make_device)
    began = time.monotonic()
    device.write(encode_line(Line(1, "update_url", {"url": server.url("app.bin"), "timeout": "120"})))
    assert server.wait_asked(1, PATIENCE_S)
    if end == "power":
        device.chip.power_off()
    else:
        device.chip.set_lines(dtr=False, rts=True)
        device.chip.set_lines(dtr=False, rts=False)
    # the connection goes with the chip, long before the timeout
    assert server.wait_served(1, PATIENCE_S)
    assert server.served[0].ended == "stalled until the client left"
    assert time.monotonic() - began < network.LEAST_WAIT_S + PATIENCE_S
