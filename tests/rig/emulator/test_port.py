"""The UART of an emulated chip as a pyserial port."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st
from serial.serialutil import PortNotOpenError

from rig.emulator import port
from rig.emulator.machine import Machine
from rig.emulator.uart_log import UartLog
from rig.errors import BenchFault


@pytest.fixture
def url(machine: Machine) -> str:
    return port.plug(machine)


@pytest.fixture
def opened(url: str) -> Iterator[serial.SerialBase]:
    handle = serial.serial_for_url(url, timeout=30, do_not_open=True)
    handle.dtr = handle.rts = False
    handle.open()
    yield handle
    handle.close()


def read_line(handle: serial.SerialBase, containing: bytes) -> bytes:
    while True:
        line = handle.read_until(b"\n")
        assert line.endswith(b"\n"), line
        if containing in line:
            return line


def test_it_reads_what_the_chip_prints_and_writes_what_it_hears(machine: Machine, opened: serial.SerialBase) -> None:
    machine.power_on()
    assert opened.read_until(b"\n") == b"rst:0x1 (POWERON)\n"
    read_line(opened, b"flash begins")
    assert opened.write(b"say hello\n") == 10
    assert opened.read_until(b"\n") == b"hello\n"


def test_a_read_ends_with_its_timeout_and_gives_what_there_was(machine: Machine, opened: serial.SerialBase) -> None:
    machine.power_on()
    read_line(opened, b"flash begins")
    opened.write(b"say 12345\n")
    opened.timeout = 0.2
    assert opened.read(100) == b"12345\n"
    opened.timeout = 0
    assert opened.read(1) == b""


def test_in_waiting_counts_what_was_printed_and_not_read(machine: Machine, opened: serial.SerialBase) -> None:
    machine.power_on()
    first = opened.read(4)
    read_line(opened, b"flash begins")
    opened.write(b"say 12345\n")
    while opened.in_waiting < 6:
        time.sleep(0.001)
    assert (first, opened.in_waiting) == (b"rst:", 6)
    opened.reset_input_buffer()
    assert opened.in_waiting == 0
    opened.write(b"say next\n")
    assert opened.read_until(b"\n") == b"next\n"


def test_a_port_that_is_opened_again_goes_on_where_it_was(machine: Machine, opened: serial.SerialBase) -> None:
    machine.power_on()
    assert opened.read(4) == b"rst:"
    opened.close()
    opened.open()
    assert opened.read(4) == b"0x1 "


def test_rts_holds_the_chip_in_reset_and_lets_it_start(machine: Machine, opened: serial.SerialBase) -> None:
    machine.power_on()
    opened.rts = True
    assert not machine.running
    opened.rts = True
    opened.rts = False
    assert machine.running
    assert machine.boots == 2


def test_a_port_opened_as_pyserial_does_by_default_holds_the_chip_until_it_is_closed(
    machine: Machine, url: str
) -> None:
    machine.power_on()
    with serial.serial_for_url(url):
        assert not machine.running
    assert machine.running


def test_opening_quietly_does_not_let_go_of_a_chip_that_is_held_otherwise(machine: Machine, url: str) -> None:
    machine.hold()
    machine.power_on()
    handle = serial.serial_for_url(url, do_not_open=True)
    handle.dtr = handle.rts = False
    handle.open()
    handle.close()
    assert not machine.running


def test_dtr_alone_does_nothing(machine: Machine, opened: serial.SerialBase) -> None:
    machine.power_on()
    opened.dtr = True
    opened.dtr = False
    assert machine.boots == 1


def test_opening_quietly_and_closing_disturb_nothing(machine: Machine, opened: serial.SerialBase) -> None:
    machine.power_on()
    opened.close()
    opened.open()
    assert machine.boots == 1


def test_writing_to_a_chip_without_power_goes_nowhere(opened: serial.SerialBase) -> None:
    assert opened.write(b"anyone?\n") == 8
    opened.timeout = 0.01
    assert opened.read(1) == b""


def test_after_a_fault_what_was_printed_is_read_first_and_then_it_fails(
    machine: Machine, opened: serial.SerialBase
) -> None:
    machine.power_on()
    read_line(opened, b"flash begins")
    opened.write(b"say last words\nexit 3\n")
    while machine.fault is None:
        time.sleep(0.001)
    assert opened.read(100) == b"last words\n"
    with pytest.raises(serial.SerialException, match="exit code 3"):
        opened.read(1)
    with pytest.raises(serial.SerialException, match="exit code 3"):
        opened.write(b"x")
    opened.close()
    with pytest.raises(serial.SerialException, match="exit code 3"):
        opened.open()


@pytest.mark.parametrize("use", ["open", "write"])
def test_a_fault_that_another_thread_clears_meanwhile_is_a_lost_port_all_the_same(
    url: str, opened: serial.SerialBase, monkeypatch: pytest.MonkeyPatch, use: str
) -> None:
    answers = iter([BenchFault("out of order"), None])
    monkeypatch.setattr(Machine, "fault", property(lambda _: next(answers)))
    with pytest.raises(serial.SerialException, match="out of order"):
        serial.serial_for_url(url) if use == "open" else opened.write(b"x")


def test_a_fault_ends_a_read_that_would_wait_for_ever(machine: Machine, opened: serial.SerialBase) -> None:
    machine.power_on()
    read_line(opened, b"flash begins")
    opened.timeout = None
    opened.write(b"exit 3\n")
    with pytest.raises(serial.SerialException, match="exit code 3"):
        opened.read(1)


def test_a_read_can_be_cancelled_from_another_thread(opened: serial.SerialBase) -> None:
    opened.timeout = None
    ended = threading.Event()

    def read() -> None:
        opened.read(1)
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    while not ended.wait(0.01):
        opened.cancel_read()


def test_a_chip_that_was_taken_apart_is_a_port_that_vanished(machine: Machine, opened: serial.SerialBase) -> None:
    machine.close()
    with pytest.raises(serial.SerialException, match="disconnected"):
        opened.read(1)
    opened.close()
    with pytest.raises(PortNotOpenError):
        opened.read(1)
    with pytest.raises(serial.SerialException, match="no such chip"):
        opened.open()


def test_names_are_unique_until_their_chip_is_gone(make_machine: Callable[[], Machine]) -> None:
    first, second = make_machine(), make_machine()
    second.name = first.name.upper()
    port.plug(first)
    port.plug(first)
    with pytest.raises(ValueError, match="another emulated chip"):
        port.plug(second)
    first.close()
    assert port.plug(second) == f"qemu://{second.name}"


def test_an_unknown_name_says_what_there_is(url: str) -> None:
    with pytest.raises(serial.SerialException, match=url.removeprefix("qemu://")):
        serial.serial_for_url("qemu://nobody")


STEPS = st.lists(st.tuples(st.sampled_from(("print", "read", "skip", "hide")), st.integers(0, 40)), max_size=30)


@given(steps=STEPS)
def test_of_what_was_printed_all_is_read_once_but_what_was_hidden(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    log = UartLog(tmp_path_factory.mktemp("log") / "uart.log")
    log.create()
    printed, shown, seen = b"", list[int](), 0
    with log.path.open("ab", buffering=0) as file:
        for step, size in [*steps, ("read", 0), *steps, ("all", 0)]:
            if step == "print":
                more = bytes((len(printed) + index) % 251 for index in range(size))
                file.write(more)
                shown += range(len(printed), len(printed) + size)
                printed += more
            elif step in ("read", "all"):
                while data := log.take(size if step == "read" else 7):
                    assert data == bytes(printed[index] for index in shown[seen : seen + len(data)])
                    seen += len(data)
                    if step == "read":
                        break
            else:
                start = 0 if step == "skip" else max(0, len(printed) - size)
                shown = [index for place, index in enumerate(shown) if place < seen or index < start]
                log.skip() if step == "skip" else log.hide(start)
            assert log.waiting == len(shown) - seen
    assert seen == len(shown)
    assert log.size == len(printed)
    for offset in range(len(printed) + 1):
        assert log.position_of(offset) == sum(1 for index in shown if index < offset)
    log.close()
