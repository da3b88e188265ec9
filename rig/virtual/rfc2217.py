"""Opens a virtual chip to other programs: an RFC 2217 (serial port over telnet) server, on the loopback
interface unless another address is given.

`serve(chip, 0)` in a `with`, then `rfc2217://127.0.0.1:PORT` from esptool, a monitor, or anything that uses pyserial.
pyserial's client renegotiates the port whenever its timeout changes, which costs esptool 0.2 s for each command; it is
the same with real hardware behind a server. In the same process `virtual://NAME` is much faster.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

from serial.rfc2217 import PortManager
from serial.serialutil import SerialException

from rig.errors import BenchFault
from rig.virtual.chip import VirtualChip
from rig.virtual.port import VirtualSerial, is_plugged, plug, unplug

LOOPBACK = "127.0.0.1"
CHUNK = 4096
LEAVING_S = 0.5
"""How long a further client waits for the one before it to be noticed as gone."""
POLL_S = 0.2
"""How long the chip may be silent before its thread looks whether the client is still there."""


class Server:
    """Serves one chip to one client at a time; further clients are turned away. Starts with `start` or `with`."""

    def __init__(self, chip: VirtualChip, port: int, address: str = LOOPBACK) -> None:
        self.chip = chip
        self.address = address
        self.port = port
        """TCP port; 0 until `start` if the system is to choose one."""
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._session: _Session | None = None
        self._closing = False
        self._plugged_here = False

    @property
    def url(self) -> str:
        """What to give to `esptool --port`."""
        return f"rfc2217://{self.address}:{self.port}"

    def start(self) -> Self:
        """Listen. BenchFault if that cannot be."""
        try:
            self._listener = socket.create_server((self.address, self.port))
        except OSError as error:
            raise BenchFault(
                f"cannot listen on {self.address}:{self.port}: {error.strerror}",
                board=self.chip.name,
                hint="choose another port, or 0 for any free one",
            ) from error
        self.port = self._listener.getsockname()[1]
        self._closing = False
        self._plugged_here = not is_plugged(self.chip)
        plug(self.chip)
        self._thread = threading.Thread(target=self._accept, name=f"rfc2217 {self.chip.name}", daemon=True)
        self._thread.start()
        return self

    def close(self) -> None:
        """Turn the client away and stop; returns when no thread is left."""
        self._closing = True
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        if self._thread is not None:
            self._thread.join()
        if self._session is not None:
            self._session.close()
        if self._plugged_here:
            unplug(self.chip)

    def __enter__(self) -> Self:
        return self if self._listener is not None else self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _accept(self) -> None:
        assert self._listener is not None
        while not self._closing:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            # A client that has just gone may not have been noticed yet: the next one must not suffer for it.
            if self._session is not None and not self._session.wait_over(LEAVING_S):
                connection.close()
                continue
            if self._session is not None:
                self._session.close()
            self._session = _Session(self.chip, connection)
            self._session.start()


class _Session:
    """One client: a thread for each direction."""

    def __init__(self, chip: VirtualChip, connection: socket.socket) -> None:
        self._chip = chip
        self._connection = connection
        self._port = VirtualSerial()
        self._sending = threading.Lock()
        self._over = threading.Event()
        self._threads = (
            threading.Thread(target=self._from_client, name=f"rfc2217 {chip.name} in", daemon=True),
            threading.Thread(target=self._to_client, name=f"rfc2217 {chip.name} out", daemon=True),
        )

    def wait_over(self, seconds: float) -> bool:
        """Whether the client is gone; waits at most that many wall-clock seconds for it to go."""
        return self._over.wait(seconds)

    def start(self) -> None:
        """Open the chip's port with both lines off, so that a client arriving with them off does not pulse EN."""
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._port.port = f"virtual://{self._chip.name}"
        self._port.dtr = False
        self._port.rts = False
        try:
            self._port.open()
        except SerialException:
            self._over.set()
            self._connection.close()
            return
        self._manager = PortManager(self._port, self)
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._end()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def write(self, data: bytes) -> None:
        """Bytes to the client as they are; PortManager sends its telnet commands with it."""
        with self._sending:
            try:
                self._connection.sendall(data)
            except OSError:
                self._over.set()

    def _end(self) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
        self._port.close()

    def _from_client(self) -> None:
        try:
            while data := self._connection.recv(CHUNK):
                received = b"".join(self._manager.filter(data))
                if received:
                    self._port.write(received)
        except (OSError, SerialException):
            pass
        finally:
            self._end()

    def _to_client(self) -> None:
        self._port.timeout = POLL_S
        try:
            while not self._over.is_set():
                data = self._port.read(1)
                if data:
                    data += self._port.read(self._port.in_waiting)
                    self.write(data.replace(b"\xff", b"\xff\xff"))
        except SerialException:
            self._end()


def serve(chip: VirtualChip, port: int = 0, address: str = LOOPBACK) -> Server:
    """A server for `chip`, listening when this returns; `.port` is its TCP port, `.close()` or `with` ends it.

    Whoever reaches `address` controls the chip. BenchFault if this cannot be listened on.
    """
    return Server(chip, port, address).start()
