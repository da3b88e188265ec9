"""One boot of an emulated chip: a QEMU process with its flash, eFuses, UART and machine protocol, and its end.

Every file it uses is in one folder, which is its working directory, so that no path has to be quoted.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rig.emulator.nbd import Store
from rig.emulator.nbd_server import Disconnected, NbdServer
from rig.emulator.pace import Pacer
from rig.emulator.qmp import Qmp, QmpError

Clock = Literal["instructions", "real"]
NO_NETWORK, OPEN_ETH = "none", "user,model=open_eth"
"""`-nic`: nothing, or the card that ESP-IDF has a driver for (CONFIG_ETH_USE_OPENETH) in a network of its own."""
ICOUNT: dict[Clock, str] = {"instructions": "shift=3,sleep=off", "real": "shift=3,sleep=on"}
"""Guest time follows instructions, 8 ns each, so that a busy host trips no watchdog; `real` waits for the host's clock
when the guest has nothing to do, `instructions` goes on to its next timer, at the speed that `rig.emulator.pace` lets
it. Only the latter is safe on a busy computer."""

UART_LOG, STDERR_LOG, EFUSE_FILE = "uart.log", "qemu.log", "efuse.bin"

START_TIMEOUT_S = 20.0
DRAIN_TIMEOUT_S = 5.0
STALL_S = 5.0
WORDS = 800

# A child gets its death signal when the *thread* that made it ends (prctl(2), PR_SET_PDEATHSIG), so one that lives as
# long as this process makes them all.
_spawner = ThreadPoolExecutor(1, "qemu-spawner")
_PR_SET_PDEATHSIG = 1
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

Ended = Callable[["QemuProcess"], None]


class StartError(Exception):
    """QEMU could not be started; the message has its words."""


@dataclass(frozen=True)
class Launch:
    """What is the same at every boot of one board."""

    program: Path
    chip: str
    clock: Clock
    folder: Path
    nic: str = NO_NETWORK

    @property
    def icount(self) -> str:
        """How guest time follows instructions (`-icount`)."""
        return ICOUNT[self.clock]

    @property
    def paced(self) -> bool:
        """Not on Xtensa, where `-d int` also shows every window overflow, of which busy code has thousands."""
        return self.clock == "instructions" and self.chip == "esp32c3"

    def command(self, number: int) -> list[str]:
        """QEMU's arguments for boot `number`, run in `folder`; the machine stays paused until `cont`."""
        return [
            str(self.program),
            *("-machine", self.chip),
            *("-display", "none", "-monitor", "none", "-nic", self.nic, "-no-reboot", "-S"),
            *("-icount", self.icount),
            *(("-d", "int", "-D", pace_name(number)) if self.paced else ()),
            *("-drive", f"file=nbd+unix:///?socket={nbd_name(number)},if=mtd,format=raw"),
            *("-drive", f"file={EFUSE_FILE},if=none,format=raw,id=efuse"),
            *("-global", f"driver=nvram.{self.chip}.efuse,property=drive,value=efuse"),
            *("-chardev", f"file,id=uart,path={UART_LOG},append=on,input-path={fifo_name(number)}"),
            *("-serial", "chardev:uart"),
            *("-qmp", f"unix:{qmp_name(number)}"),
        ]


def nbd_name(number: int) -> str:
    return f"nbd{number}"


def pace_name(number: int) -> str:
    return f"pace{number}"


def qmp_name(number: int) -> str:
    return f"qmp{number}"


def fifo_name(number: int) -> str:
    # A new one each time: what the last process had not read yet is lost, as it is in a chip without power.
    return f"uart{number}"


class QemuProcess:
    """A running QEMU. Made by `start`, which is `load` and `go`; `close` after its end frees what it used.

    `ended` is called once from a thread of its own, when the process has ended for whatever reason.
    """

    def __init__(self, launch: Launch, number: int, store: Store, lost: Disconnected, ended: Ended) -> None:
        self.launch = launch
        self.number = number
        self.exited = threading.Event()
        self.returncode: int | None = None
        self._ended = ended
        self._qmp = Qmp(launch.folder / qmp_name(number))
        self._server = NbdServer(launch.folder / nbd_name(number), store, lost)
        self._pacer = Pacer(launch.folder / pace_name(number))
        self._fifo = launch.folder / fifo_name(number)
        self._input: int | None = None
        self._lock = threading.Lock()
        self._popen: subprocess.Popen[bytes] | None = None
        self._said_before = 0
        self._began = 0.0

    @property
    def pid(self) -> int | None:
        """None before it was started."""
        return None if self._popen is None else self._popen.pid

    def start(self) -> None:
        """Start QEMU and let the guest run; StartError with QEMU's words if it does not."""
        self.load()
        self.go()

    def load(self) -> None:
        """Start QEMU, which has read its flash when this returns, but not the guest; StartError."""
        with self._or_not_started():
            self._run()
            self._qmp.accept(START_TIMEOUT_S)

    def go(self) -> None:
        """Let the guest run; StartError."""
        with self._or_not_started():
            self._qmp.execute("cont", START_TIMEOUT_S)

    @contextlib.contextmanager
    def _or_not_started(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, subprocess.SubprocessError, QmpError) as error:
            self.kill()
            self.close()
            raise StartError(f"QEMU did not start: {error}") from error

    @property
    def busy_s(self) -> float:
        """Processor seconds it has used; where the system does not tell, seconds since its start."""
        with contextlib.suppress(OSError):
            # proc(5): utime and stime are fields 14 and 15; the name before them may hold spaces.
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
        return time.monotonic() - self._began

    def _run(self) -> None:
        log = self.launch.folder / STDERR_LOG
        self._began = time.monotonic()
        self._qmp.listen()
        self._server.start()
        if self.launch.paced:
            self._pacer.start()
        os.mkfifo(self._fifo)
        # Open at both ends, or QEMU would wait for a writer, and see the end of input when there is none.
        self._input = os.open(self._fifo, os.O_RDWR | os.O_NONBLOCK)
        with log.open("ab") as stderr:
            self._said_before = stderr.tell()
            self._popen = _spawner.submit(
                subprocess.Popen,
                self.launch.command(self.number),
                cwd=self.launch.folder,
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                start_new_session=True,
                preexec_fn=None if _libc is None else _die_with_parent,
            ).result()
        threading.Thread(target=self._watch, name=f"qemu-{self._popen.pid}", daemon=True).start()

    def kill(self) -> None:
        """End it at once and wait until it is gone; safe to call twice and from any thread."""
        if self._popen is None:
            return
        with self._lock:
            if not self.exited.is_set():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._popen.pid, signal.SIGKILL)
        self.exited.wait()

    def halt(self) -> None:
        """Stop the guest, let QEMU write to its flash what the guest had written by then, and end it.

        To the guest a program is done at once, while QEMU may keep it waiting behind others (`bdrv_drain_all` in
        vm_stop); killed in between, it would lose what the guest had already reported as done.
        """
        with contextlib.suppress(QmpError):
            self._qmp.execute("stop", DRAIN_TIMEOUT_S)
        self.kill()

    def close(self) -> None:
        """After its end: carry out what it had sent to its flash, then give back sockets and files."""
        self._server.drain(DRAIN_TIMEOUT_S)
        self._qmp.close()
        self._pacer.stop()
        with self._lock:
            if self._input is not None:
                os.close(self._input)
                self._input = None
        self._fifo.unlink(missing_ok=True)

    def shutdown_reason(self) -> str | None:
        """After its end, before `close`: QMP's reason, such as `guest-reset`; None if it died without one."""
        return self._qmp.shutdown_reason()

    def write(self, data: bytes) -> None:
        """Send to the UART. What the guest does not take for `STALL_S` seconds is lost, as when its FIFO overflows."""
        rest = memoryview(data)
        deadline = time.monotonic() + STALL_S
        while rest and not self.exited.is_set() and time.monotonic() < deadline:
            with self._lock:
                if self._input is None:
                    return
                try:
                    sent = os.write(self._input, rest)
                except BlockingIOError:
                    sent = 0
            if sent:
                rest = rest[sent:]
                deadline = time.monotonic() + STALL_S
            else:
                time.sleep(0.001)

    def words(self) -> str:
        """The end of what it wrote to stderr and stdout."""
        with contextlib.suppress(OSError), (self.launch.folder / STDERR_LOG).open("rb") as log:
            log.seek(self._said_before)
            return log.read().decode(errors="replace").strip()[-WORDS:]
        return ""

    def _watch(self) -> None:
        assert self._popen is not None
        # Left unreaped until the lock is held, so that `kill` cannot hit a process that got its number.
        os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            self.returncode = self._popen.wait()
            self.exited.set()
        self._qmp.give_up()
        self._ended(self)


def how_it_ended(returncode: int | None) -> str:
    """A process's end in words."""
    if returncode is not None and returncode < 0:
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-returncode).name}"
    return f"exit code {returncode}"


def _die_with_parent() -> None:
    """Runs in the child before QEMU: no process is left when this one is killed."""
    assert _libc is not None
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
