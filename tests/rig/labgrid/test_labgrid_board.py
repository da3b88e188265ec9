"""Boards behind a real coordinator and exporter on loopback: port, power and lease as if they were this host's own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from dataclasses import replace

import pytest

from rig.boards import inventory
from rig.boards.board import Capability, powered
from rig.boards.lease import FOLDER
from rig.boards.serial import lease_of, open_board
from rig.errors import BenchFault, UserError
from rig.labgrid.client import Address, Client
from rig.labgrid.identity import Identity
from rig.labgrid.lease import Lease
from rig.labgrid.places import parse, show
from rig.prove import RESET
from tests.lab.hosts import OWN, ROOT, Host, absent, board_section, free_port, wait_for

pytestmark = [pytest.mark.timeout(300), pytest.mark.skipif(absent() is not None, reason=str(absent()))]


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A coordinator, and an exporter with one board; the section of rig.toml that means it."""
    monkeypatch.setenv(FOLDER, str(tmp_path / "leases"))
    host = Host()
    try:
        coordinator = host.coordinator(tmp_path / "hub", free_port())
        host.export(tmp_path, "shelf", coordinator, [host.serve(tmp_path, "c3")])
        (tmp_path / "rig.toml").write_text(board_section("c3", coordinator))
        yield inventory.load(tmp_path / "rig.toml").board[0]
    finally:
        host.end()


def lab_power(folder):
    """Where the served board's power port is, as its exporter was told."""
    return re.search(r"http://[\d.:]+", (folder / "shelf.yaml").read_text())[0]


def client(section):
    return Client(section.place.address, section.name)


def test_a_board_of_another_host_is_reset_cut_and_leased_as_if_local(lab):
    # What a process of this host left held that is gone is taken back.
    gone = subprocess.Popen(["sleep", "60"])
    Lease(client(lab), Identity.of(gone.pid)).acquire()
    gone.kill()
    gone.wait()
    board = open_board(lab)
    assert "takes 5 s to cut" in board.missing[Capability.TIMED_CUT]
    with powered(board):
        assert Identity.parse(show(client(lab)).holder) is not None
        board.console.skip()
        board.reset()
        assert board.console.expect(RESET, 20) is not None
        board.power.off()
        board.console.drain()
        position = board.console.position
        board.power.on()
        assert board.console.expect(RESET, 20)[2] == b"POWERON"
        assert board.console.position > position
        # Nobody else gets it meanwhile, on this host or another one.
        with pytest.raises(BenchFault, match="somebody else is using this board"), lease_of(lab)():
            pass
        other = replace(client(lab), address=replace(lab.place.address, place="nobody"))
        with pytest.raises(BenchFault, match="place nobody"):
            show(other)
        stranger = Lease(Client(lab.place.address, user="stranger"), Identity.of(1), wait_s=0)
        with pytest.raises(BenchFault, match=r"is held by .*process"):
            stranger.acquire()
    assert show(client(lab)).holder is None


def test_a_killed_night_gives_its_place_back_with_power_on(lab, tmp_path):
    program = """
import sys
from pathlib import Path
from rig.boards import inventory
from rig.boards.lease import held_for_children
from rig.boards.serial import lease_of
section = inventory.load(Path(sys.argv[1])).board[0]
with held_for_children([lease_of(section)]) as refused, lease_of(section)():
    assert not refused
    section.power.open("c3").off()
    print("off", flush=True)
    sys.stdin.read()
"""
    run = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "rig.toml")], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert run.stdout.readline() == "off\n"
    run.send_signal(signal.SIGKILL)
    run.wait()
    wait_for(lambda: show(client(lab)).holder is None, "the place's release", Alive())
    with urllib.request.urlopen(lab_power(tmp_path)) as answer:
        assert answer.read() == b"on\n"


class Alive:
    """Stands for a process that may not end meanwhile: there is none."""

    def poll(self):
        return None


def test_a_coordinator_that_is_away_is_a_bench_fault_that_says_where():
    away = Client(Address("c3", f"127.0.0.1:{free_port()}", OWN / "labgrid-client"), "c3", patience_s=0)
    with pytest.raises(BenchFault, match="labgrid-client show, place c3") as said:
        show(away)
    assert "does labgrid-coordinator run at 127.0.0.1:" in str(said.value)


def test_a_program_that_is_not_there_is_said(tmp_path):
    with pytest.raises(UserError, match="no such program"):
        show(Client(Address("c3", "127.0.0.1:1", tmp_path / "labgrid-client")))


@pytest.mark.parametrize(
    "text", ["", "Traceback (most recent call last):", "Place 'c3':\nMatching resource 'a' (b):\n{"]
)
def test_what_labgrid_prints_and_nobody_can_read_is_a_bench_fault(text):
    with pytest.raises(BenchFault, match="printed a place that cannot be read"):
        parse(text)


def test_an_address_survives_its_text():
    address = Address("shelf 1/ä", "[::1]:20408", OWN / "labgrid-client")
    assert Address.parse(address.url) == address
