"""`rig serve` from outside: a process that esptool and a monitor use, and that ends when it is told to."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import serial

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60
OTADATA, SECTOR = 0xD000, 0x1000
Serve = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts `rig serve`; what a test leaves running is killed."""
    processes = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "rig", "serve", *arguments], cwd=ROOT, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def url_of(process: subprocess.Popen[str]) -> str:
    """Where it says it is."""
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"is at (rfc2217://127\.0\.0\.1:\d+)$", line)
    assert found, (line, process.communicate()[1])
    return found[1]


def ended(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    """Exit code and stderr after a signal; both pipes are at their end, so no other process holds them."""
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE_S)
    return process.returncode, said


def monitor(url: str) -> serial.SerialBase:
    """A monitor as idf.py's: both lines off, so that arriving does not reset the board."""
    port = serial.serial_for_url(url, 115200, timeout=PATIENCE_S, do_not_open=True)
    port.dtr = port.rts = False
    port.open()
    return port


def reset(port: serial.SerialBase) -> None:
    """What a monitor's reset key does."""
    port.rts = True
    port.rts = False


def test_esptool_reads_flash_and_a_monitor_sees_the_app_boot(serve, tmp_path):
    process = serve("--port", "0")
    url = url_of(process)
    read = tmp_path / "otadata.bin"
    command = ["--port", url, "--chip", "auto", "read-flash", "--no-progress", hex(OTADATA), hex(SECTOR), str(read)]
    done = subprocess.run([sys.executable, "-m", "esptool", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ESP32-C3" in done.stdout
    # The app that runs without factory made itself VALID as ota_0: sequence number 1, image state 2.
    content = read.read_bytes()
    assert len(content) == SECTOR
    assert (content[:4].hex(), content[24:28].hex()) == ("01000000", "02000000")
    with monitor(url) as port:
        reset(port)
        log = port.read_until(b"Running partition ota_0")
    lines = (
        b"rst:0x1 (POWERON)",
        b"Loaded app from partition at offset 0x10000",
        b"Test app 1.0.0",
        b"partition ota_0",
    )
    at = [log.find(line) for line in lines]
    assert -1 not in at, log.decode(errors="replace")
    assert at == sorted(at)
    assert ended(process, signal.SIGTERM) == (0, "")


def test_a_blank_board_has_nothing_to_boot_and_ctrl_c_ends_it(serve):
    process = serve("--port", "0", "--blank")
    with monitor(url_of(process)) as port:
        reset(port)
        assert b"invalid header: 0xffffffff" in port.read_until(b"invalid header: 0xffffffff")
    assert ended(process, signal.SIGINT) == (0, "")


def test_it_ends_with_a_client_still_connected(serve):
    process = serve("--port", "0", "--blank")
    with socket.create_connection(("127.0.0.1", int(url_of(process).rsplit(":")[-1]))) as client:
        assert client.recv(1)
        assert ended(process, signal.SIGTERM) == (0, "")


def test_a_port_that_is_taken_is_wrong_use(serve):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        process = serve("--port", str(port), "--blank")
        output, said = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, output) == (2, "")
    assert said.startswith(f"rig: user error: cannot listen on 127.0.0.1:{port}: Address already in use")
    assert said.endswith("\ntry: choose another port, or 0 for any free one\n")
    assert said.count("\n") == 2
