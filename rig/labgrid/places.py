"""What a place is made of, read from `labgrid-client show`.

Of all commands of labgrid 26.0.1 only `show` tells of a place that is free as well as of one that is acquired: names
and holders as `key: value` lines (remote/common.py, `Place.show`), each resource as a Python literal (remote/client.py,
`print_place`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rig.errors import BenchFault
from rig.labgrid.client import Client

SERIAL = "NetworkSerialPort"
"""Also what an exporter makes of its USBSerialPort and RawSerialPort: ser2net with RFC 2217 (remote/exporter.py)."""
_RESOURCE = re.compile(r"^(?:Matching|Acquired) resource '(?P<name>[^']*)' \((?P<path>[^)]*)\):$", re.MULTILINE)


@dataclass(frozen=True)
class Resource:
    """One thing of a place; `name` as the place calls it, `path` is EXPORTER/GROUP/CLASS/NAME."""

    name: str
    path: str
    kind: str
    available: bool
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """`holder` is HOST/USER; None if nobody has it."""

    name: str
    holder: str | None
    reservation: str | None
    tags: Mapping[str, str]
    resources: tuple[Resource, ...]


def show(client: Client) -> Place:
    """The place now. BenchFault if there is none of exactly this name."""
    place = parse(client.run("show"))
    if place.name != client.address.place:
        raise BenchFault(
            f"there is no {client.address}; labgrid takes the name as a part of {place.name}",
            board=client.board,
            hint="write the whole name in rig.toml",
        )
    return place


def parse(text: str) -> Place:
    """The place that `labgrid-client show` printed. BenchFault for anything else."""
    head, *rest = _RESOURCE.split(text)
    lines = head.splitlines()
    name = re.fullmatch(r"Place '(.*)':", lines[0] if lines else "")
    values = dict(line.strip().split(": ", 1) for line in lines if re.match(r"  [a-z]+: ", line))
    try:
        if name is None:
            raise ValueError("it does not begin with a place's name")
        resources = tuple(_resource(*rest[at : at + 3]) for at in range(0, len(rest), 3))
    except (ValueError, SyntaxError, KeyError, TypeError) as error:
        raise BenchFault(
            f"labgrid-client printed a place that cannot be read: {error}",
            evidence=f"it said:\n{text[:600]}",
            hint="the rig reads what labgrid 26.0.1 prints; which version is this? labgrid-client version",
        ) from error
    holder = values.get("acquired")
    tags = dict(pair.split("=", 1) for pair in values.get("tags", "").split(", ") if "=" in pair)
    return Place(name[1], None if holder == "None" else holder, values.get("reservation"), tags, resources)


def serial_url(place: Place, name: str | None, board: str | None) -> str:
    """pyserial's URL of the place's serial port (the one called `name`); BenchFault if it is away or one of several."""
    found = [item for item in place.resources if item.kind == SERIAL and name in (None, item.name)]
    if len(found) != 1:
        there = ", ".join(f"{item.name} ({item.kind})" for item in place.resources) or "nothing"
        raise BenchFault(
            f"place {place.name} has {len(found) or 'no'} serial ports" + (f" called {name}" if name else ""),
            board=board,
            evidence=f"it has: {there}",
            hint="one NetworkSerialPort, USBSerialPort or RawSerialPort a place, or name one: place.serial in rig.toml",
        )
    port = found[0]
    host, number = port.params.get("host"), port.params.get("port")
    if not port.available or not host or not number:
        raise BenchFault(
            f"the serial port of place {place.name} is not there ({port.path})",
            board=board,
            evidence=f"labgrid knows of it: available {port.available}, host {host}, port {number}",
            hint="is the board plugged in at its host, and the place acquired? ser2net starts only then",
        )
    scheme = "socket" if port.params.get("protocol") == "raw" else "rfc2217"
    return f"{scheme}://{f'[{host}]' if ':' in str(host) else host}:{number}"


def _resource(name: str, path: str, text: str) -> Resource:
    entry = ast.literal_eval(text.strip())
    return Resource(name, path, str(entry["cls"]), bool(entry["avail"]), dict(entry["params"]))
