"""The network as the chip reaches it: real sockets of the host, in device seconds, that end with the CPU's life.

Time-outs are the device's, but a host must not seem slow only because its time is short: no wait is shorter than
LEAST_WAIT_S of the host's clock.
"""

from __future__ import annotations

import contextlib
import io
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509

from rig.virtual.clock import Clock

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

LEAST_WAIT_S = 5.0
"""Seconds of the host that a silent server is given at least."""
SLICE_S = 0.02
"""How soon, in the host's seconds, a wait notices that the CPU's life is over."""
_NO_DATES = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL: dates are compared with the device's clock, not with the host's."""


class ConnectFailed(Exception):
    """esp_transport_connect failed: nobody there, or no TLS with that certificate. The text says which."""


class Trust(NamedTuple):
    """What a TLS connection demands of the server.

    `authority`: certificates in PEM; `name`: what the server's must be made out for; `now`: the device's clock in
    seconds since 1970, None for an app that never looks at dates.
    """

    authority: bytes
    name: str
    now: float | None


class Network:
    """Opens connections for one life of the CPU. `check` raises ChipHalted once the life is over."""

    def __init__(self, check: Callable[[], None], clock: Clock) -> None:
        self._check = check
        self._clock = clock

    def connect(self, host: str, port: int, trust: Trust | None, timeout: float) -> Connection:
        """A TCP connection, with TLS if `trust` is given; `timeout` in device seconds. Raises ConnectFailed."""
        plain = self._open(host, port, timeout)
        if trust is None:
            return Connection(self, plain)
        try:
            return Connection(self, self._secure(plain, trust, timeout))
        except BaseException:
            plain.close()
            raise

    def wait(self, plain: socket.socket, writable: bool, timeout: float) -> bool:
        """Until the socket can be read, or written, or `timeout` device seconds have passed."""
        began = time.monotonic()
        patience = max(self._clock.wall(timeout), LEAST_WAIT_S)
        while True:
            self._check()
            found = select.select([] if writable else [plain], [plain] if writable else [], [], SLICE_S)
            waited = time.monotonic() - began
            if any(found):
                self._clock.advance(min(timeout, self._clock.virtual(waited)))
                return True
            if waited >= patience:
                self._clock.advance(timeout)
                return False

    def _open(self, host: str, port: int, timeout: float) -> socket.socket:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        except OSError as error:
            raise ConnectFailed(f"{host}: {error}") from error
        plain = socket.socket(family, kind, protocol)
        try:
            plain.setblocking(False)
            plain.connect_ex(address)
            answered = self.wait(plain, writable=True, timeout=timeout)
            code = plain.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        except BaseException:
            plain.close()
            raise
        if not answered or code:
            plain.close()
            raise ConnectFailed(f"{host}:{port}: {'no answer' if not answered else f'error {code}'}")
        return plain

    def _secure(self, plain: socket.socket, trust: Trust, timeout: float) -> ssl.SSLSocket:
        try:
            context = _context(trust)
            secured = context.wrap_socket(
                plain, server_hostname=trust.name, do_handshake_on_connect=False, suppress_ragged_eofs=False
            )
        except (ssl.SSLError, ValueError) as error:
            raise ConnectFailed(f"the certificates of the authority: {error}") from error
        try:
            self._shake_hands(secured, timeout)
            _demand_dates(secured, trust)
        except OSError as error:
            secured.close()
            raise ConnectFailed(f"TLS: {error}") from error
        except BaseException:
            secured.close()
            raise
        return secured

    def _shake_hands(self, secured: ssl.SSLSocket, timeout: float) -> None:
        while True:
            try:
                secured.do_handshake()
                return
            except ssl.SSLWantReadError:
                answered = self.wait(secured, writable=False, timeout=timeout)
            except ssl.SSLWantWriteError:
                answered = self.wait(secured, writable=True, timeout=timeout)
            if not answered:
                raise TimeoutError("no answer")


class Connection(io.RawIOBase):
    """The bytes of one connection, to be read through a buffer. `timeout`: device seconds of silence.

    What goes wrong while reading looks like the end of the stream; `lost` says what it was: `""` for an end that the
    server announced.
    """

    def __init__(self, network: Network, plain: socket.socket) -> None:
        super().__init__()
        self._network = network
        self._socket = plain
        self.timeout = 5.0
        self.silent = False
        """Whether the last read ended because nothing came for `timeout`."""
        self.lost = ""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        self.silent = False
        while True:
            try:
                return self._socket.recv_into(buffer)
            except (BlockingIOError, ssl.SSLWantReadError):
                if not self._network.wait(self._socket, writable=False, timeout=self.timeout):
                    self.silent = True
                    return 0
            except OSError as error:
                self.lost = str(error)
                return 0

    def send_all(self, data: bytes) -> None:
        """Raises OSError when the server does not take it."""
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                if not self._network.wait(self._socket, writable=True, timeout=self.timeout):
                    raise TimeoutError("the server takes nothing") from None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()
        super().close()


def network_of(cpu: object) -> Network | None:
    """The network this CPU is on, if any."""
    network: Network | None = getattr(cpu, "network", None)
    return network


def _context(trust: Trust) -> ssl.SSLContext:
    """TLS 1.2, as mbedTLS in ESP-IDF speaks it by default, and nobody else's certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= _NO_DATES
    context.load_verify_locations(cadata=trust.authority.decode("ascii"))
    return context


def _demand_dates(secured: ssl.SSLSocket, trust: Trust) -> None:
    """With CONFIG_MBEDTLS_HAVE_TIME_DATE mbedTLS refuses what is not valid yet or no more (x509_crt.c)."""
    if trust.now is None:
        return
    for certificate in _certificates(secured, trust):
        valid = certificate.not_valid_before_utc.timestamp() <= trust.now <= certificate.not_valid_after_utc.timestamp()
        if not valid:
            raise ssl.SSLError(f"certificate of {certificate.subject.rfc4514_string()}: expired or not valid yet")


def _certificates(secured: ssl.SSLSocket, trust: Trust) -> Iterator[x509.Certificate]:
    own = secured.getpeercert(binary_form=True)
    if own is not None:
        yield x509.load_der_x509_certificate(own)
    yield from x509.load_pem_x509_certificates(trust.authority)
