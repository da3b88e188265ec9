"""Lets other programs switch a served chip's power: HTTP, on the loopback interface unless another address is given.

`POST /off` and `POST /on` answer when it is done, `GET /` says which it is. With curl, for rig.toml::

    power = { on = "curl -fsS -X POST http://127.0.0.1:4001/on", off = "curl -fsS -X POST http://127.0.0.1:4001/off" }

labgrid's power port `simplerest` knows GET alone: `/relay/0` and `/relay/1` switch, `/relay` says `0` or `1`.
"""

from __future__ import annotations

import http.server
import threading
from types import TracebackType
from typing import Protocol, Self

from rig.errors import BenchFault

LOOPBACK = "127.0.0.1"
KNOWN = "there are GET /, POST /on, POST /off, and GET /relay, /relay/0, /relay/1\n"


class Supply(Protocol):
    """What is switched."""

    @property
    def is_on(self) -> bool: ...

    def on(self) -> None: ...

    def off(self) -> None: ...


class PowerPort:
    """Serves `supply` on TCP `port` (0: any free one) from `start` or `with` until `close`."""

    def __init__(self, supply: Supply, port: int, address: str = LOOPBACK) -> None:
        self.port = port
        self.address = address
        self._supply = supply
        self._server: http.server.HTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    def start(self) -> Self:
        """Listen; BenchFault if the TCP port is taken."""
        supply = self._supply

        class Handler(_Handler):
            switched = supply

        try:
            self._server = http.server.HTTPServer((self.address, self.port), Handler)
        except OSError as error:
            raise BenchFault(
                f"cannot listen on {self.address}:{self.port}: {error.strerror}",
                hint="choose another power port, or 0 for any free one",
            ) from error
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="power port", daemon=True)
        self._thread.start()
        return self

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        return self if self._server is not None else self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class _Handler(http.server.BaseHTTPRequestHandler):
    """One request at a time, so that switching needs no lock."""

    switched: Supply
    timeout = 5.0

    def do_GET(self) -> None:
        if self.path == "/":
            self._answer(200, "on\n" if self.switched.is_on else "off\n")
        elif self.path in ("/relay", "/relay/0", "/relay/1"):
            if self.path != "/relay":
                self._switch(self.path[-1])
            # labgrid compares all of it, so no line end.
            self._answer(200, "1" if self.switched.is_on else "0")
        else:
            self._answer(404, KNOWN)

    def do_POST(self) -> None:
        if self.path in ("/on", "/off"):
            self._switch(self.path[1:])
            self._answer(200, "on\n" if self.switched.is_on else "off\n")
        else:
            self._answer(404, KNOWN)

    def _switch(self, wanted: str) -> None:
        {"1": self.switched.on, "on": self.switched.on, "0": self.switched.off, "off": self.switched.off}[wanted]()

    def _answer(self, code: int, text: str) -> None:
        body = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal belongs to whoever serves."""
