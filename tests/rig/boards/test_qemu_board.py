"""The kind `qemu`, as trials use a board. QEMU is a stand-in here; the real one is in emulator/test_real_qemu.py."""

from __future__ import annotations

import itertools
import os
import re
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rig.boards import qemu
from rig.boards.board import Board, Capability, Cut, EfuseState, powered
from rig.boards.inventory import QemuBoardSection
from rig.emulator.machine import Machine
from rig.errors import BenchFault, NotApplicable, UserError
from rig.idf.flash_cipher import XtsAes
from rig.idf.image import BootloaderDesc
from tests.rig.emulator import fake_qemu

PATIENCE_S = 30.0
MEGABYTE = 0x100000
_numbers = itertools.count(1)


@pytest.fixture
def section(tmp_path: Path) -> QemuBoardSection:
    name = f"qemu-{os.getpid()}-{next(_numbers)}"
    return QemuBoardSection(name=name, kind="qemu", chip="esp32c3", flash_size="2MB", qemu=fake_qemu.program(tmp_path))


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Machine]]:
    made: list[Machine] = []
    build: Callable[..., Machine] = qemu.build_machine

    def remember(*arguments: object) -> Machine:
        made.append(build(*arguments))
        return made[-1]

    monkeypatch.setattr(qemu, "build_machine", remember)
    yield made
    for machine in made:
        machine.close()


@pytest.fixture
def board(section: QemuBoardSection, machines: list[Machine]) -> Iterator[Board]:
    with powered(qemu.open_board(section)) as board:
        yield board


def expect(board: Board, text: bytes) -> None:
    assert board.console.expect(re.compile(re.escape(text)), PATIENCE_S), text


def test_it_boots_when_power_comes_on(board: Board) -> None:
    expect(board, b"rst:0x1 (POWERON)")


def test_it_can_cut_power_show_flash_mutations_and_boot_crash_images(board: Board) -> None:
    shown = {Capability.POWER_CUT, Capability.FLASH_MUTATIONS, Capability.CRASH_IMAGES, Capability.EFUSE}
    assert shown <= board.capabilities
    assert all(board.missing.values())


def test_flash_is_placed_directly_and_only_where_it_differs(board: Board) -> None:
    content = b"\xe9" + b"\xff" * 0xFFF + b"\xff" * 0x1000 + b"\x01" * 0x1000
    assert board.flash.restore({0x1000: content}) == 2
    assert board.flash.restore({0x1000: content}) == 0
    assert board.flash.read(0xFFF, 0x3002) == b"\xff" + content + b"\xff"
    assert re.match(r"placed directly, 2 sectors; .*QEMU emulator version 0.0", board.flash.transcript[0])
    assert "read directly" in board.flash.transcript[-1]


def test_using_flash_stops_the_chip_until_it_is_reset(board: Board, machines: list[Machine]) -> None:
    expect(board, b"flash begins")
    board.flash.restore({0: bytes(0x1000)})
    assert not machines[0].running
    board.reset()
    expect(board, b"flash begins with 00000000")


def test_a_power_cycle_starts_a_chip_that_was_held_for_flashing(board: Board) -> None:
    # the order of rig.evidence.handling: hold, power on, restore; then off, release, on
    expect(board, b"flash begins")
    assert board.power is not None
    board.reset_line.hold()
    board.power.on()
    board.flash.restore({0: b"\x01" * 0x1000})
    board.power.off()
    board.console.drain()
    board.reset_line.release()
    board.console.skip()
    board.power.on()
    expect(board, b"flash begins with 01010101")


def test_after_power_off_everything_printed_is_here_and_then_there_is_silence(board: Board) -> None:
    expect(board, b"flash begins")
    assert board.power is not None
    board.console.write(b"flood 5000\n")
    expect(board, b"line 2000")
    board.power.off()
    board.console.drain()
    position = board.console.position
    board.console.write(b"say ghost\n")
    time.sleep(0.05)
    assert board.console.position == position


@pytest.mark.parametrize("size", ["2MB", "4MB", "8MB", "16MB"])
def test_flash_has_the_size_of_rig_toml(section: QemuBoardSection, size: str) -> None:
    assert qemu.flash_bytes(section.model_copy(update={"flash_size": size})) == int(size[:-2]) * MEGABYTE


def test_content_for_a_larger_flash_is_refused_before_anything_is_written(board: Board) -> None:
    with pytest.raises(UserError) as caught:
        board.flash.restore({0: bytes(0x1000), 2 * MEGABYTE - 0x1000: bytes(0x2000)})
    assert "do not fit into flash of 2 MB" in str(caught.value)
    assert "flash_size" in str(caught.value)
    with pytest.raises(UserError):
        board.flash.read(2 * MEGABYTE, 1)
    assert board.flash.read(0, 1) == b"\xff"


def test_a_region_that_is_not_made_of_sectors_is_refused(board: Board) -> None:
    for offset, size in ((0x100, 0x1000), (0, 0x100)):
        with pytest.raises(UserError, match="whole sectors"):
            board.flash.restore({offset: bytes(size)})


@pytest.mark.parametrize(("phase", "holds"), [("before", b"\xff\xff"), ("torn", b"\0\xff"), ("after", b"\0\0")])
def test_power_is_cut_at_a_mutation(board: Board, phase: str, holds: bytes) -> None:
    expect(board, b"flash begins")
    assert board.tap is not None
    assert board.power is not None
    board.tap.arm(Cut(0x100, 0x200, "program", 1, phase, 1))  # type: ignore[arg-type]
    assert not board.tap.wait_fired(0)
    board.console.write(b"program 100 0000\n")
    assert board.tap.wait_fired(PATIENCE_S)
    board.console.drain()
    board.reset_line.hold()
    board.power.on()
    assert board.flash.read(0x100, 2) == holds
    board.power.off()
    board.reset_line.release()
    board.power.on()
    expect(board, b"rst:0x1 (POWERON)")


def test_a_restart_of_the_app_is_told_as_the_harnesss_doing_at_its_console_position(board: Board) -> None:
    expect(board, b"flash begins with ffffffff\n")
    assert board.restarts is not None
    before = board.console.position
    began = time.monotonic()
    board.console.write(b"reset\n")
    expect(board, b"flash begins")
    [restart] = board.restarts.since(0)
    assert restart.position == before
    assert began <= restart.time <= time.monotonic()
    assert board.restarts.since(before + 1) == []


@pytest.mark.parametrize("what", ["expect", "write", "drain", "wait_fired", "power", "hold", "restore"])
def test_a_fault_of_the_emulator_ends_whatever_waits_for_the_board(
    board: Board, machines: list[Machine], what: str
) -> None:
    expect(board, b"flash begins")
    assert board.tap is not None
    assert board.power is not None
    board.console.write(b"exit 3\n")
    while what != "expect" and machines[0].fault is None:
        time.sleep(0.001)
    acts: dict[str, Callable[[], object]] = {
        "expect": lambda: board.console.expect(re.compile(b"never"), PATIENCE_S),
        "write": lambda: board.console.write(b"x"),
        "drain": lambda: board.console.drain(),
        "wait_fired": lambda: board.tap.wait_fired(PATIENCE_S),  # type: ignore[union-attr]
        "power": board.power.off,
        "hold": board.reset_line.hold,
        "restore": lambda: board.flash.restore({}),
    }
    with pytest.raises(BenchFault) as caught:
        acts[what]()
    assert "exit code 3" in str(caught.value)
    assert "something went wrong" in str(caught.value)
    assert caught.value.board == board.name


def test_after_a_fault_the_next_trial_starts_on_a_sound_board(board: Board, machines: list[Machine]) -> None:
    expect(board, b"flash begins")
    assert board.power is not None
    board.console.write(b"exit 3\n")
    with pytest.raises(BenchFault):
        board.console.expect(re.compile(b"never"), PATIENCE_S)
    while board.console.lost is None:
        time.sleep(0.001)
    board.reset_line.hold()
    board.power.on()
    board.flash.restore({0: b"\x07" * 0x1000})
    board.power.off()
    board.console.drain()
    board.reset_line.release()
    board.power.on()
    expect(board, b"flash begins with 07070707")
    assert board.console.lost is None


def test_without_qemu_the_board_cannot_be_opened_and_says_what_to_do(section: QemuBoardSection, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"idf_tools\.py install"):
        qemu.open_board(section.model_copy(update={"qemu": tmp_path / "nowhere"}))


def test_a_qemu_without_the_chip_is_refused(section: QemuBoardSection) -> None:
    with pytest.raises(UserError, match="no machine esp32"):
        qemu.open_board(section.model_copy(update={"chip": "esp32"}))


def test_a_new_chip_has_the_efuses_a_test_asks_for_and_they_are_read_back_at_rest(
    board: Board, machines: list[Machine]
) -> None:
    expect(board, b"flash begins")
    assert board.efuse is not None
    for version in (3, 0):
        board.efuse.prepare(EfuseState(secure_version=version))
        assert not machines[0].running
        assert board.efuse.secure_version() == version
    with pytest.raises(NotApplicable, match="17 does not fit into the 16 eFuse bits of esp32c3"):
        board.efuse.prepare(EfuseState(secure_version=17))


def test_a_new_chip_encrypts_with_the_key_a_test_asks_for(board: Board, machines: list[Machine]) -> None:
    assert board.efuse is not None
    key = bytes(range(32))
    board.efuse.prepare(EfuseState(encryption_key=key))
    words = struct.unpack("<64I", machines[0].read_efuses()[:256])
    # BLOCK0: SPI_BOOT_CRYPT_CNT at bit 82, KEY_PURPOSE_0 at 88; BLOCK_KEY0 behind BLOCK1, 2 and 3
    assert words[2] == 1 << 18 | 4 << 24
    assert struct.pack("<8I", *words[28:36]) == key
    assert board.efuse.secure_version() == 0
    with pytest.raises(NotApplicable, match="a key of 64 bytes"):
        board.efuse.prepare(EfuseState(encryption_key=bytes(64)))


@pytest.mark.parametrize(("idf", "works"), [("v5.1.6", False), ("v5.2.7", False), ("v5.3", True), ("v6.0.2", True)])
def test_encrypted_writes_that_qemu_gets_wrong_are_not_asked_of_it(board: Board, idf: str, works: bool) -> None:
    assert board.efuse is not None
    key = bytes(range(32))
    head = (bytes(32) + BootloaderDesc(idf_ver=idf).pack()).ljust(0x1000, b"\0")
    board.flash.restore({0: XtsAes(key).encrypt(0, head)})
    if works:
        board.efuse.prepare(EfuseState(encryption_key=key))
    else:
        with pytest.raises(NotApplicable, match=f"ESP-IDF {idf}"):
            board.efuse.prepare(EfuseState(encryption_key=key))
