"""Leases across hosts, with labgrid's real coordinator: taken, named, given back, and recovered from the dead."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from rig.errors import BenchFault
from rig.labgrid.client import Client, Refused
from rig.labgrid.identity import Identity
from rig.labgrid.lease import Lease, held_place, held_places, reserve
from tests.rig.labgrid.lab import Lab, PlaceOf

pytestmark = pytest.mark.timeout(240)


def someone_else(lab: Lab, place: str) -> Lease:
    return Lease(lab.client(place), replace(Identity.of(os.getpid()), host="vm", user="eve", pid=1), wait_s=0)


def test_a_place_is_held_in_our_name_and_free_afterwards_and_nobody_else_releases_it(lab: Lab):
    with held_place(lab.client("c3-1")) as lease:
        someone_else(lab, "c3-1").release()
        with pytest.raises(BenchFault, match=f"is held by .* process {os.getpid()}") as refused:
            someone_else(lab, "c3-1").acquire()
        assert f"release-from {Identity.of(os.getpid()).labgrid_name}" in str(refused.value)
    assert lease.holder() is None
    lease.release()


@pytest.mark.parametrize("change", [{"host": "elsewhere"}, {"space": 1}, {"pid": os.getpid()}])
def test_who_may_be_alive_elsewhere_or_is_alive_here_is_not_dead(change):
    me = Identity.of(os.getpid())
    dead = replace(me, pid=2**22 + 1)
    assert dead.is_dead()
    assert replace(me, start=me.start - 1).is_dead(), "the process id is another process's by now"
    assert not replace(dead, **change).is_dead()
    assert Identity.parse(dead.labgrid_name) == dead


def test_a_reservation_by_tags_acquires_a_fitting_place_until_none_is_left(lab: Lab):
    me = Identity.of(os.getpid())
    client = lab.client("any")
    assert reserve(client, {"pool": "night"}, 20, me) == "pool-1"
    with pytest.raises(BenchFault, match="no place with pool=night became free within 0 s"):
        reserve(client, {"pool": "night"}, 0, me)
    assert "Reservation" not in client.run("reservations"), "no reservation outlives its use"
    Lease(lab.client("pool-1"), me).release()


def test_keys_that_are_no_places_are_left_alone():
    with held_places(["/dev/ttyUSB0", "mac-00:11"], "desk-c3"):
        pass


def test_a_coordinator_that_comes_back_finds_the_place_acquired_again(labgrid_programs, relay, tmp_path):
    exports = "c3:\n  NetworkSerialPort: {host: 127.0.0.1, port: 4001, protocol: rfc2217}\n"
    lab = Lab(labgrid_programs, tmp_path, [PlaceOf("c3-1", "c3")], exports)
    try:
        lab.start_coordinator()
        lab.start_exporter()
        with held_place(lab.client("c3-1")) as lease:
            lab.stop("coordinator")
            with pytest.raises(Refused, match=f"place c3-1 of coordinator {lab.coordinator}") as away:
                lab.client("c3-1", patience_s=0).run("show")
            assert f"does labgrid-coordinator run at {lab.coordinator}" in str(away.value)
            lab.start_coordinator()
            lab.stop("exporter")
            lab.start_exporter()
            assert "NetworkSerialPort" in lab.client("c3-1").run("env"), "only of a place that is acquired"
            assert lease.holder() == Identity.of(os.getpid()).labgrid_name
    finally:
        lab.close()


def test_a_client_that_hangs_is_ended_and_named(lab: Lab, tmp_path):
    hanging = tmp_path / "labgrid-client"
    hanging.write_text("#!/bin/sh\nsleep 600\n")
    hanging.chmod(0o755)
    client = Client(replace(lab.address("c3-1"), program=hanging), "lab-c3", timeout_s=0.2)
    with pytest.raises(BenchFault, match=r"show, place c3-1 .* did not end within 0.2 s \(board lab-c3\)"):
        client.run("show")
