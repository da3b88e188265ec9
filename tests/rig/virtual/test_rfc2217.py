"""Other programs reach the chip over RFC 2217 on the loopback interface."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import serial

from rig.errors import BenchFault
from rig.virtual.rfc2217 import serve

if TYPE_CHECKING:
    from conftest import Lab

GREETING = b"dummy firmware is up\r\n"
pytestmark = pytest.mark.usefixtures("no_thread_left")


def open_remote(url: str) -> serial.SerialBase:
    return serial.serial_for_url(url, 115200, timeout=30)


def test_a_monitor_sees_a_reset_and_talks_to_the_app(lab: Lab) -> None:
    chip = lab.chip()
    chip.power_on()
    with serve(chip) as server, open_remote(server.url) as port:
        port.dtr, port.rts = False, True
        port.rts = False
        log = port.read_until(GREETING)
        assert b"rst:0x1 (POWERON),boot:0xc" in log
        port.write(bytes(range(256)))
        assert port.read(256) == bytes(range(256))


def test_connecting_and_leaving_does_not_reset(lab: Lab) -> None:
    chip = lab.chip()
    chip.power_on()
    lab.read_until(chip, GREETING)
    with serve(chip) as server:
        for _ in range(2):
            with open_remote(server.url) as port:
                port.write(b"ping")
                assert port.read(4) == b"ping"
    assert chip.lives == 1


def test_a_second_client_is_turned_away_and_may_come_later(lab: Lab) -> None:
    chip = lab.chip()
    chip.power_on()
    with serve(chip) as server:
        address = (server.address, server.port)
        with open_remote(server.url), socket.create_connection(address, timeout=30) as second:
            assert second.recv(1) == b""
        with open_remote(server.url) as port:
            port.write(b"now")
            port.read_until(b"now")


def test_a_client_that_vanishes_frees_the_port(lab: Lab) -> None:
    chip = lab.chip()
    chip.power_on()
    with serve(chip) as server:
        rude = socket.create_connection((server.address, server.port))
        assert rude.recv(1)
        rude.close()
        with open_remote(server.url) as port:
            port.write(b"still alive")
            port.read_until(b"still alive")


@pytest.mark.parametrize("address", ["192.0.2.5", "example.invalid"])
def test_an_address_of_another_host_is_a_bench_fault(lab: Lab, address: str) -> None:
    with pytest.raises(BenchFault, match=f"cannot listen on {address}"):
        serve(lab.chip(), 0, address)


def test_a_taken_port_is_a_bench_fault(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(BenchFault, match="cannot listen"):
        serve(lab.chip(), other.getsockname()[1])


def test_esptool_in_another_process_writes_and_reads_flash(lab: Lab, tmp_path: Path) -> None:
    content = bytes(range(256)) * 8
    (tmp_path / "written.bin").write_bytes(content)
    target, source = lab.chip(), lab.chip("esp32s3")
    source.flash.load(0x10000, content)
    for chip in (target, source):
        chip.power_on()
        lab.read_until(chip, GREETING)
    # At the same time, because pyserial's RFC 2217 client takes 0.2 s for each esptool command.
    with serve(target) as one, serve(source) as other:
        runs = [
            start_esptool(one.url, "write-flash", "--no-progress", "0x10000", str(tmp_path / "written.bin")),
            start_esptool(other.url, "read-flash", "--no-progress", "0x10000", "0x800", str(tmp_path / "read.bin")),
        ]
        for run in runs:
            output, _ = run.communicate()
            assert run.returncode == 0, output
    assert target.flash.read(0x10000, len(content)) == content
    assert (tmp_path / "read.bin").read_bytes() == content
    for chip in (target, source):
        chip.host_write(b"the app is back")
        lab.read_until(chip, b"the app is back")
        assert chip.lives == 3


def start_esptool(url: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "esptool", "--chip", "auto", "--port", url, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
