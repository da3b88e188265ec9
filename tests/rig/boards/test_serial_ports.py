"""Finding a port by what stays the same: one match or a clear answer, and nobody's board reset without need."""

import os
import socket
import subprocess
import sys

import pytest
from serial.tools.list_ports_common import ListPortInfo

from rig.boards import serial_ports
from rig.boards.quiet_ports import open_quietly
from rig.boards.serial_ports import ChipMac, FixedPort, NetworkPort, UsbSerialNumber, other_users, read_mac, wanted_port
from rig.errors import BenchFault, UserError
from rig.virtual import port as virtual_port
from rig.virtual.chip import build_chip
from rig.virtual.cpu import Cpu
from tests.rig.boards.wires import Pty, UsbPort


def usb_port(device, number=None, location="1-1", vid=0x10C4, pid=0xEA60, product="CP2102N"):
    info = ListPortInfo(device)
    info.vid, info.pid, info.serial_number, info.location, info.product = vid, pid, number, location, product
    return info


@pytest.fixture
def plugged(monkeypatch):
    """The USB serial ports there are; tests change the list."""
    ports = []
    monkeypatch.setattr(serial_ports, "comports", lambda: list(ports))
    return ports


@pytest.fixture
def usb(tmp_path):
    port = UsbPort(tmp_path)
    yield port
    port.close()


def test_a_link_leads_to_the_device_it_points_at_now(usb):
    finder = FixedPort("b", str(usb.link))
    assert finder.find() == usb.line.path
    first = usb.line.path
    usb.unplug()
    usb.plug()
    assert finder.find() == usb.line.path != first


def test_a_path_that_is_not_there_is_a_bench_fault_that_names_it_and_what_there_is(plugged):
    plugged.append(usb_port("/dev/ttyUSB3", "0042"))
    with pytest.raises(BenchFault) as caught:
        FixedPort("bench-board", "/dev/serial/by-id/no-such-port").find()
    text = str(caught.value)
    assert "/dev/serial/by-id/no-such-port is not there" in text
    assert "/dev/ttyUSB3 (CP2102N, serial number 0042)" in text
    assert "bench-board" in text


def test_without_any_port_that_is_what_is_said(plugged):
    with pytest.raises(BenchFault, match="there is no USB serial port"):
        UsbSerialNumber("b", "0001").find()


@pytest.mark.parametrize("path", ["/etc/passwd", "/tmp"])
def test_a_path_that_is_no_device_is_a_user_error(path):
    with pytest.raises(UserError, match=f"{path} is not a serial port"):
        FixedPort("b", path).find()


def test_a_serial_number_leads_to_its_port_whatever_its_name(plugged):
    plugged += [usb_port("/dev/ttyUSB0", "aB01"), usb_port("/dev/ttyUSB1", "ab02"), usb_port("/dev/ttyUSB2")]
    finder = UsbSerialNumber("b", "AB01")
    assert finder.find() == "/dev/ttyUSB0"
    plugged[0] = usb_port("/dev/ttyUSB7", "aB01")
    assert finder.find() == "/dev/ttyUSB7"


def test_a_serial_number_that_is_not_there_is_a_bench_fault_that_lists_the_others(plugged):
    plugged += [usb_port("/dev/ttyUSB1", "0002"), usb_port("/dev/ttyUSB0")]
    with pytest.raises(BenchFault) as caught:
        UsbSerialNumber("b", "0001").find()
    text = str(caught.value)
    assert "a port with serial number 0001 is not there" in text
    assert "/dev/ttyUSB0 (CP2102N, no serial number), /dev/ttyUSB1 (CP2102N, serial number 0002)" in text


def test_two_ports_of_one_serial_number_are_a_user_error_that_lists_both(plugged):
    plugged += [usb_port("/dev/ttyUSB1", "FT0"), usb_port("/dev/ttyUSB0", "FT0")]
    with pytest.raises(UserError) as caught:
        UsbSerialNumber("b", "FT0").find()
    text = str(caught.value)
    assert "2 serial ports have serial number FT0: /dev/ttyUSB0 (" in text
    assert "/dev/ttyUSB1 (" in text
    assert "name one of them by `port`" in text


@pytest.mark.parametrize("url", ["rfc2217://127.0.0.1:4000", "rfc2217://[::1]:4000?timeout=1", "socket://lab-1:23"])
def test_a_url_is_what_it_is(url):
    assert NetworkPort("b", url).find() == url


@pytest.mark.parametrize(
    "url",
    ["rfc2217://host", "rfc2217://:4000", "rfc2217://host:99999", "rfc2217://host:x", "http://host:80", "loop://",
     "socket://", "://", "rfc2217://[::1:4000"],
)  # fmt: skip
def test_a_url_that_cannot_be_opened_is_a_user_error_before_anything_is_touched(url):
    with pytest.raises(UserError) as caught:
        wanted_port("bench-board", url, None, None)
    assert url in str(caught.value) or "Invalid IPv6" in str(caught.value)
    assert "rfc2217://HOST:PORT" in str(caught.value)


# --- by MAC address ---------------------------------------------------------------------------------------------------

MACS = ("02:00:00:00:00:0a", "02:00:00:00:00:0b")


def idle(cpu: Cpu) -> None:
    """An app that does nothing."""
    cpu.read()


@pytest.fixture
def chips():
    """Two powered chips on ports of this process."""
    made = [build_chip(f"mac{os.getpid()}-{number}", "esp32c3", idle, mac=mac) for number, mac in enumerate(MACS)]
    for chip in made:
        virtual_port.plug(chip)
        chip.power_on()
    yield made
    for chip in made:
        chip.power_off()
        virtual_port.unplug(chip)


@pytest.fixture
def bridges(plugged, chips):
    """The chips behind two equal bridges without serial numbers, told apart by the socket they are in."""
    plugged += [usb_port(f"virtual://{chip.name}", location=f"1-{number}") for number, chip in enumerate(chips)]
    return plugged


def test_the_chip_itself_is_asked_for_its_address_and_runs_on_afterwards(chips, bridges):
    assert ChipMac("b", MACS[1].upper()).find() == f"virtual://{chips[1].name}"
    with open_quietly(f"virtual://{chips[1].name}") as port:
        port.timeout = 30
        assert b"(SPI_FAST_FLASH_BOOT)" in port.read_until(b"FLASH_BOOT)"), "it started from flash, not its loader"


def test_it_is_asked_once_and_then_known_by_its_usb_device(bridges):
    asked = []

    def ask(device):
        asked.append(device)
        return MACS[asked.index(device)]

    finder = ChipMac("b", MACS[1], ask)
    first, second = (port.device for port in bridges)
    assert finder.find() == second
    bridges[1] = usb_port("/dev/ttyUSB9", location="1-1")
    assert finder.find() == "/dev/ttyUSB9"
    assert asked == [first, second]
    del bridges[1]
    with pytest.raises(BenchFault, match=f"a port with MAC address {MACS[1]} is not there"):
        finder.find()


def test_a_chip_that_is_its_own_usb_device_is_known_by_its_serial_number(plugged):
    plugged += [usb_port("/dev/ttyUSB0", "0001"), usb_port("/dev/ttyACM0", MACS[0].upper(), vid=0x303A, pid=0x1001)]

    def ask(device):
        raise AssertionError(f"{device} was reset without need")

    assert ChipMac("b", MACS[0], ask).find() == "/dev/ttyACM0"


def test_an_address_that_nobody_has_is_a_bench_fault_that_lists_every_answer(bridges):
    held = usb_port("/dev/ttyUSB5", "0005")
    bridges.append(held)

    def ask(device):
        if device == held.device:
            raise OSError("Could not exclusively lock port")
        return MACS[0]

    with pytest.raises(BenchFault) as caught:
        ChipMac("b", "02:00:00:00:00:ff", ask).find()
    text = str(caught.value)
    assert "no serial port leads to a chip with MAC address 02:00:00:00:00:ff" in text
    assert text.count(f"the chip there is {MACS[0]}") == 2
    assert "/dev/ttyUSB5 (CP2102N, serial number 0005): Could not exclusively lock port" in text


def test_ports_that_are_not_usb_are_never_asked(plugged):
    plugged.append(usb_port("/dev/ttyS0", vid=None))
    with pytest.raises(BenchFault, match="asked: nobody"):
        ChipMac("b", MACS[0], lambda device: MACS[0]).find()


# --- who else ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def monitor():
    """A line that another program holds without locking it."""
    line = Pty()
    process = subprocess.Popen(
        [sys.executable, "-c", f"f = open({line.path!r}, 'rb', buffering=0); print('open', flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == b"open\n"
    yield line, process
    process.communicate()
    line.close()


def test_another_program_on_the_same_device_is_named(monitor):
    line, process = monitor
    (user,) = other_users(line.path)
    assert user.endswith(f"({process.pid})")


def test_a_device_that_another_program_uses_is_not_asked_for_its_chip(monitor):
    line, process = monitor
    with pytest.raises(OSError, match=f"held by .*{process.pid}"):
        read_mac(line.path)
    os.set_blocking(line.far, False)
    with pytest.raises(BlockingIOError):
        os.read(line.far, 1)


def test_a_server_that_is_not_there_is_a_plain_error():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    with pytest.raises(OSError, match="Could not open port"):
        open_quietly(f"rfc2217://127.0.0.1:{free}")


def test_our_own_use_of_a_device_is_not_another_program(usb):
    handle = os.open(usb.line.path, os.O_RDWR | os.O_NOCTTY)
    try:
        assert other_users(usb.line.path) == []
    finally:
        os.close(handle)
