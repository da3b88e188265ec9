"""A client that sees an answer as it is on the wire: raw bytes, and how the connection ended."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

PATIENCE_S = 20.0
QUIET_S = 0.3
"""How long nothing must come for a connection to count as silent."""


@dataclass(frozen=True)
class Heard:
    """`ended`: `fin`, `reset`, `silent`, and over TLS `close_notify` or `eof` (without one)."""

    status: int
    headers: dict[str, str]
    body: bytes
    ended: str


def connect(server, context: ssl.SSLContext | None = None) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)
    if context is None:
        return connection
    return context.wrap_socket(connection, server_hostname="127.0.0.1", suppress_ragged_eofs=False)


def ask(path: str = "/app.bin", *, method: str = "GET", version: str = "1.1", **headers: str) -> bytes:
    """A request; `if_range` stands for If-Range."""
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path} HTTP/{version}\r\nHost: device.test\r\n{fields}\r\n".encode()


def hear(connection: socket.socket, quiet: float = PATIENCE_S, due: int = 0) -> Heard:
    """Everything until the connection ends or `quiet` seconds pass without a byte; the connection is closed.

    Silence counts only after the head and the `due` body bytes that must come, so that a busy machine changes nothing.
    """
    data, ended = b"", "fin"
    with connection:
        try:
            while True:
                _, gap, body = data.partition(b"\r\n\r\n")
                connection.settimeout(quiet if gap and len(body) >= due else PATIENCE_S)
                more = connection.recv(65536)
                if not more:
                    break
                data += more
            if isinstance(connection, ssl.SSLSocket):
                ended = "close_notify"
        except TimeoutError:
            ended = "silent"
        except ConnectionResetError:
            ended = "reset"
        except ssl.SSLEOFError:
            ended = "eof"
    return parsed(data, ended)


def parsed(data: bytes, ended: str) -> Heard:
    head, gap, body = data.partition(b"\r\n\r\n")
    assert gap, data
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Heard(int(first.split()[1]), headers, body, ended)


def get(server, request: bytes | None = None, quiet: float = PATIENCE_S, due: int = 0) -> Heard:
    """One request on a connection of its own; it asks to close unless `request` says otherwise."""
    connection = connect(server)
    connection.sendall(request or ask(Connection="close"))
    return hear(connection, quiet, due)


def unchunked(body: bytes) -> tuple[list[bytes], bytes]:
    """The whole chunks, and what is left when they end: empty after the last chunk."""
    chunks = []
    while body:
        line, gap, rest = body.partition(b"\r\n")
        size = int(line, 16)
        if not gap or len(rest) < size + 2:
            return chunks, body
        if size == 0:
            return chunks, rest[2:]
        chunks.append(rest[:size])
        assert rest[size : size + 2] == b"\r\n"
        body = rest[size + 2 :]
    return chunks, b"(no last chunk)"
