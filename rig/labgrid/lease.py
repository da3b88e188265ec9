"""Leases across hosts: a labgrid place is acquired before its board is used, and released on every path.

The place is acquired in the name of one process (`Identity`); every process of the same user on this host is allowed
to use it then, so that a run's workers switch power without knowing who holds the lease.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import click

from rig.errors import BenchFault, RigError
from rig.labgrid.client import SCHEME, Address, Client, Refused, host_name, user_name
from rig.labgrid.identity import Identity
from rig.labgrid.places import show

WAIT_S = 5.0
"""How long a place that another run has is waited for."""
POLL_S = 1.0
LOOK_S = 60.0
"""How often a lease is looked at although the connection to the coordinator stands."""
_TAKEN = ("already acquired", "was not reserved for", "Failed to acquire resources")


class Lease:
    """A place in the name of `owner`; nothing happens before `acquire`."""

    def __init__(self, client: Client, owner: Identity, wait_s: float = WAIT_S) -> None:
        self.address = client.address
        self._client = replace(client, user=owner.labgrid_user)
        self._owner = owner
        self._wait_s = wait_s

    def holder(self) -> str | None:
        """Who has the place, as HOST/USER; None if it is free."""
        return show(self._client).holder

    def acquire(self) -> None:
        """Have the place; nothing happens if we have it already.

        A lease of a process of this host that is gone is taken back first. BenchFault names whoever has the place
        after `wait_s` seconds.
        """
        deadline = time.monotonic() + self._wait_s
        told = False
        while not self._acquired():
            holder = self.holder()
            if holder == self._owner.labgrid_name:
                break
            if holder is not None and (other := Identity.parse(holder)) is not None and other.is_dead():
                click.echo(f"rig: {self.address} was left held by {other}, which is gone; taken back", err=True)
                self._give_back(holder)
                continue
            if time.monotonic() > deadline:
                raise self._in_use(holder)
            if not told:
                click.echo(f"rig: waiting for {self.address}, held by {_named(holder)}", err=True)
                told = True
            time.sleep(POLL_S)
        self._client.run("allow", f"{host_name()}/{user_name()}")

    def release(self) -> None:
        """Give the place back, if it is still ours; once more does nothing, and never takes it from anybody else."""
        self._give_back(self._owner.labgrid_name)

    def _give_back(self, holder: str) -> None:
        """labgrid's `release-from` releases only what this holder has: nobody else loses a place he has just taken."""
        try:
            self._client.run_once("release-from", holder)
        except Refused as error:
            if "is not acquired" not in error.said and self.holder() == holder:
                self._client.run("release-from", holder)

    def _acquired(self) -> bool:
        """Whether it was free and is ours now."""
        try:
            said = self._client.run("acquire")
        except Refused as error:
            if any(words in error.said for words in _TAKEN):
                return False
            raise
        if f"acquired place {self.address.place}\n" not in said:
            # labgrid took the name as a part of another place's: that one goes back, and `show` says what is wrong.
            self._give_back(self._owner.labgrid_name)
            show(self._client)
        return True

    def _in_use(self, holder: str | None) -> BenchFault:
        where = f"labgrid-client -x {self.address.coordinator} -p {self.address.place}"
        return BenchFault(
            f"{self.address} is held by {_named(holder)}",
            board=self._client.board,
            hint=f"wait for that run to end; if it is gone for good: {where} release-from {holder}"
            if holder
            else f"who may have it: {where} show; labgrid-client reservations",
        )


@contextmanager
def held_place(client: Client, wait_s: float = WAIT_S, owner: Identity | None = None) -> Iterator[Lease]:
    """Hold a place until the end of the `with`; acquired again if the coordinator forgot it by starting anew."""
    lease = Lease(client, owner or Identity.of(os.getpid()), wait_s)
    try:
        lease.acquire()
    except BaseException:
        # Ended between acquiring and knowing it; whatever else failed has been said.
        with contextlib.suppress(RigError):
            lease.release()
        raise
    try:
        with _kept(lease):
            yield lease
    finally:
        lease.release()


@contextmanager
def held_places(keys: Sequence[str], board: str, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold every place among what a board is known by (`labgrid://HOST:PORT/PLACE`); other keys do not matter."""
    with contextlib.ExitStack() as stack:
        for key in keys:
            if key.startswith(f"{SCHEME}://"):
                stack.enter_context(held_place(Client(Address.parse(key), board), wait_s))
        yield


@contextmanager
def _kept(lease: Lease) -> Iterator[None]:
    """Looks after the lease whenever the connection to its coordinator ends, which is how a restart shows."""
    ours, theirs = socket.socketpair()
    thread = threading.Thread(
        target=_look_after, args=(lease, theirs), name=f"labgrid {lease.address.place}", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        ours.close()
        thread.join()
        theirs.close()


def _look_after(lease: Lease, stop: socket.socket) -> None:
    """Until `stop` ends. A coordinator loses all leases when it restarts (remote/coordinator.py, `load`)."""
    host, _, port = lease.address.coordinator.rpartition(":")
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=5) as connection:
                if _over_within(stop, connection):
                    return
        except (OSError, ValueError):
            if select.select([stop], [], [], POLL_S)[0]:
                return
        try:
            lease.acquire()
        except RigError as error:
            click.echo(f"rig: {error}", err=True)


def _over_within(stop: socket.socket, connection: socket.socket) -> bool:
    """Whether we are to end; False when the other side has ended, or after a while."""
    deadline = time.monotonic() + LOOK_S
    while (left := deadline - time.monotonic()) > 0:
        ready = select.select([stop, connection], [], [], left)[0]
        if stop in ready:
            return True
        if connection in ready and not connection.recv(4096):
            return False
    return False


class Reservation(NamedTuple):
    """A place that waits for us, and labgrid's token of that."""

    place: str
    token: str


@contextmanager
def reserved(client: Client, tags: Mapping[str, str], timeout_s: float) -> Iterator[Reservation]:
    """Any free place with these tags, for us alone until the end of the `with`; acquire it as the same `client.user`.

    `client`'s place plays no role. BenchFault if none becomes free within `timeout_s`; UserError by labgrid's words for
    tags that cannot be.
    """
    filters = [f"{key}={value}" for key, value in sorted(tags.items())]
    said = client.run("reserve", *filters)
    token = _value(said, "token")
    try:
        deadline = time.monotonic() + timeout_s
        while (state := _value(said, "state")) == "waiting" and time.monotonic() < deadline:
            time.sleep(POLL_S)
            said = _own(client.run("reservations"), token)
        if state != "allocated":
            raise BenchFault(
                f"no place with {' '.join(filters)} became free within {timeout_s:g} s ({state})",
                board=client.board,
                hint=f"labgrid-client -x {client.address.coordinator} places; and who has them: labgrid-client who",
            )
        yield Reservation(_value(said, "main", after="allocations:"), token)
    finally:
        with contextlib.suppress(Refused):  # labgrid forgets unused ones itself, after a minute
            client.run("cancel-reservation", token)


def reserve(client: Client, tags: Mapping[str, str], timeout_s: float, owner: Identity) -> str:
    """The name of a free place with these tags, acquired at once in the name of `owner`."""
    as_owner = replace(client, user=owner.labgrid_user)
    with reserved(as_owner, tags, timeout_s) as found:
        Lease(replace(as_owner, address=replace(client.address, place=found.place)), owner).acquire()
        return found.place


def _own(text: str, token: str) -> str:
    for part in re.split(r"(?m)^(?=Reservation ')", text):
        if part.startswith(f"Reservation '{token}'"):
            return part
    return "state: gone"


def _value(text: str, key: str, after: str = "") -> str:
    match = re.search(rf"^\s*{key}: (.+)$", text[text.find(after) :], re.MULTILINE)
    if match is None:
        raise BenchFault(f"labgrid-client printed no {key} of a reservation", evidence=f"it said:\n{text[:600]}")
    return match[1].strip()


def _named(holder: str | None) -> str:
    """For a person."""
    if holder is None:
        return "nobody, but labgrid keeps it for a reservation or its resources for another place"
    return str(Identity.parse(holder) or holder)
