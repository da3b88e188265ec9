"""What tests of downloads by the virtual board's app share: a server, devices with an address, recorded mutations."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from rig.idf.effects import Erase, Mutation, Program
from rig.updates.agent import AgentError
from rig.updates.agent_url import AS_USUAL, UrlOptions
from rig.updates.ca import Authority
from rig.updates.server import UpdateServer
from tests.rig.device import Device, app

Makes = Callable[..., Device]

SLOT = (0x1F0000, 0x3D0000)
"""ota_1 of partitions/2ota_large.csv."""
NVS = (0x9000, 0xD000)
OTADATA = (0xD000, 0xF000)


@pytest.fixture
def server() -> Iterator[UpdateServer]:
    with UpdateServer() as server:
        server.offer("app.bin", app("network", "2.0.0"))
        yield server


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create()


def started(make: Makes, **options: str) -> Device:
    """A device with an address."""
    device = make("network", **options)
    device.start()
    device.agent.network()
    return device


def failure(device: Device, url: str, options: UrlOptions = AS_USUAL) -> tuple[str, int | None]:
    with pytest.raises(AgentError) as hit:
        device.agent.update_url(url, options)
    return hit.value.error, hit.value.offset


@contextmanager
def recorded(device: Device) -> Iterator[list[Mutation]]:
    """The mutations of flash meanwhile."""
    found: list[Mutation] = []
    device.chip.tap.start_recording()
    yield found
    found += [record.mutation for record in device.chip.tap.stop_recording()]


def within(mutations: list[Mutation], place: tuple[int, int]) -> list[Erase | Program]:
    flash = [mutation for mutation in mutations if isinstance(mutation, (Erase, Program))]
    return [mutation for mutation in flash if place[0] <= mutation.offset < place[1]]


class Answers:
    """A server that sends what it is told, whatever it is asked: one text for each connection."""

    def __init__(self, *texts: bytes) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._texts = texts
        self.asked: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/app.bin"

    def _serve(self) -> None:
        for text in self._texts:
            connection, _ = self._listener.accept()
            with connection:
                self.asked.append(connection.recv(65536))
                connection.sendall(text)

    def close(self) -> None:
        self._listener.close()
