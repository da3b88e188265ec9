"""`rig.emulator.nbd` on a unix socket: a thread for each connection, all on one store."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from rig.emulator.nbd import ProtocolError, Session, Store

CHUNK = 1 << 16
Disconnected = Callable[[Exception | None], None]


class NbdServer:
    """Serves `store` at the unix socket `path` from `start` to `stop`.

    `disconnected` is called from the connection's thread when a client that was using the device has left: with None
    if it hung up or said good-bye, else with what was wrong with it.
    """

    def __init__(self, path: Path, store: Store, disconnected: Disconnected) -> None:
        self.path = path
        self._store = store
        self._disconnected = disconnected
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()

    def start(self) -> None:
        """Listen; clients may connect when this returns. OSError if the socket cannot be made."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(self.path))
            listener.listen()
        except OSError:
            listener.close()
            raise
        self._listener = listener
        self._acceptor = self._thread(self._accept, listener)
        self._acceptor.start()

    def drain(self, timeout: float) -> None:
        """Serve what was already sent by clients that are gone, wait at most `timeout` seconds for it, then stop."""
        self._close_listener()
        for thread in self._others():
            thread.join(timeout)
        self.stop()

    def stop(self) -> None:
        """Hang up at once; safe to call twice."""
        self._close_listener()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            _hang_up(connection)
        for thread in self._others():
            thread.join()
        self.path.unlink(missing_ok=True)

    def _others(self) -> list[threading.Thread]:
        with self._lock:
            return [thread for thread in self._threads if thread is not threading.current_thread()]

    def _close_listener(self) -> None:
        """Take no further client; those that were taken have their thread when this returns."""
        if self._listener is None:
            return
        _hang_up(self._listener)
        self._listener = None
        assert self._acceptor is not None
        self._acceptor.join()

    def _thread(self, work: Callable[[socket.socket], None], connection: socket.socket) -> threading.Thread:
        return threading.Thread(target=work, args=(connection,), name=f"nbd-{self.path.name}", daemon=True)

    def _accept(self, listener: socket.socket) -> None:
        with listener, contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                thread = self._thread(self._serve, connection)
                with self._lock:
                    self._open.add(connection)
                    self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        session = Session(self._store)
        failure: Exception | None = None
        try:
            _tell(connection, session.greeting())
            while not session.closed and (data := _hear(connection)):
                _tell(connection, session.receive(data))
        except (ProtocolError, Gone) as error:
            failure = error
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()
        if session.transmitting and not isinstance(failure, Gone):
            self._disconnected(failure)


class Gone(Exception):
    """Raised by a store: the device has lost its power, so there is no answer any more, to this request or any."""


def _hear(connection: socket.socket) -> bytes:
    """What a client sent, also one that is gone by now; empty when there is nothing more."""
    try:
        return connection.recv(CHUNK)
    except OSError:
        return b""


def _tell(connection: socket.socket, answer: bytes) -> None:
    # A killed client hears nothing any more, but what it had sent before must still be done.
    with contextlib.suppress(OSError):
        connection.sendall(answer)


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
