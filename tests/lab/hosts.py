"""Hosts of a lab: programs of labgrid and `rig serve`, each on this machine or in a network namespace of its own."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
PROGRAMS = ("labgrid-coordinator", "labgrid-exporter", "labgrid-client")
OWN = ROOT / ".venv-labgrid" / "bin"
SERVED = """\
[[board]]
name = "{name}"
kind = "virtual"
chip = "esp32c3"
"""
EXPORTED = """\
{name}:
  NetworkSerialPort: {{ host: "{host}", port: {port}, protocol: rfc2217, speed: 115200 }}
  NetworkPowerPort: {{ model: simplerest, host: "{power}/relay/{{value}}", index: 0 }}
"""


def absent() -> str | None:
    """Why there is no lab here; None if all of labgrid's programs are."""
    missing = [name for name in PROGRAMS if not os.access(OWN / name, os.X_OK)]
    return f"no {missing[0]}: make labgrid installs it" if missing else None


@dataclass
class Host:
    """One host: `address` of it that the others reach; `namespace` is None for this machine itself."""

    address: str = "127.0.0.1"
    namespace: str | None = None
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, command: Sequence[str], **other: object) -> subprocess.Popen[str]:
        """Start a program there, in a session of its own."""
        process = subprocess.Popen(
            [*self.prefix, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True, **other,
        )  # fmt: skip
        self.started.append(process)
        return process

    def run(self, command: Sequence[str], **other: object) -> subprocess.CompletedProcess[str]:
        """Run a program there to its end."""
        return subprocess.run(
            [*self.prefix, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=600, **other,
        )  # fmt: skip

    @property
    def prefix(self) -> list[str]:
        return [] if self.namespace is None else ["ip", "netns", "exec", self.namespace]

    def end(self) -> None:
        """End everything that was started there."""
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.communicate()
        self.started.clear()

    # what a lab has on its hosts

    def coordinator(self, folder: Path, port: int) -> str:
        """Start a coordinator that keeps its places in `folder`; HOST:PORT."""
        folder.mkdir(parents=True, exist_ok=True)
        process = self.start([str(OWN / "labgrid-coordinator"), "-l", f"{self.address}:{port}"], cwd=folder)
        where = f"{self.address}:{port}"
        wait_for(lambda: self._client(where, "places").returncode == 0, "the coordinator", process)
        return where

    def serve(self, folder: Path, name: str) -> dict[str, object]:
        """Start a virtual board there; what an exporter has to know of it."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.toml").write_text(SERVED.format(name=name))
        command = [sys.executable, "-m", "rig", "serve", "--config", str(folder / f"{name}.toml")]
        command += ["--host", self.address, "--port", "0", "--power-port", "0"]
        process = self.start(command, env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"})
        assert process.stdout is not None
        found = [_search(process, pattern) for pattern in (r"is at rfc2217://\S+:(\d+)", r"power is at (http://\S+)")]
        return {"name": name, "host": self.address, "port": int(found[0]), "power": found[1]}

    def export(self, folder: Path, name: str, coordinator: str, boards: Sequence[dict[str, object]]) -> None:
        """Start an exporter of these boards, and make a place of each."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{name}.yaml"
        file.write_text("".join(EXPORTED.format(**board) for board in boards))
        command = [str(OWN / "labgrid-exporter"), "-c", coordinator, "-n", name, "--hostname", self.address, str(file)]
        process = self.start(command)
        for board in boards:
            path = f"{name}/{board['name']}"
            wait_for(lambda path=path: path in self._client(coordinator, "resources").stdout, path, process)
            for call in (["create"], ["add-match", f"{path}/*"]):
                done = self._client(coordinator, "-p", str(board["name"]), *call)
                assert done.returncode == 0, done.stdout

    def _client(self, coordinator: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run([str(OWN / "labgrid-client"), "-x", coordinator, *arguments])


def wait_for(condition: object, what: str, process: subprocess.Popen[str]) -> None:
    assert callable(condition)
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, f"{what} ended: {process.communicate()[0]}"
        assert time.monotonic() < deadline, f"{what} did not come up"
        time.sleep(0.2)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def board_section(name: str, coordinator: str, more: str = "") -> str:
    """A board of rig.toml that is a place of the lab."""
    return (
        f'[[board]]\nname = "{name}"\nkind = "serial"\nfirmware = "synthesised"\nchip = "esp32c3"\ntags = ["lab"]\n'
        f'place = {{ name = "{name}", coordinator = "{coordinator}", program = "{OWN / "labgrid-client"}" }}\n'
        f'power = {{ driver = "labgrid" }}\n{more}'
    )


@contextlib.contextmanager
def network(names: Sequence[str]) -> Iterator[dict[str, Host]]:
    """Hosts in namespaces of their own on one bridge, 10.77.0.1 and on; nothing of it is left. Needs root."""
    unique = f"{os.getpid() % 0xFFFF:x}"
    bridge = f"rig{unique}"
    hosts: dict[str, Host] = {}
    try:
        _ip("netns", "add", bridge)
        _ip("-n", bridge, "link", "add", "br0", "type", "bridge")
        _ip("-n", bridge, "link", "set", "br0", "up")
        for number, name in enumerate(names, 1):
            space, link = f"rig{unique}-{name}", f"v{unique}{number}"
            hosts[name] = Host(f"10.77.0.{number}", space)
            _ip("netns", "add", space)
            _ip("link", "add", link, "netns", bridge, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("-n", bridge, "link", "set", link, "master", "br0", "up")
            _ip("-n", space, "addr", "add", f"10.77.0.{number}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", space, "link", "set", "lo", "up")
        yield hosts
    finally:
        for host in hosts.values():
            host.end()
            subprocess.run(["ip", "netns", "del", str(host.namespace)], check=False)
        subprocess.run(["ip", "netns", "del", bridge], check=False)


def cannot_make_networks() -> str | None:
    """Why there can be no network namespaces here."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "network namespaces need root and iproute2"
    tried = subprocess.run(["unshare", "-n", "true"], capture_output=True, text=True)
    return None if tried.returncode == 0 else f"no network namespaces here: {tried.stderr.strip()}"


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _search(process: subprocess.Popen[str], pattern: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if match := re.search(pattern, line):
            return match[1]
    raise AssertionError(f"rig serve ended without {pattern}")
