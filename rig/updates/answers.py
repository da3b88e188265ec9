"""What the update server answers, before any fault: pure, from a request and the file it names to an `Answer`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from http import HTTPStatus

from rig.updates.ranges import ByteRange, Unsatisfiable, parse_range

BINARY = "application/octet-stream"
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
METHODS = "GET, HEAD"

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class File:
    """What is served at one path. `etag` with its quotes; it says which bytes the server means to serve."""

    data: bytes
    etag: str = ""
    content_type: str = BINARY

    @classmethod
    def of(cls, data: bytes, content_type: str = BINARY) -> File:
        return cls(data, json.dumps(sha256(data).hexdigest()[:32]), content_type)


@dataclass(frozen=True)
class Asked:
    """A request. `path` begins with a slash and is decoded; header values are as they came, None when absent."""

    method: str
    path: str
    host: str = ""
    secure: bool = False
    range: str | None = None
    if_range: str | None = None
    if_none_match: tuple[str, ...] = ()
    http_1_0: bool = False
    keep_alive: bool = True

    @property
    def wants_body(self) -> bool:
        return self.method != "HEAD"


class Ending(StrEnum):
    """What becomes of the connection when the last body byte was sent."""

    KEEP = "keep"
    """Open for the next request, if the client likes."""
    CLOSE = "close"
    """Closed in good order; over TLS with close_notify."""
    CUT = "cut"
    """Closed without a word (TCP FIN, and over TLS no close_notify)."""
    RESET = "reset"
    """Reset (TCP RST)."""
    STALL = "stall"
    """Left open, and nothing more is sent."""


@dataclass(frozen=True)
class Answer:
    """What goes out: a head, a body, and what happens then.

    `length` is what Content-Length says, None for no such header. `chunk`: body in chunks of so many bytes instead.
    `limit`: how many body bytes are sent before `ending`, None for all. `pause` in seconds: a stall that ends, and the
    rest follows. `rate` in body bytes per second. `together`: how many requests of the path must wait for an answer
    before any is sent. `file`: the body is a part of it, from byte `start` on.
    """

    status: int
    body: bytes | memoryview = b""
    headers: Headers = ()
    length: int | None = None
    has_body: bool = True
    chunk: int | None = None
    limit: int | None = None
    ending: Ending = Ending.KEEP
    pause: float | None = None
    rate: float | None = None
    together: int = 1
    file: File | None = None
    start: int = 0

    @property
    def to_send(self) -> int:
        """Body bytes that will be sent before `ending`."""
        if not self.has_body:
            return 0
        return len(self.body) if self.limit is None else min(self.limit, len(self.body))


def answer(asked: Asked, file: File) -> Answer:
    """The right answer to a GET or HEAD of `file`: 200, 206, 304 or 416."""
    headers: Headers = (("Content-Type", file.content_type), ("Accept-Ranges", "bytes"), ("ETag", file.etag))
    size = len(file.data)
    if "*" in asked.if_none_match or file.etag in asked.if_none_match:
        return Answer(304, headers=headers, has_body=False)
    try:
        part = None if _changed(asked, file) else parse_range(asked.range, size)
    except Unsatisfiable:
        return text(416, f"the file has {size} bytes", asked, (("Content-Range", f"bytes */{size}"),))
    if part is None:
        return Answer(200, file.data, headers, length=size, has_body=asked.wants_body, file=file)
    return _part(asked, file, part, headers)


def text(status: int, said: str, asked: Asked, headers: Iterable[tuple[str, str]] = ()) -> Answer:
    """An answer for a person to read."""
    body = f"{status} {reason(status)}: {said}\n".encode()
    return Answer(status, body, (("Content-Type", TEXT), *headers), length=len(body), has_body=asked.wants_body)


def reason(status: int) -> str:
    """The words behind a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def head(answer: Answer, asked: Asked, date: str) -> bytes:
    """Status line and header fields as they go out, with the empty line that ends them."""
    fields = [("Date", date), ("Server", "rig"), *answer.headers]
    if answer.chunk and not asked.http_1_0:
        fields.append(("Transfer-Encoding", "chunked"))
    elif answer.length is not None:
        fields.append(("Content-Length", str(answer.length)))
    fields.append(("Connection", "keep-alive" if keeps_alive(answer, asked) else "close"))
    lines = [f"HTTP/1.1 {answer.status} {reason(answer.status)}", *(f"{name}: {value}" for name, value in fields)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def keeps_alive(answer: Answer, asked: Asked) -> bool:
    """Whether the answer promises that the connection stays open. A connection that will be cut promises it, too."""
    return asked.keep_alive and answer.ending is not Ending.CLOSE


def _changed(asked: Asked, file: File) -> bool:
    """Whether If-Range names other bytes than those there are; a date cannot tell (RFC 9110, 13.1.5)."""
    return asked.if_range is not None and asked.if_range.strip() != file.etag


def _part(asked: Asked, file: File, part: ByteRange, headers: Headers) -> Answer:
    size = len(file.data)
    return Answer(
        206,
        memoryview(file.data)[part.start : part.stop],
        (*headers, ("Content-Range", f"bytes {part.start}-{part.stop - 1}/{size}")),
        length=part.stop - part.start,
        has_body=asked.wants_body,
        file=file,
        start=part.start,
    )
