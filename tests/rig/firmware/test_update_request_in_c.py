"""The C rules of `update_url`: its arguments, the check of an app's header, and the kind of a key."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rig.updates.agent_url import UrlOptions
from tests.rig.firmware.network_side import Request, Words

URL = "https://10.0.2.2:8443/app.bin"
HIGHEST = 0xFFFFFFFF
GOOD, OTHER_PROJECT, SAME_VERSION, FAILED_VERSION, LOW_SECURE_VERSION = range(5)
OTHER, RSA, EC = range(3)

held = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
texts = st.binary(max_size=32).map(lambda text: text.split(b"\0")[0]) | st.sampled_from([b"1.0.0", b"1.0.1", b"v" * 32])
versions = st.integers(0, HIGHEST) | st.integers(0, 3)
apps = st.builds(Words, st.sampled_from([b"rig_test_app", b"another", b"p" * 32]), texts, versions)
options = st.builds(
    UrlOptions,
    common_name=st.none() | st.text("abc.-", max_size=63, min_size=1),
    timeout=st.none() | st.integers(1, 120),
    check=st.sampled_from(["header", "none"]),
    request_size=st.none() | st.integers(1024, 1 << 20),
    resume=st.booleans(),
    power_save=st.sampled_from(["off", "keep"]),
)


def test_what_is_not_said_is_as_the_contract_has_it(network_side):
    assert network_side.update_request({"url": URL}) == Request(URL, "", 20, 0, True, False, False)


@held
@given(options)
def test_the_device_understands_what_the_host_says(network_side, asked):
    understood = network_side.update_request({"url": URL} | asked.fields())
    assert understood == Request(
        URL,
        asked.common_name or "",
        asked.timeout or 20,
        asked.request_size or 0,
        asked.check == "header",
        asked.resume,
        asked.power_save == "keep",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("url", ""),
        ("url", "h" * 301),
        ("common_name", "n" * 64),
        ("timeout", "0"),
        ("timeout", "121"),
        ("timeout", "soon"),
        ("request_size", "1023"),
        ("request_size", "1048577"),
        ("check", ""),
        ("check", "headers"),
        ("check", "none-of-these"),
        ("resume", "2"),
        ("resume", "yes"),
        ("power_save", "on"),
    ],
)
def test_what_is_out_of_range_is_refused_by_its_name(network_side, name, value):
    said = network_side.update_request({"url": URL} | {name: value})
    assert isinstance(said, str)
    assert said.startswith(f"{name}:")


def test_the_longest_url_is_taken_whole(network_side):
    url = "http://h/" + "x" * 291
    assert network_side.update_request({"url": url}).url == url


@pytest.mark.parametrize("url", [b"https://h/", b"HTTPS://h/", b"hTTps:"])
def test_https_is_seen_in_letters_of_either_case(network_side, url):
    assert network_side.is_https(url)


@pytest.mark.parametrize("url", [b"", b"h", b"http://https://", b"https", b"httpsx://h/", b"xhttps://h/"])
def test_what_only_resembles_https_is_not(network_side, url):
    assert not network_side.is_https(url)


@held
@given(apps, apps, st.none() | texts, versions)
@example(Words(b"p" * 32, b"v" * 32, 0), Words(b"p" * 32, b"w" * 32, 0), None, 0)
def test_the_first_reason_not_to_take_an_app_is_the_one_said(network_side, offered, running, failed, lowest):
    reasons = [
        (OTHER_PROJECT, offered.project != running.project),
        (SAME_VERSION, offered.version == running.version),
        (FAILED_VERSION, offered.version == failed),
        (LOW_SECURE_VERSION, offered.secure_version < lowest),
        (GOOD, True),
    ]
    expected = next(verdict for verdict, holds in reasons if holds)
    assert network_side.header_check(offered, running, failed, lowest) == expected


@held
@given(apps, versions, versions)
@example(Words(b"rig_test_app", b"2.0.0", 1), 1, 0)
@example(Words(b"rig_test_app", b"2.0.0", 1), 2, 0)
def test_a_secure_version_equal_to_the_efuse_is_high_enough(network_side, app, lowest, running_secure_version):
    running = Words(app.project, app.version + b"!" if len(app.version) < 32 else b"!", running_secure_version)
    expected = LOW_SECURE_VERSION if app.secure_version < lowest else GOOD
    assert network_side.header_check(app, running, None, lowest) == expected


def pem(key, form):
    return key.private_bytes(Encoding.PEM, form, NoEncryption())


@pytest.fixture(scope="module")
def rsa_key():
    return rsa.generate_private_key(65537, 3072)


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_an_rsa_key_is_known_in_either_form(network_side, rsa_key, form):
    assert network_side.key_kind(pem(rsa_key, form)) == RSA


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()], ids=lambda curve: curve.name)
def test_an_ec_key_is_known_in_either_form(network_side, form, curve):
    assert network_side.key_kind(pem(ec.generate_private_key(curve), form)) == EC


def test_a_key_is_known_behind_other_text_and_with_any_line_ends(network_side, rsa_key):
    text = pem(rsa_key, PrivateFormat.PKCS8)
    assert network_side.key_kind(b"for the bench\n" + text.replace(b"\n", b"\r\n")) == RSA


def test_what_is_no_private_key_of_these_is_neither(network_side, rsa_key):
    edwards = ed25519.Ed25519PrivateKey.generate()
    public = rsa_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    locked = edwards.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    others = [pem(edwards, PrivateFormat.PKCS8), public, locked, b"", b"-----BEGIN PRIVATE KEY-----"]
    assert [network_side.key_kind(text) for text in others] == [OTHER] * len(others)


@held
@given(st.binary(max_size=120))
def test_any_bytes_behind_the_label_can_be_looked_at(network_side, rest):
    assert network_side.key_kind(b"-----BEGIN PRIVATE KEY-----\n" + rest.replace(b"\0", b"")) in (OTHER, RSA, EC)
