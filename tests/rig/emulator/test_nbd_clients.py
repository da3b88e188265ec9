"""The NBD server against the clients that Debian ships, without any firmware."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.emulator.disk import Disk, DiskCut
from rig.emulator.nbd_server import NbdServer
from rig.idf.effects import Erase, Program

SIZE = 0x40000


class Served:
    """A disk at a socket, and what was heard of its clients."""

    def __init__(self, path: Path) -> None:
        self.disk = Disk(SIZE)
        self.seen: list[Erase | Program] = []
        self.disk.observer = self.seen.append
        self.left: list[Exception | None] = []
        self.server = NbdServer(path, self.disk, self.left.append)
        self.uri = f"nbd+unix:///?socket={path}"

    def qemu_io(self, *commands: str) -> subprocess.CompletedProcess[str]:
        words = [word for command in commands for word in ("-c", command)]
        return run("qemu-io", "-t", "none", "-f", "raw", *words, self.uri)


def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian: {'qemu-utils' if program == 'qemu-io' else 'libnbd-bin'})")
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path / "nbd")
    served.server.start()
    yield served
    served.server.stop()


def test_nbdinfo_reads_size_flags_and_block_sizes(served: Served) -> None:
    done = run("nbdinfo", "--json", served.uri)
    assert done.returncode == 0, done.stderr
    [export] = json.loads(done.stdout)["exports"]
    assert export["export-size"] == SIZE
    assert export["can_flush"]
    assert export["can_fua"]
    assert export["can_trim"]
    assert export["can_zero"]
    assert not export["can_multi_conn"]
    assert not export["is_read_only"]
    assert (export["block_size_minimum"], export["block_size_preferred"]) == (1, 4096)


def test_nbdinfo_lists_one_export(served: Served) -> None:
    done = run("nbdinfo", "--json", "--list", served.uri)
    assert done.returncode == 0, done.stderr
    assert [export["export-name"] for export in json.loads(done.stdout)["exports"]] == [""]


def test_an_export_that_does_not_exist_is_refused_in_words(served: Served) -> None:
    done = run("nbdinfo", served.uri.replace("///", "///other"))
    assert done.returncode != 0
    assert "No such file or directory for export: other" in done.stderr


def test_nbdcopy_copies_a_flash_image_in_and_out(served: Served, tmp_path: Path) -> None:
    image = bytes(range(256)) * (SIZE // 256)
    (tmp_path / "in").write_bytes(image)
    done = run("nbdcopy", tmp_path / "in", served.uri)
    assert done.returncode == 0, done.stderr
    assert served.disk.read(0, SIZE) == image
    done = run("nbdcopy", served.uri, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == image


def test_qemu_io_reads_back_what_it_wrote(served: Served) -> None:
    done = served.qemu_io("write -P 0xA5 5 77", "flush", "read -P 0xA5 5 77", "read -P 0xFF 0 5", "read -P 0xFF 82 512")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Pattern verification failed" not in done.stdout


def test_qemu_rounds_no_write_since_single_bytes_are_allowed(served: Served) -> None:
    assert served.qemu_io("write -P 0x0F 0x1003 2").returncode == 0
    assert served.seen == [Program(0x1003, b"\x0f\x0f")]
    assert served.disk.counts["write"] == 1


def test_qemu_io_sees_erases_and_programs_happen_in_order(served: Served) -> None:
    assert served.qemu_io("write -P 0 0x2000 300", "write -P 0xFF 0x2000 0x1000").returncode == 0
    assert served.seen == [Program(0x2000, bytes(256)), Program(0x2100, bytes(44)), Erase(0x2000)]
    assert served.disk.read(0x2000, 0x1000) == b"\xff" * 0x1000


def test_writes_that_are_sent_together_are_done_in_order(served: Served) -> None:
    commands = [f"aio_write -P {number} {0x3000 + number} 1" for number in range(64)]
    assert served.qemu_io(*commands, "aio_flush").returncode == 0
    assert served.disk.read(0x3000, 64) == bytes(range(64))


def test_fua_zeroes_and_discards_are_taken(served: Served) -> None:
    done = served.qemu_io("write -f -P 1 0 16", "write -z 0 8", "discard 0x1000 0x1000", "read -P 0 0 8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert served.disk.read(0, 16) == bytes(8) + b"\1" * 8


def test_a_client_whose_power_is_cut_gets_no_answer(served: Served) -> None:
    served.disk.arm(DiskCut(0, SIZE, phase="before"))
    assert served.qemu_io("write -P 0 0 16", "write -P 0 0x100 16").returncode != 0
    assert served.disk.wait_fired(0)
    assert served.seen == []


def test_it_is_heard_when_a_client_leaves_and_why(served: Served) -> None:
    assert served.qemu_io("read 0 1").returncode == 0
    served.server.drain(5)
    assert served.left == [None]


def test_a_client_that_talks_nonsense_is_dropped_and_the_next_one_served(served: Served) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(served.server.path))
        client.sendall(b"\x17" * 4096)
        with contextlib.suppress(ConnectionResetError):
            while client.recv(4096):
                pass
    assert served.qemu_io("write -P 0 0 16").returncode == 0


def test_what_a_killed_client_had_sent_is_done_before_the_drain_ends(served: Served) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(served.server.path))
        client.sendall(struct.pack(">I", 3) + struct.pack(">QIIIH", 0x49484156454F5054, 7, 6, 0, 0))
        for number in range(500):
            client.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 1, number, number, 1) + b"\0")
        client.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 1, 0, 0x1000, 400) + b"\0" * 399)
    served.server.drain(30)
    assert served.disk.read(0, 501) == bytes(500) + b"\xff"
    assert served.disk.read(0x1000, 400) == b"\xff" * 400


def test_stopping_hangs_up_and_takes_the_socket_away(served: Served) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(served.server.path))
        client.recv(18)
        served.server.stop()
        assert client.recv(1) == b""
    assert not served.server.path.exists()
    served.server.stop()
