"""`rig verify`: whatever was altered in a certificate's folder is found and named."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.certificate import claims, sums
from rig.certificate.check import check
from rig.certificate.page import fingerprint
from rig.errors import UserError
from rig.evidence.records import Verdict
from tests.rig.certificate.material import certify, copy_of, qualified, release_build, rewrite

KEY = Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes_raw().hex()


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    return release_build(tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="module")
def master(tmp_path_factory, build):
    written, _ = certify(tmp_path_factory.mktemp("signed"), build, qualified(build), signing_key=KEY)
    return written


@pytest.fixture
def certificate(master, tmp_path):
    return copy_of(master, tmp_path / "certificate")


@pytest.fixture(scope="module")
def unsigned_master(tmp_path_factory, build):
    return certify(tmp_path_factory.mktemp("unsigned"), build, qualified(build))[0]


@pytest.fixture
def unsigned(unsigned_master, tmp_path):
    return copy_of(unsigned_master, tmp_path / "unsigned")


def summed_anew(folder: Path) -> Path:
    """As somebody leaves it who alters a folder and knows sha256sum."""
    (folder / sums.SUMS).write_text(sums.render(sums.hash_folder(folder)))
    return folder


def test_as_it_was_written_it_is_valid(certificate, build):
    seen = check(certificate, build, PUBLIC)
    assert seen.faults == ()
    assert seen.certificate is not None
    assert seen.certificate.found.verdict is Verdict.PASS
    assert seen.signature == f"signed with key {PUBLIC}, as given"
    assert seen.fingerprint == hashlib.sha256((certificate / "certificate.json").read_bytes()).hexdigest()


@settings(max_examples=60)
@given(data=st.data())
def test_any_one_byte_that_changes_anywhere_is_found_in_the_file_it_is_in(master, data):
    names = sums.files_below(master)
    path = master / data.draw(st.sampled_from(names))
    before = path.read_bytes()
    place = data.draw(st.integers(0, len(before) - 1))
    flip = data.draw(st.integers(1, 255))
    try:
        path.write_bytes(before[:place] + bytes([before[place] ^ flip]) + before[place + 1 :])
        faults = check(master).faults
    finally:
        path.write_bytes(before)
    assert faults
    if path.name not in sums.NOT_LISTED:
        assert faults == (f"{path.relative_to(master).as_posix()} was changed",)


def test_what_is_missing_added_renamed_or_a_link_is_named(certificate):
    (certificate / "gate.json").unlink()
    (certificate / "qualification" / "more.log").write_text("more")
    (certificate / "rig.toml").rename(certificate / "bench.toml")
    (certificate / "requirements.txt").rename(certificate.parent / "elsewhere")
    (certificate / "requirements.txt").symlink_to(certificate.parent / "elsewhere")
    (certificate / "empty").mkdir()
    os.mkfifo(certificate / "pipe")
    assert sorted(check(certificate).faults) == [
        "empty is an empty folder that was not there",
        "gate.json is missing",
        "pipe is neither file nor folder",
        "qualification/more.log was added",
        "requirements.txt is a symbolic link",
        "rig.toml was renamed to bench.toml",
    ]


def test_a_folder_that_is_a_link_is_not_followed(certificate):
    (certificate / "qualification").rename(certificate.parent / "elsewhere")
    (certificate / "qualification").symlink_to(certificate.parent / "elsewhere")
    faults = check(certificate).faults
    assert "qualification is a symbolic link" in faults
    assert "qualification/results.json is missing" in faults


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not sorted, not whole"),
        ("0" * 64 + "  gate.json", "not sorted, not whole"),
        ("0" * 64 + " *gate.json\n", "line 1 was altered"),
        ("0" * 64 + "  b\n" + "0" * 64 + "  a\n", "not sorted"),
        (("0" * 64 + "  a\n") * 2, "there twice"),
        ("\udcff\n", "is no text"),
        ("0" * 64 + "  a\x11b\n", "line 1 was altered"),
    ],
    ids=["empty", "no last line end", "binary mode", "unsorted", "twice", "no text", "control character"],
)
def test_sums_that_rig_did_not_write_are_refused(certificate, text, says):
    (certificate / "SHA256SUMS").write_bytes(text.encode("utf-8", "surrogateescape"))
    (fault,) = check(certificate).faults
    assert says in fault


def test_a_folder_without_sums_is_no_certificate(certificate, tmp_path):
    (certificate / "SHA256SUMS").unlink()
    assert check(certificate).faults == ("SHA256SUMS is missing: no certificate, or not a whole one",)
    with pytest.raises(UserError, match="no such folder"):
        check(tmp_path / "nowhere")


# --- altered by somebody who sums anew ------------------------------------------------------------------------------


def claim(change):
    """Alter certificate.json, and the page with it."""

    def alter(folder: Path) -> None:
        old = fingerprint((folder / "certificate.json").read_bytes())
        rewrite(folder, "certificate.json", change)
        new = fingerprint((folder / "certificate.json").read_bytes())
        page = (folder / "certificate.html").read_text()
        grouped = [" ".join(each[at : at + 8] for at in range(0, 64, 8)) for each in (old, new)]
        (folder / "certificate.html").write_text(page.replace(*grouped))

    return alter


def of_file(name, change):
    return lambda folder: rewrite(folder, name, change)


def fails(data):
    data["results"][0]["verdict"] = "firmware fail"


def stops(data):
    data["checks"][0].update(status="failed", accepted=None)


def other_bytes(name):
    def alter(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[-1] ^= 1
        (folder / name).write_bytes(data)

    return alter


@pytest.mark.parametrize(
    ("alter", "says"),
    [
        (claim(lambda data: data["found"].update(verdict="inconclusive")), "do not give the verdict"),
        (claim(lambda data: data["found"]["counts"].update({"pass": 99})), "do not give the counts of verdicts"),
        (claim(lambda data: data["found"]["requirements"].pop()), "do not give the matrix of requirements"),
        (claim(lambda data: data["found"]["parts"][0].update(verdict="skipped")), "the verdicts of its parts"),
        (claim(lambda data: data["found"]["boards"][0].update(same=9)), "do not give the boards"),
        (claim(lambda data: data["found"]["exceptions"].clear()), "exceptions or texts are not those"),
        (claim(lambda data: data["facts"]["release"].update(version="9.9")), "names another app than the one in build"),
        (claim(lambda data: data["facts"]["release"].update(synthesised=True)), "is wrong about who made"),
        (claim(lambda data: data["facts"]["signoff"].update(name="Eve")), "does not say what certificate.json says"),
        (claim(lambda data: data["facts"]["release"]["artefacts"].pop(0)), "is no artefact that"),
        (of_file("qualification/results.json", fails), "do not give the verdict"),
        (of_file("gate.json", stops), "do not give the verdict"),
        (of_file("gate.json", dict.clear), "gate.json is no report of the gate"),
        (of_file("qualification/results.json", dict.clear), "holds no results of a run"),
        (of_file("certificate.json", dict.clear), "certificate.json is no record of a certificate"),
        (of_file("certificate.json", lambda data: data.update(format=2)), "a newer rig wrote it"),
        (lambda folder: (folder / "certificate.json").write_text("{"), "certificate.json is no JSON"),
        (lambda folder: (folder / "certificate.json").write_text("[" * 100_000), "certificate.json is no JSON"),
        (other_bytes("build/bootloader/bootloader.bin"), "bootloader.bin is not the artefact that"),
        (other_bytes("qualification/index.html"), "was written for other contents"),
        (other_bytes("certificate.html"), "does not say what certificate.json says"),
        (lambda folder: (folder / "certificate.html").write_text("all is well"), "shows another fingerprint"),
        (lambda folder: (folder / "requirements.txt").unlink(), "requirements.txt is missing"),
        (lambda folder: (folder / "build/app2.bin").write_text("x"), "build/app2.bin is no artefact"),
        (lambda folder: (folder / "build/rig_test_app.bin").unlink(), "build/rig_test_app.bin is missing"),
    ],
)  # fmt: skip
def test_claims_are_held_against_the_contents(unsigned, alter, says):
    alter(unsigned)
    faults = check(summed_anew(unsigned)).faults
    assert any(says in fault for fault in faults), faults


def test_a_certificate_of_a_bench_fault_is_none(tmp_path, build):
    results = [result.model_copy(update={"verdict": Verdict.BENCH_FAULT}) for result in qualified(build)]
    written, _ = certify(tmp_path, build, results)
    (fault,) = check(written).faults
    assert "ended with a bench fault, of which no certificate is written" in fault


def test_another_version_of_rig_still_verifies_and_checks_what_matters(unsigned, monkeypatch):
    """A later rig may word texts and page otherwise; verdicts, counts and matrix stay what they are."""
    monkeypatch.setattr(claims, "sources_sha256", lambda: "of a later rig")
    claim(lambda data: data["found"]["parts"][0].update(text="worded otherwise"))(unsigned)
    assert check(summed_anew(unsigned)).faults == ()
    claim(lambda data: data["found"]["counts"].update({"pass": 99}))(unsigned)
    assert "the counts of verdicts" in check(summed_anew(unsigned)).faults[0]


# --- which build, whose key -----------------------------------------------------------------------------------------


def test_another_build_is_told_from_the_one_that_was_certified(certificate, build, tmp_path):
    other = release_build(tmp_path / "other", version="2.0.1")
    (other / "config" / "sdkconfig.json").unlink()
    faults = check(certificate, other).faults
    assert f"{other} is not the build that was certified: rig_test_app.bin is another one (app)" in faults
    assert f"{other} is not the build that was certified: config/sdkconfig.json is missing" in faults
    assert not any("bootloader.bin" in fault for fault in faults)
    with pytest.raises(UserError, match="does not exist"):
        check(certificate, tmp_path / "nowhere")


def test_a_signature_must_be_there_be_good_and_be_of_the_key_that_is_given(certificate, unsigned):
    other = Ed25519PrivateKey.generate()
    public = other.public_key().public_bytes_raw().hex()
    assert "which only the folder itself names" in check(certificate).signature
    assert check(certificate, None, public).faults == (f"SHA256SUMS.sig is of another key, {PUBLIC}",)
    (certificate / "SHA256SUMS.sig").write_bytes(other.sign((certificate / "SHA256SUMS").read_bytes()))
    assert check(certificate).faults == ("SHA256SUMS.sig does not fit to SHA256SUMS",)
    (certificate / "SHA256SUMS.sig").unlink()
    assert check(certificate).faults == ("SHA256SUMS.sig is missing, though certificate.json names a key",)
    assert check(unsigned).signature == "not signed"
    assert check(unsigned, None, PUBLIC).faults == ("SHA256SUMS.sig is missing: the folder is not signed",)
    (unsigned / "SHA256SUMS.sig").write_bytes(KEY.sign((unsigned / "SHA256SUMS").read_bytes()))
    assert check(unsigned).faults == ("SHA256SUMS.sig was added",)


def test_the_record_says_what_the_fingerprint_of_the_page_stands_for(certificate):
    data = json.loads((certificate / "certificate.json").read_text())
    lines = (certificate / "SHA256SUMS").read_text().splitlines(keepends=True)
    rest = "".join(line for line in lines if not line.endswith(("  certificate.json\n", "  certificate.html\n")))
    assert data["contents_sha256"] == hashlib.sha256(rest.encode()).hexdigest()
