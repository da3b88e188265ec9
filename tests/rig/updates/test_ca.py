"""The authority made on the fly, seen by `cryptography`'s own verifier and by the dates a device may believe."""

import datetime
import os
import ssl
import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from rig.errors import UserError
from rig.updates.ca import Authority

NOW = datetime.datetime(2026, 1, 1)
NEVER_TOLD = datetime.datetime(1970, 1, 1, 0, 0, 3)


@pytest.fixture(scope="module")
def authority():
    return Authority.create()


def certificate(tls):
    return x509.load_pem_x509_certificate(tls.certificate)


def verify(authority, tls, host, at=NOW):
    """As a client would; raises VerificationError."""
    store = Store([x509.load_pem_x509_certificate(authority.pem)])
    verifier = PolicyBuilder().store(store).time(at).build_server_verifier(x509.DNSName(host))
    verifier.verify(certificate(tls), [])


def test_a_certificate_is_good_for_its_hosts_and_no_other(authority):
    tls = authority.server_certificate(hosts=["update.test", "second.test"])
    verify(authority, tls, "update.test")
    verify(authority, tls, "second.test")
    with pytest.raises(VerificationError):
        verify(authority, tls, "third.test")


def test_it_is_good_for_no_other_authority(authority):
    tls = authority.server_certificate(hosts=["update.test"])
    with pytest.raises(VerificationError):
        verify(Authority.create(), tls, "update.test")


@pytest.mark.parametrize("at", [NEVER_TOLD, NOW, datetime.datetime(2049, 12, 31)])
def test_it_is_valid_for_a_device_that_was_never_told_the_time(authority, at):
    verify(authority, authority.server_certificate(hosts=["update.test"]), "update.test", at)


@pytest.mark.parametrize("at", [NEVER_TOLD, NOW])
def test_an_expired_one_is_expired_for_every_clock(authority, at):
    tls = authority.server_certificate(
        hosts=["update.test"],
        not_before=datetime.datetime(1969, 1, 1, tzinfo=datetime.UTC),
        not_after=datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC),
    )
    with pytest.raises(VerificationError):
        verify(authority, tls, "update.test", at)


def test_an_address_is_there_as_an_address_and_as_a_name_for_older_clients(authority):
    names = certificate(authority.server_certificate(hosts=["10.0.2.2"])).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert [str(address) for address in names.value.get_values_for_type(x509.IPAddress)] == ["10.0.2.2"]
    assert names.value.get_values_for_type(x509.DNSName) == ["10.0.2.2"]


def test_keys_are_p256_and_two_authorities_share_none(authority):
    tls = authority.server_certificate(hosts=["update.test"])
    assert isinstance(certificate(tls).public_key().curve, ec.SECP256R1)
    assert Authority.create().key_pem != authority.key_pem
    assert b"PRIVATE" not in authority.pem + tls.certificate
    assert "PRIVATE" not in repr(authority) + repr(tls)


def test_the_servers_key_lies_in_no_file_afterwards(authority, tmp_path, monkeypatch):
    seen = []
    load = ssl.SSLContext.load_cert_chain

    def watched(self, file, *rest):
        seen.append((file, stat.S_IMODE(os.stat(file.parent).st_mode)))
        return load(self, file, *rest)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watched)
    authority.server_certificate(hosts=["update.test"]).context()
    ((file, mode),) = seen
    assert (file.exists(), mode) == (False, 0o700)


@pytest.mark.parametrize(("hosts", "says"), [([], "needs a host"), (["bücher.test"], "cannot stand in a certificate")])
def test_a_host_that_cannot_be_is_a_user_error(authority, hosts, says):
    with pytest.raises(UserError, match=says):
        authority.server_certificate(hosts=hosts)
