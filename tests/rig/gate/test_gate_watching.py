"""The gate watches: what bootloader and app about to ship do, on a board that boots them."""

from __future__ import annotations

import dataclasses
import json

import pytest
from click.testing import CliRunner

from rig.boards.board import powered
from rig.boards.firmware import FirmwareBuild
from rig.boards.image_boots import BootSeen, PowerUp
from rig.cli import main
from rig.crash.live import LiveBooter
from rig.errors import BenchFault
from rig.gate import catalogue
from rig.gate.check import Status
from rig.gate.release import CannotTell, Release
from rig.gate.watching import Sight, Sights, watch
from rig.virtual.app import TestApp as App
from tests.rig.bench import close_board, open_board
from tests.rig.gate.builds import configure, failing, good_build, of_status, outcomes, pieces

RIG_TOML = """\
[[board]]
name = "simulated"
kind = "virtual"
chip = "esp32c3"

[[board]]
name = "other"
kind = "virtual"
chip = "esp32s3"

[[board]]
name = "emulated"
kind = "qemu"
chip = "esp32c3"

[[board]]
name = "desk"
kind = "serial"
chip = "esp32c3"
port = "/dev/none"
"""
WATCHED = ("GATE-ROLLBACK-WATCHED", "GATE-FALLBACK-CONFIRM")


@pytest.fixture
def bench(tmp_path, monkeypatch):
    (tmp_path / "rig.toml").write_text(RIG_TOML)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def gate(*arguments, code):
    result = CliRunner().invoke(main, ["gate", "build", "--json", *arguments])
    assert result.exit_code == code, result.output
    return {check["id"]: check for check in json.loads(result.stdout)["checks"]}


@pytest.mark.parametrize("variant", ["rollback", "factory", "anti_rollback_1", "three_slots"])
def test_a_good_build_is_seen_to_put_an_update_on_probation(bench, variant):
    good_build(bench / "build", variant=variant)
    found = gate("--board", "simulated", code=0)
    assert [found[name]["status"] for name in WATCHED] == ["passed", "passed"]
    assert "NEW → PENDING_VERIFY → VALID" in found[WATCHED[0]]["found"]
    assert "ota_0 was started by fallback" in found[WATCHED[1]]["found"]


def test_a_bootloader_without_rollback_is_found_out_although_sdkconfig_promises_it(bench):
    build = good_build(bench / "build", variant="no_rollback")
    configure(build, BOOTLOADER_APP_ROLLBACK_ENABLE=True)
    found = gate("--board", "simulated", code=1)
    assert [name for name, check in found.items() if check["status"] == "failed"] == ["GATE-ROLLBACK-WATCHED"]
    assert "never PENDING_VERIFY" in found["GATE-ROLLBACK-WATCHED"]["found"]


@pytest.fixture
def hasty(monkeypatch):
    """An app that confirms at every start, whatever it was started for."""
    start = App._main

    def main(self):
        self._ota.confirm()
        start(self)

    monkeypatch.setattr(App, "_main", main)


def test_an_app_that_confirms_unconditionally_is_warned_of(bench, hasty):
    good_build(bench / "build")
    found = gate("--board", "simulated", code=0)["GATE-FALLBACK-CONFIRM"]
    assert found["status"] == "warning"
    assert "the torn ota_1 became VALID" in found["found"]


def test_with_anti_rollback_it_must_not_ship(bench, hasty):
    good_build(bench / "build", variant="anti_rollback")
    assert gate("--board", "simulated", code=1)["GATE-FALLBACK-CONFIRM"]["status"] == "failed"


def test_without_a_board_it_says_that_nothing_was_watched(bench):
    good_build(bench / "build")
    found = gate(code=0)
    assert [found[name]["status"] for name in WATCHED] == ["warning", "warning"]
    assert all("--board" in found[name]["found"] for name in WATCHED)


@pytest.mark.parametrize(
    ("board", "why"),
    [
        ("emulated", "holds no machine code"),
        ("desk", "holds no machine code"),
    ],
)
def test_a_board_that_cannot_run_the_build(bench, board, why):
    good_build(bench / "build")
    found = gate("--board", board, code=1)
    assert [found[name]["status"] for name in WATCHED] == ["not done", "not done"]
    assert why in found[WATCHED[0]]["found"]
    gate("--board", board, "--accept-missing", code=0)


def test_with_flash_encryption_nothing_is_watched(bench):
    build = good_build(bench / "build")
    configure(build, SECURE_FLASH_ENC_ENABLED=True, SECURE_FLASH_ENCRYPTION_MODE_RELEASE=True)
    assert gate("--board", "simulated", code=1)["GATE-ROLLBACK-WATCHED"]["status"] == "not done"


def test_a_build_that_cannot_be_flashed_is_not_watched(bench):
    build = good_build(bench / "build")
    (build / "ota_data_initial.bin").unlink()
    found = gate("--board", "simulated", code=1)["GATE-ROLLBACK-WATCHED"]
    assert found["status"] == "not done"
    assert "ota_data_initial.bin" in found["found"]


@pytest.mark.parametrize(("board", "why"), [("other", "the build is for esp32c3"), ("nobody", "no board is called")])
def test_a_board_that_is_not_meant(bench, board, why):
    good_build(bench / "build")
    result = CliRunner().invoke(main, ["gate", "build", "--board", board])
    assert result.exit_code == 2
    assert why in result.stderr


# --- what a board may do otherwise -----------------------------------------------------------------------------------


def judged(build, sights):
    release = Release(pieces(build), watched=sights)
    return {name: catalogue.BY_ID[name].run(release).status for name in WATCHED}


FINE = Sight(("NEW", "none", "PENDING_VERIFY"), ("ota_1",))
BACK = Sight(("NEW", "none", "PENDING_VERIFY"), ("ota_0",))


@pytest.mark.parametrize(
    ("update", "fallback", "rollback", "confirm"),
    [
        (FINE, BACK, "passed", "passed"),
        (Sight(("NEW",), ("ota_1",)), BACK, "failed", "passed"),
        (Sight(("NEW", "none", "PENDING_VERIFY"), ("ota_0",)), BACK, "failed", "passed"),
        (Sight(("NEW",), (None,)), BACK, "failed", "passed"),
        (Sight(("NEW", "none", "VALID"), ("ota_1",)), BACK, "failed", "passed"),
        (Sight(("NEW", "VALID"), ("ota_1",), complete=False), BACK, "not done", "passed"),
        (Sight(("NEW",), ("ota_1",), complete=False), BACK, "failed", "passed"),
        (Sight(("NEW", "PENDING_VERIFY", "VALID"), ("ota_1",), complete=False), BACK, "passed", "passed"),
        (FINE, Sight(("NEW",), ("ota_1",)), "passed", "failed"),
        (FINE, Sight(("NEW", "none"), (None, None)), "passed", "failed"),
        (FINE, Sight(("NEW", "none", "PENDING_VERIFY", "none", "VALID"), ("ota_0",)), "passed", "warning"),
    ],
)
def test_what_was_seen_is_judged(tmp_path, update, fallback, rollback, confirm):
    build = good_build(tmp_path / "build")
    assert judged(build, Sights("b", update, fallback)) == dict(zip(WATCHED, (rollback, confirm), strict=True))


class Broken:
    """An image booter that fails, or sees nothing."""

    def __init__(self, done):
        self._done = done

    def boot(self, flash):
        if isinstance(self._done, Exception):
            raise self._done
        return self._done

    def close(self):
        pass


@pytest.mark.parametrize(
    "done",
    [
        BenchFault("the emulator died", board="b"),
        PowerUp((BootSeen(None, None, None, "runs", ()),), b"a log at WARN"),
    ],
    ids=["fault", "quiet"],
)
def test_a_bench_that_fails_says_nothing_of_the_firmware(tmp_path, done):
    build = FirmwareBuild.load(good_build(tmp_path / "build"))
    with pytest.raises(CannotTell):
        watch("b", build, Broken(done))


def test_a_table_without_two_slots_cannot_be_watched(tmp_path):
    build = FirmwareBuild.load(good_build(tmp_path / "build"))
    one = dataclasses.replace(build.table, entries=build.table.entries[:-1])
    with pytest.raises(CannotTell):
        watch("b", dataclasses.replace(build, table=one), Broken(None))


def test_the_statuses_of_the_other_checks_do_not_depend_on_the_board(bench):
    build = good_build(bench / "build")
    assert failing(build, watched=CannotTell("no")) == set()
    assert of_status(outcomes(build, watched=CannotTell("no")), Status.NOT_DONE) == set(WATCHED)


@pytest.mark.parametrize(
    ("variant", "way"), [("rollback", ("NEW", "PENDING_VERIFY", "VALID")), ("no_rollback", ("NEW",))]
)
def test_a_board_that_does_not_show_each_write_tells_by_what_the_app_says(tmp_path, variant, way):
    build = FirmwareBuild.load(good_build(tmp_path / "build", variant=variant))
    board, chip = open_board()
    try:
        with powered(board):
            sights = watch("b", build, LiveBooter(board, build.table))
    finally:
        close_board(chip)
    assert sights.update == Sight(way, ("ota_1",), complete=False)
    assert sights.fallback.slots == ("ota_0",)
    assert "VALID" not in sights.fallback.states


def test_efuses_of_a_real_chip_are_not_burnt(bench):
    good_build(bench / "build", variant="anti_rollback")
    found = gate("--board", "desk", code=1)
    assert "burns eFuses of a real chip" in found["GATE-ROLLBACK-WATCHED"]["found"]
