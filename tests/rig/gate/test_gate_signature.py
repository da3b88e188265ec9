"""Signed apps: what espsecure signs passes, and nothing else does."""

from __future__ import annotations

import contextlib
import io
import shutil
from pathlib import Path

import espsecure
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from rig.gate import signature
from rig.gate.check import Status
from tests.rig.gate.builds import (
    APP,
    ARGS,
    BOOTLOADER,
    MISSING,
    OTADATA,
    TABLE,
    configure,
    edit_bytes,
    edit_json,
    failing,
    good_build,
    of_status,
    outcomes,
)

SCHEME = {"rsa": "SECURE_SIGNED_APPS_RSA_SCHEME", "ecdsa": "SECURE_SIGNED_APPS_ECDSA_V2_SCHEME"}


def written(path: Path, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    return path


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Files with two private keys for each scheme."""
    folder = tmp_path_factory.mktemp("keys")
    made = {}
    for number in (1, 2):
        made["rsa", number] = written(folder / f"rsa{number}", rsa.generate_private_key(65537, 3072))
        made["ecdsa", number] = written(folder / f"ecdsa{number}", ec.generate_private_key(ec.SECP256R1()))
    made["p384", 1] = written(folder / "p384", ec.generate_private_key(ec.SECP384R1()))
    return made


def sign(path: Path, key: Path, *, append: bool = False) -> None:
    with key.open("rb") as private, path.open("rb") as image, contextlib.redirect_stdout(io.StringIO()):
        signed = path.with_suffix(".signed")
        espsecure.sign_data("2", [private], str(signed), append, False, None, [], [], image)
    signed.replace(path)


@pytest.fixture(params=["rsa", "ecdsa"])
def scheme(request):
    return request.param


@pytest.fixture
def build(tmp_path, scheme):
    folder = good_build(tmp_path / "build")
    configure(folder, SECURE_SIGNED_APPS_NO_SECURE_BOOT=True, **{SCHEME[scheme]: True})
    return folder


def test_a_signed_app_passes_and_its_key_is_named(build, keys, scheme):
    sign(build / APP, keys[scheme, 1])
    found = outcomes(build)["GATE-SIGNATURE"]
    assert found.status is Status.PASSED, found
    assert failing(build) == set()
    with keys[scheme, 1].open("rb") as key:
        assert signature.examine((build / APP).read_bytes(), scheme).keys == (digest_of(key),)


def digest_of(key) -> str:
    """The digest that espsecure would have burnt for this key."""
    with contextlib.redirect_stdout(io.StringIO()):
        espsecure.digest_sbv2_public_key(key, key.name + ".digest")
    return Path(key.name + ".digest").read_bytes().hex()


@pytest.mark.parametrize("at", [0x2000, -0x1000 + 8, -0x1000 + 60, -0x1000 + 1196])
def test_a_byte_changed_after_signing(build, keys, scheme, at):
    sign(build / APP, keys[scheme, 1])
    edit_bytes(build / APP, lambda data: data.__setitem__(at, data[at] ^ 1))
    assert "GATE-SIGNATURE" in failing(build)


def test_a_signature_of_the_other_scheme(build, keys, scheme):
    sign(build / APP, keys["ecdsa" if scheme == "rsa" else "rsa", 1])
    assert failing(build) == {"GATE-SIGNATURE"}


def test_a_signature_taken_from_another_image(build, keys, scheme, tmp_path):
    other = good_build(tmp_path / "other", version="3.0.0")
    for folder in (build, other):
        sign(folder / APP, keys[scheme, 1])
    stolen = (other / APP).read_bytes()[-0x1000:]
    edit_bytes(build / APP, lambda data: data.__setitem__(slice(-0x1000, None), stolen))
    assert failing(build) == {"GATE-SIGNATURE"}


def test_a_p384_key(tmp_path, keys):
    build = good_build(tmp_path / "build")
    configure(build, SECURE_SIGNED_APPS_NO_SECURE_BOOT=True, SECURE_SIGNED_APPS_ECDSA_V2_SCHEME=True)
    sign(build / APP, keys["p384", 1])
    assert outcomes(build)["GATE-SIGNATURE"].status is Status.PASSED


def test_the_next_release_needs_a_key_that_devices_know(build, keys, scheme, tmp_path):
    old = shutil.copytree(build, tmp_path / "old")
    good_build(tmp_path / "plain", version="1.0.0")
    shutil.copy(tmp_path / "plain" / APP, old / APP)
    plain = (build / APP).read_bytes()
    sign(old / APP, keys[scheme, 1])
    sign(build / APP, keys[scheme, 1])
    assert failing(build, old) == set()
    (build / APP).write_bytes(plain)
    sign(build / APP, keys[scheme, 2])
    assert failing(build, old) == {"GATE-SIGNATURE-KEY"}


def test_without_secure_boot_only_the_first_signature_counts(build, keys, scheme, tmp_path):
    old = tmp_path / "old"
    good_build(old, version="1.0.0")
    configure(old, SECURE_SIGNED_APPS_NO_SECURE_BOOT=True, **{SCHEME[scheme]: True})
    sign(old / APP, keys[scheme, 1])
    sign(build / APP, keys[scheme, 2])
    sign(build / APP, keys[scheme, 1], append=True)
    assert failing(build, old) == {"GATE-SIGNATURE-KEY"}


def test_a_signature_where_no_device_looks(build, keys, scheme):
    (build / APP).write_bytes((build / APP).read_bytes() + b"\xff" * 0x2000)
    sign(build / APP, keys[scheme, 1])
    assert "devices look for its signature at" in outcomes(build)["GATE-SIGNATURE"].found
    assert failing(build) == {"GATE-SIGNATURE"}


def test_secure_boot_wants_bootloader_and_app_signed_with_one_key(tmp_path, keys):
    build = good_build(tmp_path / "build")
    configure(build, SECURE_BOOT=True, SECURE_BOOT_V2_ENABLED=True, SECURE_SIGNED_APPS_RSA_SCHEME=True)
    sign(build / APP, keys["rsa", 1])
    assert "GATE-SIGNATURE" in failing(build)
    unsigned = (build / BOOTLOADER).read_bytes()
    sign(build / BOOTLOADER, keys["rsa", 2])
    assert "GATE-SIGNATURE" in failing(build)
    (build / BOOTLOADER).write_bytes(unsigned)
    sign(build / BOOTLOADER, keys["rsa", 1])
    assert failing(build) == set()


def test_with_secure_boot_the_bootloader_is_not_flashed_by_idf(tmp_path, keys):
    build = good_build(tmp_path / "build")
    configure(build, SECURE_BOOT=True, SECURE_BOOT_V2_ENABLED=True, SECURE_SIGNED_APPS_RSA_SCHEME=True)
    for name in (APP, BOOTLOADER):
        sign(build / name, keys["rsa", 1])
    edit_json(
        build / ARGS, {"bootloader": MISSING, "flash_files": {"0x8000": TABLE, "0xd000": OTADATA, "0x10000": APP}}
    )
    found = outcomes(build)
    assert of_status(found, Status.FAILED) | of_status(found, Status.NOT_DONE) == set()
    configure(build, SECURE_BOOT=False)
    assert outcomes(build)["GATE-LAYOUT"].status is Status.NOT_DONE


def test_version_1_can_only_be_seen_to_be_there(tmp_path):
    build = good_build(tmp_path / "build")
    configure(build, SECURE_SIGNED_APPS_NO_SECURE_BOOT=True, SECURE_SIGNED_APPS_ECDSA_SCHEME=True)
    assert failing(build) == {"GATE-SIGNATURE"}
    edit_bytes(build / APP, lambda data: data.extend(bytes(4) + b"s" * 64))
    assert outcomes(build)["GATE-SIGNATURE"].status is Status.WARNING
