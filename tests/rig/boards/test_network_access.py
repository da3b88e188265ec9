"""How each kind of board reaches this machine, and what rig.toml says of it."""

import pytest

from rig.boards import inventory, qemu, serial, virtual
from rig.boards.board import Capability, NetworkAccess
from rig.boards.inventory import SerialBoardSection
from rig.emulator.process import Launch
from rig.errors import UserError

WIFI = {"ssid": "bench", "password": "secret", "host": "192.168.1.2"}


def section(**keys):
    return SerialBoardSection(name="desk", kind="serial", chip="esp32c3", port="/dev/ttyUSB7", **keys)


def test_a_virtual_board_has_the_loopback_of_this_process():
    assert NetworkAccess(host="127.0.0.1", bind="127.0.0.1", variant="network") == virtual.NETWORK
    assert Capability.NETWORK not in virtual.MISSING
    assert Capability.WIFI in virtual.MISSING


def test_an_emulated_board_finds_the_loopback_behind_its_gateway(tmp_path):
    assert (qemu.NETWORK.host, qemu.NETWORK.bind) == ("10.0.2.2", "127.0.0.1")
    assert Capability.NETWORK not in qemu.MISSING
    words = Launch(tmp_path, "esp32c3", "real", tmp_path, nic="user,model=open_eth").command(1)
    assert words[words.index("-nic") + 1] == "user,model=open_eth"


def test_an_attached_board_needs_an_access_point():
    lacks = serial.missing(section())
    assert "wifi = { ssid" in lacks[Capability.NETWORK]
    assert lacks[Capability.WIFI] == lacks[Capability.NETWORK]
    assert serial.open_board(section()).network is None


def test_an_attached_board_with_wifi_runs_the_variant_for_it():
    board = serial.open_board(section(wifi=WIFI))
    assert board.network == NetworkAccess("192.168.1.2", "192.168.1.2", "network_wifi", "bench", "secret")
    assert {Capability.NETWORK, Capability.WIFI} <= board.capabilities
    assert "secret" not in repr(board.network)
    assert "secret" not in repr(section(wifi=WIFI))


def test_limits_of_interrupt_gaps_are_those_that_are_given():
    assert serial.open_board(section()).interrupt_gap_limits == {}
    limited = section(interrupt_gap_limits={"iram_us": 500})
    assert serial.open_board(limited).interrupt_gap_limits == {"iram_us": 500}


BENCH = """
[[board]]
name = "desk"
kind = "serial"
chip = "esp32c3"
port = "/dev/ttyUSB7"
"""


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ('wifi = { ssid = "a", password = "b" }', r"board\[0\]\.wifi\.host: missing"),
        ('wifi = { ssid = "", host = "h" }', r"board\[0\]\.wifi\.ssid = ''"),
        ('wifi = { ssid = "a", host = "h", key = "k" }', r"wifi\.key: unknown key; allowed here: ssid, password, host"),
        ('wifi = "house"', r"board\[0\]\.wifi: a table is needed"),
        ("interrupt_gap_limits = { iram_us = 0 }", r"interrupt_gap_limits\.iram_us = 0"),
        ("interrupt_gap_limits = { ram_us = 5 }", r"unknown key; allowed here: iram_us, flash_us"),
    ],
)
def test_wrong_keys_are_refused_by_their_path(tmp_path, keys, said):
    path = tmp_path / "rig.toml"
    path.write_text(BENCH + keys + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=said):
        inventory.load(path)


@pytest.mark.parametrize(
    "wifi", ['{ ssid = "a", host = "h", password = "' + "secret" * 20 + '" }', '"a:secret"', '["a", "secret", "h"]']
)
def test_a_password_that_is_none_is_not_repeated(tmp_path, wifi):
    path = tmp_path / "rig.toml"
    path.write_text(BENCH + f"wifi = {wifi}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"\.wifi") as hit:
        inventory.load(path)
    assert "secret" not in str(hit.value)
