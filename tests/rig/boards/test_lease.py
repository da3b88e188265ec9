"""Leases: one run a board, nothing left behind by a run that was killed, and power restored before the next one."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from rig.boards import lease as leases
from rig.boards.board import powered
from rig.boards.inventory import SerialBoardSection
from rig.boards.lease import HELD, Lease, held_for_children, holder, lock_names
from rig.boards.power.command import Keys
from rig.boards.serial import open_board
from rig.errors import BenchFault

PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Leases of this test alone."""
    monkeypatch.setenv(leases.FOLDER, str(tmp_path / "leases"))
    return tmp_path / "leases"


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def switch(tmp_path):
    """A power switch that writes what it did to a file."""
    line = f"sh -c {shlex.quote('echo {} >> ' + str(tmp_path / 'power'))}"
    return Keys(on=line.format("on"), off=line.format("off"))


def run_of(tmp_path, code="power.open('c3').off()"):
    """Another program that holds the lease, does `code`, says so, and waits to be ended."""
    program = f"""
import sys, time
from rig.boards.lease import Lease
from rig.boards.power.command import Keys
power = Keys.model_validate_json(sys.argv[1])
with Lease("c3", ["/dev/c3"], power)():
    {code}
    print("holding", flush=True)
    time.sleep(3600)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, switch(tmp_path).model_dump_json()],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout.readline() == "holding\n"
    return process


def test_a_board_that_is_in_use_is_refused_with_the_name_of_who_uses_it():
    with Lease("c3", ["/dev/c3"], None)():
        with pytest.raises(BenchFault) as refused, Lease("same board", ["/dev/c3"], None, wait_s=0)():
            pass
        assert f"process {os.getpid()}" in str(refused.value)
        assert refused.value.board == "same board"
    with Lease("same board", ["/dev/c3"], None, wait_s=0)():
        pass


def test_who_holds_a_board_can_be_asked_without_taking_it():
    assert holder(["/dev/c3"]) is None
    with Lease("c3", ["/dev/c3"], None)():
        assert holder(["/dev/c3"]).pid == os.getpid()
        assert holder(["/dev/other"]) is None
    assert holder(["/dev/c3"]) is None


def test_a_board_is_the_same_by_a_link_and_by_the_device_it_leads_to(tmp_path):
    (tmp_path / "ttyUSB0").touch()
    (tmp_path / "by-id").symlink_to(tmp_path / "ttyUSB0")
    with Lease("c3", [str(tmp_path / "by-id")], None)():
        assert holder([str(tmp_path / "ttyUSB0")]).board == "c3"


def test_an_odd_key_makes_a_file_name_and_nothing_else():
    assert lock_names(["rfc2217://127.0.0.1:4000/../../x"]) == ["rfc2217_127.0.0.1_4000_.._.._x.lock"]


@pytest.mark.parametrize("signals", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_leaves_its_board_powered_and_free(tmp_path, signals):
    run = run_of(tmp_path)
    assert (tmp_path / "power").read_text() == "off\n"
    os.killpg(run.pid, signals)
    run.wait()
    wait_until(lambda: holder(["/dev/c3"]) is None)
    assert (tmp_path / "power").read_text() == "off\non\n"


def test_the_next_run_waits_until_power_is_back_after_a_kill(tmp_path):
    run = run_of(tmp_path)
    os.killpg(run.pid, signal.SIGKILL)
    with Lease("c3", ["/dev/c3"], None, wait_s=PATIENCE_S)():
        assert (tmp_path / "power").read_text() == "off\non\n"
    run.wait()


def test_a_switch_that_fails_at_first_is_tried_again_for_a_killed_run(tmp_path):
    stubborn = tmp_path / "stubborn"
    stubborn.write_text(f"#!/bin/sh\n[ -e {tmp_path}/ready ] && echo on >> {tmp_path}/power || {{ touch {tmp_path}/ready; exit 1; }}\n")  # fmt: skip # noqa: E501
    stubborn.chmod(0o755)
    code = f"power = Keys(on={str(stubborn)!r}, off='true')"
    program = "import sys; from rig.boards.lease import Lease; from rig.boards.power.command import Keys\n"
    program += f"{code}\nwith Lease('c3', ['/dev/c3'], power)(): print('holding', flush=True); sys.stdin.read()"
    run = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert run.stdout.readline() == "holding\n"
    run.kill()
    run.wait()
    wait_until(lambda: holder(["/dev/c3"]) is None)
    assert (tmp_path / "power").read_text() == "on\n"


def test_a_run_that_ends_by_itself_does_not_have_its_power_touched(tmp_path):
    with Lease("c3", ["/dev/c3"], switch(tmp_path))():
        pass
    assert not (tmp_path / "power").exists()


def test_a_lease_survives_ctrl_c_of_its_owners_process_group(tmp_path):
    run = run_of(tmp_path, "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)")
    os.killpg(run.pid, signal.SIGINT)
    assert holder(["/dev/c3"]) is not None
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()


def test_a_note_that_is_torn_hides_nobody(folder):
    with Lease("c3", ["/dev/c3"], None)():
        (note,) = folder.glob("*.json")
        note.write_text('{"board": "c3", ')
        assert holder(["/dev/c3"]) is not None


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv(leases.FOLDER, str(tmp_path / "file" / "leases"))
    with pytest.raises(BenchFault, match="leases of boards cannot be kept there"), Lease("c3", ["x"], None)():
        pass


def test_opening_an_attached_board_takes_its_lease(tmp_path):
    section = SerialBoardSection(name="c3", kind="serial", chip="esp32c3", port="/dev/no-such-port")
    board = open_board(section)
    board.lease.wait_s = 0
    with (
        Lease("another run", ["/dev/no-such-port"], None)(),
        pytest.raises(BenchFault, match="somebody else"),
        powered(board),
    ):
        pass


def test_what_is_held_for_children_they_may_use_one_at_a_time_and_nobody_else(tmp_path, monkeypatch):
    ours, theirs = (Lease("c3", ["/dev/c3"], None, wait_s=0) for _ in range(2))
    with held_for_children([ours]) as refused:
        assert refused == {}
        child = run_of(tmp_path)
        with pytest.raises(BenchFault, match=f"process {child.pid}"), theirs():
            pass
        child.kill()
        child.wait()
        wait_until(lambda: (tmp_path / "power").read_text() == "off\non\n")
        with monkeypatch.context() as patch:
            patch.delenv(HELD)
            with pytest.raises(BenchFault, match=f"process {os.getpid()}"), theirs():
                pass
    assert HELD not in os.environ
    with theirs():
        pass


def test_a_board_that_cannot_be_held_is_named_and_the_others_are_held():
    others = Lease("used", ["/dev/used"], None)
    with others(), held_for_children([Lease("c3", ["/dev/used"], None, 0), Lease("c6", ["/dev/c6"], None)]) as refused:
        assert list(refused) == ["c3"]
        assert "somebody else is using this board" in refused["c3"]
        assert os.environ[HELD] == '["/dev/c6"]'


def test_a_killed_run_gives_its_board_back_after_those_for_whom_it_held_it(tmp_path):
    program = """
import subprocess, sys, time
from rig.boards.lease import Lease, held_for_children
from rig.boards.power.command import Keys
with held_for_children([Lease("c3", ["/dev/c3"], Keys.model_validate_json(sys.argv[1]))]):
    child = "from rig.boards.lease import Lease; import sys\\nwith Lease('c3', ['/dev/c3'], None)(): "
    child += "print('holding', flush=True); sys.stdin.read()"
    subprocess.run([sys.executable, "-c", child], stdin=int(sys.argv[2]))
"""
    read, write = os.pipe()
    run = subprocess.Popen(
        [sys.executable, "-c", program, switch(tmp_path).model_dump_json(), str(read)],
        stdout=subprocess.PIPE, text=True, pass_fds=[read],
    )  # fmt: skip
    assert run.stdout.readline() == "holding\n"
    run.kill()
    run.wait()
    time.sleep(0.5)
    assert holder(["/dev/c3"]) is not None
    assert not (tmp_path / "power").exists()
    os.close(write)
    wait_until(lambda: holder(["/dev/c3"]) is None)
    assert (tmp_path / "power").read_text() == "on\n"


def test_who_holds_it_is_written_in_plain_json(folder):
    with Lease("c3", ["/dev/c3"], None)():
        (note,) = folder.glob("*.json")
        assert json.loads(note.read_text())["board"] == "c3"
    assert not list(folder.glob("*.json"))
