"""What goes over the wire between a board and a server: a relay that keeps every byte it hands on."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class Wire:
    """Listens on `host` and passes each connection on to `port` there. Usable as a context manager.

    `to_device`: everything that went to the device, connection after connection.
    """

    def __init__(self, host: str, port: int) -> None:
        self.to_device = bytearray()
        self._target = (host, port)
        self._listener: socket.socket | None = None

    @property
    def port(self) -> int:
        """Where the device is to connect to."""
        assert self._listener is not None
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        self._listener = socket.create_server((self._target[0], 0))
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._listener is not None
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                device, _ = listener.accept()
                server = socket.create_connection(self._target)
                for source, sink, kept in ((device, server, None), (server, device, self.to_device)):
                    threading.Thread(target=_pass_on, args=(source, sink, kept), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket, kept: bytearray | None) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            if kept is not None:
                kept += data
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
