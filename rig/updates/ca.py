"""A certificate authority made on the fly: the device under test trusts this one and no other.

Keys are EC P-256, which ESP-IDF's default configuration of mbedTLS can use. Certificates are valid from 1969 to 2049: a
device that checks dates (CONFIG_MBEDTLS_HAVE_TIME_DATE in components/mbedtls/Kconfig, off by default) and was never
told the time believes that it is 1970.
"""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rig.errors import UserError

NOT_BEFORE = datetime.datetime(1969, 1, 1, tzinfo=datetime.UTC)
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
NOT_AFTER = datetime.datetime(2049, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)
"""The last second that a UTCTime can say (RFC 5280, 4.1.2.5)."""

NAME = "rig update authority"


@dataclass(frozen=True)
class Authority:
    """A CA: its certificate, for the device, and its key, which nobody else gets. Made by `create`."""

    pem: bytes
    """The certificate, in PEM."""
    key_pem: bytes = field(repr=False)

    @classmethod
    def create(cls, name: str = NAME) -> Authority:
        """A new one, with a new key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        certificate = (
            _builder(subject, subject, key.public_key(), key.public_key(), NOT_BEFORE, NOT_AFTER)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))

    def server_certificate(
        self,
        *,
        hosts: Sequence[str],
        not_before: datetime.datetime = NOT_BEFORE,
        not_after: datetime.datetime = NOT_AFTER,
    ) -> Tls:
        """A certificate for a server that is called by each of `hosts`: names or IP addresses, the first also as CN.

        UserError without hosts, or for one that cannot stand in a certificate.
        """
        if not hosts:
            raise UserError("a server certificate needs a host", hint="name how devices call this machine")
        key = ec.generate_private_key(ec.SECP256R1())
        authority = x509.load_pem_x509_certificate(self.pem)
        authority_key = serialization.load_pem_private_key(self.key_pem, None)
        assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
        names = x509.SubjectAlternativeName([name for host in hosts for name in _names(host)])
        certificate = (
            _builder(
                _name(hosts[0][:64]), authority.subject, key.public_key(), authority_key.public_key(),
                not_before, not_after,
            )
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(authority_key, hashes.SHA256())
        )  # fmt: skip
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        return Tls(pem, _key_pem(key), self, tuple(hosts))


@dataclass(frozen=True)
class Tls:
    """What a server needs for HTTPS. `hosts`: how it may be called."""

    certificate: bytes
    """In PEM; the chain ends there, devices have the authority's."""
    key_pem: bytes = field(repr=False)
    authority: Authority
    hosts: tuple[str, ...]

    def reissued(
        self,
        hosts: Sequence[str],
        *,
        not_before: datetime.datetime = NOT_BEFORE,
        not_after: datetime.datetime = NOT_AFTER,
    ) -> Tls:
        """Another certificate of the same authority."""
        return self.authority.server_certificate(hosts=hosts, not_before=not_before, not_after=not_after)

    def context(self) -> ssl.SSLContext:
        """For a server that speaks TLS 1.2 and 1.3."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load(made)
        return made

    def context_of_old(self, version: ssl.TLSVersion) -> ssl.SSLContext:
        """For a server that speaks only `version`, TLS 1.0 or 1.1, as OpenSSL lets it at security level 0."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with warnings.catch_warnings():
            # That it is deprecated is the point.
            warnings.simplefilter("ignore", DeprecationWarning)
            made.minimum_version = made.maximum_version = version
        # These versions sign with SHA-1, which levels above 0 refuse.
        made.set_ciphers("ALL:@SECLEVEL=0")
        self._load(made)
        return made

    def _load(self, context: ssl.SSLContext) -> None:
        # OpenSSL takes the chain from a file only.
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "server.pem"
            file.write_bytes(self.key_pem + self.certificate)
            context.load_cert_chain(file)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    not_before: datetime.datetime,
    not_after: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _names(host: str) -> list[x509.GeneralName]:
    if not host:
        raise UserError(
            "a server without a name cannot stand in a certificate", hint="name how devices call this machine"
        )
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            return [x509.DNSName(host)]
        except ValueError as error:
            raise UserError(f"{host!r} cannot stand in a certificate: {error}", hint="write it in ASCII") from error
    # Clients whose mbedTLS is before 3.5 look for an address among the names (x509_crt.c, x509_crt_check_san).
    return [x509.IPAddress(address), x509.DNSName(host)]


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
