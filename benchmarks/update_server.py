"""Throughput of the update server to 1, 16 and 256 clients, against `python -m http.server` and nginx.

Run: python -m benchmarks update_server

The same image, the same client, in turns; each server is a process of its own. Every download is a connection of its
own and must have the image's length; one that the server resets is counted and tried again. nginx is Debian's
(`apt install nginx-light`); without it that row is missing, with the reason.
"""

from __future__ import annotations

import contextlib
import os
import random
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

SIZE = 1024 * 1024
CLIENTS = (1, 16, 256)
DOWNLOADS = 256
LONGEST_S = 6
ROUNDS = 3
PATIENCE_S = 120
REQUEST = b"GET /app.bin HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
OURS = """
import sys
from pathlib import Path
from rig.updates.server import UpdateServer
with UpdateServer(port=int(sys.argv[1])) as server:
    server.offer("app.bin", Path("app.bin").read_bytes())
    sys.stdin.read()
"""
NGINX = """
daemon off; master_process on; worker_processes auto; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  sendfile on; tcp_nopush on; access_log {folder}/access.log; default_type application/octet-stream;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
"""


def commands(folder: Path) -> dict[str, tuple[int, list[str]]]:
    """Port and command line of each server that is there."""
    found = {
        "update server": (port := free_port(), [sys.executable, "-c", OURS, str(port)]),
        "python -m http.server": (
            port := free_port(),
            [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        ),
    }
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        print("nginx is not measured: it is not installed")
        return found
    port = free_port()
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
    found["nginx"] = (port, [nginx, "-c", str(folder / "nginx.conf"), "-p", str(folder)])
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def running(folder: Path, port: int, command: list[str]) -> Iterator[int]:
    """Its process id."""
    process = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        image = (folder / "app.bin").read_bytes()
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(OSError):
                got = urllib.request.urlopen(f"http://127.0.0.1:{port}/app.bin", timeout=PATIENCE_S).read()
                assert got == image
                break
            assert process.poll() is None, f"{command[0]} ended"
            assert time.monotonic() < deadline, f"{command[0]} does not listen"
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.communicate()


def cpu_seconds(pid: int) -> float:
    """Of the process and its children, user and system (Linux: proc(5), stat); 0 where there is no /proc."""
    ticks = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = file.read_text().rpartition(")")[2].split()
            if pid in (int(file.parent.name), int(fields[1])):
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class Download:
    """One connection, from its request to its end."""

    def __init__(self, port: int) -> None:
        self.got = 0
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.connect_ex(("127.0.0.1", port))

    def ask(self) -> None:
        self.socket.sendall(REQUEST)

    def read(self, buffer: bytearray) -> bool:
        """Take what is there; whether the connection has ended."""
        count = self.socket.recv_into(buffer)
        self.got += count
        return count == 0

    def check(self) -> None:
        assert SIZE < self.got < SIZE + 2000, f"a download has {self.got} bytes"


def measure(port: int, clients: int) -> tuple[float, float, int]:
    """MB, MB/s and connections that were reset, with so many connections at any time.

    Ends after DOWNLOADS, or after LONGEST_S seconds for a server that leaves clients waiting.
    """
    buffer = bytearray(1024 * 1024)
    under_way = done = broken = got = 0
    started = time.perf_counter()
    with selectors.DefaultSelector() as ready:
        while done < DOWNLOADS and time.perf_counter() - started < LONGEST_S:
            while under_way < min(clients, DOWNLOADS - done):
                download = Download(port)
                ready.register(download.socket, selectors.EVENT_WRITE, download)
                under_way += 1
            for key, mask in ready.select(LONGEST_S):
                download = key.data
                try:
                    if mask & selectors.EVENT_WRITE:
                        download.ask()
                        ready.modify(download.socket, selectors.EVENT_READ, download)
                        continue
                    if not download.read(buffer):
                        continue
                    download.check()
                    done += 1
                except ConnectionError:
                    broken += 1
                got += download.got
                ready.unregister(download.socket)
                download.socket.close()
                under_way -= 1
        spent = time.perf_counter() - started
        for key in tuple(ready.get_map().values()):
            got += key.data.got
            key.data.socket.close()
    return got / 1e6, got / 1e6 / spent, broken


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as servers:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's workers are another user when it is started by root
        (folder / "app.bin").write_bytes(random.Random(1).randbytes(SIZE))
        found = commands(folder)
        pids = {server: servers.enter_context(running(folder, *how)) for server, how in found.items()}
        spent = {server: -cpu_seconds(pid) for server, pid in pids.items()}
        sent = dict.fromkeys(found, 0.0)
        print(f"{f'MB/s, an image of {SIZE // 1024} KiB, {DOWNLOADS} downloads, median of {ROUNDS}':<58}", end="")
        print("".join(f"{f'{clients} at once':>13}" for clients in CLIENTS))
        rates: dict[tuple[str, int], list[float]] = {}
        resets = dict.fromkeys(found, 0)
        for _ in range(ROUNDS):
            for clients in CLIENTS:
                for server, (port, _) in found.items():
                    amount, rate, broken = measure(port, clients)
                    sent[server] += amount
                    rates.setdefault((server, clients), []).append(rate)
                    resets[server] += broken
        for server, pid in pids.items():
            spent[server] += cpu_seconds(pid)
    medians = {key: statistics.median(measured) for key, measured in rates.items()}
    for server in found:
        print(f"{server:<58}" + "".join(f"{medians[server, clients]:>13,.0f}" for clients in CLIENTS))
    each = ", ".join(f"{server} {spent[server] / sent[server] * 1000:.2f}" for server in found)
    print(f"CPU seconds for a GB, which a busy machine changes less: {each}")
    print("connections that were reset: " + ", ".join(f"{server} {count}" for server, count in resets.items()))
    ours, *others = found
    for server in others:
        ratios = [medians[ours, clients] / medians[server, clients] for clients in CLIENTS]
        print(f"{f'{ours} / {server}':<58}" + "".join(f"{ratio:>13.2f}" for ratio in ratios))


if __name__ == "__main__":
    main()
