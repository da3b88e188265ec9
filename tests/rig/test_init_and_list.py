"""`rig init` writes a rig.toml of what is attached; `rig list` says how each board stands."""

import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from serial.tools.list_ports_common import ListPortInfo

from rig import init_command
from rig.boards import inventory
from rig.boards.lease import FOLDER
from rig.boards.serial import lease_of
from rig.cli import main
from rig.evidence.history.store import open_history
from rig.evidence.records import BootRecord, Verdict
from rig.idf.config import BootConfig
from rig.virtual.chip import build_chip
from rig.virtual.firmware import VirtualFirmware
from rig.virtual.rfc2217 import serve
from tests.rig.evidence.history.runs import result, start

ATTACHED = '[[board]]\nname = "desk"\nkind = "serial"\nchip = "esp32c3"\nport = "/dev/null"\nwear_budget = 5000\n'


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(FOLDER, str(tmp_path / "leases"))
    monkeypatch.setattr(init_command, "comports", list)
    return tmp_path


def rig(*arguments, code=0):
    done = CliRunner(env={"COLUMNS": "100"}).invoke(main, arguments)
    assert done.exit_code == code, done.output
    assert "Traceback (most" not in done.output
    return done.stderr if code else done.stdout


@pytest.fixture(scope="module")
def served():
    """A chip of this process behind a real serial port server."""
    chip = build_chip("found", "esp32s3", VirtualFirmware(BootConfig(chip="esp32s3")), time_scale=20.0)
    chip.power_on()
    with serve(chip, 0) as server:
        yield f"rfc2217://127.0.0.1:{server.port}"


# rig init


def test_a_board_that_answers_is_written_down_so_that_rig_can_use_it(served):
    said = rig("init", "--port", served)
    assert "ESP32-S3" in said
    assert "rig.toml: 1 attached board and a virtual one. Next: rig doctor" in said
    attached, virtual = inventory.load(Path("rig.toml")).board
    assert (attached.kind, attached.chip, attached.port) == ("serial", "esp32s3", served)
    assert attached.name.startswith("esp32s3-")
    assert virtual.kind == "virtual"
    assert "MB of flash" in Path("rig.toml").read_text()


def test_a_port_without_a_chip_is_told_and_left_out():
    assert "/dev/no-such-port: left out: no chip answers" in rig("init", "--port", "/dev/no-such-port")
    assert [board.kind for board in inventory.load(Path("rig.toml")).board] == ["virtual"]


def test_a_bench_that_is_described_already_is_left_alone():
    Path("rig.toml").write_text("mine")
    assert "rig.toml is there already" in rig("init", code=2)
    assert Path("rig.toml").read_text() == "mine"


def usb(device, number):
    port = ListPortInfo(device)
    port.vid, port.pid, port.serial_number, port.product = 0x10C4, 0xEA60, number, "CP2102N"
    return port


def test_a_bridge_is_named_by_its_number_unless_another_has_the_same(monkeypatch):
    ports = [
        usb("/dev/ttyUSB1", "0001"),
        usb("/dev/ttyUSB0", "0001"),
        usb("/dev/ttyUSB2", "B2"),
        ListPortInfo("/dev/ttyS0"),
    ]
    monkeypatch.setattr(init_command, "comports", lambda: ports)
    assert [(place.url, place.key, place.value) for place in init_command.usb_places()] == [
        ("/dev/ttyUSB0", "port", "/dev/ttyUSB0"),
        ("/dev/ttyUSB1", "port", "/dev/ttyUSB1"),
        ("/dev/ttyUSB2", "serial_number", "B2"),
    ]


def test_whatever_a_bridge_calls_itself_rig_toml_stays_valid():
    place = init_command.Place("/dev/ttyUSB0", 'odd "name"\\', "serial_number", 'quo"te\\')
    found = init_command.Found(place, "esp32c3", "a0:b1:c2:d3:e4:f5", "4MB", "ESP32-C3")
    board = tomllib.loads(init_command.render([found]))["board"][0]
    assert (board["serial_number"], board["name"]) == ('quo"te\\', "esp32c3-e4f5")


def test_boards_that_share_a_name_of_their_port_are_told_apart_by_their_mac():
    place = init_command.Place("/dev/ttyUSB0", "b", "serial_number", "1")
    boards = [init_command.Found(place, "esp32", f"a0:b1:c2:d3:e4:0{n}", "4MB", "ESP32") for n in (1, 2)]
    assert [board.get("mac") for board in tomllib.loads(init_command.render(boards))["board"]][:2] == [
        "a0:b1:c2:d3:e4:01",
        "a0:b1:c2:d3:e4:02",
    ]


# rig list


def listed():
    return {board["name"]: board for board in json.loads(rig("list", "--json"))}


def test_a_board_in_use_names_its_user():
    Path("rig.toml").write_text(ATTACHED)
    assert listed()["desk"]["state"] == "free"
    with lease_of(inventory.load(Path("rig.toml")).board[0])():
        desk = listed()["desk"]
        assert desk["state"].startswith("in use by ")
        assert desk["lease"]["board"] == "desk"
        assert "in use by" in rig("list")
    assert listed()["desk"]["lease"] is None


def test_a_board_that_is_not_plugged_in_is_absent():
    Path("rig.toml").write_text(ATTACHED.replace("/dev/null", "/dev/no-such-port"))
    assert listed()["desk"]["state"] == "absent: there is no /dev/no-such-port"


def test_the_last_verdict_and_the_wear_come_from_the_history(here):
    Path("rig.toml").write_text(ATTACHED)
    with open_history(here / "history.sqlite") as history:
        boots = [BootRecord(index=0, started_s=0.0)]
        history.add(history.begin(start("night")), result(board="desk", verdict=Verdict.INCONCLUSIVE, boots=boots))
    desk = listed()["desk"]
    assert (desk["last"]["verdict"], desk["last"]["run"], desk["otadata_erases"]) == ("inconclusive", "night", 1)
    assert "last: inconclusive in night; 1 of 5,000 otadata erases" in rig("list")
