"""Flash images booted on QEMU, a stand-in that obeys its flash; the real one is in emulator/test_real_images.py."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rig.boards import qemu, qemu_images
from rig.boards.image_boots import ImageBooter, PowerUp
from rig.boards.inventory import QemuBoardSection
from rig.boards.qemu_images import QemuBooter, Sight
from rig.emulator import image_boot
from rig.errors import BenchFault, UserError
from rig.idf.effects import BurnSecureVersion, Erase, Program
from rig.idf.memory import FlashImage
from rig.idf.partitions import PartitionTable
from rig.idf.watched import WatchedFlash
from rig.protocol import Line, encode_line
from tests.rig.emulator import fake_qemu
from tests.rig.emulator.fake_qemu import script

SIZE = 0x20000
FLASH_SIZE = 0x200000
EVERYTHING = ((0, FLASH_SIZE),)
TABLE = PartitionTable.from_csv(
    "otadata,data,ota,0xd000,0x2000\nota_0,app,ota_0,0x10000,0x10000\nota_1,app,ota_1,0x20000,0x10000\n"
)
LOADED = "say I (43) boot: Loaded app from partition at offset 0x20000"
NOTHING = "say E (43) boot: No bootable app partitions in the partition table"
LOOKS = "look d000 20\nmap 0 10000"


def says(word: str, **fields: str) -> str:
    return "say " + encode_line(Line(None, word, fields)).decode().strip()


START = says("start", running="ota_1", version="2.0.0", state="VALID", diag="none")
READY = says("ready")
SHUTDOWN = says("shutdown")
UP = "\n".join((LOOKS, LOADED, START, READY))
RESTART = "\n".join((LOOKS, LOADED, START, SHUTDOWN, "reset"))
CRASH = "\n".join((LOOKS, LOADED, START, "say Guru Meditation Error", "reset"))


def on_probation(outcome: str) -> str:
    return says("start", running="ota_1", version="2.0.0", state="PENDING_VERIFY", diag=outcome)


def image(*parts: str) -> WatchedFlash:
    """Flash that lets one process after the other do one of `parts`."""
    flash = WatchedFlash(b"\xff" * SIZE)
    flash.load(0, script(*parts))
    return flash


def processes_in(folder: Path) -> list[str]:
    """Processes that work there."""
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{number}/cwd").readlink() == folder:
                found.append(number)
    return found


@pytest.fixture
def section(tmp_path: Path) -> QemuBoardSection:
    return QemuBoardSection(
        name="qemu", kind="qemu", chip="esp32c3", flash_size="2MB", qemu=fake_qemu.program(tmp_path)
    )


@pytest.fixture
def open_booter(section: QemuBoardSection) -> Iterator[Callable[[], QemuBooter]]:
    made: list[ImageBooter] = []

    def open_one() -> QemuBooter:
        booter = qemu.image_booter(section, TABLE)
        assert isinstance(booter, QemuBooter)
        made.append(booter)
        return booter

    yield open_one
    for booter in made:
        booter.close()


@pytest.fixture
def booter(open_booter: Callable[[], QemuBooter]) -> QemuBooter:
    return open_booter()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_boot, "LONGEST_BUSY_S", 0.3)
    monkeypatch.setattr(image_boot, "LOOK_S", 0.01)
    monkeypatch.setattr(qemu_images, "QUIET_S", 0.1)


def ends(power_up: PowerUp) -> list[str]:
    return [boot.end for boot in power_up.boots]


# --- what came up --------------------------------------------------------------------------------------------------


def test_an_image_boots_until_its_app_waits_for_requests(booter: QemuBooter) -> None:
    power_up = booter.boot(image(f"{UP}\nsleep 60"))
    [boot] = power_up.boots
    assert boot == ("ota_1", "2.0.0", "VALID", "runs", ())
    assert power_up.log.startswith(b"rst:0x1 (POWERON)\n")
    assert b" ready " in power_up.log
    assert booter.repeated == 0


def test_every_reset_is_followed_by_a_fresh_process_on_the_flash_it_left(booter: QemuBooter) -> None:
    flash = image(f"program 10000 01\n{RESTART}", f"program 10001 02\n{RESTART}", UP)
    power_up = booter.boot(flash)
    assert ends(power_up) == ["restarts", "restarts", "runs"]
    assert power_up.log.count(b"POWERON") == 3
    assert [boot.mutations for boot in power_up.boots] == [
        (Program(0x10000, b"\1"),),
        (Program(0x10001, b"\2"),),
        (),
    ]
    assert flash.read(0x10000, 3) == b"\1\2\xff"


def test_flash_mutations_are_told_in_order_and_flash_holds_what_was_left(booter: QemuBooter) -> None:
    flash = image(f"erase 11000\nprogram 11010 1234\nprogram 11012 56\nerase 12000\n{UP}")
    flash.load(0x11000, b"old")
    flash.load(0x12000, b"old")
    [boot] = booter.boot(flash).boots
    assert boot.mutations == (Erase(0x11000), Program(0x11010, b"\x12\x34"), Program(0x11012, b"\x56"), Erase(0x12000))
    assert flash.read(0x11000, 0x2000) == (b"\xff" * 16 + b"\x12\x34\x56").ljust(0x2000, b"\xff")


def test_a_delayed_confirmation_is_waited_for(booter: QemuBooter) -> None:
    confirms = f"sleep 0.2\nprogram 10000 00\n{says('diag', outcome='delay', result='confirmed')}"
    flash = image("\n".join((LOADED, on_probation("delay"), READY, confirms)))
    assert ends(booter.boot(flash)) == ["runs"]
    assert flash.read(0x10000, 1) == b"\0"


def test_nothing_bootable_is_believed_when_the_bootloader_has_said_it_twice(booter: QemuBooter) -> None:
    assert ends(booter.boot(image(f"{NOTHING}\nreset"))) == ["nothing bootable"] * 2


def test_an_app_that_restarts_for_ever_is_not_followed_for_ever(booter: QemuBooter) -> None:
    assert ends(booter.boot(image(RESTART))) == ["restarts"] * 8


@pytest.mark.parametrize("outcome", ["panic", "watchdog"])
def test_a_crash_that_diagnostics_ask_for_is_a_restart(booter: QemuBooter, outcome: str) -> None:
    flash = image("\n".join((LOADED, on_probation(outcome), "reset")), UP)
    assert ends(booter.boot(flash)) == ["restarts", "runs"]
    assert booter.repeated == 0


@pytest.mark.usefixtures("impatient")
def test_an_app_without_the_agent_has_come_up_when_it_is_quiet(booter: QemuBooter) -> None:
    [boot] = booter.boot(image(f"{LOADED}\nsay hello\nspin")).boots
    assert boot == ("ota_1", None, None, "runs", ())


def test_quiet_says_nothing_of_an_app_that_was_not_loaded_or_that_has_the_agent() -> None:
    loaded, start = (f"{line.removeprefix('say ')}\n".encode() for line in (LOADED, START))
    seen = [Sight() for _ in range(4)]
    assert not seen[0].over(loaded, qemu_images.QUIET_S / 2)
    assert seen[1].over(loaded, qemu_images.QUIET_S)
    assert not seen[2].over(b"", 1e6)
    assert not seen[3].over(loaded + start, 1e6)


@pytest.mark.usefixtures("impatient")
def test_a_line_without_an_end_is_not_taken_for_what_it_may_become(booter: QemuBooter) -> None:
    prompt = f"prompt {READY.removeprefix('say ')}"
    assert ends(booter.boot(image("\n".join((LOADED, START, prompt, "spin"))))) == ["hangs"]


# --- what hangs ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("said", ["", LOADED + "\n" + START])
def test_an_image_on_which_nothing_happens_hangs_if_it_does_so_twice(booter: QemuBooter, said: str) -> None:
    flash = image(f"program 10000 00\n{said}\nspin".replace("\n\n", "\n"))
    assert ends(booter.boot(flash)) == ["hangs"]
    assert booter.repeated == 1
    assert flash.read(0x10000, 1) == b"\0"


@pytest.mark.usefixtures("impatient")
def test_a_hang_that_does_not_come_back_was_the_emulators(booter: QemuBooter) -> None:
    assert ends(booter.boot(image("\n".join((LOADED, START, "spin")), UP))) == ["runs"]
    assert booter.repeated == 1


@pytest.mark.usefixtures("impatient")
def test_a_hang_that_diagnostics_ask_for_is_believed_at_once(booter: QemuBooter) -> None:
    assert ends(booter.boot(image("\n".join((LOADED, on_probation("hang"), "spin"))))) == ["hangs"]
    assert booter.repeated == 0


def test_a_process_that_does_not_use_the_processor_hangs_too(
    booter: QemuBooter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_boot, "LONGEST_S", 0.3)
    assert ends(booter.boot(image("sleep 60"))) == ["hangs"]


# --- what was looked at --------------------------------------------------------------------------------------------


def test_what_the_flash_chip_gave_out_and_the_pages_the_cache_took_were_read_and_nothing_else(
    booter: QemuBooter,
) -> None:
    flash = image(f"look 12345 20\nlook 12365 3\nmap 8000 1000\n{UP}".replace(LOOKS + "\n", ""))
    booter.boot(flash)
    assert flash.reads == ((0x8000, 0x9000), (0x12345, 0x12368))


def test_what_was_looked_at_before_the_guest_ran_was_not_read_by_it(booter: QemuBooter) -> None:
    """QEMU itself reads all of flash when it starts, the stand-in, too."""
    flash = image(UP)
    booter.boot(flash)
    assert flash.reads == ((0, 0x10000),)


def test_a_program_rests_on_the_page_it_lies_in(booter: QemuBooter) -> None:
    flash = image(f"program 11234 00\n{UP}")
    booter.boot(flash)
    assert flash.reads == ((0, 0x10000), (0x11200, 0x11300))


def test_what_was_erased_before_was_not_read_of_the_image(booter: QemuBooter) -> None:
    flash = image(f"erase 11000\nprogram 11000 00\nmap 11000 1000\nmap 12000 1000\n{UP}")
    booter.boot(flash)
    assert flash.reads == ((0, 0x10000), (0x12000, 0x13000))


def test_what_was_looked_at_before_it_was_erased_was_read(booter: QemuBooter) -> None:
    flash = image(f"map 11000 1000\nlook 12000 4\nerase 11000\nerase 12000\n{UP}")
    booter.boot(flash)
    assert flash.reads == ((0, 0x10000), (0x11000, 0x12004))


def test_the_looks_of_every_boot_count(booter: QemuBooter) -> None:
    flash = image(f"look 11000 4\n{RESTART}", f"look 12000 4\n{UP}")
    booter.boot(flash)
    assert flash.reads == ((0, 0x10000), (0x11000, 0x11004), (0x12000, 0x12004))


@pytest.mark.parametrize("looks", ["look d000 20\n", "map 0 10000\n", ""])
def test_all_of_flash_was_read_if_one_of_the_ways_to_it_was_silent(booter: QemuBooter, looks: str) -> None:
    flash = image(f"{looks}{UP}".replace(LOOKS + "\n", ""))
    booter.boot(flash)
    assert flash.reads == EVERYTHING


def test_all_of_flash_was_read_by_a_chip_whose_emulator_nobody_has_looked_into(
    booter: QemuBooter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_boot, "KNOWN_CHIPS", frozenset())
    flash = image(UP)
    booter.boot(flash)
    assert flash.reads == EVERYTHING


# --- eFuses --------------------------------------------------------------------------------------------------------


def test_the_secure_version_of_an_image_is_in_the_efuses_and_what_is_burnt_is_left_in_it(booter: QemuBooter) -> None:
    flash = image(f"program 10000 00\nburn 10 00c00300\n{UP}")
    flash.secure_version = 2
    power_up = booter.boot(flash)
    assert b"efuses were 00c00000" in power_up.log
    assert power_up.boots[0].mutations == (Program(0x10000, b"\0"), BurnSecureVersion(2, 4))
    assert flash.secure_version == 4
    assert b"efuses were 00000000" in booter.boot(image(f"burn 10 00000000\n{UP}")).log


def test_what_one_boot_burnt_is_there_in_the_next(booter: QemuBooter) -> None:
    power_up = booter.boot(image(f"burn 10 00400000\n{RESTART}", f"burn 10 00c00000\n{UP}"))
    assert b"efuses were 00400000" in power_up.log
    assert [boot.mutations for boot in power_up.boots] == [(BurnSecureVersion(0, 1),), (BurnSecureVersion(1, 2),)]


# --- faults of the emulator ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        CRASH,
        "reset",
        "say something\nreset",
        "exit 3",
        "signal 11",
        "end guest-shutdown 0",
        "garbage",
        "program 10000 00\nraise 10000",
    ],
)
def test_what_may_be_the_emulators_fault_is_no_outcome_and_the_image_is_booted_again(
    booter: QemuBooter, fault: str
) -> None:
    flash = image(f"program 11000 00\n{fault}", f"icount\ndump 11000\n{UP}")
    power_up = booter.boot(flash)
    assert ends(power_up) == ["runs"]
    assert flash.read(0x11000, 1) == b"\xff"
    assert booter.repeated == 1
    assert b"shift=4,sleep=off" in power_up.log
    assert b"flash holds ff" in power_up.log


def test_the_whole_power_up_is_done_again_after_a_fault_in_a_later_boot(booter: QemuBooter) -> None:
    flash = image(f"program 11000 00\n{RESTART}", CRASH, f"program 12000 00\n{RESTART}", UP)
    power_up = booter.boot(flash)
    assert [boot.mutations for boot in power_up.boots] == [(Program(0x12000, b"\0"),), ()]
    assert flash.read(0x11000, 1) == b"\xff"


def test_an_image_that_never_boots_without_a_fault_is_a_bench_fault_and_is_not_changed(booter: QemuBooter) -> None:
    flash = image(f"program 11000 00\n{CRASH}")
    before = flash.copy().read(0, SIZE)
    with pytest.raises(BenchFault) as caught:
        booter.boot(flash)
    assert "Guru Meditation" in str(caught.value)
    assert caught.value.board == "qemu"
    assert booter.repeated == 4
    assert flash.copy().read(0, SIZE) == before
    assert flash.reads == ()


def test_after_a_bench_fault_the_next_image_boots(booter: QemuBooter) -> None:
    with pytest.raises(BenchFault, match="something went wrong"):
        booter.boot(image("exit 3"))
    assert ends(booter.boot(image(UP))) == ["runs"]


def test_a_program_that_does_not_start_is_a_bench_fault(booter: QemuBooter, section: QemuBoardSection) -> None:
    assert section.qemu is not None
    section.qemu.write_text("#!/bin/sh\necho cannot find this machine >&2\nexit 1\n")
    with pytest.raises(BenchFault, match="cannot find this machine"):
        booter.boot(image(UP))


def test_a_process_that_lets_go_of_its_flash_and_runs_on_is_no_outcome(
    booter: QemuBooter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_boot, "LINGER_S", 0.05)
    assert ends(booter.boot(image("drop", UP))) == ["runs"]
    assert booter.repeated == 1


# --- what it holds -------------------------------------------------------------------------------------------------


def test_several_boot_side_by_side(open_booter: Callable[[], QemuBooter]) -> None:
    booters = [open_booter() for _ in range(3)]
    images = [image(f"say number {number}\nprogram 10000 0{number}\n{UP}") for number in range(9)]

    def work(lane: int) -> None:
        for number in range(lane, len(images), len(booters)):
            assert f"number {number}\n".encode() in booters[lane].boot(images[number]).log

    with ThreadPoolExecutor(len(booters)) as threads:
        list(threads.map(work, range(len(booters))))
    assert [flash.read(0x10000, 1)[0] for flash in images] == list(range(9))


@pytest.mark.parametrize("parts", [UP, "exit 3", "garbage"])
def test_between_boots_no_process_is_there_and_no_file_piles_up(booter: QemuBooter, parts: str) -> None:
    booter.boot(image(UP))
    folder = booter._scratch.path
    held = sorted(os.listdir(folder))
    with contextlib.nullcontext() if parts == UP else pytest.raises(BenchFault):
        booter.boot(image(parts))
    assert processes_in(folder) == []
    assert sorted(os.listdir(folder)) == held


@pytest.mark.parametrize("parts", [UP, "exit 3", "garbage"])
def test_close_gives_back_everything_also_after_an_error(open_booter: Callable[[], QemuBooter], parts: str) -> None:
    booter = open_booter()
    folder = booter._scratch.path
    assert folder.is_dir()
    with contextlib.nullcontext() if parts == UP else pytest.raises(BenchFault):
        booter.boot(image(parts))
    booter.close()
    booter.close()
    assert not folder.exists()


def test_an_image_shorter_than_flash_is_followed_by_erased_flash(booter: QemuBooter) -> None:
    flash = image(f"program 1ffffe 00\n{UP}")
    [boot] = booter.boot(flash).boots
    assert boot.mutations == (Program(0x1FFFFE, b"\0"),)
    assert len(flash) == SIZE


def test_an_image_longer_than_flash_is_refused(booter: QemuBooter) -> None:
    with pytest.raises(UserError, match="does not fit"):
        booter.boot(WatchedFlash.of(FlashImage.erased(FLASH_SIZE + 0x1000)))


def test_without_qemu_there_is_no_booter_and_it_is_said_what_to_do(section: QemuBoardSection, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"idf_tools\.py install"):
        qemu.image_booter(section.model_copy(update={"qemu": tmp_path / "nowhere"}), TABLE)
