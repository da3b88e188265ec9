"""`rig image` from outside: what it writes, what it says of a file, and what it refuses without writing anything."""

import json
import os
import random

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from rig.boards.signing import new_key, sign
from rig.cli import main
from rig.idf.encrypted_image import decrypt
from rig.idf.image import build_bootloader, build_image
from tests.rig.keys import ec_key, private_pem, public_pem, rsa_key

KEYS = {"RSA-3072": rsa_key, "ECIES-P256": ec_key}
APP = build_image(chip="esp32c6", version="2.1.0", project="lamp", secure_version=3)


def write(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.fixture
def app(tmp_path):
    return write(tmp_path, "app.bin", APP)


@pytest.fixture
def key(tmp_path):
    return write(tmp_path, "device.pem", public_pem(ec_key()))


def run(*arguments, code=0):
    result = CliRunner().invoke(main, ["image", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def looked_at(*arguments):
    return json.loads(run("inspect", "--json", *arguments))


@pytest.mark.parametrize("form", KEYS)
def test_what_was_encrypted_is_shown_and_its_app_with_the_key(form, app, tmp_path):
    public = write(tmp_path, "public.pem", public_pem(KEYS[form]()))
    private = write(tmp_path, "private.pem", private_pem(KEYS[form]()))
    out = tmp_path / "app.enc"
    said = run("encrypt", public, app, out)
    assert f"lamp 2.1.0 for esp32c6, {len(APP)} bytes, encrypted by {form}" in said
    assert decrypt(out.read_bytes(), KEYS[form]()) == APP
    facts = looked_at(out)
    assert (facts["kind"], facts["form"], facts["image_size"]) == ("pre-encrypted", form, len(APP))
    assert facts["inside"] is None
    inside = looked_at(out, "--key", private)["inside"]
    assert (inside["project"], inside["version"], inside["secure_version"]) == ("lamp", "2.1.0", 3)
    assert inside == looked_at(app)
    assert "2.1.0" not in run("inspect", out)
    assert "2.1.0" in run("inspect", out, "--key", private)


def test_a_private_key_encrypts_too_and_json_says_what_was_written(app, tmp_path):
    private = write(tmp_path, "private.pem", private_pem(ec_key()))
    facts = json.loads(run("encrypt", "--json", private, app, tmp_path / "out"))
    assert facts["tag"] == looked_at(tmp_path / "out")["tag"]
    assert facts["inside"]["chip"] == "esp32c6"


def test_the_hmac_key_of_a_device_decrypts_what_its_public_key_encrypted(app, tmp_path):
    from rig.idf.content_key import device_key

    hmac = write(tmp_path, "hmac.bin", random.Random(1).randbytes(32))
    public = write(tmp_path, "public.pem", public_pem(device_key(hmac.read_bytes())))
    run("encrypt", public, app, tmp_path / "out")
    assert looked_at(tmp_path / "out", "--key", hmac)["inside"]["project"] == "lamp"


def test_an_app_is_shown_with_chip_versions_hash_and_no_signature(app):
    facts = looked_at(app)
    assert (facts["kind"], facts["chip"], facts["hash_appended"]) == ("app", "esp32c6", True)
    assert (facts["size"], facts["length"], facts["signatures"], facts["behind"]) == (len(APP), len(APP), [], 0)
    said = run("inspect", app)
    for text in ("lamp", "2.1.0", "esp32c6", "secure version", "appended to the image", facts["sha256"]):
        assert text in said


def test_a_signed_app_is_shown_with_each_key_and_whether_it_signs_these_bytes(tmp_path):
    image = sign(APP, new_key("rsa"), new_key("ecdsa"))
    facts = looked_at(write(tmp_path, "signed.bin", image))
    assert [(found["scheme"], found["good"]) for found in facts["signatures"]] == [("rsa", True), ("ecdsa", True)]
    assert facts["behind"] == 0
    assert len({found["key_digest"] for found in facts["signatures"]}) == 2
    other = bytearray(image)
    other[-4096 - 1] = 0
    path = write(tmp_path, "changed.bin", bytes(other))
    assert [found["good"] for found in looked_at(path)["signatures"]] == [False, False]
    assert run("inspect", path).count("WRONG") == 2


def test_a_bootloader_and_bytes_behind_an_image_are_told(tmp_path):
    loader = write(tmp_path, "bootloader.bin", build_bootloader(chip="esp32c3", idf_version="v5.5.1") + b"junk")
    facts = looked_at(loader)
    assert (facts["kind"], facts["idf_version"], facts["behind"]) == ("bootloader", "v5.5.1", 4)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"\x7fELF\x01", "ELF"),
        (b"<!doctype html>", "HTML"),
        (b"\xaa\x50\x01\x02", "partition table"),
        (b"\x12\x34", "starts with 12 34"),
        (APP[:300], "cut off"),
        (APP[:-1] + b"\0", "SHA-256"),
    ],
)
def test_what_is_no_image_or_a_broken_one_is_refused_saying_what_it_is(content, what, tmp_path):
    path = write(tmp_path, "file.bin", content)
    assert what in run("inspect", path, code=2)
    assert what in run("encrypt", write(tmp_path, "k", public_pem(ec_key())), path, tmp_path / "out", code=2)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("pem", "what"),
    [
        (lambda: b"rubbish", "no key"),
        (lambda: public_pem(rsa_key(bits=2048)), "2048 bits"),
        (lambda: public_pem(ec_key(curve=ec.SECP384R1)), "secp384r1"),
        (lambda: public_pem(ed25519.Ed25519PrivateKey.generate()), "wrong kind"),
        (lambda: private_pem(ec_key(), password=b"x"), "password"),
    ],
)
def test_a_key_of_the_wrong_kind_or_size_is_refused_and_nothing_written(pem, what, app, tmp_path):
    said = run("encrypt", write(tmp_path, "key.pem", pem()), app, tmp_path / "out", code=2)
    assert what in said
    assert "key.pem" in said
    assert not (tmp_path / "out").exists()


def test_what_is_encrypted_already_is_not_encrypted_again(app, key, tmp_path):
    out = tmp_path / "app.enc"
    run("encrypt", key, app, out)
    for options in ([], ["--any-file"]):
        assert "already" in run("encrypt", *options, key, out, tmp_path / "twice", code=2)


def test_what_is_no_app_is_encrypted_when_asked_for(key, tmp_path):
    data = write(tmp_path, "settings.json", b'{"a": 1}')
    assert "starts with" in run("encrypt", key, data, tmp_path / "out", code=2)
    assert "no app" in run("encrypt", "--any-file", key, data, tmp_path / "out")
    private = write(tmp_path, "private.pem", private_pem(ec_key()))
    assert "no app" in looked_at(tmp_path / "out", "--key", private)["note"]
    empty = write(tmp_path, "empty", b"")
    assert "0 bytes" in run("encrypt", "--any-file", key, empty, tmp_path / "none", code=2)


def test_no_file_is_lost(app, key, tmp_path):
    there = write(tmp_path, "there", b"precious")
    assert "--force" in run("encrypt", key, app, there, code=2)
    for own in (app, key):
        run("encrypt", "--force", key, app, own, code=2)
    assert (there.read_bytes(), app.read_bytes(), key.read_bytes()) == (b"precious", APP, public_pem(ec_key()))
    run("encrypt", "--force", key, app, there)
    assert decrypt(there.read_bytes(), ec_key()) == APP
    assert "cannot be written" in run("encrypt", key, app, tmp_path / "no" / "folder", code=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app.bin", "device.pem", "there"]


def test_what_is_no_ordinary_file_is_not_replaced(app, key, tmp_path):
    pipe = tmp_path / "pipe"  # as /dev/null, which root may replace
    os.mkfifo(pipe)
    assert "no ordinary file" in run("encrypt", "--force", key, app, pipe, code=2)
    assert pipe.is_fifo()


def test_a_key_of_the_other_form_says_which_is_needed(app, tmp_path):
    pems = {form: write(tmp_path, f"{form}.pem", private_pem(key())) for form, key in KEYS.items()}
    for form, other in [("RSA-3072", "ECIES-P256"), ("ECIES-P256", "RSA-3072")]:
        run("encrypt", pems[form], app, tmp_path / f"{form}.enc")
        said = run("inspect", tmp_path / f"{form}.enc", "--key", pems[other], code=2)
        assert f"the form {form}, but the key is for {other}" in said


@pytest.mark.parametrize("size", [100, 700])
def test_a_pre_encrypted_image_that_is_cut_off_is_refused(size, app, key, tmp_path):
    run("encrypt", key, app, tmp_path / "out")
    cut = write(tmp_path, "cut", (tmp_path / "out").read_bytes()[:size])
    assert "bytes" in run("inspect", cut, code=2)


def test_the_wrong_key_says_so(app, key, tmp_path):
    run("encrypt", key, app, tmp_path / "out")
    for other in (ec_key(1), rsa_key()):
        said = run("inspect", tmp_path / "out", "--key", write(tmp_path, "other", private_pem(other)), code=2)
        assert "key" in said
    assert "public key" in run("inspect", tmp_path / "out", "--key", key, code=2)
