"""Faults in the TLS handshake. They are shown before the path of a request is known, so they hold for connections."""

from __future__ import annotations

import ssl
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

from rig.errors import UserError
from rig.updates.ca import EPOCH, NOT_BEFORE, Tls
from rig.updates.fault_base import Fault, Spec

_VERSIONS = {"1.0": ssl.TLSVersion.TLSv1, "1.1": ssl.TLSVersion.TLSv1_1}


class TlsFault(Fault):
    """Another way to shake hands."""

    @abstractmethod
    def context(self, tls: Tls) -> ssl.SSLContext:
        """How to shake hands instead. Raises UserError when this machine's OpenSSL cannot."""


@dataclass(frozen=True)
class ExpiredCertificate(TlsFault):
    """Expired for every clock, also for one that begins at the epoch because nobody has set it."""

    name: ClassVar[str] = "expired-certificate"
    syntax: ClassVar[str] = "expired-certificate"
    summary: ClassVar[str] = "of the same CA, valid until the end of 1969"

    def context(self, tls: Tls) -> ssl.SSLContext:
        return tls.reissued(tls.hosts, not_before=NOT_BEFORE, not_after=EPOCH).context()


@dataclass(frozen=True)
class WrongHostCertificate(TlsFault):
    name: ClassVar[str] = "wrong-host-certificate"
    syntax: ClassVar[str] = "wrong-host-certificate"
    summary: ClassVar[str] = "of the same CA, for wrong.host.invalid"

    def context(self, tls: Tls) -> ssl.SSLContext:
        return tls.reissued(("wrong.host.invalid",)).context()


@dataclass(frozen=True)
class UnknownAuthority(TlsFault):
    name: ClassVar[str] = "unknown-authority"
    syntax: ClassVar[str] = "unknown-authority"
    summary: ClassVar[str] = "the certificate is of another CA of the same name"

    def context(self, tls: Tls) -> ssl.SSLContext:
        return type(tls.authority).create().server_certificate(hosts=tls.hosts).context()


@dataclass(frozen=True)
class TlsDowngrade(TlsFault):
    version: str = "1.1"
    name: ClassVar[str] = "tls-downgrade"
    syntax: ClassVar[str] = "tls-downgrade[=1.0|1.1]"
    summary: ClassVar[str] = "the server speaks TLS 1.1 only, or 1.0; both are dead (RFC 8996)"

    @classmethod
    def read(cls, spec: Spec) -> Self:
        spec.only(cls)
        if not spec.mark:
            return cls()
        if spec.mark != "=" or spec.value not in _VERSIONS:
            spec.wrong(cls)
        return cls(spec.value)

    def context(self, tls: Tls) -> ssl.SSLContext:
        if not (ssl.HAS_TLSv1 if self.version == "1.0" else ssl.HAS_TLSv1_1):
            raise UserError(
                f"{ssl.OPENSSL_VERSION} was built without TLS {self.version}",
                hint="use a Python whose OpenSSL still has it",
            )
        return tls.context_of_old(_VERSIONS[self.version])

    def __str__(self) -> str:
        return self.name if self.version == "1.1" else f"{self.name}={self.version}"
