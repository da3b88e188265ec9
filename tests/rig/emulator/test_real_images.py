"""Flash images booted on the real QEMU, with real firmware: what came up, and that nothing was read but what is said.

Needs what emulator/test_real_qemu.py needs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from rig.boards import kinds
from rig.boards.firmware import FirmwareBuild
from rig.boards.image_boots import BootSeen, ImageBooter
from rig.boards.install import flash_content, slot_of
from rig.boards.inventory import QemuBoardSection
from rig.boards.qemu_images import QemuBooter
from rig.idf.effects import SECTOR_SIZE, Erase, Program
from rig.idf.memory import FlashImage
from rig.idf.otadata import ImageState, make_entry, parse
from rig.idf.watched import Ranges, WatchedFlash
from tests.rig.emulator.conftest import CHIP

NEW = make_entry(2, ImageState.NEW).pack()
PENDING = make_entry(2, ImageState.PENDING_VERIFY).pack()
VALID = make_entry(1, ImageState.VALID).pack()
OTADATA = 0xD000
TABLE = 0x8000


class Firmware(NamedTuple):
    """Two versions of one app."""

    old: FirmwareBuild
    new: FirmwareBuild

    def image(self, *otadata: bytes, damage: int | None = None) -> bytes:
        """The old app in ota_0, the new one in ota_1, and these select entries; `damage`: a byte of ota_1 to change."""
        app = bytearray(self.new.app_path.read_bytes())
        if damage is not None:
            app[damage] ^= 1
        entries = (otadata[0], otadata[1] if len(otadata) > 1 else b"")
        return flash_content(self.old, self.old, entries, {"ota_1": bytes(app)})


@pytest.fixture(scope="module")
def firmware(builds: Path) -> Firmware:
    return Firmware(*(FirmwareBuild.load(builds / CHIP / "rollback" / version) for version in ("1.0.0", "2.0.0")))


@pytest.fixture(scope="module")
def booter(firmware: Firmware) -> Iterator[ImageBooter]:
    booter = kinds.image_booter(QemuBoardSection(name="images", kind="qemu", chip=CHIP), firmware.old.table)
    yield booter
    booter.close()


def boot(booter: ImageBooter, content: bytes) -> tuple[tuple[BootSeen, ...], bytes, WatchedFlash]:
    """What was seen, what was printed until the app was ready, and flash as it was left."""
    flash = WatchedFlash(content)
    power_up = booter.boot(flash)
    return power_up.boots, power_up.log[: power_up.log.rfind(b"ready")], flash


def covers(reads: Ranges, start: int, end: int) -> bool:
    return any(low <= start and end <= high for low, high in reads)


def touches(reads: Ranges, start: int, end: int) -> bool:
    return any(low < end and start < high for low, high in reads)


def with_noise(content: bytes, reads: Ranges, size: int) -> bytes:
    """Flash of `size` bytes that agrees with `content` where it was read and nowhere else."""
    noise = bytearray(byte ^ 0xFF for byte in content.ljust(size, b"\xff"))
    source = random.Random("noise")
    for start in range(0, size, SECTOR_SIZE):
        noise[start] = (noise[start] + source.randrange(255)) % 256
    for start, end in reads:
        noise[start:end] = content[start:end]
    return bytes(noise)


def test_an_app_comes_up_and_the_read_set_holds_what_it_rests_on_but_not_the_other_slot(
    booter: ImageBooter, firmware: Firmware
) -> None:
    boots, _, flash = boot(booter, firmware.image(VALID))
    [seen] = boots
    assert (seen.slot, seen.version, seen.state, seen.end) == ("ota_0", "1.0.0", "VALID", "runs")
    assert covers(flash.reads, OTADATA, OTADATA + 32)
    assert covers(flash.reads, OTADATA + SECTOR_SIZE, OTADATA + SECTOR_SIZE + 32)
    assert covers(flash.reads, TABLE, TABLE + 0xC00)
    slot = slot_of(firmware.old.table, "ota_0")
    assert covers(flash.reads, slot.offset, slot.offset + firmware.old.app.length)
    other = slot_of(firmware.old.table, "ota_1")
    assert not touches(flash.reads, other.offset, other.end)


@pytest.mark.parametrize("otadata", [(VALID,), (VALID, NEW), (VALID, PENDING), (b"",)])
def test_whatever_was_not_read_makes_no_difference(
    booter: ImageBooter, firmware: Firmware, otadata: tuple[bytes, ...]
) -> None:
    content = firmware.image(*otadata)
    boots, log, flash = boot(booter, content)
    noisy = with_noise(content, flash.reads, 4 << 20)
    differing = sum(a != b for a, b in zip(noisy, content.ljust(4 << 20, b"\xff"), strict=True))
    assert differing > 3 << 20
    again, log_again, flash_again = boot(booter, noisy)
    assert again == boots
    assert log_again == log
    assert flash_again.reads == flash.reads


def test_an_update_goes_on_probation_and_confirms_itself(booter: ImageBooter, firmware: Firmware) -> None:
    [seen], _, flash = boot(booter, firmware.image(VALID, NEW))
    assert (seen.slot, seen.version, seen.state, seen.end) == ("ota_1", "2.0.0", "PENDING_VERIFY", "runs")
    entry = OTADATA + SECTOR_SIZE
    in_otadata = [
        m for m in seen.mutations if isinstance(m, Erase | Program) and OTADATA <= m.offset < OTADATA + 0x2000
    ]
    assert [type(m) for m in in_otadata] == [Erase, Program, Erase, Program]
    assert {m.offset for m in in_otadata} == {entry}
    assert parse(flash.read(entry, 32)).state == ImageState.VALID
    replayed = FlashImage(firmware.image(VALID, NEW))
    for mutation in seen.mutations:
        replayed.apply(mutation)
    assert replayed.read(0, len(flash)) == flash.copy().read(0, len(flash))


def test_an_update_that_lost_power_on_probation_is_rolled_back(booter: ImageBooter, firmware: Firmware) -> None:
    [seen], _, flash = boot(booter, firmware.image(VALID, PENDING))
    assert (seen.slot, seen.version) == ("ota_0", "1.0.0")
    assert parse(flash.read(OTADATA + SECTOR_SIZE, 32)).state == ImageState.ABORTED


def test_one_changed_byte_of_what_was_read_can_make_a_difference(booter: ImageBooter, firmware: Firmware) -> None:
    [seen], log, _ = boot(booter, firmware.image(VALID, NEW, damage=firmware.new.app.length // 2))
    assert seen.slot == "ota_0"
    assert b"OTA app partition slot 1 is not bootable" in log


def test_a_flash_without_a_table_has_nothing_bootable(booter: ImageBooter, firmware: Firmware) -> None:
    content = bytearray(firmware.image(VALID))
    content[TABLE : TABLE + 0x1000] = b"\xff" * 0x1000
    boots, _, _ = boot(booter, bytes(content))
    assert [seen.end for seen in boots] == ["nothing bootable"] * 2


def test_a_boot_is_the_same_every_time_and_needs_no_second_attempt(booter: ImageBooter, firmware: Firmware) -> None:
    content = firmware.image(VALID, NEW)
    first, second = boot(booter, content), boot(booter, content)
    assert first[:2] == second[:2]
    assert first[2].reads == second[2].reads
    assert isinstance(booter, QemuBooter)
    assert booter.repeated == 0
