"""What labgrid-client prints of a place is understood, or refused in words."""

from __future__ import annotations

import pytest

from rig.errors import BenchFault
from rig.labgrid.client import Address
from rig.labgrid.places import parse, serial_url

FREE = """Place 'c3-1':
  tags: chip=esp32c3, tag=nightly
  matches:
    host-b/c3/*
  acquired: None
  acquired resources:
  created: 2026-11-27 03:51:58.282622
  changed: 2026-11-27 03:51:59.525674
  reservation: QITUWQULPU
Matching resource 'NetworkSerialPort' (host-b/c3/NetworkSerialPort/NetworkSerialPort):
  {'acquired': None,
   'avail': True,
   'cls': 'NetworkSerialPort',
   'params': {'extra': {'proxy': 'localhost', 'proxy_required': False},
              'host': 'fd00::7',
              'port': 4999}}
"""


def test_a_free_place_is_read_with_tags_reservation_and_resources():
    place = parse(FREE)
    assert (place.name, place.holder, place.reservation) == ("c3-1", None, "QITUWQULPU")
    assert place.tags == {"chip": "esp32c3", "tag": "nightly"}
    assert [(item.name, item.kind, item.available) for item in place.resources] == [
        ("NetworkSerialPort", "NetworkSerialPort", True)
    ]


def test_a_serial_port_without_protocol_is_rfc2217_as_ser2net_serves_it():
    assert serial_url(parse(FREE), None, None) == "rfc2217://[fd00::7]:4999"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("'avail': True", "'avail': False", "is not there"),
        ("'port': 4999", "'port': None", "is not there"),
        ("NetworkSerialPort'", "NetworkPowerPort'", "has no serial ports"),
    ],
)
def test_a_place_without_its_serial_port_is_a_bench_fault(old, new, said):
    with pytest.raises(BenchFault, match=said):
        serial_url(parse(FREE.replace(old, new)), None, "lab-c3")


@pytest.mark.parametrize("text", ["", "garbage", FREE.replace("{'acquired'", "{oops"), FREE.replace("'avail'", "'av'")])
def test_what_is_no_place_is_a_bench_fault(text):
    with pytest.raises(BenchFault, match="cannot be read"):
        parse(text)


@pytest.mark.parametrize("program", [None, "/opt/a b/labgrid-client"])
def test_an_address_survives_being_one_text(program):
    address = Address("c3 1/ü", "lab-a:20408", program)
    assert str(Address.parse(address.url)) == str(address)
    assert str(Address.parse(address.url).program) == str(program)
