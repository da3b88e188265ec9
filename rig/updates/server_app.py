"""The update server inside its event loop: connections, TLS, requests, limits, and a record of each."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from dataclasses import replace
from email.utils import formatdate
from urllib.parse import unquote

from aiohttp import web

from rig.errors import RigError
from rig.updates import answers
from rig.updates.answer_faults import AnswerFault
from rig.updates.answers import Answer, Asked, Ending
from rig.updates.ca import Tls
from rig.updates.fault_base import CannotApply, Fault
from rig.updates.fault_script import FaultScript
from rig.updates.file_faults import FileFault
from rig.updates.offered import Shelf
from rig.updates.served import Journal, Served
from rig.updates.server_wire import Gone, Wire

MAX_LINE = MAX_FIELD = 8190
"""Bytes of a request line, and of one header field."""
MAX_HEADERS = 64
IDLE_S = 75.0
"""How long a connection may stay without a request."""
HANDSHAKE_S = 30.0
STOPPING_S = 5.0
_SILENT = logging.getLogger(f"{__name__}.access")
_SILENT.disabled = True
STOPPED = "server stopped"
LEFT_UNASKED = "client left after the handshake"


class ServerApp:
    """Everything connections share. Made in the event loop that serves them."""

    def __init__(self, shelf: Shelf, script: FaultScript, journal: Journal, tls: Tls | None) -> None:
        self.shelf = shelf
        self.script = script
        self.journal = journal
        self.tls = tls
        self.context = None if tls is None else tls.context()
        self.connections: set[Connection] = set()
        self.stopping = False
        self.manager = web.Server(self.handle)
        self._under_way = 0
        self._waiting: dict[str, list[asyncio.Event]] = {}

    def stop(self) -> None:
        """End every connection at once; a client that never reads cannot hold it up."""
        self.stopping = True
        for connection in tuple(self.connections):
            connection.abort()

    async def idle(self) -> None:
        """Until no connection is left and every request is recorded."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOPPING_S):
                while self.connections or self._under_way:
                    await asyncio.sleep(0.001)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request and record what became of it."""
        self._under_way += 1
        try:
            return await self._serve(request)
        finally:
            self._under_way -= 1

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        protocol = request.protocol
        assert isinstance(protocol, Http)
        protocol.asked = True
        at, began = time.time(), time.monotonic()
        self.journal.came()
        asked = _asked(request, secure=self.tls is not None)
        refused = self._refused(request, asked)
        answer, faults = (refused, ()) if refused is not None else self._answer(asked)
        wire = protocol.wire
        wire.sent = 0
        try:
            await self._gather(asked.path, answer.together, wire)
            source = self.shelf.descriptor(answer.file)
            ended = await wire.send(answers.head(answer, asked, formatdate(usegmt=True)), answer, source)
        except (Gone, ConnectionError):
            ended = STOPPED if self.stopping else "client left"
        self.journal.add(
            Served(
                at=at,
                client=protocol.client,
                method=asked.method,
                path=asked.path,
                range=asked.range,
                status=answer.status,
                faults=faults if protocol.tls_fault is None else (str(protocol.tls_fault), *faults),
                sent=wire.sent,
                seconds=time.monotonic() - began,
                ended=STOPPED if self.stopping else ended,
            )
        )
        return AlreadySent(keeps_alive=ended == "complete" and answers.keeps_alive(answer, asked))

    def _refused(self, request: web.BaseRequest, asked: Asked) -> Answer | None:
        """What is no request for a file at all, whatever faults there are."""
        if asked.method not in ("GET", "HEAD"):
            refused = answers.text(405, f"only {answers.METHODS}", asked, (("Allow", answers.METHODS),))
        elif request.can_read_body or "Transfer-Encoding" in request.headers:
            refused = answers.text(413, "a request for a file has no body", asked)
        elif _climbs(request.raw_path):
            refused = answers.text(400, "a path has no . or .. parts, no backslash and no NUL", asked)
        else:
            return None
        # Nothing that may follow such a request is looked at.
        return replace(refused, ending=Ending.CLOSE)

    def _answer(self, asked: Asked) -> tuple[Answer, tuple[str, ...]]:
        """The answer with its faults, and these as they are written."""
        faults = self.script.for_request(asked.path)
        said = tuple(map(str, faults))
        file = self.shelf.current(asked.path)
        try:
            if file is not None:
                for fault in faults:
                    if isinstance(fault, FileFault):
                        file = fault.change(file, asked.path, self.shelf)
        except CannotApply as error:
            return answers.text(500, f"this fault is not possible: {error}", asked), (*said, "(not possible)")
        if file is None:
            answer = answers.text(404, f"offered are: {' '.join(self.shelf.paths) or 'none'}", asked)
        else:
            answer = answers.answer(asked, file)
        for fault in faults:
            if isinstance(fault, AnswerFault):
                answer = fault.change(answer, asked)
        return answer, said

    async def _gather(self, path: str, count: int, wire: Wire) -> None:
        """Wait until `count` requests of `path` wait here. Raises Gone."""
        if count < 2:
            return
        others = self._waiting.setdefault(path, [])
        others.append(mine := asyncio.Event())
        if len(others) >= count:
            for event in others:
                event.set()
            others.clear()
        try:
            await wire.until(mine)
        finally:
            if mine in others:
                others.remove(mine)


class Connection(asyncio.Protocol):
    """One TCP connection: shakes hands if there is TLS, then hands over to aiohttp's parser."""

    def __init__(self, app: ServerApp) -> None:
        self._app = app
        self._early = b""
        self._lost = False
        self._task: asyncio.Task[None] | None = None
        self._plain: asyncio.Transport | None = None

    def abort(self) -> None:
        if self._plain is not None:
            self._plain.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if self._app.stopping:  # accepted just before the listener was closed
            transport.abort()
            return
        self._plain = transport
        self._app.connections.add(self)
        if self._app.tls is None:
            self._hand_over(transport)
        else:
            transport.pause_reading()
            self._task = asyncio.get_running_loop().create_task(self._shake_hands(transport, self._app.tls))

    def data_received(self, data: bytes) -> None:
        """What came in one packet with the end of the handshake."""
        self._early += data

    def connection_lost(self, exc: BaseException | None) -> None:
        self._lost = True
        self.forget()

    def forget(self) -> None:
        self._app.connections.discard(self)

    async def _shake_hands(self, plain: asyncio.Transport, tls: Tls) -> None:
        at, began, client = time.time(), time.monotonic(), _client(plain)
        fault = self._app.script.for_connection()
        failed = transport = None
        try:
            context = self._app.context if fault is None else fault.context(tls)
            assert context is not None
            transport = await asyncio.get_running_loop().start_tls(
                plain, self, context, server_side=True, ssl_handshake_timeout=HANDSHAKE_S
            )
        except (OSError, RigError) as error:
            failed = STOPPED if self._app.stopping else f"handshake failed: {_why(error)}"
        if transport is not None and not self._lost:
            self._hand_over(transport, fault)
            return
        plain.abort()
        self.forget()
        ended = failed or (STOPPED if self._app.stopping else "client left in the handshake")
        said = () if fault is None else (str(fault),)
        seconds = time.monotonic() - began
        self._app.journal.add(Served(at, client, "", "", None, 0, said, 0, seconds, ended))

    def _hand_over(self, transport: asyncio.Transport, fault: Fault | None = None) -> None:
        assert self._plain is not None
        http = Http(self._app, self, Wire(self._plain, transport), _client(self._plain), fault)
        transport.set_protocol(http)
        http.connection_made(transport)
        if self._early:
            http.data_received(self._early)


class Http(web.RequestHandler):
    """aiohttp's parser and keep-alive; tells the wire what becomes of the connection, and keeps its own record of
    requests that cannot be parsed.
    """

    __slots__ = ("_app", "_connection", "_made", "asked", "client", "tls_fault", "wire")

    def __init__(self, app: ServerApp, connection: Connection, wire: Wire, client: str, fault: Fault | None) -> None:
        super().__init__(
            app.manager,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=IDLE_S,
            access_log=_SILENT,
            max_line_size=MAX_LINE,
            max_field_size=MAX_FIELD,
            max_headers=MAX_HEADERS,
            lingering_time=0,
        )
        self.wire = wire
        self.client = client
        self.tls_fault = fault
        self.asked = False
        """Whether a request has come."""
        self._made = time.time()
        self._app = app
        self._connection = connection

    def pause_writing(self) -> None:
        super().pause_writing()
        self.wire.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.wire.resume()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.wire.lost()
        self._connection.forget()
        if self.tls_fault is not None and not self.asked and not self._app.stopping:
            # Over TLS 1.3 a client may look at the certificate's names only when the handshake is over.
            seconds = time.time() - self._made
            self._app.journal.add(
                Served(self._made, self.client, "", "", None, 0, (str(self.tls_fault),), 0, seconds, LEFT_UNASKED)
            )

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """aiohttp's answer to what is no request, recorded. Its log is for faults of ours, not for those of clients."""
        if status < 500:
            response: web.StreamResponse = web.Response(status=status, text=message)
            response.force_close()
        else:
            response = super().handle_error(request, status, exc, message)
        self.asked = True
        self._app.journal.came()
        self._app.journal.add(
            Served(
                time.time(),
                self.client,
                "",
                "",
                None,
                status,
                (),
                0,
                0.0,
                f"refused: {_first_line(message or str(exc))}",
            )
        )
        return response


class AlreadySent(web.StreamResponse):
    """Tells aiohttp that nothing is left to send, and whether it may wait for another request."""

    def __init__(self, *, keeps_alive: bool) -> None:
        super().__init__()
        self._keeps_alive = keeps_alive

    @property
    def keep_alive(self) -> bool:
        return self._keeps_alive

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes | bytearray | memoryview = b"") -> None:
        return None


def _asked(request: web.BaseRequest, *, secure: bool) -> Asked:
    headers = request.headers
    tags = request.if_none_match or ()
    return Asked(
        method=request.method,
        path=request.path,
        host=headers.get("Host", ""),
        secure=secure,
        range=headers.get("Range"),
        if_range=headers.get("If-Range"),
        if_none_match=tuple(tag.value if tag.value == "*" else f'"{tag.value}"' for tag in tags),
        http_1_0=request.version < (1, 1),
        keep_alive=request.keep_alive,
    )


def _climbs(raw_path: str) -> bool:
    """Whether the path as it came, also decoded once or twice, could leave a folder."""
    path = raw_path.partition("?")[0]
    for _ in range(3):
        if "\\" in path or "\0" in path or any(part in (".", "..") for part in path.split("/")):
            return True
        path = unquote(path)
    return False


def _first_line(text: str) -> str:
    return text.partition("\n")[0].strip().rstrip(":")


def _client(transport: asyncio.Transport) -> str:
    peer = transport.get_extra_info("peername")
    return f"{peer[0]}:{peer[1]}" if peer else "?"


def _why(error: Exception) -> str:
    """In words: the client's alert, if it sent one."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return str(error) or type(error).__name__
