"""A board of a place: its port is found, its power switched, and it is used as if it were here."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.boards import inventory
from rig.boards import serial as kind
from rig.boards.board import Capability
from rig.boards.labgrid_port import LabgridPort
from rig.boards.power.labgrid import Keys
from rig.errors import BenchFault, UserError
from rig.labgrid.lease import held_place
from tests.rig.labgrid.lab import Lab
from tests.rig.labgrid.relay import Relay

BENCH = """
[[board]]
name = "lab-c3"
kind = "serial"
chip = "esp32c3"
firmware = "synthesised"
place = {{ name = "{place}", coordinator = "{coordinator}", program = "{program}" }}
power = {{ driver = "labgrid" }}
"""
pytestmark = pytest.mark.timeout(240)


def section_of(lab: Lab, folder: Path, place: str) -> inventory.SerialBoardSection:
    address = lab.address(place)
    text = BENCH.format(place=place, coordinator=lab.coordinator, program=address.program)
    (folder / "rig.toml").write_text(text)
    section = inventory.load(folder / "rig.toml").board[0]
    assert isinstance(section, inventory.SerialBoardSection)
    return section


def keys(lab: Lab, place: str) -> Keys:
    return Keys(place=place, coordinator=lab.coordinator, program=lab.address(place).program)


def test_power_is_inherited_from_the_place_and_known_to_be_slow(lab: Lab, tmp_path):
    section = section_of(lab, tmp_path, "c3-1")
    assert section.power == keys(lab, "c3-1")
    lacks = kind.missing(section)
    assert "takes 5 s to cut" in lacks[Capability.TIMED_CUT]
    assert Capability.POWER_CUT not in lacks
    assert section.power.check("lab-c3", {}).endswith("NetworkPowerPort (not switched)")


def test_power_without_a_place_is_wrong_use():
    with pytest.raises(UserError, match="no place is named"):
        Keys().open("lab-c3")


def test_a_port_and_a_place_are_one_too_many(tmp_path):
    (tmp_path / "rig.toml").write_text(
        '[[board]]\nname = "a"\nkind = "serial"\nchip = "esp32c3"\nport = "/dev/ttyUSB0"\nplace = { name = "c3-1" }\n'
    )
    with pytest.raises(UserError, match="exactly one of: port, serial_number, mac, place"):
        inventory.load(tmp_path / "rig.toml")


def test_a_raw_port_is_refused_with_the_reason(lab: Lab):
    with pytest.raises(UserError, match=r"socket://127.0.0.1:4002: a raw TCP socket carries no DTR and RTS"):
        LabgridPort("lab-c3", lab.address("raw-1")).find()


def test_a_part_of_a_name_is_no_place(lab: Lab, relay: Relay):
    asked = len(relay.asked)
    for call in (LabgridPort("lab-c3", lab.address("raw")).find, keys(lab, "raw").open("lab-c3").off):
        with pytest.raises(BenchFault, match="labgrid takes the name as a part of raw-1"):
            call()
    assert relay.asked[asked:] == [], "nobody's power was touched"


def test_a_switch_that_did_not_obey_is_told(lab: Lab, relay: Relay):
    with held_place(lab.client("c3-1")):
        switch = keys(lab, "c3-1").open("lab-c3")
        switch.off()
        assert not relay.is_on
        relay.obeys = False
        try:
            with pytest.raises(BenchFault, match=r"was switched on by labgrid, .* the device says otherwise"):
                switch.on()
        finally:
            relay.obeys = True
