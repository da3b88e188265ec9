"""An emulated chip: power, reset, restarts, cuts, and every way its emulator can fail. QEMU is a stand-in here."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from rig.emulator import machine as machine_module
from rig.emulator import process as process_module
from rig.emulator.disk import DiskCut
from rig.emulator.find import PROGRAMS, Qemu
from rig.emulator.machine import Machine
from rig.emulator.pace import PIPE_BYTES, Pacer
from rig.emulator.process import Clock, Launch, QemuProcess
from rig.errors import BenchFault
from tests.rig.emulator.conftest import FLASH_SIZE
from tests.rig.emulator.fake_qemu import MUTE_LOOP

PATIENCE_S = 30.0
BOOTED = b"rst:0x1 (POWERON)\n"


class Reader:
    """Reads a chip's UART to its end."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.text = b""

    def until(self, text: bytes) -> bytes:
        """Everything from the last call up to and including the line with `text`."""
        deadline = time.monotonic() + PATIENCE_S
        pattern = re.compile(rb"(?s).*?" + text + rb"[^\n]*\n")
        while not (match := pattern.match(self.text)):
            self.text += self.machine.uart.take(65536)
            if time.monotonic() > deadline:
                self.machine.check()
                raise AssertionError(f"{text!r} never came: {self.text!r}")
            time.sleep(0.001)
        self.text = self.text[match.end() :]
        return match[0]

    def say(self, line: str, answer: bytes = b"") -> bytes:
        self.machine.write(line.encode() + b"\n")
        return self.until(answer) if answer else b""


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def wait_fault(machine: Machine) -> BenchFault:
    wait_for(lambda: machine.fault)
    with pytest.raises(BenchFault) as caught:
        machine.check()
    return caught.value


@pytest.fixture
def running(machine: Machine) -> Reader:
    machine.power_on()
    reader = Reader(machine)
    reader.until(b"flash begins")
    return reader


# --- power and reset -----------------------------------------------------------------------------------------------


def test_a_chip_without_power_does_nothing(machine: Machine) -> None:
    machine.write(b"say hello\n")
    assert not machine.running
    assert machine.uart.size == 0


def test_with_power_it_boots_from_flash(machine: Machine) -> None:
    machine.disk.load(0, b"\xe9\1\2\3")
    machine.power_on()
    assert b"e9010203" in Reader(machine).until(b"flash begins")


def test_power_on_twice_is_one_boot(running: Reader) -> None:
    running.machine.power_on()
    running.say("say alive", b"alive")
    assert running.machine.boots == 1


def test_power_off_ends_the_process_and_flash_keeps_what_it_held(running: Reader) -> None:
    running.say("program 100 00", b"programmed")
    pid = int(running.say("pid", b"pid").split()[-1])
    running.machine.power_off()
    assert not os.path.exists(f"/proc/{pid}")
    assert running.machine.disk.read(0xFF, 3) == b"\xff\0\xff"


def test_after_power_off_nothing_is_printed_and_what_is_sent_is_lost(running: Reader) -> None:
    running.machine.power_off()
    size = running.machine.uart.size
    running.machine.write(b"say ghost\n")
    running.machine.power_on()
    running.until(b"flash begins")
    assert b"ghost" not in running.say("say here", b"here")
    assert running.machine.uart.size > size


def test_what_the_last_boot_did_not_read_is_not_read_by_the_next_one(running: Reader) -> None:
    running.say("sleep 60")
    running.say("say stale")
    running.machine.power_off()
    running.machine.power_on()
    assert b"stale" not in running.say("say fresh", b"fresh")


def test_every_boot_is_a_new_process_on_the_same_flash_and_efuses(running: Reader) -> None:
    running.say("program 0 12345678", b"programmed")
    assert b"was 00" in running.say("efuse 7f", b"efuse")
    first = running.say("pid", b"pid")
    running.machine.power_off()
    running.machine.power_on()
    assert b"12345678" in running.until(b"flash begins")
    assert b"was 7f" in running.say("efuse 7f", b"efuse")
    assert running.say("pid", b"pid") != first


def test_held_in_reset_nothing_runs_whatever_the_power_does(running: Reader) -> None:
    machine = running.machine
    machine.hold()
    assert not machine.running
    machine.power_off()
    machine.power_on()
    assert not machine.running
    machine.power_off()
    machine.release()
    assert not machine.running
    machine.power_on()
    running.until(b"flash begins")


def test_releasing_reset_starts_a_chip_that_has_power(running: Reader) -> None:
    running.machine.hold()
    running.machine.release()
    running.until(b"flash begins")
    assert running.machine.boots == 2


def test_a_flood_of_output_loses_no_byte(running: Reader) -> None:
    said = running.say("flood 20000", b"line 19999")
    assert said == b"".join(b"line %d\n" % number for number in range(20000))


def test_a_flood_of_input_loses_no_byte(running: Reader) -> None:
    running.machine.write(b"".join(b"say %d\n" % number for number in range(20000)))
    said = running.until(b"19999")
    assert said == b"".join(b"%d\n" % number for number in range(20000))


def test_input_that_a_hanging_guest_never_takes_is_lost_in_the_end(
    running: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "STALL_S", 0.05)
    running.say("sleep 60")
    running.machine.write(b"x" * (1 << 20))
    assert running.machine.running


# --- restarts ------------------------------------------------------------------------------------------------------


def test_a_reset_of_the_guest_is_carried_out_by_a_fresh_process_and_noted(running: Reader) -> None:
    first = running.say("pid", b"pid")
    position = running.machine.uart.size
    running.say("reset")
    assert running.until(b"flash begins").startswith(BOOTED)
    assert running.say("pid", b"pid") != first
    [restart] = running.machine.restarts(0)
    assert restart.position == position


def test_restarts_are_told_from_a_position_on(running: Reader) -> None:
    for _ in range(3):
        running.say("reset")
        running.until(b"flash begins")
    positions = [restart.position for restart in running.machine.restarts(0)]
    assert positions == sorted(set(positions))
    assert [restart.position for restart in running.machine.restarts(positions[1])] == positions[1:]
    assert running.machine.restarts(positions[2] + 1) == []


def test_flash_writes_before_a_reset_are_there_after_it(running: Reader) -> None:
    running.machine.write(b"program 0 aa\nprogram 1 bb\nreset\n")
    assert b"aabbffff" in running.until(b"flash begins with aa")


def test_power_on_is_no_restart(running: Reader) -> None:
    running.machine.power_off()
    running.machine.power_on()
    running.machine.hold()
    running.machine.release()
    running.until(b"flash begins")
    assert running.machine.restarts(0) == []


def test_a_guest_that_resets_for_ever_without_a_word_is_a_bench_fault(machine: Machine) -> None:
    machine.disk.load(0, bytes([MUTE_LOOP]))
    machine.power_on()
    assert "without a word" in str(wait_fault(machine))
    assert not machine.running


# --- cuts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("phase", "holds"), [("before", b"\xff\xff"), ("torn", b"\0\xff"), ("after", b"\0\0")])
def test_power_is_cut_at_one_program(running: Reader, phase: str, holds: bytes) -> None:
    machine = running.machine
    machine.disk.arm(DiskCut(0x100, 0x200, "program", 1, phase, 1))  # type: ignore[arg-type]
    running.say("program 100 0000")
    assert machine.disk.wait_fired(PATIENCE_S)
    assert not machine.running
    assert machine.disk.read(0x100, 2) == holds
    machine.check()


def test_nothing_that_was_already_sent_is_done_after_a_cut(running: Reader) -> None:
    running.machine.disk.arm(DiskCut(0, FLASH_SIZE, nth=5))
    running.say("many 0 1000")
    assert running.machine.disk.wait_fired(PATIENCE_S)
    assert running.machine.disk.read(0, 1000) == bytes(5) + b"\xff" * 995


def test_after_a_cut_the_chip_stays_off_until_power_comes_back(running: Reader) -> None:
    machine = running.machine
    machine.disk.arm(DiskCut(0, FLASH_SIZE))
    running.say("program 0 00")
    assert machine.disk.wait_fired(PATIENCE_S)
    machine.hold()
    machine.release()
    assert not machine.running
    machine.power_on()
    assert b"00ffffff" in running.until(b"flash begins")
    running.say("program 1 00", b"programmed")


def test_power_can_come_back_right_after_a_cut(running: Reader) -> None:
    for offset in range(10):
        running.machine.disk.arm(DiskCut(0, FLASH_SIZE))
        running.say(f"program {offset:x} 00")
        assert running.machine.disk.wait_fired(PATIENCE_S)
        running.machine.power_on()
        running.until(b"flash begins with " + b"00" * min(4, offset + 1))
    assert running.machine.restarts(0) == []


def test_what_the_guest_had_written_before_power_off_is_all_in_flash(running: Reader) -> None:
    # As with QEMU, the guest goes on while its writes are on their way.
    running.say("many 0 2000", b"sent")
    running.machine.power_off()
    assert running.machine.disk.read(0, 2001) == bytes(2000) + b"\xff"


def test_what_the_guest_takes_for_written_is_in_flash_even_if_it_was_not_sent_yet(running: Reader) -> None:
    running.say("late 100 0000", b"programmed")
    running.machine.hold()
    assert running.machine.disk.read(0xFF, 4) == b"\xff\0\0\xff"


def test_a_process_that_does_not_listen_any_more_is_killed_all_the_same(
    running: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "DRAIN_TIMEOUT_S", 0.1)
    running.say("deaf", b"deaf")
    running.machine.power_off()
    assert not running.machine.running


def test_what_the_guest_says_after_its_power_was_cut_was_never_said(
    running: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = running.machine
    machine.disk.arm(DiskCut(0, FLASH_SIZE))
    kill = QemuProcess.kill

    def kill_late(process: QemuProcess) -> None:
        # The guest goes on while its write is on its way.
        with machine.uart.path.open("ab") as file:
            file.write(b"done!\n")
        kill(process)

    monkeypatch.setattr(QemuProcess, "kill", kill_late)
    running.say("program 0 00")
    assert machine.disk.wait_fired(PATIENCE_S)
    machine.power_on()
    assert running.until(b"flash begins").startswith(BOOTED)
    assert machine.printed == machine.uart.size - len(b"done!\n")


# --- faults of the emulator ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("exit 3", "exit code 3"),
        ("exit 0", "exit code 0"),
        ("signal 11", "signal SIGSEGV"),
        ("end guest-shutdown 0", "reason guest-shutdown"),
        ("end host-error 1", "exit code 1, reason host-error"),
        ("end guest-reset 1", "exit code 1, reason guest-reset"),
        ("garbage", "flash connection broke: request magic is 0x17171717"),
        ("raise 100", "would set bits that are 0"),
    ],
)
def test_an_end_that_the_firmware_did_not_ask_for_is_a_bench_fault(running: Reader, command: str, said: str) -> None:
    running.say("program 100 00", b"programmed")
    running.say(command)
    fault = wait_fault(running.machine)
    assert said in str(fault)
    assert fault.board == running.machine.name
    wait_for(lambda: not running.machine.running)


def test_the_fault_has_the_emulators_own_words_and_its_command_line(running: Reader) -> None:
    running.say("exit 3")
    text = str(wait_fault(running.machine))
    assert "something went wrong" in text
    assert "-machine esp32c3" in text
    assert "try:" in text


def test_a_process_that_lets_go_of_its_flash_and_runs_on_is_a_bench_fault(
    running: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_module, "LINGER_S", 0.05)
    running.say("drop", b"dropped")
    assert "goes on running" in str(wait_fault(running.machine))
    wait_for(lambda: not running.machine.running)


def test_a_fault_that_nobody_was_told_of_is_raised_by_the_next_act(running: Reader) -> None:
    running.say("exit 3")
    wait_for(lambda: running.machine.fault)
    with pytest.raises(BenchFault):
        running.machine.power_off()


def test_after_a_fault_was_told_the_next_act_starts_anew(running: Reader) -> None:
    running.say("exit 3")
    wait_fault(running.machine)
    running.machine.power_on()
    running.until(b"flash begins")
    running.machine.check()


def test_what_the_fault_of_one_boot_said_is_not_said_of_the_next(running: Reader) -> None:
    running.say("exit 3")
    wait_fault(running.machine)
    running.machine.power_on()
    running.until(b"flash begins")
    running.say("signal 6")
    text = str(wait_fault(running.machine))
    assert "SIGABRT" in text
    assert "something went wrong" not in text


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("#!/bin/sh\necho cannot find this machine >&2\nexit 1\n", "cannot find this machine"),
        ("#!/bin/nothing-here\n", "did not start"),
        ("", "did not start"),
    ],
)
def test_a_program_that_does_not_start_is_a_bench_fault_with_its_words(
    machine: Machine, fake_qemu: Qemu, script: str, said: str
) -> None:
    fake_qemu.program.write_text(script)
    with pytest.raises(BenchFault, match=said):
        machine.power_on()
    assert not machine.running


def test_a_program_that_never_calls_back_is_given_up(
    machine: Machine, fake_qemu: Qemu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "START_TIMEOUT_S", 0.2)
    fake_qemu.program.write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(BenchFault, match="did not connect"):
        machine.power_on()


# --- how QEMU is called ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chip", sorted(PROGRAMS))
@pytest.mark.parametrize("clock", get_args(Clock))
def test_the_command_line_names_machine_clock_flash_efuses_uart_and_monitor(chip: str, clock: Clock) -> None:
    words = Launch(Path("/opt/qemu"), chip, clock, Path("/nowhere")).command(7)
    text = " ".join(words)
    assert words[0] == "/opt/qemu"
    assert f"-machine {chip} " in text
    assert f"-icount shift=3,sleep={'off' if clock == 'instructions' else 'on'} " in text
    assert "file=nbd+unix:///?socket=nbd7,if=mtd,format=raw" in text
    assert f"driver=nvram.{chip}.efuse,property=drive,value=efuse" in text
    assert "path=uart.log,append=on,input-path=uart7" in text
    assert {"-no-reboot", "-S"} <= set(words)
    assert ("-d int -D pace7" in text) == (clock == "instructions" and chip == "esp32c3")


def test_a_guest_that_interrupts_faster_than_its_pace_waits(tmp_path: Path) -> None:
    pacer = Pacer(tmp_path / "pace")
    pacer.start()
    pipe = os.open(pacer.path, os.O_WRONLY | os.O_NONBLOCK)
    line, taken = b"x" * 107, 0
    with contextlib.suppress(BlockingIOError):
        while True:
            taken += os.write(pipe, line)
    # What the pipe holds, and maybe a few periods: it is full long before a guest's second is over.
    assert taken < 100 * len(line) + PIPE_BYTES
    os.set_blocking(pipe, True)
    for _ in range(50):
        os.write(pipe, line)
    pacer.stop()
    pacer.stop()
    os.close(pipe)
    assert not pacer.path.exists()


# --- nothing is left behind ----------------------------------------------------------------------------------------


def test_closing_leaves_neither_process_nor_file(running: Reader) -> None:
    pid = int(running.say("pid", b"pid").split()[-1])
    folder = running.machine.uart.path.parent
    running.machine.close()
    assert not os.path.exists(f"/proc/{pid}")
    assert not folder.exists()
    running.machine.close()


PARENT = """
import sys, time
from pathlib import Path
from rig.emulator.find import PROGRAMS, Qemu
from rig.emulator.machine import build_machine
machine = build_machine("parent", "esp32c3", 0x10000, Qemu(Path(sys.argv[1]), "", ""), "instructions")
machine.power_on()
machine.write(b"pid\\n")
text = b""
while b"pid " not in text or not text.endswith(b"\\n"):
    text += machine.uart.take(1000)
    time.sleep(0.001)
print(text.split()[-1].decode(), machine.uart.path.parent, flush=True)
if sys.argv[2] == "wait":
    time.sleep(60)
"""


def start_parent(fake_qemu: Qemu, how: str) -> tuple[subprocess.Popen[str], int, Path]:
    root = Path(machine_module.__file__).parents[2]
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(fake_qemu.program), how],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert parent.stdout is not None
    pid, folder = parent.stdout.readline().split()
    return parent, int(pid), Path(folder)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent was killed")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_emulator_outlives_a_killed_bench(fake_qemu: Qemu, number: signal.Signals) -> None:
    parent, pid, _ = start_parent(fake_qemu, "wait")
    assert is_alive(pid)
    parent.send_signal(number)
    parent.wait()
    wait_for(lambda: not is_alive(pid))


def test_a_bench_that_ends_takes_emulator_and_files_with_it(fake_qemu: Qemu) -> None:
    parent, pid, folder = start_parent(fake_qemu, "end")
    assert parent.wait(PATIENCE_S) == 0
    wait_for(lambda: not is_alive(pid))
    assert not folder.exists()
