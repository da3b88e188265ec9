"""`rig doctor` from outside: everything that is missing is named with what to do about it, and nothing else is."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

from rig import doctor
from rig.boards import inventory
from rig.build import VERSIONS
from rig.cli import main
from rig.idf.image import build_image
from rig.virtual.builds import make_build

ROOT = Path(__file__).parents[2]
VIRTUAL = '[[board]]\nname = "simulated"\nkind = "virtual"\nchip = "esp32c6"\n'
QEMU = '[[board]]\nname = "emulated"\nkind = "qemu"\nchip = "esp32c3"\n'
SERIAL = '[[board]]\nname = "attached"\nkind = "serial"\nchip = "esp32c3"\n'
QEMU_PROGRAM = """#!/bin/sh
if [ "$1" = --version ]; then echo "QEMU emulator version 9.0.0"; else echo "Supported machines are:"; echo "{} x"; fi
"""


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """An empty folder on a computer with neither ESP-IDF nor QEMU."""
    for name in ("IDF_PATH", "QEMU_PATH", "IDF_TOOLS_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def examined(toml, *arguments, code):
    """The findings of all boards by name, then by check."""
    Path("rig.toml").write_text(toml)
    result = CliRunner().invoke(main, ["doctor", "--look", "--json", *arguments])
    assert result.exit_code == code, result.output
    found = json.loads(result.stdout)
    boards = {board["name"]: named(board["findings"]) for board in found["boards"]}
    return {"tools": named(found["tools"]), **boards}


def named(findings):
    return {finding["name"]: finding for finding in findings}


def only_missing(found):
    """Name and text of the single finding that is missing; it says what to do."""
    missing = [finding for part in found.values() for finding in part.values() if finding["state"] == "missing"]
    assert len(missing) == 1, missing
    assert missing[0]["remedy"]
    return missing[0]["name"], missing[0]["text"]


def install_qemu(folder, machine="esp32c3", name="qemu-system-riscv32"):
    program = folder / name
    program.write_text(QEMU_PROGRAM.replace("{}", machine))
    program.chmod(0o755)
    return program


def fill_shelf(folder="builds", chip="esp32c3", variants=("rollback",), versions=VERSIONS):
    for variant in variants:
        for version in versions:
            make_build(Path(folder, chip, variant, version), variant=variant, chip=chip, version=version)


# virtual boards and tools


def test_a_virtual_board_needs_nothing(bench):
    found = examined(VIRTUAL, code=0)
    assert {finding["state"] for finding in found["simulated"].values()} == {"ok"}
    assert found["tools"]["ESP-IDF"]["state"] == "note"
    assert found["tools"]["esptool"]["text"] == metadata.version("esptool")


@pytest.mark.parametrize(("version", "fits"), [("5.5.9", False), ("5.6.0", True), ("5.10.1", True), ("6.0.0", False)])
def test_only_an_esptool_that_the_bench_knows_will_do(bench, monkeypatch, version, fits):
    monkeypatch.setattr(metadata, "version", lambda name: version)
    found = examined(VIRTUAL, code=0 if fits else 3)
    if not fits:
        assert only_missing(found) == ("esptool", f"esptool {version}; needed: 5.6 or later, before 6.0")


def test_an_absent_esptool_is_missing(bench, monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert only_missing(examined(VIRTUAL, code=3)) == ("esptool", "esptool is not installed")


def test_one_board_can_be_asked_for_and_an_unknown_one_is_refused(bench):
    found = examined(QEMU + VIRTUAL, "simulated", code=0)
    assert set(found) == {"tools", "simulated"}
    result = CliRunner().invoke(main, ["doctor", "nobody"])
    assert result.exit_code == 2
    assert "one of: emulated, simulated" in result.stderr


def test_for_a_person_every_finding_is_a_line_and_every_remedy_follows_it(bench):
    Path("rig.toml").write_text(QEMU + VIRTUAL)
    result = CliRunner().invoke(main, ["doctor", "--look"])
    assert result.exit_code == 3
    text = result.stdout
    assert "emulated (qemu, esp32c3)\n" in text
    assert re.search(
        r"^  missing builds    no firmware is built for esp32c3.*\n +try: rig build --target esp32c3$", text, re.M
    )
    assert text.endswith("2 missing\n")


# emulated boards


def test_an_emulated_board_with_qemu_and_builds_fits(bench):
    program = install_qemu(bench / "bin")
    fill_shelf()
    found = examined(QEMU, code=0)
    assert found["emulated"]["QEMU"]["state"] == "ok"
    assert "QEMU emulator version 9.0.0" in found["emulated"]["QEMU"]["text"]
    assert str(program) in found["emulated"]["QEMU"]["text"]
    assert f"rollback {', '.join(VERSIONS)}" in found["emulated"]["builds"]["text"]


def test_an_absent_qemu_is_missing_with_the_places_that_were_looked_at(bench):
    fill_shelf()
    name, text = only_missing(examined(QEMU, code=3))
    assert name == "QEMU"
    assert "qemu-system-riscv32" in text
    assert "PATH" in text


def test_a_qemu_without_the_machine_is_missing(bench):
    install_qemu(bench / "bin", machine="virt")
    fill_shelf()
    name, text = only_missing(examined(QEMU, code=3))
    assert name == "QEMU"
    assert "has no machine esp32c3" in text


# builds


@pytest.fixture
def emulated(bench):
    install_qemu(bench / "bin")
    return bench


def test_absent_builds_are_missing(emulated):
    assert only_missing(examined(QEMU, code=3)) == (
        "builds", f"no firmware is built for esp32c3 ({emulated / 'builds'})",
    )  # fmt: skip


def test_builds_for_another_chip_only_are_named(emulated):
    fill_shelf(chip="esp32s3", versions=("1.0.0",))
    assert "no firmware is built for esp32c3, only for esp32s3" in only_missing(examined(QEMU, code=3))[1]


def test_a_version_that_tests_need_is_missed(emulated):
    fill_shelf(versions=VERSIONS[:-1])
    assert "not built in 9.0.0" in only_missing(examined(QEMU, code=3))[1]


def test_variants_that_some_tests_need_are_noted_only(emulated):
    fill_shelf()
    builds = examined(QEMU, code=0)["emulated"]["builds"]
    assert builds["state"] == "note"
    assert re.search(r"skipped: .*\bfactory\b", builds["text"])
    assert builds["remedy"] == "rig build --target esp32c3"


def test_builds_are_looked_for_where_rig_toml_says(emulated):
    fill_shelf("elsewhere")
    assert examined('[firmware]\nbuilds = "elsewhere"\n' + QEMU, code=0)


def one_build():
    return Path("builds/esp32c3/rollback/2.0.0")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            lambda: make_build(one_build(), variant="rollback", chip="esp32s3", version="2.0.0"),
            "the build is for esp32s3",
        ),
        (
            lambda: make_build(one_build(), variant="no_rollback", chip="esp32c3", version="2.0.0"),
            "the variant asks for CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE=y, the build has",
        ),
        (
            lambda: make_build(one_build(), variant="rollback", chip="esp32c3", version="2.0.1"),
            "the app says version '2.0.1'",
        ),
        (
            lambda: (one_build() / "rig_test_app.bin").write_bytes(
                build_image(chip="esp32c3", version="2.0.0", rodata=bytes(0x100000))
            ),
            "does not fit ota_0 of 1048576 bytes",
        ),
        (lambda: (one_build() / "flasher_args.json").write_text('{"flash_set'), "flasher_args.json is no JSON"),
        (lambda: (one_build() / "flasher_args.json").write_text('{"name": "web"}'), "is not ESP-IDF's"),
        (lambda: (one_build() / "bootloader/bootloader.bin").unlink(), "bootloader.bin is named in flasher_args.json"),
    ],
    ids=["other chip", "no rollback", "other version", "too large", "cut args", "foreign args", "no bootloader"],
)
def test_a_broken_build_is_found_before_a_run(emulated, damage, said):
    fill_shelf()
    damage()
    name, text = only_missing(examined(QEMU, code=3))
    assert name == "builds"
    assert said in text
    assert "rollback/2.0.0" in text


def test_a_build_for_more_flash_than_the_board_has_is_found(emulated):
    fill_shelf()
    assert "built for 4 MB of flash, the board has 2MB" in only_missing(
        examined(QEMU + 'flash_size = "2MB"\n', code=3)
    )[1]  # fmt: skip


def test_variants_of_ones_own_need_only_be_whole(emulated):
    fill_shelf()
    make_build(Path("builds/esp32c3/product/7.1"), variant="factory", chip="esp32c3", version="7.1.2")
    assert "product 7.1" in examined(QEMU, code=0)["emulated"]["builds"]["text"]


def test_what_rig_build_is_working_on_is_not_looked_at(emulated):
    fill_shelf()
    for name in (".work/esp32c3-rollback", "esp32c3/rollback/.1.0.0.new", "esp32c3/.hidden/1.0.0"):
        Path("builds", name).mkdir(parents=True)
    examined(QEMU, code=0)


# attached boards


def attached(url, more=""):
    return SERIAL + f'port = "{url}"\n{more}'


@pytest.fixture
def served(bench):
    """A virtual esp32c3 behind an RFC2217 server of another process."""
    (bench / "served.toml").write_text('[[board]]\nname = "c3"\nkind = "virtual"\nchip = "esp32c3"\n')
    process = subprocess.Popen(
        [sys.executable, "-m", "rig", "serve", "--config", "served.toml", "--port", "0"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    yield re.search(r"rfc2217://\S+", process.stdout.readline())[0]
    process.terminate()
    process.communicate()


def test_an_attached_board_that_answers_fits(served):
    fill_shelf()
    found = examined(attached(served), code=0)["attached"]
    assert found["port"]["text"] == served
    assert (found["chip"]["state"], found["chip"]["text"][:8]) == ("ok", "ESP32-C3")
    assert found["power"]["state"] == "note"


def test_another_chip_than_rig_toml_says_is_found(served):
    fill_shelf(chip="esp32s3")
    name, text = only_missing(examined(attached(served).replace("esp32c3", "esp32s3"), code=3))
    assert name == "chip"
    assert re.fullmatch(r"the chip that answers is ESP32-C3.*, rig.toml says esp32s3", text)


def test_a_port_that_is_not_there_is_missing_once(bench):
    fill_shelf()
    found = examined(attached("/dev/serial/by-id/no-such-board"), code=3)
    assert only_missing(found)[0] == "port"
    assert found["attached"]["chip"] == {
        "name": "chip", "state": "note", "text": "not asked: its port is not there", "remedy": None,
    }  # fmt: skip


def test_a_server_that_does_not_answer_is_missing(bench):
    fill_shelf()
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        found = examined(attached(f"rfc2217://127.0.0.1:{held.getsockname()[1]}"), code=3)
    assert "cannot be opened" in found["attached"]["port"]["text"]
    assert found["attached"]["port"]["remedy"] == "is its server running?"


def test_a_port_in_another_programs_hands_names_that_program(bench):
    ours, device = pty.openpty()
    try:
        path = os.ttyname(device)
        program = "import serial, sys; port = serial.Serial(sys.argv[1], exclusive=True); print(); sys.stdin.read()"
        with subprocess.Popen(
            [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other:
            other.stdout.readline()
            port = examined(attached(path), code=3)["attached"]["port"]
            other.stdin.close()
        assert port["state"] == "missing"
        assert f"({other.pid})" in port["text"]
        assert port["remedy"] == "close the other program"
    finally:
        os.close(ours)
        os.close(device)


@pytest.mark.parametrize(
    ("power", "state", "said"),
    [
        ('{ on = "switch on", off = "switch off" }', "ok", "on: switch on; off: switch off (not switched)"),
        ('{ on = "switch on", off = "absent off" }', "missing", "there is no program absent, which switches power"),
        ('{ on = "switch on", off = "sh -c \'" }', "missing", "power in rig.toml is no command line"),
    ],
)
def test_power_commands_are_looked_for_and_not_run(bench, power, state, said):
    program = bench / "bin" / "switch"
    program.write_text(f"#!/bin/sh\necho run > {bench}/switched\n")
    program.chmod(0o755)
    found = examined(attached("/dev/no-such", f"power = {power}\n"), code=3)["attached"]["power"]
    assert found["state"] == state
    assert said in found["text"]
    assert not (bench / "switched").exists()


@pytest.mark.parametrize(
    ("key", "state", "said"),
    [
        (bytes(range(32)), "ok", "one for esp32c3"),
        (b"short", "missing", "no flash encryption key"),
        (None, "missing", "cannot be read"),
    ],
)
def test_a_flash_encryption_key_is_looked_at_before_a_test_needs_it(bench, key, state, said):
    if key is not None:
        (bench / "flash.key").write_bytes(key)
    board = attached("/dev/no-such", f'encryption_key = "{bench}/flash.key"\n')
    found = examined(board, code=3)["attached"]["flash key"]
    assert (found["state"], said in found["text"]) == (state, True), found


@pytest.mark.parametrize(
    ("host", "state", "said"),
    [("127.0.0.1", "ok", "through lab"), ("192.0.2.1", "missing", "no server can listen on 192.0.2.1")],
)
def test_the_address_that_a_board_loads_updates_from_is_one_of_this_machine(bench, host, state, said):
    wifi = f'wifi = {{ ssid = "lab", password = "secret", host = "{host}" }}\n'
    found = examined(attached("/dev/no-such", wifi), code=3)["attached"]["Wi-Fi"]
    assert (found["state"], said in found["text"]) == (state, True), found
    assert "secret" not in str(found)


# every kind


def test_every_kind_of_board_has_checks():
    kinds = {section.model_fields["kind"].annotation.__args__[0] for section in inventory.BoardSection.__args__}
    assert set(doctor.BOARDS) == kinds


def test_a_check_that_fails_of_itself_is_a_finding_and_the_others_go_on(bench, monkeypatch):
    def broken(_subject):
        raise PermissionError(13, "Permission denied", "/builds")

    monkeypatch.setitem(doctor.BOARDS["qemu"], "QEMU", broken)
    found = examined(QEMU, code=3)["emulated"]
    assert "Permission denied" in found["QEMU"]["text"]
    assert found["builds"]["state"] == "missing"
