"""The update server a device downloads from: HTTP or HTTPS, right answers or faults, and a record of everything.

    authority = Authority.create()
    with UpdateServer(tls=authority.server_certificate(hosts=["127.0.0.1"])) as server:
        server.offer("app.bin", image)
        server.inject(parse_fault("disconnect@50%"), times=1)
        ... the device updates from server.url("app.bin") and trusts authority.pem
        server.journal.save(evidence_folder)

It listens on loopback unless told otherwise: it has no access control, and whoever reaches it gets the images.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from rig.errors import UserError
from rig.updates.answer_faults import AnswerFault
from rig.updates.ca import Tls
from rig.updates.fault_base import CannotApply, Fault
from rig.updates.fault_script import FaultScript
from rig.updates.faults import Rule, checked
from rig.updates.file_faults import FileFault
from rig.updates.offered import Shelf
from rig.updates.served import Journal, Served
from rig.updates.server_app import Connection, ServerApp
from rig.updates.tls_faults import TlsFault

LOOPBACK = "127.0.0.1"
APP = "app.bin"
"""The app of a build is always offered by this name, whatever its file is called."""
BACKLOG = 512
_ANYWHERE = {"0.0.0.0": LOOPBACK, "::": "::1", "": LOOPBACK}


class Build(Protocol):
    """What `offer_build` needs of a firmware build (rig.boards.firmware.FirmwareBuild is one)."""

    @property
    def path(self) -> Path:
        """The build directory."""

    @property
    def app_path(self) -> Path:
        """The app image."""

    @property
    def flash_files(self) -> Mapping[int, Path]:
        """Everything that flashing writes, by flash offset."""


class UpdateServer:
    """One server, with a thread of its own between `start` and `stop`. All methods may be called from any thread.

    `report` is called on that thread for every request when it has ended.
    """

    def __init__(
        self,
        *,
        host: str = LOOPBACK,
        port: int = 0,
        tls: Tls | None = None,
        report: Callable[[Served], None] | None = None,
    ) -> None:
        self.host = host
        self.port = port
        """TCP port; 0 until `start` if the system is to choose one."""
        self.tls = tls
        self.journal = Journal(report)
        self._shelf = Shelf()
        self._script = FaultScript()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stop: asyncio.Event | None = None

    # --- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen. UserError if the port is in use or the host is none of this machine."""
        if self._thread is not None:
            raise UserError("the update server runs already", hint="make another one for another port")
        if not self.host:
            # To the system that means every address there is.
            raise UserError(
                "no address to listen on", hint=f"{LOOPBACK} is this machine only, 0.0.0.0 all its addresses"
            )
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            listener = socket.create_server((self.host, self.port), family=family, backlog=BACKLOG)
        except (OSError, OverflowError, UnicodeError) as error:
            raise UserError(
                f"cannot listen on {self.host} port {self.port}: {getattr(error, 'strerror', None) or error}",
                hint="choose another port, or 0 for any free one; the host must be one of this machine",
            ) from error
        self.port = listener.getsockname()[1]
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listener, ready)), name=f"update server {self.port}", daemon=True
        )
        self._thread.start()
        ready.wait()

    def stop(self) -> None:
        """End all connections and stop listening; returns when the thread has ended."""
        if self._thread is None or self._loop is None or self._stop is None:
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._thread = self._loop = self._stop = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    async def _serve(self, listener: socket.socket, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = ServerApp(self._shelf, self._script, self.journal, self.tls)
        server = await self._loop.create_server(lambda: Connection(app), sock=listener, backlog=BACKLOG)
        ready.set()
        await self._stop.wait()
        app.stop()
        # asyncio has a task for each connection it accepted; if the server were closed before it ran, that one would
        # stay open.
        self._loop.remove_reader(listener)
        for _ in range(3):
            await asyncio.sleep(0)
        server.close()
        # What they were doing is recorded before the thread ends.
        await app.idle()

    # --- what it serves --------------------------------------------------------------------------------------------

    def offer(self, name: str, data: bytes) -> str:
        """Serve `data` at `/name`; what was there before can be replayed (fault `replay`). Returns the path.

        UserError for no bytes, and for a name that is none.
        """
        return self._shelf.offer(name, data)

    def offer_build(self, build: Build) -> tuple[str, ...]:
        """Serve everything a build flashes: the app at /app.bin, and each file at its path in the build directory.

        Returns the paths, /app.bin first. UserError for a file that cannot be read.
        """
        files = [(APP, build.app_path), *((_inside(build, path), path) for path in build.flash_files.values())]
        read = []
        for name, path in files:
            try:
                read.append((name, path.read_bytes()))
            except OSError as error:
                raise UserError(f"{path.name} cannot be read: {error.strerror}", evidence=path) from error
        return tuple(self.offer(name, data) for name, data in read)

    @property
    def offered(self) -> tuple[str, ...]:
        """All paths, in the order they were first offered."""
        return self._shelf.paths

    def size(self, path: str) -> int:
        """Bytes of what is offered at `path`. UserError when nothing is."""
        file = self._shelf.current(path)
        if file is None:
            raise UserError(f"nothing is offered at {path}", hint=f"one of: {' '.join(self.offered) or 'none'}")
        return len(file.data)

    def url(self, name: str, host: str | None = None) -> str:
        """Where `name` is; `host` is how the device calls this machine. UserError before `start`."""
        if self._thread is None:
            raise UserError("the update server has not been started, so it has no URL")
        called = host or _ANYWHERE.get(self.host, self.host)
        called = f"[{called}]" if ":" in called else called
        return f"{'http' if self.tls is None else 'https'}://{called}:{self.port}/{name.lstrip('/')}"

    # --- what it does wrong ----------------------------------------------------------------------------------------

    def inject(self, fault: Fault, *, path: str | None = None, times: int | None = None, after: int = 0) -> None:
        """Do `fault` in the next `times` requests of `path` (None: all), once `after` more have been.

        All faults that hold for a request are done together, in the order they were injected. Faults of the handshake
        count connections and have no path. UserError for one that is not possible with anything offered, or here.
        """
        rule = checked(Rule(fault, path, times, after))
        self._check_possible(rule)
        self._script.add(rule)

    def clear_faults(self) -> None:
        """Serve rightly again."""
        self._script.clear()

    def _check_possible(self, rule: Rule) -> None:
        if isinstance(rule.fault, TlsFault):
            if self.tls is None:
                raise UserError(f"fault {rule.fault} needs HTTPS", hint="give the server a certificate (tls, --tls)")
            rule.fault.context(self.tls)
        if isinstance(rule.fault, AnswerFault):
            self._check_reach(rule.fault)
        if not isinstance(rule.fault, FileFault):
            return
        problems: list[CannotApply] = []
        paths = [path for path in self._shelf.paths if rule.path in (None, path)]
        for path in paths:
            file = self._shelf.current(path)
            assert file is not None
            try:
                rule.fault.change(file, path, self._shelf)
            except CannotApply as error:
                problems.append(error)
        if problems and len(problems) == len(paths):
            raise problems[0]

    def _check_reach(self, fault: AnswerFault) -> None:
        """What lies behind the end of every answer there can be would be no fault at all."""
        files = [file for path in self._shelf.paths for file in (self._shelf.current(path), self._shelf.earlier(path))]
        longest = max((len(file.data) for file in files if file is not None), default=fault.reach)
        if fault.reach > longest:
            raise UserError(f"fault {fault}: the largest file that is offered has {longest} bytes")

    # --- what it did -----------------------------------------------------------------------------------------------

    @property
    def served(self) -> tuple[Served, ...]:
        """Every request that has ended, and every handshake that failed, in that order."""
        return self.journal.served

    def wait_served(self, count: int, timeout: float) -> bool:
        """Whether `served` has so many within `timeout` seconds."""
        return self.journal.wait_served(count, timeout)

    def wait_asked(self, count: int, timeout: float) -> bool:
        """Whether so many requests had come within `timeout` seconds, answered or not."""
        return self.journal.wait_asked(count, timeout)


def _inside(build: Build, path: Path) -> str:
    """The path within the build directory; a file from elsewhere goes by its name."""
    try:
        return path.relative_to(build.path).as_posix()
    except ValueError:
        return path.name
