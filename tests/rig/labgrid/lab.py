"""A lab on loopback: labgrid's real coordinator, exporter and client."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rig.errors import UserError
from rig.labgrid.client import Address, Client, find_program

ROOT = Path(__file__).parents[3]
PATIENCE_S = 40.0
PLACE = """
{name}:
  aliases: []
  comment: ''
  tags: {{{tags}}}
  matches: [{{exporter: {exporter}, group: {group}, cls: '*', name: null, rename: null}}]
  created: 1.0
  changed: 1.0
"""


def folder_of_labgrid() -> Path | None:
    """Where labgrid's programs are; None without them."""
    chosen = os.environ.get("RIG_LABGRID")
    with contextlib.suppress(UserError):
        return find_program(Path(chosen) / "labgrid-client" if chosen else None).parent
    return None


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class PlaceOf(NamedTuple):
    """A place: all resources of one group of an exporter."""

    name: str
    group: str
    tags: Mapping[str, str] = {}
    exporter: str = "host-b"


class Lab:
    """One coordinator with one exporter. `exports`: YAML of the exporter."""

    def __init__(self, programs: Path, folder: Path, places: list[PlaceOf], exports: str) -> None:
        self.programs, self.folder = programs, folder
        self.coordinator = f"127.0.0.1:{free_port()}"
        self._exports = folder / "exports.yaml"
        self._exports.write_text(exports)
        # Which is how a coordinator keeps its places: no call for each of them.
        (folder / "places.yaml").write_text(
            "".join(
                PLACE.format(**{**place._asdict(), "tags": ", ".join(f"{k}: {v}" for k, v in place.tags.items())})
                for place in places
            )
        )
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def address(self, place: str) -> Address:
        return Address(place, self.coordinator, self.programs / "labgrid-client")

    def client(self, place: str, patience_s: float = PATIENCE_S) -> Client:
        return Client(self.address(place), patience_s=patience_s)

    def start_coordinator(self) -> None:
        self._start("coordinator", "-l", self.coordinator)
        host, _, port = self.coordinator.rpartition(":")
        until(lambda: _listens(host, int(port)), "the coordinator listens")

    def start_exporter(self) -> None:
        log = self._start("exporter", "-c", self.coordinator, "-n", "host-b", "--hostname", "127.0.0.1",
                          str(self._exports))  # fmt: skip
        until(lambda: b"queued update" in log.read_bytes(), "the exporter has told the coordinator of its resources")

    def stop(self, name: str) -> None:
        """As a machine that goes away."""
        process = self._processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        for name in list(self._processes):
            self.stop(name)

    def _start(self, name: str, *arguments: str) -> Path:
        log = self.folder / f"{name}.log"
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
        with log.open("wb") as output:
            self._processes[name] = subprocess.Popen(
                [self.programs / f"labgrid-{name}", *arguments], cwd=self.folder, stdout=output, stderr=output,
                stdin=subprocess.DEVNULL, start_new_session=True, env=environment,
            )  # fmt: skip
        return log


def until(condition, what: str) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)


def _listens(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False
