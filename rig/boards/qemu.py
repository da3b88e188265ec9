"""The kind `qemu`: unmodified firmware on Espressif's QEMU, with flash, power and reset in the bench's hands.

Example for rig.toml::

    [[board]]
    name = "qemu-c3"
    kind = "qemu"
    chip = "esp32c3"
    flash_size = "4MB"
    clock = "instructions"

QEMU is found by the key `qemu`, QEMU_PATH, PATH or ESP-IDF's tools; `idf_tools.py install qemu-riscv32` puts it there.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from rig.boards.board import Board, Capability, Cut, EfuseState, NetworkAccess, Restart
from rig.boards.console import QUIET_S, SILENCE_LIMIT_S, Console, open_quietly
from rig.boards.image_boots import ImageBooter
from rig.boards.inventory import QemuBoardSection
from rig.boards.qemu_images import open_booter
from rig.boards.trigger import quick_threads
from rig.emulator import port
from rig.emulator.disk import DiskCut
from rig.emulator.efuse import ENCRYPTING, blank_efuses, secure_version, with_encryption_key, with_secure_version
from rig.emulator.find import Qemu, find_qemu
from rig.emulator.machine import Machine, build_machine
from rig.errors import BenchFault, NotApplicable, UserError
from rig.idf.effects import SECTOR_SIZE, Mutation
from rig.idf.flash_cipher import cipher_for
from rig.idf.image import BootloaderDesc
from rig.idf.partitions import PartitionTable

FLASHING = "placed directly"
MISSING: Mapping[str, str] = {
    Capability.CUT_LINE: "QEMU shows no GPIO; power is cut at flash mutations instead",
    Capability.WIFI: "QEMU models no radio",
    Capability.INTERRUPT_LATENCY: "emulated time is not the chip's, so it says nothing of interrupt latency",
    Capability.BROWNOUT: "QEMU models no supply voltage, only power on and off",
}
NETWORK = NetworkAccess(host="10.0.2.2", bind="127.0.0.1")
"""QEMU's user networking: its gateway is this machine's loopback."""
ENCRYPTED_WRITES_SINCE = (5, 3)
"""ESP-IDF whose encrypted writes QEMU gets right."""
MEGABYTE = 0x100000
BOOTLOADER_HEAD, BOOTLOADER_DESC_AT = 0x100, 0x20
"""Bytes of flash from 0 on, where esp32c3 has its bootloader, and the place of its description in them."""
CLOCK_RATES = {"instructions": 60.0, "real": 1.0}
"""An idle guest whose clock follows instructions leaps from one timer to the next; 60 and more were seen."""
SLICE_S = 0.1


def open_board(section: QemuBoardSection) -> Board:
    """A new chip with erased flash and blank eFuses, without power. UserError if there is no QEMU for it."""
    qemu = find_qemu(section.chip, section.qemu)
    machine = build_machine(section.name, section.chip, flash_bytes(section), qemu, section.clock)
    return board_of(machine, section, qemu)


def board_of(machine: Machine, section: QemuBoardSection, qemu: Qemu) -> Board:
    """The board around a chip that `open_board` or a test has made."""
    url = port.plug(machine)
    console = QemuConsole(section.name, url, machine)
    return Board(
        name=section.name,
        kind=section.kind,
        chip=section.chip,
        console=console,
        flash=PlacedFlash(machine, qemu),
        reset_line=QemuResetLine(machine),
        power=QemuPower(machine),
        tap=DiskTap(machine),
        efuse=QemuEfuse(machine, section.chip),
        network=NETWORK,
        missing=missing(section),
        restarts=QemuRestarts(machine),
        clock_rate=CLOCK_RATES[section.clock],
    )


def image_booter(section: QemuBoardSection, table: PartitionTable) -> ImageBooter:
    """Boots flash images as this board does. UserError if there is no QEMU for its chip."""
    return open_booter(section, flash_bytes(section), find_qemu(section.chip, section.qemu), table)


def missing(section: QemuBoardSection) -> Mapping[str, str]:
    """What this kind cannot show, and why."""
    if section.chip in ENCRYPTING:
        return dict(MISSING)
    return {**MISSING, Capability.FLASH_ENCRYPTION: f"the bench has no way to give QEMU's {section.chip} a key"}


def flash_bytes(section: QemuBoardSection) -> int:
    """Size of the board's flash chip in bytes."""
    return int(section.flash_size.removesuffix("MB")) * MEGABYTE


class QemuConsole(Console):
    """A console that does not wait for a chip whose emulator is out of order, but says so: BenchFault."""

    def __init__(self, board: str, url: str, machine: Machine) -> None:
        super().__init__(board, lambda: open_quietly(url))
        self._machine = machine

    def write(self, data: bytes) -> None:
        self._machine.check()
        super().write(data)

    def expect(self, pattern: re.Pattern[bytes], timeout: float) -> re.Match[bytes] | None:
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            match = super().expect(pattern, min(SLICE_S, max(0.0, left)))
            if match is not None:
                return match
            self._machine.check()
            if left <= SLICE_S:
                return None

    def drain(self, quiet: float = QUIET_S) -> None:
        self._machine.check()
        super().drain(quiet)
        # Silence could also mean that the reader did not get the processor; here it is known what was printed.
        deadline = time.monotonic() + SILENCE_LIMIT_S
        while self.position < self._machine.printed:
            self._machine.check()
            if time.monotonic() > deadline:
                raise BenchFault("the console does not keep up with the board", board=self.board)
            time.sleep(QUIET_S)


class PlacedFlash:
    """Flash through the emulator's back door: data is placed directly while the chip is held in reset."""

    def __init__(self, machine: Machine, qemu: Qemu) -> None:
        self._machine = machine
        self._qemu = qemu
        self.transcript: list[str] = []

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes of flash at `offset`; the chip stays in reset."""
        self._check_inside(offset, size)
        self._machine.hold()
        self.transcript.append(f"read directly, {size} bytes at {offset:#x}")
        return self._machine.disk.read(offset, size)

    def restore(self, regions: Mapping[int, bytes]) -> int:
        """Place the sectors that differ; how many did. UserError if a region is not made of sectors of this flash."""
        for offset, data in regions.items():
            self._check_inside(offset, len(data))
            if offset % SECTOR_SIZE or len(data) % SECTOR_SIZE:
                raise UserError(f"region at {offset:#x} of {len(data)} bytes is not made of whole sectors")
        self._machine.hold()
        disk, placed = self._machine.disk, 0
        for offset, data in sorted(regions.items()):
            for start in range(0, len(data), SECTOR_SIZE):
                sector = data[start : start + SECTOR_SIZE]
                if disk.read(offset + start, SECTOR_SIZE) != sector:
                    disk.load(offset + start, sector)
                    placed += 1
        self.transcript.append(
            f"placed directly, {placed} sectors; {self._qemu.program} ({self._qemu.source}): {self._qemu.version}"
        )
        return placed

    def _check_inside(self, offset: int, size: int) -> None:
        flash_size = self._machine.disk.size
        if offset < 0 or offset + size > flash_size:
            raise UserError(
                f"{size} bytes at {offset:#x} do not fit into flash of {flash_size // MEGABYTE} MB",
                board=self._machine.name,
                hint='set `flash_size` of the board in rig.toml, as in flash_size = "8MB"',
            )


class QemuResetLine:
    """The emulated chip's EN."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def hold(self) -> None:
        self._machine.hold()

    def release(self) -> None:
        self._machine.release()

    def pulse(self) -> None:
        self._machine.hold()
        self._machine.release()


class QemuPower:
    """Power is the process: off kills it, on starts a new one on the same flash and eFuses."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def on(self) -> None:
        self._machine.power_on()

    def off(self) -> None:
        self._machine.power_off()


class QemuEfuse:
    """The eFuse file, which outlives the processes; a new chip has a new file."""

    spent: Sequence[int] = ()

    def __init__(self, machine: Machine, chip: str) -> None:
        self._machine = machine
        self._chip = chip

    def prepare(self, wanted: EfuseState) -> None:
        """A chip of which nobody has burnt anything but `wanted`.

        NotApplicable if a field is too narrow, or QEMU does not encrypt as the firmware in flash expects it to.
        """
        try:
            content = with_secure_version(blank_efuses(self._chip), self._chip, wanted.secure_version or 0)
            if wanted.encryption_key is not None:
                content = with_encryption_key(content, wanted.encryption_key)
                self._demand_encrypted_writes(wanted.encryption_key)
        except ValueError as error:
            raise NotApplicable(str(error)) from error
        self._machine.place_efuses(content)

    def _demand_encrypted_writes(self, key: bytes) -> None:
        """NotApplicable for ESP-IDF before v5.3, whose encrypted writes QEMU gets wrong.

        It puts the plaintext where the address modulo 64 says; QEMU's cipher has 32 bytes for it, and later ones use no
        more (spi_flash_encrypt_ll_plaintext_save in components/hal/esp32c3; QEMU hw/misc/esp32c3_xts_aes.c).
        """
        start = cipher_for(self._chip, key).decrypt(0, self._machine.disk.read(0, BOOTLOADER_HEAD))
        desc = BootloaderDesc.find(start[BOOTLOADER_DESC_AT:])
        said = None if desc is None else re.match(r"v(\d+)\.(\d+)", desc.idf_ver)
        if desc is not None and said is not None and (int(said[1]), int(said[2])) < ENCRYPTED_WRITES_SINCE:
            raise NotApplicable(
                f"QEMU garbles the encrypted writes of ESP-IDF {desc.idf_ver}", hint="build with v5.3 or later"
            )

    def secure_version(self) -> int:
        return secure_version(self._machine.read_efuses(), self._chip)


class DiskTap:
    """Cuts power at one flash mutation, as the disk sees it.

    QEMU writes to its flash while the guest goes on, so the guest runs for another moment after the mutation at which
    it is killed: until the bench's thread gets the processor. What it prints in that moment is hidden.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._quick = ExitStack()
        self._recorded: list[Mutation] = []

    def arm(self, cut: Cut) -> None:
        self._quick.close()
        self._quick.enter_context(quick_threads())
        self._machine.disk.arm(DiskCut(*cut))

    def disarm(self) -> None:
        self._machine.disk.disarm()
        self._quick.close()

    def start_recording(self) -> None:
        """eFuses are not in the flash: a burn is not seen."""
        self._recorded.clear()
        self._machine.disk.observer = self._recorded.append

    def stop_recording(self) -> tuple[Mutation, ...]:
        self._machine.disk.observer = _unwatched
        return tuple(self._recorded)

    @property
    def recorded(self) -> int:
        return len(self._recorded)

    def wait_fired(self, timeout: float) -> bool:
        """BenchFault if the emulator failed instead."""
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            if self._machine.disk.wait_fired(min(SLICE_S, max(0.0, left))):
                return True
            self._machine.check()
            if left <= SLICE_S:
                return False


class QemuRestarts:
    """`esp_restart` and every other reset of the guest, carried out by a fresh process."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def since(self, position: int) -> Sequence[Restart]:
        return [Restart(*restart) for restart in self._machine.restarts(position)]


def _unwatched(_: Mutation) -> None:
    pass
