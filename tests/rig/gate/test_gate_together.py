"""Files of a build that do not belong together, go where nothing looks, or say what nobody checks."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace

import pytest

from rig.gate.check import Status
from rig.idf.image import build_image
from tests.rig.gate.builds import (
    APP,
    ARGS,
    BOOTLOADER,
    CODE,
    MISSING,
    NEEDS_BOARD,
    configure,
    failing,
    good_build,
    of_status,
    outcomes,
    read_table,
    write_table,
)


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    return good_build(tmp_path_factory.mktemp("good"))


@pytest.fixture
def build(master, tmp_path):
    return shutil.copytree(master, tmp_path / "build")


def whole(build):
    """With what only a build directory of idf.py has: the bootloader's own sdkconfig.json, and the app's .elf."""
    shutil.copytree(build / "config", build / "bootloader" / "config")
    (build / "rig_test_app.elf").write_bytes(b"machine code")
    sha = hashlib.sha256(b"machine code").digest()
    (build / APP).write_bytes(build_image(chip="esp32c3", version="2.0.0", elf_sha=sha, segments=CODE))
    return build


def test_a_whole_build_directory_leaves_only_what_a_board_has_to_show(build):
    found = outcomes(whole(build))
    assert of_status(found, Status.FAILED) == set()
    assert of_status(found, Status.WARNING) == NEEDS_BOARD


@pytest.mark.parametrize(
    "other",
    [{"version": "2.0.1"}, {"project": "thermostat"}, {"secure_version": 1}, {"elf_sha": bytes(32)}],
    ids=lambda other: next(iter(other)),
)
def test_an_app_of_another_build(build, other):
    sha = hashlib.sha256(b"machine code").digest()
    whole(build)
    wanted = {"version": "2.0.0", "elf_sha": sha, **other}
    (build / APP).write_bytes(build_image(chip="esp32c3", segments=CODE, **wanted))
    assert failing(build) == {"GATE-APP-CONFIG"}


def test_otadata_that_is_not_flashed(build):
    args = json.loads((build / ARGS).read_text())
    del args["otadata"], args["flash_files"]["0xd000"]
    (build / ARGS).write_text(json.dumps(args))
    assert "nothing is flashed to it" in outcomes(build)["GATE-OTADATA"].found
    assert failing(build) == {"GATE-OTADATA"}


@pytest.mark.parametrize(
    ("offset", "size", "status", "said"),
    [
        (0x9000, 0x3000, Status.PASSED, "the app is flashed into ota_0"),
        (0x9000, 0x5000, Status.FAILED, "overlaps ota_data_initial.bin"),
        (0x110000, 0x3000, Status.WARNING, "extra.bin goes into ota_1"),
        (0x1F0000, 0x200000, Status.FAILED, "behind 'ota_1'"),
        (0x300000, 0x1000, Status.FAILED, "where no partition is"),
    ],
)
def test_further_files_that_are_flashed(build, offset, size, status, said):
    (build / "extra.bin").write_bytes(bytes(size))
    args = json.loads((build / ARGS).read_text())
    args["flash_files"][hex(offset)] = "extra.bin"
    (build / ARGS).write_text(json.dumps(args))
    found = outcomes(build)["GATE-LAYOUT"]
    assert found.status is status
    assert said in found.found


def test_a_table_where_the_bootloader_does_not_look(build):
    configure(build, PARTITION_TABLE_OFFSET=0x9000)
    assert "told to look at 0x9000" in outcomes(build)["GATE-LAYOUT"].found


@pytest.mark.parametrize(("subtype", "check"), [("ota_1", "GATE-OTA-SLOTS"), ("ota", "GATE-OTADATA")])
def test_a_partition_that_no_update_can_write(build, subtype, check):
    rows = [replace(row, flags=row.flags | 2) if row.subtype_name == subtype else row for row in read_table(build)]
    write_table(build, rows)
    assert check in failing(build)
    assert "read-only" in outcomes(build)[check].found


def test_a_task_watchdog_that_watches_nothing_is_warned_of(build):
    configure(build, ESP_TASK_WDT_CHECK_IDLE_TASK_CPU0=False)
    assert outcomes(build)["GATE-TASK-WDT"].status is Status.WARNING


@pytest.mark.parametrize(
    ("setting", "check"),
    [("ESP_SYSTEM_PANIC_PRINT_REBOOT", "GATE-PANIC"), ("ESP_BROWNOUT_DET", "GATE-BROWNOUT")],
)
def test_what_sdkconfig_does_not_say_is_not_taken_for_good(build, setting, check):
    configure(build, **{setting: MISSING})
    assert outcomes(build)[check].status is Status.NOT_DONE


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda image: image.__setitem__(slice(14, 17), b"\x01\x0f\x27"), "it needs chip revision v99.99"),
        (lambda image: image.__setitem__(slice(4, 8), bytes(4)), "entry point 0x0"),
    ],
)
def test_a_bootloader_that_the_rom_does_not_start(build, change, said):
    image = bytearray((build / BOOTLOADER).read_bytes())
    change(image)
    image[-32:] = hashlib.sha256(image[:-32]).digest()
    (build / BOOTLOADER).write_bytes(image)
    assert failing(build) == {"GATE-BOOTLOADER-IMAGE"}
    assert said in outcomes(build)["GATE-BOOTLOADER-IMAGE"].found


def test_what_lies_behind_the_app_unseen_by_its_hash_is_warned_of(build):
    (build / APP).write_bytes((build / APP).read_bytes() + b"\x55" * 100)
    found = outcomes(build)["GATE-APP-IMAGE"]
    assert (found.status, found.found[:9]) == (Status.WARNING, "100 bytes")


def test_a_slot_far_behind_the_end_of_flash_costs_no_memory(build):
    rows = [replace(row, offset=0x7FFF0000) if row.subtype_name == "ota_0" else row for row in read_table(build)]
    write_table(build, rows)
    assert outcomes(build)["GATE-APP-IMAGE"].status is Status.NOT_DONE
    assert "GATE-TABLE" in failing(build)
