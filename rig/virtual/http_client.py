"""`esp_http_client` of the app, as far as `esp_https_ota` uses it: GET and HEAD, one connection at a time.

Follows components/esp_http_client/esp_http_client.c of ESP-IDF v5.1.7, v5.5.5, v6.0.2 and v6.1-beta1: `open`,
`fetch_headers`, `read`, `set_redirection` and, for HEAD, `perform`. Not modelled: authentication, proxies, cookies.
"""

from __future__ import annotations

import io
from http.client import HTTPException, HTTPResponse
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from rig.virtual.network import ConnectFailed, Connection, Network, Trust

USER_AGENT = "ESP32 HTTP Client/1.0"
MAX_REDIRECTIONS = 10
"""DEFAULT_MAX_REDIRECT."""
REDIRECTIONS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}


class HttpError(Exception):
    """A call failed; `error` is the ESP-IDF name, `text` for a person."""

    def __init__(self, error: str, text: str) -> None:
        super().__init__(f"{error}: {text}")
        self.error = error
        self.text = text


class Silence(Exception):
    """Nothing came for the client's `timeout`: ESP_ERR_HTTP_EAGAIN."""


class Rules(NamedTuple):
    """What the app's client was set up with. `timeout` in device seconds.

    `may_downgrade`: whether a redirection may lead from https to http.
    """

    network: Network
    authority: bytes | None
    common_name: str | None
    now: float | None
    timeout: float
    may_downgrade: bool


class HttpClient:
    """One client for one update; `headers` go with every request."""

    def __init__(self, url: str, rules: Rules) -> None:
        self.method = "GET"
        self.headers: dict[str, str] = {}
        self.redirections = 0
        """How many were followed."""
        self._url = _split(url)
        self._rules = rules
        self._connection: Connection | None = None
        self._response: HTTPResponse | None = None
        self._broken = False

    @property
    def status(self) -> int:
        return -1 if self._response is None else self._response.status

    @property
    def content_length(self) -> int:
        """As announced; -1 where nothing was, or chunks."""
        if self._response is None or self._response.chunked:
            return -1
        length = self._response.headers.get("Content-Length", "")
        return int(length) if length.isdigit() else -1

    @property
    def content_range(self) -> int:
        """The whole size that `Content-Range: bytes 0-0/12345` tells; -1 without."""
        total = ("" if self._response is None else self._response.headers.get("Content-Range", "")).rpartition("/")[2]
        return int(total) if total.isdigit() else -1

    def open(self) -> None:
        """Connect, unless a connection to that server is there, and send the request."""
        if self._connection is None:
            self._connection = self._connect()
        try:
            self._connection.send_all(self._request())
        except OSError as error:
            raise HttpError("ESP_ERR_HTTP_WRITE_DATA", f"the request could not be sent: {error}") from error

    def fetch_headers(self) -> None:
        """Read status and headers. Raises Silence, or HttpError ESP_FAIL when the connection ends before them."""
        assert self._connection is not None
        self._broken = False
        response = HTTPResponse(_Readable(self._connection), method=self.method)  # type: ignore[arg-type]
        try:
            response.begin()
        except (HTTPException, ValueError, OSError) as error:
            self._check_silence()
            raise HttpError("ESP_FAIL", f"no answer that HTTP knows: {error or type(error).__name__}") from error
        self._response = response
        if self.content_length < 0 and not response.chunked and "Content-Length" in response.headers:
            raise HttpError("ESP_FAIL", "Content-Length is no number")

    def read(self, size: int) -> bytes:
        """Up to `size` bytes of the body, fewer only at its end; empty when it is complete.

        What came before an interruption is returned first. Then: Silence, or HttpError ESP_FAIL.
        """
        assert self._connection is not None
        response = self._response
        data = bytearray()
        while response is not None and len(data) < size and not self.complete and not self._broken:
            try:
                piece = response.read1(size - len(data))
            except (HTTPException, ValueError):
                self._broken = not self._connection.silent
                break
            data += piece
            if not piece:
                self._broken = self._is_short or self._connection.silent or bool(self._connection.lost)
                break
        if not data and not self.complete:
            self._check_silence()
            raise HttpError("ESP_FAIL", f"the connection broke: {self._connection.lost or 'closed by the server'}")
        return bytes(data)

    @property
    def complete(self) -> bool:
        """esp_http_client_is_complete_data_received; a body without a length ends with its connection."""
        response = self._response
        if response is None or self._broken:
            return False
        return response.isclosed() if response.length is None else response.length == 0

    @property
    def _is_short(self) -> bool:
        return self._response is not None and bool(self._response.length)

    def follow(self) -> None:
        """esp_http_client_set_redirection: the next request goes to where the answer points."""
        location = None if self._response is None else self._response.headers.get("Location")
        if not location:
            raise HttpError("ESP_ERR_INVALID_ARG", f"status {self.status} without a place to go to")
        https = self._url.scheme == "https"
        if https and not self._rules.may_downgrade and not location.lower().startswith("https://"):
            raise HttpError("ESP_ERR_HTTP_REDIRECT_DOWNGRADE", f"from https to {location}")
        if self.redirections >= MAX_REDIRECTIONS:
            raise HttpError("ESP_ERR_HTTP_MAX_REDIRECT", f"more than {MAX_REDIRECTIONS} redirections")
        self.redirections += 1
        old, path = self._url, location.startswith("/") and not location.startswith("//")
        self._url = old._replace(path=location, query="") if path else _split(location)
        if _server(old) != _server(self._url):
            self.close()

    def drain(self) -> None:
        """Read what the body of a redirection holds, so that the connection, if it is kept, can be used again."""
        try:
            while self._connection is not None and self.read(256):
                pass
        except (Silence, HttpError):
            return

    def perform(self) -> None:
        """One request with its answer, redirections followed, the body passed over."""
        while True:
            self.open()
            self.fetch_headers()
            if self.status in REDIRECTIONS:
                self.follow()
                self.drain()
                continue
            self.drain()
            if self._response is not None and self._response.will_close:
                self.close()
            return

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> Connection:
        rules, url = self._rules, self._url
        host, port = url.hostname or "", url.port or _PORTS[url.scheme]
        trust = None
        if url.scheme == "https":
            trust = Trust(rules.authority or b"", rules.common_name or host, rules.now)
        try:
            connection = rules.network.connect(host, port, trust, rules.timeout)
        except ConnectFailed as error:
            raise HttpError("ESP_ERR_HTTP_CONNECT", str(error)) from error
        connection.timeout = rules.timeout
        return connection

    def _request(self) -> bytes:
        url = self._url
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        host = url.hostname or ""
        port = url.port
        headers = {"User-Agent": USER_AGENT, "Host": host if port in (None, 80, 443) else f"{host}:{port}"}
        lines = [f"{name}: {text}" for name, text in (headers | self.headers).items()]
        return "\r\n".join([f"{self.method} {path} HTTP/1.1", *lines, "", ""]).encode("latin-1", "replace")

    def _check_silence(self) -> None:
        if self._connection is not None and self._connection.silent:
            raise Silence


class _Readable:
    """What HTTPResponse wants of a socket: a buffered reader, whose end does not close the connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def makefile(self, _: str) -> io.BufferedReader:
        return _Kept(self._connection)


class _Kept(io.BufferedReader):
    def close(self) -> None:
        """The connection stays open for the next request."""


def _split(url: str) -> SplitResult:
    try:
        found = urlsplit(url)
        port = found.port
    except ValueError as error:
        raise HttpError("ESP_ERR_INVALID_ARG", f"url: {error}") from error
    if found.scheme not in _PORTS or not found.hostname or port == 0:
        raise HttpError("ESP_ERR_INVALID_ARG", f"url: {url[:90]}")
    return found


def _server(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or _PORTS.get(url.scheme)
