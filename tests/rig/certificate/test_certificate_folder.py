"""The folder of a certificate: what is in it, what must not be, and that it is whole or not there at all."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rig.certificate import artefacts, folder
from rig.certificate.folder import folder_name, write_certificate
from rig.certificate.records import Kept
from rig.errors import BenchFault, Inconclusive, UserError
from tests.rig.certificate.material import (
    AT,
    BENCH,
    certify,
    material_of,
    qualified,
    release_build,
    release_of,
    report_folder,
    run_of,
)
from tests.rig.gate.builds import ARGS, edit_json


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    return release_build(tmp_path_factory.mktemp("release"))


@pytest.fixture
def build(master, tmp_path):
    return shutil.copytree(master, tmp_path / "build_dir")


def left_in(path):
    return sorted(os.listdir(path)) if path.exists() else []


def test_everything_lies_in_one_folder_named_by_app_version_and_time(tmp_path, build):
    written, certificate = certify(tmp_path, build, qualified(build))
    assert written == tmp_path / "certificates" / "rig_test_app-2.0.0-2026-01-02_03-04-05"
    assert left_in(tmp_path / "certificates") == [written.name]
    assert left_in(written) == [
        "SHA256SUMS", "build", "certificate.html", "certificate.json", "gate.json", "qualification", "requirements.txt",
        "rig.toml",
    ]  # fmt: skip
    assert (written / "qualification/tests/desk/a/console.log").read_bytes() == b"boot\n"
    for name in ("bootloader/bootloader.bin", "partition_table/partition-table.bin", "ota_data_initial.bin",
                 "rig_test_app.bin", ARGS, "config/sdkconfig.json"):  # fmt: skip
        assert (written / "build" / name).read_bytes() == (build / name).read_bytes()
    kept = {each.name: each.sha256 for each in certificate.facts.release.artefacts}
    app = (build / "rig_test_app.bin").read_bytes()
    assert kept["rig_test_app.bin"] == hashlib.sha256(app).hexdigest()
    assert json.loads((written / "certificate.json").read_text())["found"]["verdict"] == "pass"


def test_plain_sha256sum_checks_it(tmp_path, build):
    program = shutil.which("sha256sum")
    if program is None:
        pytest.skip("no sha256sum on this machine")
    written, _ = certify(tmp_path, build, qualified(build))
    done = subprocess.run([program, "--strict", "-c", "SHA256SUMS"], cwd=written, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": OK\n") == sum(len(files) for _, _, files in os.walk(written)) - 1


def test_of_symbols_and_large_files_only_the_hash_is_kept(tmp_path, build, monkeypatch):
    monkeypatch.setattr(artefacts, "BIG", 30_000)
    (build / "rig_test_app.elf").write_bytes(b"\x7fELF symbols")
    written, certificate = certify(tmp_path, build, qualified(build))
    only = {each.name: each.sha256 for each in certificate.facts.release.artefacts if each.kept is Kept.HASH_ONLY}
    assert only["rig_test_app.elf"] == hashlib.sha256(b"\x7fELF symbols").hexdigest()
    assert set(only) == {"rig_test_app.elf", "rig_test_app.bin"}
    assert not {name for name in only if (written / "build" / name).exists()}
    assert "rig_test_app.elf: only its hash is kept" in [note.text for note in certificate.found.exceptions]


PASSWORD = 'hunter2 "ö<&'
WIFI = BENCH + (
    f"wifi = {{ ssid = \"lab\", password = {json.dumps(PASSWORD)}, host = \"10.0.0.1\" }}\n"
    'power = { on = "curl -u admin:geheim http://relay/on", off = "curl http://u:geheim@relay/off" }\n# geheim\n'
)  # fmt: skip


def test_no_password_gets_in_not_even_by_the_evidence(tmp_path, build):
    edit_json(build / "config/sdkconfig.json", {"EXAMPLE_WIFI_PASSWORD": "product-geheim", "EXAMPLE_WIFI_SSID": "shop"})
    (build / "sdkconfig").write_text('CONFIG_EXAMPLE_WIFI_PASSWORD="product-geheim"\nCONFIG_A="kept"\n')
    logs = {
        "tests/desk/a/console.log": f"rig> network {PASSWORD}\n".encode(),
        "tests/desk/a/trace.json": json.dumps({"said": PASSWORD}).encode(),
        "tests/desk/a/flash.bin": b"\xff\x00" + PASSWORD.encode() + b"\x00\xff",
    }
    report = report_folder(tmp_path / "report", run_of(qualified(build)), logs)
    written, certificate = write_certificate(material_of(build, report, bench=WIFI), tmp_path / "certificates")
    parts = [path for path in written.rglob("*") if path.is_file()]
    for path in parts:
        data = path.read_bytes()
        assert b"geheim" not in data, path
        assert b"hunter2" not in data, path
    assert (written / "qualification/tests/desk/a/flash.bin").stat().st_size == len(logs["tests/desk/a/flash.bin"])
    assert '"shop"' in (written / "build/config/sdkconfig.json").read_text()
    assert 'CONFIG_A="kept"' in (written / "build/sdkconfig").read_text()
    said = [note.text for note in certificate.found.exceptions if note.about == "contents"]
    assert said == [
        "qualification: a Wi-Fi password is starred out in 3 files",
        "config/sdkconfig.json: left out EXAMPLE_WIFI_PASSWORD",
        "sdkconfig: left out CONFIG_EXAMPLE_WIFI_PASSWORD",
        "rig.toml: board[0].wifi.password: left out",
        "rig.toml: board[0].power.on: left out",
        "rig.toml: board[0].power.off: left out",
    ]


def test_a_file_outside_of_the_build_directory_is_refused(build):
    (build.parent / "stray.bin").write_bytes(b"x")
    flashed = json.loads((build / ARGS).read_text())["flash_files"]
    edit_json(build / ARGS, {"flash_files": {**flashed, "0x300000": "../stray.bin"}})
    with pytest.raises(UserError, match="not a plain path within the build directory"):
        release_of(build)


def test_a_build_that_changed_meanwhile_is_not_certified(tmp_path, build):
    material = material_of(build, report_folder(tmp_path / "report", run_of(qualified(build))))
    (build / "rig_test_app.bin").write_bytes(b"another")
    with pytest.raises(Inconclusive, match=r"rig_test_app\.bin changed while it was qualified"):
        write_certificate(material, tmp_path / "certificates")
    assert left_in(tmp_path / "certificates") == []


def test_a_full_disk_is_a_bench_fault_and_leaves_nothing_but_the_report(tmp_path, build):
    report = report_folder(tmp_path / "report", run_of(qualified(build)))
    material = material_of(build, report)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may grow beyond this: the app does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        with pytest.raises(BenchFault, match="the certificate cannot be written there: File too large"):
            write_certificate(material, tmp_path / "certificates")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert left_in(tmp_path / "certificates") == []
    assert (report / "index.html").is_file()


def test_interrupted_it_leaves_nothing(tmp_path, build, monkeypatch):
    def interrupted(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "render_page", interrupted)
    with pytest.raises(KeyboardInterrupt):
        certify(tmp_path, build, qualified(build))
    assert left_in(tmp_path / "certificates") == []


def test_where_nothing_can_be_written_it_is_refused(tmp_path, build):
    (tmp_path / "certificates").write_text("a file")
    with pytest.raises(UserError, match="no certificate can be written there"):
        certify(tmp_path, build, qualified(build))


def test_none_is_ever_written_over(tmp_path, build):
    names = []
    for number in range(3):
        written, _ = certify(tmp_path / f"{number}", build, qualified(build))
        (tmp_path / "all").mkdir(exist_ok=True)
        names.append(folder._named(written, tmp_path / "all" / written.name).name)
    assert names == [
        "rig_test_app-2.0.0-2026-01-02_03-04-05", "rig_test_app-2.0.0-2026-01-02_03-04-05-2",
        "rig_test_app-2.0.0-2026-01-02_03-04-05-3",
    ]  # fmt: skip
    assert all((tmp_path / "all" / name / "certificate.html").is_file() for name in names)


@pytest.mark.parametrize(
    ("project", "version", "name"),
    [("app", "1.0", "app-1.0"), ("../..", "/etc", "etc"), (".hid den", "1ö", "hid_den-1_"), ("...", "", "build")],
)
def test_the_name_of_the_folder_is_harmless(project, version, name):
    assert folder_name(project, version, AT).rpartition("-2026-")[0] == name


def test_a_key_signs_the_sums(tmp_path, build):
    key = Ed25519PrivateKey.generate()
    written, certificate = certify(tmp_path, build, qualified(build), signing_key=key)
    key.public_key().verify((written / "SHA256SUMS.sig").read_bytes(), (written / "SHA256SUMS").read_bytes())
    assert certificate.facts.signing_key == key.public_key().public_bytes_raw().hex()
