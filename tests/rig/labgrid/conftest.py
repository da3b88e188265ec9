"""One lab a worker process: places whose power is a real HTTP relay; nobody opens their serial ports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.labgrid.lab import Lab, PlaceOf, folder_of_labgrid
from tests.rig.labgrid.relay import Relay

POWER = """
{group}:
  NetworkSerialPort: {{host: 127.0.0.1, port: {port}, protocol: {protocol}}}
  NetworkPowerPort: {{model: simplerest, host: '{host}', index: 0}}
"""


@pytest.fixture(scope="session")
def labgrid_programs() -> Path:
    folder = folder_of_labgrid()
    if folder is None:
        pytest.skip("labgrid is not installed: make labgrid")
    return folder


@pytest.fixture(scope="session")
def relay() -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.close()


@pytest.fixture(scope="session")
def lab(labgrid_programs: Path, relay: Relay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Places c3-1 (rfc2217), raw-1 (raw), pool-1 (tag pool=night)."""
    exports = POWER.format(group="c3", port=4001, protocol="rfc2217", host=relay.host)
    exports += POWER.format(group="raw", port=4002, protocol="raw", host=relay.host)
    exports += POWER.format(group="pool", port=4003, protocol="rfc2217", host=relay.host)
    places = [PlaceOf("c3-1", "c3"), PlaceOf("raw-1", "raw")]
    places += [PlaceOf("pool-1", "pool", {"pool": "night"})]
    lab = Lab(labgrid_programs, tmp_path_factory.mktemp("lab"), places, exports)
    try:
        lab.start_coordinator()
        lab.start_exporter()
        yield lab
    finally:
        lab.close()
