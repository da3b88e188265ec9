"""`rig ota-serve` from outside: a process that a client downloads from, and that ends when it is told to."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from rig.cli import main
from rig.ota_serve_command import line
from rig.updates.faults import FAULTS
from rig.updates.served import Served
from rig.virtual.builds import make_build

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60
Serve = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def build(tmp_path: Path) -> Path:
    return make_build(tmp_path / "build", variant="rollback", chip="esp32c3", version="2.0.0")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts `rig ota-serve` in a folder of its own; what a test leaves running is killed."""
    processes = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "rig", "ota-serve", "--port", "0", *arguments], cwd=tmp_path,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def introduced(stream) -> str:
    """All it says before the first request."""
    said = ""
    while "Ctrl-C ends it." not in said:
        line = stream.readline()
        assert line, said
        said += line
    return said


def ended(process, number=signal.SIGINT):
    process.send_signal(number)
    output, errors = process.communicate(timeout=PATIENCE_S)
    return process.returncode, output, errors


def url_in(said: str, name: str = "app.bin") -> str:
    found = re.search(rf"https?://127\.0\.0\.1:\d+/{re.escape(name)}", said)
    assert found, said
    return found[0]


def test_a_build_is_served_and_each_request_is_a_line(serve, build):
    process = serve(str(build), "--fault", "truncate@50%,times=1")
    said = introduced(process.stdout)
    assert "rig_test_app 2.0.0 for esp32c3" in said
    assert "truncate@50%,times=1" in said
    url = url_in(said)
    assert f"curl --fail -o downloaded.bin {url}" in said
    image = (build / "rig_test_app.bin").read_bytes()
    bodies = [urllib.request.urlopen(url, timeout=PATIENCE_S).read() for _ in range(2)]
    assert bodies == [image[: len(image) // 2], image]
    bootloader = urllib.request.urlopen(url_in(said, "bootloader/bootloader.bin"), timeout=PATIENCE_S).read()
    assert bootloader == (build / "bootloader" / "bootloader.bin").read_bytes()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(url_in(said).replace("app.bin", "none"), timeout=PATIENCE_S)
    code, output, errors = ended(process)
    assert (code, errors) == (0, "")
    first, second, third, fourth = output.splitlines()
    assert re.search(r"GET /app\.bin +200 +[\d,]+ bytes .* complete +truncate@50%$", first)
    assert re.search(rf"GET /app\.bin +200 +{len(image):,} bytes .* complete$", second)
    assert "/bootloader/bootloader.bin" in third
    assert " 404 " in fourth


def test_https_with_its_ca_in_a_file_and_json_for_programs(serve, build, tmp_path):
    process = serve(str(build), "--tls", "--json", "--fault", "html")
    said = introduced(process.stderr)
    assert "The CA to trust is in ca.pem" in said
    context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    answer = urllib.request.urlopen(url_in(said), timeout=PATIENCE_S, context=context)
    assert answer.read().startswith(b"<!DOCTYPE html>")
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(url_in(said), timeout=PATIENCE_S)
    code, output, _ = ended(process, signal.SIGTERM)
    assert code == 0
    good, refused = map(json.loads, output.splitlines())
    assert (good["path"], good["status"], good["faults"], good["ended"]) == ("/app.bin", 200, ["html"], "complete")
    assert (refused["status"], refused["ended"]) == (0, "handshake failed: tlsv1 alert unknown ca")


def test_an_image_file_and_an_older_one_for_replay(serve, tmp_path):
    (tmp_path / "new.bin").write_bytes(b"the new one")
    (tmp_path / "old.bin").write_bytes(b"the old one")
    process = serve("new.bin", "--previous", "old.bin", "--fault", "replay,times=1")
    url = url_in(introduced(process.stdout))
    bodies = [urllib.request.urlopen(url, timeout=PATIENCE_S).read() for _ in range(2)]
    assert bodies == [b"the old one", b"the new one"]


def test_it_ends_with_a_stalled_client_still_connected(serve, build):
    process = serve(str(build), "--fault", "stall@100")
    url = url_in(introduced(process.stdout))
    port = int(url.split(":")[2].split("/")[0])
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as client:
        client.sendall(b"GET /app.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
        assert ended(process)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--fault", "explode"], "there is no fault 'explode'"),
        (["--fault", "replay"], "nothing was offered at /app.bin before"),
        (["--fault", "tls-downgrade"], "needs HTTPS"),
        (["--fault", "html,path=/none.bin"], "nothing is offered at /none.bin"),
        (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1"),
        (["--tls", "--name", ""], "cannot stand in a certificate"),
        (["--ca", "mine.pem"], "--ca and --name need --tls"),
        (["--name", "bench.local"], "--ca and --name need --tls"),
    ],
)
def test_what_cannot_be_done_is_wrong_use(tmp_path, arguments, says):
    (tmp_path / "app.bin").write_bytes(b"an image")
    result = CliRunner().invoke(main, ["ota-serve", "--port", "0", str(tmp_path / "app.bin"), *arguments])
    assert (result.exit_code, says in result.output) == (2, True), result.output


def test_a_port_in_use_is_wrong_use(tmp_path):
    (tmp_path / "app.bin").write_bytes(b"an image")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        result = CliRunner().invoke(main, ["ota-serve", "--port", port, str(tmp_path / "app.bin")])
    assert (result.exit_code, f"cannot listen on 127.0.0.1 port {port}" in result.output) == (2, True), result.output


def test_a_broken_build_and_an_empty_image_are_wrong_use(tmp_path, build):
    (build / "rig_test_app.bin").unlink()
    (tmp_path / "empty.bin").write_bytes(b"")
    for path, says in [(build, "named in flasher_args.json but missing"), (tmp_path / "empty.bin", "has no bytes")]:
        result = CliRunner().invoke(main, ["ota-serve", "--port", "0", str(path)])
        assert (result.exit_code, says in result.output) == (2, True), result.output


def test_a_file_that_is_no_ca_of_ours_is_not_overwritten(tmp_path):
    (tmp_path / "app.bin").write_bytes(b"an image")
    mine = tmp_path / "mine.pem"
    mine.write_text("-----BEGIN CERTIFICATE-----\nprecious\n")
    result = CliRunner().invoke(
        main, ["ota-serve", "--port", "0", "--tls", "--ca", str(mine), str(tmp_path / "app.bin")]
    )
    assert (result.exit_code, "was not made by this command" in result.output) == (2, True), result.output
    assert mine.read_text().endswith("precious\n")


def test_nothing_a_client_sent_reaches_the_terminal_as_a_command():
    served = Served(0.0, "127.0.0.1:1", "GET", "/\x1b[31mred", "bytes=\x9b0-", 404, (), 0, 0.0, "refused: \x07")
    said = line(served).plain
    assert r"/\x1b[31mred [bytes=\x9b0-]" in said
    assert said.isprintable()


def test_the_help_lists_every_fault():
    output = CliRunner().invoke(main, ["ota-serve", "--help"]).output
    for fault in FAULTS:
        assert fault.syntax in output
        assert fault.summary in output
