"""`rig qualify --release` and `rig verify` from outside."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from rig.cli import main
from rig.virtual.builds import make_build
from tests.rig.project import left_in, run, small_project, write_tests

GOOD = """\
import pytest

@pytest.mark.requirement("A-1", "Good boards boot.")
def test_boots(trial):
    trial.install("rollback")
    trial.boot()
    assert trial.finish().booted == ["ota_0"]
"""
BAD = """\
import pytest
from rig.errors import BenchFault

@pytest.mark.requirement("A-1", "Bad boards fail.")
def test_it():
    raise {error}
"""
SIGNED = ("--signoff", "Ada L.")


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return make_build(tmp_path_factory.mktemp("sample"), variant="rollback", chip="esp32c3", version="2.0.0")


@pytest.fixture
def project(sample, tmp_path, monkeypatch):
    """A project with one test, and a sample build in `build`."""
    shutil.copytree(sample, tmp_path / "build")
    return small_project(tmp_path, monkeypatch, "test_small.py", GOOD)


def verify(*arguments: str, code: int) -> str:
    result = CliRunner(env={"COLUMNS": "100"}).invoke(main, ["verify", *arguments])
    assert result.exit_code == code, result.output
    return result.stdout + result.stderr


def test_what_a_virtual_board_qualifies_is_inconclusive_about_the_shipped_bootloader(project):
    result = run("--release", "build", *SIGNED, "--json")
    assert result.exit_code == 4, result.output
    assert "can at best become inconclusive about the shipped bootloader" in result.stderr
    (name,) = left_in("certificates")
    folder = Path("certificates", name)
    record = json.loads((folder / "certificate.json").read_text())
    assert json.loads(result.stdout) == record
    assert record["found"]["headline"] == "Inconclusive about this bootloader"
    assert {part["name"]: part["verdict"] for part in record["found"]["parts"]} == {
        "gate": "pass", "qualification": "pass", "bootloader": "inconclusive",
    }  # fmt: skip
    assert "NOT the shipped bootloader" in record["found"]["boards"][0]["text"]
    # The test noted which bootloader it ran on: the sample's is the one that virtual boards have.
    assert record["found"]["boards"][0]["same"] == 1
    assert len(left_in("reports")) == 1

    assert "signed off by Ada L." in verify(str(folder), "--build", "build", code=4)
    (folder / "gate.json").write_text("{}")
    said = verify(str(folder), code=2)
    assert "not a valid certificate\ngate.json was changed" in said
    assert json.loads(verify(str(folder), "--json", code=2))["faults"] == ["gate.json was changed"]


@pytest.mark.parametrize(
    ("error", "code", "certificates"),
    [("AssertionError('wrong slot')", 1, 1), ("BenchFault('the port vanished')", 3, 0)],
    ids=["firmware fail", "bench fault"],
)
def test_a_failure_is_certified_and_a_bench_fault_is_not(project, error, code, certificates):
    write_tests(project, BAD.format(error=error))
    result = run("--release", "build", *SIGNED)
    assert result.exit_code == code, result.output
    assert len(left_in("certificates")) == certificates
    assert len(left_in("reports")) == 1
    if certificates:
        assert "Not qualified: the firmware failed" in verify(f"certificates/{left_in('certificates')[0]}", code=1)
    else:
        assert "no certificate is written" in result.stderr


def test_a_release_that_the_gate_stops_is_not_even_qualified(project):
    make_build(Path("without"), variant="no_rollback", chip="esp32c3", version="2.0.0")
    result = run("--release", "without", *SIGNED, "--accept", "GATE-ROLLBACK=we never roll back")
    assert result.exit_code == 1, result.output
    assert "the gate stops this release: failed: GATE-ROLLBACK" in result.stderr
    assert left_in("reports") == left_in("certificates") == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--release", "build"), "somebody has to sign off"),
        (("--release", "build", "--signoff", " "), "somebody has to sign off"),
        (("--release", "build", "--signoff", "a\x1bb"), "printable characters"),
        (SIGNED, "--signoff is for a release"),
        (("--accept-missing",), "--accept-missing is for a release"),
        (("--release", "build", *SIGNED, "-k", "boots"), "-k with --release: a certificate is of the whole"),
        (("--release", "build", *SIGNED, "--variant", "factory"), "--variant with --release"),
        (("--release", "build", *SIGNED, "--suite", "field"), "--suite field with --release"),
        (("--release", "nowhere", *SIGNED), "build directory nowhere does not exist"),
        (("--release", "tests", *SIGNED), "holds nothing of an ESP-IDF build"),
        (("--release", "build", *SIGNED, "--signing-key", "rig.toml"), "no private key in PEM"),
        (("--release", "build", *SIGNED, "--accept", "NONE=x"), "there is no check 'NONE'"),
    ],
)
def test_wrong_use_is_refused_before_anything_runs(project, arguments, says):
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert left_in("reports") == left_in("certificates") == []


def test_verify_refuses_what_is_no_certificate(project):
    assert "no such folder" in verify("nowhere", code=2)
    assert "SHA256SUMS is missing" in verify("build", code=2)
    assert "no public key in PEM" in verify("build", "--public-key", "rig.toml", code=2)
