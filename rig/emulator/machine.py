"""An emulated chip: power, reset line, flash, eFuses and UART, with a fresh QEMU process for every boot.

The emulator cannot be trusted over a soft reset: pages of flash that are mapped into memory change without the code
translated from them being dropped. So `-no-reboot` lets it end when the guest resets, and a new process goes on with
the same flash and eFuses. Its reset reason is then power-on, which is the harness's doing: see `restarts`.
"""

from __future__ import annotations

import atexit
import itertools
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from rig.emulator.disk import Disk
from rig.emulator.efuse import blank_efuses
from rig.emulator.find import Qemu
from rig.emulator.process import (
    EFUSE_FILE,
    OPEN_ETH,
    UART_LOG,
    Clock,
    Launch,
    QemuProcess,
    StartError,
    how_it_ended,
)
from rig.emulator.qmp import GUEST_RESET
from rig.emulator.scratch import ScratchFolder
from rig.emulator.uart_log import UartLog
from rig.errors import BenchFault

LINGER_S = 5.0
SILENT_RESTARTS = 5


class GuestRestart(NamedTuple):
    """The guest reset itself and a fresh process was started: UART bytes a reader saw before, and host time."""

    position: int
    time: float


class Machine:
    """One chip. Runs while it has power and is not held in reset; every method may be called from any thread.

    An end of QEMU that nobody asked for, or anything else that shows the emulator to be wrong, is a `BenchFault`. It is
    kept and raised by whatever is called next; once it was raised, the next act on power or reset starts anew.
    """

    def __init__(self, name: str, launch: Launch, disk: Disk, scratch: ScratchFolder) -> None:
        self.name = name
        self.disk = disk
        self.uart = UartLog(launch.folder / UART_LOG)
        self._launch = launch
        self._scratch = scratch
        self._efuses = launch.folder / EFUSE_FILE
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._process: QemuProcess | None = None
        self._powered = False
        self._held = False
        self._closed = False
        self._fault: BenchFault | None = None
        self._told = False
        self._restarts: list[tuple[int, float]] = []
        self._silent = 0
        self.boots = 0
        """Processes started so far."""

    # --- acts ------------------------------------------------------------------------------------------------------

    def power_on(self) -> None:
        """Start from flash unless held in reset or running already. BenchFault if QEMU does not start."""
        with self._lock:
            self._begin(may_restart=True)
            self._powered = True
            self._follow()

    def power_off(self) -> None:
        """End at once. Flash holds what the guest had written until then."""
        with self._lock:
            self._begin(may_restart=False)
            self._powered = False
            self._follow()

    def hold(self) -> None:
        """EN low: nothing runs when this returns."""
        with self._lock:
            self._begin(may_restart=False)
            self._held = True
            self._follow()

    def release(self) -> None:
        """EN high: starts from flash if there is power."""
        with self._lock:
            self._begin(may_restart=True)
            self._held = False
            self._follow()

    def place_efuses(self, content: bytes) -> None:
        """Put a chip with these eFuses in the place of this one; it is held in reset."""
        with self._lock:
            self.hold()
            self._efuses.write_bytes(content)

    def read_efuses(self) -> bytes:
        """What is burnt; the chip is held in reset, as a running QEMU may be about to write."""
        with self._lock:
            self.hold()
            return self._efuses.read_bytes()

    def close(self) -> None:
        """Take the chip apart: no process and no file is left."""
        with self._lock:
            self._closed = True
            self._powered = False
            self._stop()
            self.uart.close()
        atexit.unregister(self.close)
        self._scratch.remove()

    # --- what is seen of it ----------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether a QEMU process is there."""
        with self._lock:
            return self._process is not None and not self._process.exited.is_set()

    @property
    def pid(self) -> int | None:
        """The process that runs now."""
        with self._lock:
            return None if self._process is None else self._process.pid

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def fault(self) -> BenchFault | None:
        """What is wrong with the emulator, without counting as told."""
        return self._fault

    def check(self) -> None:
        """Raise the fault, if there is one."""
        if self._fault is not None:
            self._told = True
            raise self._fault

    def write(self, data: bytes) -> None:
        """Send to the UART; without a running process the bytes are lost."""
        process = self._process
        if process is not None:
            process.write(data)

    @property
    def printed(self) -> int:
        """Bytes that a reader of the UART has seen once it has read everything."""
        return self.uart.position_of(self.uart.size)

    def restarts(self, position: int) -> Sequence[GuestRestart]:
        """Restarts that the guest asked for at or after `position` bytes of what a reader of the UART has seen."""
        with self._lock:
            known = [GuestRestart(self.uart.position_of(offset), when) for offset, when in self._restarts]
        return [restart for restart in known if restart.position >= position]

    # --- underneath ------------------------------------------------------------------------------------------------

    def _begin(self, *, may_restart: bool) -> None:
        """Before every act: take note of a process that has ended by itself, and of its fault."""
        self._settle(may_restart=may_restart)
        if not self._told:
            self.check()
        self._fault = None
        self._told = False

    def _follow(self) -> None:
        """Make what runs agree with power and reset line."""
        wanted = self._powered and not self._held and not self._closed
        if wanted and self._process is None:
            self._start()
        elif not wanted:
            self._stop()

    def _start(self) -> None:
        self.disk.thaw()
        process = QemuProcess(self._launch, next(self._numbers), self.disk, self._flash_lost, self._process_ended)
        self.disk.on_cut = lambda: self._cut(process)
        self.disk.on_impossible = self._impossible
        self._process = process
        try:
            process.start()
        except StartError as error:
            self._process = None
            self._powered = False
            raise self._bench_fault(str(error), process) from error
        self.boots += 1

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.halt()
            process.close()

    def _process_ended(self, process: QemuProcess) -> None:
        """From the process's watching thread, however it ended."""
        with self._lock:
            if process is self._process:
                self._settle(may_restart=True)

    def _settle(self, *, may_restart: bool) -> None:
        process = self._process
        if process is None or not process.exited.is_set():
            return
        self._process = None
        reason = process.shutdown_reason()
        process.close()
        if self.disk.frozen or self._fault is not None:
            self._powered = False
        elif process.returncode == 0 and reason == GUEST_RESET:
            if may_restart:
                self._restart(process)
        else:
            self._powered = False
            how = how_it_ended(process.returncode) + (f", reason {reason}" if reason else "")
            self._fail(f"QEMU ended although the firmware had not asked for it ({how})", process)

    def _restart(self, process: QemuProcess) -> None:
        position = self.uart.size
        self._silent = self._silent + 1 if self._restarts and self._restarts[-1][0] == position else 0
        if self._silent >= SILENT_RESTARTS:
            self._powered = False
            self._fail(f"the chip resets again and again without a word, {self._silent} times by now", process)
            return
        self._restarts.append((position, time.monotonic()))
        try:
            self._start()
        except BenchFault as error:
            self._fault = error

    def _cut(self, process: QemuProcess) -> None:
        """From the flash's connection: power is lost now, so what the guest printed since was never printed."""
        printed = self.uart.size
        process.kill()
        self.uart.hide(printed)

    def _flash_lost(self, error: Exception | None) -> None:
        """From the flash's connection: QEMU has left it, as it does when it ends."""
        process = self._process
        if process is None:
            return
        if error is not None:
            self._fail(f"QEMU's flash connection broke: {error}", process)
        elif not process.exited.wait(LINGER_S):
            self._fail("QEMU has let go of its flash, but goes on running", process)

    def _impossible(self, what: str) -> None:
        process = self._process
        if process is not None:
            self._fail(f"the emulator wrote what no flash can hold: {what}", process)

    def _fail(self, what: str, process: QemuProcess) -> None:
        # No lock: called by threads that those who hold it may be waiting for.
        if self._fault is None:
            self._told = False
            self._fault = self._bench_fault(what, process)
        process.kill()

    def _bench_fault(self, what: str, process: QemuProcess) -> BenchFault:
        command = " ".join(process.launch.command(process.number))
        return BenchFault(
            what,
            board=self.name,
            evidence=f"boot {process.number} of `{command}`\n{process.words() or 'QEMU said nothing'}",
            hint="run the test again; if it comes back, it is a fault of this QEMU or of the bench, not of the app",
        )


def build_machine(name: str, chip: str, flash_size: int, qemu: Qemu, clock: Clock) -> Machine:
    """A new chip with erased flash and blank eFuses, without power. `flash_size` in bytes."""
    scratch = ScratchFolder.make()
    (scratch.path / EFUSE_FILE).write_bytes(blank_efuses(chip))
    launch = Launch(qemu.program, chip, clock, scratch.path, OPEN_ETH)
    machine = Machine(name, launch, Disk(flash_size), scratch)
    machine.uart.create()
    atexit.register(machine.close)
    return machine
