"""HTTPS: who trusts the authority gets the image, and each fault of the handshake is what its name says."""

import contextlib
import shutil
import ssl
import subprocess
import warnings

import pytest

from rig.errors import UserError
from rig.updates.ca import Authority
from rig.updates.faults import parse_fault
from rig.updates.server import UpdateServer
from tests.rig.updates.wire import PATIENCE_S, QUIET_S, ask, connect, hear

IMAGE = bytes(range(256)) * 8
PROTOCOL_VERSION = 70
"""The alert's number (RFC 8446, 6)."""


@pytest.fixture(scope="module")
def authority():
    return Authority.create()


@pytest.fixture
def server(authority):
    with UpdateServer(tls=authority.server_certificate(hosts=["127.0.0.1"])) as server:
        server.offer("app.bin", IMAGE)
        yield server


@pytest.fixture
def trusting(authority):
    """A client that trusts the authority and no other."""
    return ssl.create_default_context(cadata=authority.pem.decode())


def get(server, context, request=None, quiet=PATIENCE_S, due=0):
    connection = connect(server, context)
    connection.sendall(request or ask(Connection="close"))
    return hear(connection, quiet, due)


def test_an_image_comes_over_https_and_the_connection_ends_in_good_order(server, trusting):
    heard = get(server, trusting)
    assert (heard.status, heard.body, heard.ended) == (200, IMAGE, "close_notify")
    assert server.url("app.bin").startswith("https://127.0.0.1:")


def test_a_request_in_one_packet_with_the_handshakes_end_is_answered(server, trusting):
    for _ in range(20):
        assert get(server, trusting).status == 200


def test_a_large_image_comes_whole(server, trusting):
    server.offer("app.bin", IMAGE * 1000)
    heard = get(server, trusting)
    assert len(heard.body) == len(IMAGE) * 1000
    assert heard.body == IMAGE * 1000


def test_old_versions_are_not_spoken(server, trusting):
    with pytest.raises(ssl.SSLError):
        connect(server, old_client(ssl.TLSVersion.TLSv1_1))


def test_a_client_that_does_not_trust_the_authority_is_recorded(server):
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(server, ssl.create_default_context())
    assert server.wait_served(1, PATIENCE_S)
    (served,) = server.served
    assert (served.status, served.path) == (0, "")
    assert served.ended == "handshake failed: tlsv1 alert unknown ca"


def test_plain_http_on_the_https_port_is_no_answer_and_recorded(server):
    with connect(server) as plain:
        plain.sendall(ask())
        assert not plain.recv(100).startswith(b"HTTP")
    assert server.wait_served(1, PATIENCE_S)
    assert server.served[0].ended == "handshake failed: http request"


def test_a_client_that_never_shakes_hands_does_not_hold_up_the_end(server, trusting):
    with connect(server):
        assert get(server, trusting).body == IMAGE
        server.stop()
    assert server.served[-1].ended == "server stopped"


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("expired-certificate", "certificate has expired"),
        ("wrong-host-certificate", "IP address mismatch"),
        ("unknown-authority", "unable to get local issuer certificate|certificate signature failure"),
    ],
)
def test_a_wrong_certificate_is_wrong_in_that_and_nothing_else(server, trusting, fault, says):
    server.inject(parse_fault(fault), times=1)
    with pytest.raises(ssl.SSLCertVerificationError, match=says):
        connect(server, trusting)
    assert server.wait_served(1, PATIENCE_S)
    assert server.served[0].fault == fault
    assert get(server, trusting).body == IMAGE


def test_a_client_that_checks_nothing_is_found_out_in_the_record(server):
    careless = ssl.create_default_context()
    careless.check_hostname = False
    careless.verify_mode = ssl.CERT_NONE
    server.inject(parse_fault("expired-certificate"))
    assert get(server, careless).body == IMAGE
    assert (server.served[0].fault, server.served[0].status) == ("expired-certificate", 200)


def old_client(version):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.skipif(not ssl.HAS_TLSv1_1, reason="this Python's OpenSSL has no TLS 1.1")
@pytest.mark.parametrize(("fault", "name"), [("tls-downgrade", "TLSv1.1"), ("tls-downgrade=1.0", "TLSv1")])
def test_a_downgraded_server_speaks_that_version_only(server, fault, name):
    server.inject(parse_fault(fault))
    version = ssl.TLSVersion.TLSv1_1 if name == "TLSv1.1" else ssl.TLSVersion.TLSv1
    connection = connect(server, old_client(version))
    assert connection.version() == name
    connection.sendall(ask(Connection="close"))
    assert hear(connection).body == IMAGE
    modern = old_client(ssl.TLSVersion.TLSv1_2)
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version|unsupported.protocol"):
        connect(server, modern)


@pytest.mark.skipif(not ssl.HAS_TLSv1_1, reason="this Python's OpenSSL has no TLS 1.1")
def test_a_client_of_tls_1_2_is_answered_by_a_server_hello_of_1_1(server):
    """What a client without the list of versions (supported_versions) sees, byte for byte."""
    server.inject(parse_fault("tls-downgrade"))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = old_client(ssl.TLSVersion.TLSv1_2).wrap_bio(incoming, outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    with connect(server) as raw:
        raw.sendall(outgoing.read())
        record = raw.recv(1000)
    handshake, server_hello = 22, 2
    assert (record[0], record[1:3], record[5], record[9:11]) == (handshake, b"\x03\x02", server_hello, b"\x03\x02")


def test_faults_of_the_handshake_have_no_path(server):
    with pytest.raises(UserError, match="the handshake comes before the path"):
        server.inject(parse_fault("expired-certificate"), path="/app.bin")


@pytest.mark.parametrize("count", [0, 1000])
def test_a_cut_connection_says_no_goodbye(server, trusting, count):
    server.inject(parse_fault(f"disconnect@{count}"))
    heard = get(server, trusting, ask())
    assert (heard.headers["content-length"], heard.body, heard.ended) == (str(len(IMAGE)), IMAGE[:count], "eof")


@pytest.mark.parametrize(("fault", "reset"), [("reset@1000", True), ("disconnect@1000", False)])
def test_a_reset_below_tls_is_one_of_tcp_and_all_bytes_come_before(server, trusting, fault, reset):
    """Python's TLS socket tells a reset as an end, so TLS is done beside the socket here."""
    server.inject(parse_fault(fault))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusting.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with connect(server) as raw:
        while tls.version() is None or outgoing.pending:
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            if outgoing.pending:
                raw.sendall(outgoing.read())
            if tls.version() is None:
                incoming.write(raw.recv(10_000))
        tls.write(ask())
        raw.sendall(outgoing.read())
        was_reset = False
        try:
            while more := raw.recv(10_000):
                incoming.write(more)
        except ConnectionResetError:
            was_reset = True
    got = b""
    with contextlib.suppress(ssl.SSLWantReadError):
        while True:
            got += tls.read(10_000)
    assert (got.partition(b"\r\n\r\n")[2], was_reset) == (IMAGE[:1000], reset)


def test_a_stall_over_https_is_silent_after_exactly_so_many_bytes(server, trusting):
    server.inject(parse_fault("stall@77"))
    heard = get(server, trusting, ask(), QUIET_S, 77)
    assert (heard.body, heard.ended) == (IMAGE[:77], "silent")


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_curl_sees_the_same(server, authority, tmp_path):
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.pem)

    def curl():
        command = [
            "curl",
            "-sS",
            "--max-time",
            "20",
            "--cacert",
            str(ca),
            "-o",
            str(tmp_path / "got"),
            server.url("app.bin"),
        ]
        return subprocess.run(command, capture_output=True).returncode

    assert curl() == 0
    assert (tmp_path / "got").read_bytes() == IMAGE
    partial_file, peer_failed_verification = 18, 60
    for fault, code in [("disconnect@50%", partial_file), ("wrong-host-certificate", peer_failed_verification)]:
        server.clear_faults()
        server.inject(parse_fault(fault))
        assert curl() == code
    # curl compares names after a handshake of TLS 1.3 and then leaves without a request
    assert server.wait_served(3, PATIENCE_S)
    assert server.served[-1].faults == ("wrong-host-certificate",)
