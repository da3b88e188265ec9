"""`rig crash` from outside: what its commands print, leave and refuse. A short run, choose-again, stands for all."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rig.cli import main
from rig.crash.store import path_of

ROOT = Path(__file__).parents[2]
PATIENCE_S = 100.0
BOARDS = """
[[board]]
name = "sound"
kind = "virtual"
time_scale = 500

[[board]]
name = "wrong"
kind = "virtual"
time_scale = 500
wrong_bootloader = "needs_an_entry"

[[board]]
name = "other-chip"
kind = "virtual"
chip = "esp32s3"

[[board]]
name = "small-flash"
kind = "qemu"
chip = "esp32c3"
flash_size = "2MB"

[[board]]
name = "desk"
kind = "serial"
chip = "esp32c3"
port = "/dev/no-such-port"
"""
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a rig.toml, and a recording of choose-again on the sound board."""
    folder = tmp_path_factory.mktemp("bench")
    (folder / "rig.toml").write_text(BOARDS)
    assert rig(folder, "record", "choose-again").returncode == 0
    return folder


def rig(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`rig crash` as a process of its own in `folder`, in a terminal of 80 columns."""
    return subprocess.run(
        command(*arguments), cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )


def ask(folder: Path, *arguments: str) -> Result:
    """The same in this process, for what opens no board."""
    group, *more = arguments
    ran = CliRunner(env={"COLUMNS": "80"}).invoke(main, ["crash", group, "--config", str(folder / "rig.toml"), *more])
    assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
    return ran


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "rig", "crash", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}


def refused(done: Result) -> str:
    """What a refusal says, without a traceback and with nothing on stdout."""
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


def reports(folder: Path) -> list[Path]:
    return sorted((folder / "reports").iterdir()) if (folder / "reports").exists() else []


# --- sweep --------------------------------------------------------------------------------------------------------


def test_a_sweep_prints_classes_and_windows_and_leaves_a_report(tmp_path: Path) -> None:
    (tmp_path / "rig.toml").write_text(BOARDS)
    done = rig(tmp_path, "sweep", "--board", "virtual", "--scenario", "choose-again")
    assert done.returncode == 0, done.stderr
    assert re.search(r"hazard +rollback target lost +\d+ +\d+", done.stdout)
    assert re.search(r"BROKEN +unbootable +0 +0", done.stdout)
    assert "Risky window" in done.stdout
    assert "ota_1: VALID → NEW" in done.stdout
    (report,) = reports(tmp_path)
    assert f"report: {report}/index.html" in done.stdout
    record = json.loads((report / "results.json").read_text())
    (sweep,) = record["sweeps"]
    assert (sweep["verdict"], sweep["board"], sweep["scenario"]) == ("pass", "sound", "choose-again")
    assert (report / sweep["evidence"]["recording"]).is_file()
    assert 'id="cuts"' in (report / "index.html").read_text()
    assert not list((tmp_path / "recordings").rglob("*.journal"))


def test_booting_every_image_gives_the_same_classes(bench: Path) -> None:
    """The results as JSON, which are alone on stdout."""
    recording = str(path_of(bench / "recordings", "sound", "choose-again"))
    pruned, every = (
        json.loads(rig(bench, "sweep", "--recording", recording, "--json", *more).stdout)["sweeps"][0]
        for more in ((), ("--boot-all",))
    )
    assert pruned["outcomes"] == every["outcomes"]
    assert pruned["windows"] == every["windows"]
    assert pruned["booted"] <= every["booted"]


def test_a_bootloader_that_bricks_is_found_and_its_cut_can_be_replayed(tmp_path: Path) -> None:
    (tmp_path / "rig.toml").write_text(BOARDS)
    done = rig(tmp_path, "sweep", "update-ok", "--board", "wrong")
    assert done.returncode == 1
    assert re.search(r"DEVIATION \(\d+ images\): unbootable, where ESP-IDF v5\.5", done.stdout)
    found = re.search(r"rig crash replay (update-ok/m\d+/torn-erase-1)\n", done.stdout)
    assert found is not None
    replayed = rig(tmp_path, "replay", found[1], "--board", "wrong")
    assert replayed.returncode == 1
    assert "No bootable app partitions" in replayed.stdout
    assert "unbootable (broken)" in replayed.stdout
    sound = rig(tmp_path, "replay", found[1], "--board", "sound", "--json")
    assert sound.returncode == 0, sound.stderr
    assert json.loads(sound.stdout)["outcome"] != "unbootable"


def test_an_interrupted_sweep_leaves_no_report_and_is_continued(tmp_path: Path) -> None:
    (tmp_path / "rig.toml").write_text(BOARDS)
    journal = tmp_path / "recordings" / "sound" / "update-ok.journal"
    running = subprocess.Popen(
        command("sweep", "update-ok", "--depth", "2"), cwd=tmp_path, env=environment(), start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + PATIENCE_S
    while not journal.exists() or journal.read_text().count("\n") < 20:
        assert time.monotonic() < deadline, "nothing was booted"
        assert running.poll() is None, running.communicate()
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(PATIENCE_S) == 130
    assert reports(tmp_path) == []
    recording = path_of(tmp_path / "recordings", "sound", "update-ok")
    recorded = recording.stat().st_mtime_ns, recording.read_bytes()
    done = rig(tmp_path, "sweep", "update-ok", "--json")
    assert done.returncode == 0, done.stderr
    assert (recording.stat().st_mtime_ns, recording.read_bytes()) == recorded
    resumed = json.loads(done.stdout)["sweeps"][0]
    again = json.loads(rig(tmp_path, "sweep", "update-ok", "--anew", "--json").stdout)["sweeps"][0]
    assert resumed["outcomes"] == again["outcomes"]
    assert not journal.exists()


def test_a_board_that_cannot_boot_images_is_a_visible_skip(bench: Path) -> None:
    recording = str(path_of(bench / "recordings", "sound", "choose-again"))
    done = rig(bench, "sweep", "--board", "desk", "--recording", recording)
    assert done.returncode == 4
    assert "cannot boot thousands of flash images" in done.stdout
    assert "skipped" in done.stdout


# --- show and replay ----------------------------------------------------------------------------------------------


def test_a_recording_is_shown_mutation_by_mutation(bench: Path) -> None:
    shown = ask(bench, "show", "choose-again").stdout
    assert "m0000  nothing" in shown
    assert re.search(r"m\d{4}  erase otadata\[0\] at 0xd000: app writes ota_1: VALID → NEW  \(44 torn forms\)", shown)


def test_a_crash_image_is_shown_with_its_entries(bench: Path) -> None:
    erase = re.search(r"(m\d{4})  erase otadata\[0\]", ask(bench, "show", "choose-again").stdout)
    assert erase is not None
    shown = ask(bench, "show", f"choose-again/{erase[1]}/torn-erase-1").stdout
    assert "otadata[0] at 0xd000: seq 0xff, damaged, CRC bad" in shown
    assert "otadata[1] at 0xe000: seq 0x2, VALID, CRC good" in shown
    assert "1 of 4096 bytes at 0xd000 are not as before" in shown


def test_a_replay_prints_the_console_and_where_it_leads(bench: Path) -> None:
    done = rig(bench, "replay", "choose-again/m0000")
    assert done.returncode == 0, done.stderr
    assert "Loaded app from partition at offset 0x110000" in done.stdout
    assert "old app (good)" in done.stdout
    assert "the model of its ESP-IDF version does the same" in done.stdout


def test_a_second_cut_can_be_replayed(bench: Path) -> None:
    assert rig(bench, "record", "update-ok").returncode == 0
    marked = re.search(
        r"(m\d{4})  program \d+ bytes of otadata\[1\] .* writes ota_1: NEW → PENDING_VERIFY",
        ask(bench, "show", "update-ok").stdout,
    )
    assert marked is not None
    done = rig(bench, "replay", f"update-ok/{marked[1]}/then/m0001")
    assert done.returncode == 0, done.stderr
    assert "cut at ota_1: PENDING_VERIFY → ABORTED" in done.stdout
    assert "failure forgotten (hazard)" in done.stdout


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sweep", "no-such-run"), "no scenario is called 'no-such-run'"),
        (("record", "no-such-run"), "no scenario is called 'no-such-run'"),
        (("show", "update-rejected"), "no recording of 'update-rejected'"),
        (("show", "choose-again/m9999"), "there is no mutation 9999"),
        (("replay", "choose-again/m9999"), "there is no mutation 9999"),
        (("replay", "choose-again/m0004/torn-erase-9999"), "has no form"),
        (("replay", "choose-again/x"), "is no crash image"),
        (("replay", "choose-again"), "names a recording, not a crash image"),
        (("replay", "choose-again/m0001", "--board", "other-chip"), "esp32c3, this board is an esp32s3"),
        (("sweep", "--recording", "no-such.crash.gz"), "there is no recording"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_done_is_refused(bench: Path, arguments: tuple[str, ...], said: str) -> None:
    before = reports(bench)
    told = refused(ask(bench, *arguments))
    assert said in told
    assert "try: " in told or "(board " in told
    assert reports(bench) == before


def test_a_truncated_recording_is_refused(bench: Path, tmp_path: Path) -> None:
    whole = path_of(bench / "recordings", "sound", "choose-again")
    cut = tmp_path / whole.name
    cut.write_bytes(whole.read_bytes()[:-20])
    assert "is cut short" in refused(ask(bench, "sweep", "--recording", str(cut)))


@pytest.mark.parametrize(
    ("board", "said"),
    [("other-chip", "recorded on an esp32c3, this board is an esp32s3"), ("small-flash", "a flash of 4MB, this board")],
)
def test_a_recording_of_another_chip_or_flash_size_is_refused(bench: Path, board: str, said: str) -> None:
    recording = str(path_of(bench / "recordings", "sound", "choose-again"))
    assert said in refused(ask(bench, "sweep", "--board", board, "--recording", recording))
