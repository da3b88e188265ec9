"""Where QEMU is looked for, and what is said when it is not there or not the right one."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.emulator.efuse import SIZES, blank_efuses
from rig.emulator.find import PROGRAMS, find_qemu
from rig.errors import UserError
from tests.rig.emulator import fake_qemu


def install(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return fake_qemu.program(folder)


def environ(tmp_path: Path, **more: object) -> dict[str, str]:
    """An environment in which nothing is installed, and `more`."""
    return {"PATH": "", "IDF_TOOLS_PATH": str(tmp_path / "tools-root"), **{key: str(more[key]) for key in more}}


def tools(tmp_path: Path, version: str) -> Path:
    return tmp_path / "tools-root" / "tools" / "qemu-riscv32" / version / "qemu" / "bin"


@pytest.mark.parametrize("as_folder", [False, True])
def test_it_is_found_by_the_boards_key_as_program_or_folder(tmp_path: Path, as_folder: bool) -> None:
    program = install(tmp_path / "mine")
    qemu = find_qemu("esp32c3", program.parent if as_folder else program, environ(tmp_path))
    assert qemu == (program, "QEMU emulator version 0.0 (fake)", "rig.toml")


@pytest.mark.parametrize("as_folder", [False, True])
def test_it_is_found_by_qemu_path_as_program_or_folder(tmp_path: Path, as_folder: bool) -> None:
    program = install(tmp_path / "mine")
    qemu = find_qemu("esp32c3", None, environ(tmp_path, QEMU_PATH=program.parent if as_folder else program))
    assert (qemu.program, qemu.source) == (program, "QEMU_PATH")


def test_it_is_found_on_the_path(tmp_path: Path) -> None:
    program = install(tmp_path / "mine")
    qemu = find_qemu("esp32c3", None, environ(tmp_path, PATH=program.parent))
    assert (qemu.program, qemu.source) == (program, "PATH")


def test_of_esp_idfs_tools_the_newest_is_taken(tmp_path: Path) -> None:
    for version in ("esp_develop_9.0.0_20240606", "esp_develop_10.0.1_20260101", "esp_develop_9.2.2_20250817"):
        install(tools(tmp_path, version))
    qemu = find_qemu("esp32c3", None, environ(tmp_path))
    assert qemu.source == "ESP-IDF's tools"
    assert qemu.program.parents[2].name == "esp_develop_10.0.1_20260101"


def test_the_nearest_word_counts(tmp_path: Path) -> None:
    places = {name: install(tmp_path / name) for name in ("key", "variable", "path")}
    install(tools(tmp_path, "esp_develop_9.0.0_20240606"))
    env = environ(tmp_path, QEMU_PATH=places["variable"], PATH=places["path"].parent)
    assert find_qemu("esp32c3", places["key"], env).source == "rig.toml"
    assert find_qemu("esp32c3", None, env).source == "QEMU_PATH"
    del env["QEMU_PATH"]
    assert find_qemu("esp32c3", None, env).source == "PATH"
    env["PATH"] = ""
    assert find_qemu("esp32c3", None, env).source == "ESP-IDF's tools"


@pytest.mark.parametrize("variable", [False, True])
def test_a_place_that_is_named_is_not_passed_over(tmp_path: Path, variable: bool) -> None:
    other = install(tmp_path / "path")
    nowhere = tmp_path / "nowhere"
    env = environ(tmp_path, PATH=other.parent, **({"QEMU_PATH": nowhere} if variable else {}))
    with pytest.raises(UserError, match=str(nowhere)):
        find_qemu("esp32c3", None if variable else nowhere, env)


def test_where_was_looked_and_what_to_do_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        find_qemu("esp32s3", None, environ(tmp_path))
    text = str(caught.value)
    assert "qemu-system-xtensa" in text
    assert "(PATH)" in text
    assert "tools-root/tools/qemu-xtensa" in text
    assert "idf_tools.py install qemu-xtensa" in text


def test_a_file_that_may_not_be_run_is_no_qemu(tmp_path: Path) -> None:
    program = install(tmp_path / "mine")
    program.write_text("#!/bin/false")
    program.chmod(0o644)
    with pytest.raises(UserError, match="there is no qemu-system-riscv32"):
        find_qemu("esp32c3", program, environ(tmp_path))


def test_a_qemu_without_the_machine_says_which_it_has(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        find_qemu("esp32", install(tmp_path / "mine"), environ(tmp_path))
    assert "has no machine esp32" in str(caught.value)
    assert "Espressif ESP32-C3 machine" in str(caught.value)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("#!/bin/sh\necho libslirp.so.0: cannot open >&2\nexit 127\n", "libslirp.so.0"),
        ("#!/bin/nothing-here\n", "does not run"),
    ],
)
def test_a_qemu_that_does_not_run_says_why(tmp_path: Path, script: str, said: str) -> None:
    program = install(tmp_path / "mine")
    program.write_text(script)
    with pytest.raises(UserError, match=said):
        find_qemu("esp32c3", program, environ(tmp_path))


def test_a_chip_that_qemu_does_not_emulate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no machine for esp32h2"):
        find_qemu("esp32h2", None, environ(tmp_path))


def test_every_chip_with_a_machine_has_efuses_with_its_revision_alone() -> None:
    assert set(SIZES) == set(PROGRAMS)
    for chip, size in SIZES.items():
        content = blank_efuses(chip)
        assert len(content) == size
        burnt = {index * 8 + bit for index, byte in enumerate(content) for bit in range(8) if byte >> bit & 1}
        # ESP-IDF components/efuse/<chip>/esp_efuse_table.csv: WAFER_VERSION_MINOR_LO, CHIP_VER_REV1, CHIP_VER_REV2
        block1 = 24 * 8
        assert burnt == ({3 * 32 + 15, 5 * 32 + 20} if chip == "esp32" else {block1 + 114, block1 + 115})
