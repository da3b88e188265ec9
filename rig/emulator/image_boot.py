"""One boot of a flash image on a process of its own, watched from outside until enough was seen."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from rig.emulator.efuse import secure_version, with_secure_version
from rig.emulator.image_disk import Access, ImageDisk, Looked
from rig.emulator.process import EFUSE_FILE, UART_LOG, Launch, QemuProcess, StartError, how_it_ended
from rig.emulator.qmp import GUEST_RESET
from rig.emulator.read_set import KNOWN_CHIPS, TRACE, given_out
from rig.idf.effects import BurnSecureVersion
from rig.idf.memory import FlashImage

POLL_S = 0.004
LOOK_S = 0.1
"""Between two looks at the processor time it has used."""
LINGER_S = 5.0
LONGEST_BUSY_S = 8.0
"""Processor seconds for one boot: many times what one takes, also if it ends in the bite of a task watchdog."""
LONGEST_S = 120.0
"""Seconds until a process that does not even use the processor is given up."""

Over = Callable[[bytes, float], bool]
"""Whether enough was seen: told what was printed since the last call, and the processor seconds since it last was."""
Ended = Literal["reset", "over", "stuck"]


class EmulatorFault(Exception):
    """The emulator is out of order: nothing may be said about what it ran."""


@dataclass(frozen=True)
class ImageLaunch(Launch):
    """As `Launch`, for a guest that nobody talks to: its time leaps when it waits, and what flash gives it is traced.

    `shift`: an instruction takes 2^shift ns; busy loops that wait for time to pass are shorter for a slow processor.
    """

    shift: int = 5

    @property
    def icount(self) -> str:
        return f"shift={self.shift},sleep=off"

    @property
    def paced(self) -> bool:
        return False

    def command(self, number: int) -> list[str]:
        return [*super().command(number), "-seed", "1", "-trace", TRACE, "-D", _trace_name(number)]

    def trace(self, number: int) -> Path:
        """Where boot `number` leaves its trace."""
        return self.folder / _trace_name(number)


def _trace_name(number: int) -> str:
    return f"trace{number}"


class Boot(NamedTuple):
    """Ended by a `reset` of the guest, when enough was seen (`over`), or because it took too long (`stuck`).

    `accesses`: what it looked at and what it changed, in an order in which no look comes too late.
    """

    ended: Ended
    log: bytes
    accesses: tuple[Access, ...]


def boot_image(launch: ImageLaunch, number: int, image: FlashImage, over: Over) -> Boot:
    """Boot `number` of `launch` on `image`, which is changed by it. EmulatorFault if nothing may be concluded."""
    disk = ImageDisk(image)
    flash = _Flash(disk)
    process = QemuProcess(launch, number, disk, flash, lambda _: None)
    (launch.folder / UART_LOG).write_bytes(b"")
    _place_efuses(launch, image)
    try:
        process.load()
        disk.guest_runs()
        process.go()
        ended, log = _follow(process, over, flash)
        if ended == "reset":
            _check_reset(process)
    except StartError as error:
        raise _fault(process, str(error)) from error
    finally:
        process.kill()
        process.close()
        trace = _take(launch.trace(number))
    if flash.wrong is not None:
        raise _fault(process, flash.wrong)
    return Boot(ended, log, (*_looks(launch, disk, trace), *disk.accesses, *_take_efuses(launch, image)))


class _Flash:
    """The flash of one process, and what is wrong with it. Called when QEMU has left it."""

    def __init__(self, disk: ImageDisk) -> None:
        self._disk = disk
        self._error: Exception | None = None
        self._left: float | None = None

    def __call__(self, error: Exception | None) -> None:
        self._error = error
        self._left = time.monotonic()

    @property
    def wrong(self) -> str | None:
        """What may not be, whether the process has ended or not."""
        if self._error is not None:
            return f"QEMU's flash connection broke: {self._error}"
        if self._disk.impossible is not None:
            return f"the emulator wrote what no flash can hold: {self._disk.impossible}"
        return None

    @property
    def abandoned(self) -> bool:
        """Whether QEMU left it long ago."""
        return self._left is not None and time.monotonic() - self._left > LINGER_S


def _follow(process: QemuProcess, over: Over, flash: _Flash) -> tuple[Ended, bytes]:
    log = bytearray()
    began = looked = time.monotonic()
    printed_at = 0.0
    with (process.launch.folder / UART_LOG).open("rb", buffering=0) as uart:
        while True:
            gone = process.exited.wait(POLL_S)
            if flash.wrong is not None:
                raise _fault(process, flash.wrong)
            new, now = uart.read() or b"", time.monotonic()
            log += new
            if gone:
                return "reset", bytes(log)
            if new:
                printed_at = -1.0
                if over(new, 0.0):
                    break
            if now - looked < LOOK_S:
                continue
            looked, busy = now, process.busy_s
            printed_at = busy if printed_at < 0 else printed_at
            if over(b"", busy - printed_at):
                break
            if flash.abandoned:
                raise _fault(process, "QEMU has let go of its flash, but goes on running")
            if busy > LONGEST_BUSY_S or now - began > LONGEST_S:
                process.halt()
                return "stuck", bytes(log)
        process.halt()
        return "over", bytes(log + (uart.read() or b""))


def _check_reset(process: QemuProcess) -> None:
    reason = process.shutdown_reason()
    if process.returncode or reason != GUEST_RESET:
        how = how_it_ended(process.returncode) + (f", reason {reason}" if reason else "")
        raise _fault(process, f"QEMU ended although the firmware had not asked for it ({how})")


def _fault(process: QemuProcess, what: str) -> EmulatorFault:
    command = " ".join(process.launch.command(process.number))
    return EmulatorFault(f"{what}\nof `{command}`\n{process.words() or 'QEMU said nothing'}")


def _looks(launch: Launch, disk: ImageDisk, trace: bytes) -> tuple[Looked, ...]:
    """What the flash chip gave out; all of flash where that is not known, or one of the ways to flash was silent."""
    ranges = given_out(trace)
    if launch.chip not in KNOWN_CHIPS or not ranges or not disk.pages_taken:
        return (Looked(0, disk.size),)
    return tuple(Looked(*span) for span in ranges)


def _place_efuses(launch: Launch, image: FlashImage) -> None:
    path = launch.folder / EFUSE_FILE
    path.write_bytes(with_secure_version(path.read_bytes(), launch.chip, image.secure_version))


def _take_efuses(launch: Launch, image: FlashImage) -> tuple[BurnSecureVersion, ...]:
    """A burn counts as the boot's last change: when it was is not seen."""
    version = secure_version((launch.folder / EFUSE_FILE).read_bytes(), launch.chip)
    if version == image.secure_version:
        return ()
    burnt = BurnSecureVersion(image.secure_version, version)
    image.apply(burnt)
    return (burnt,)


def _take(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    finally:
        path.unlink(missing_ok=True)
