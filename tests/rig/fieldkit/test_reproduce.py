"""`rig reproduce`: a dump is put on a board and compared, a log is searched for what explains it."""

import gzip
import hashlib
import json
from itertools import count
from pathlib import Path

import pytest
from click.testing import CliRunner

from rig.boards.firmware import FirmwareBuild
from rig.boards.install import flash_content
from rig.cli import main
from rig.fieldkit.entries import entry_bytes
from rig.fieldkit.scenario import load
from rig.virtual.builds import make_build

LOGS = Path(__file__).parents[2] / "data" / "logs"
NUMBERS = count()


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "rig.toml"
    path.write_text(
        f'[[board]]\nname = "reproduce-{next(NUMBERS)}"\nkind = "virtual"\nchip = "esp32c3"\ntime_scale = 200.0\n'
    )
    return path


def reproduce(config, *arguments):
    return CliRunner().invoke(main, ["reproduce", "--json", "--config", str(config), *map(str, arguments)])


def replay(config, path):
    """On another board: one process has one chip of a name."""
    again = config.with_name("again.toml")
    again.write_text(config.read_text().replace("reproduce-", "again-"))
    return CliRunner().invoke(main, ["replay", str(path), "--config", str(again)])


@pytest.fixture
def dump(tmp_path):
    """Whole flash of a device whose update to ota_1 was written and not started yet."""
    build = FirmwareBuild.load(make_build(tmp_path / "b", variant="rollback", chip="esp32c3", version="1.0.0"))
    new = FirmwareBuild.load(make_build(tmp_path / "n", variant="rollback", chip="esp32c3", version="2.0.0"))
    entries = (entry_bytes("seq 1 VALID"), entry_bytes("seq 2 NEW"))
    path = tmp_path / "field.bin"
    path.write_bytes(flash_content(build, build, entries, {"ota_1": new.app_path.read_bytes()}))
    return path


def test_a_whole_dump_is_kept_beside_its_scenario_and_booted_as_it_is(config, dump, tmp_path):
    done = reproduce(config, dump)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert [boot["slot"] for boot in said["boots"]] == ["ota_1"] * 3
    scenario = load(Path(said["scenarios"][0]))
    kept = gzip.decompress((tmp_path / "reports" / "reproduced" / scenario.start.dump).read_bytes())
    assert kept == dump.read_bytes()
    assert scenario.start.dump_sha256 == hashlib.sha256(kept).hexdigest()


def test_the_saved_scenario_replays(config, dump):
    path = json.loads(reproduce(config, dump).stdout)["scenarios"][0]
    assert replay(config, path).exit_code == 0


@pytest.mark.parametrize(("saw", "code"), [(["ota_1", "ota_1"], 0), (["ota_1", "ota_0"], 1)])
def test_what_the_field_saw_decides(config, dump, saw, code):
    done = reproduce(config, dump, *(part for slot in saw for part in ("--saw", slot)))
    assert done.exit_code == code, done.output


def test_the_boots_of_a_log_decide(config, dump, tmp_path):
    log = tmp_path / "after.log"
    log.write_bytes(gzip.decompress((LOGS / "qemu" / "rb_crash_abort.log.gz").read_bytes()))
    done = reproduce(config, dump, "--log", log)
    assert done.exit_code == 1, done.output
    assert "booted: expected ota_0, ota_1, ota_0, ota_0" in json.loads(done.stdout)["why"][0]


def test_of_otadata_alone_the_rest_is_assumed_and_said(config, tmp_path):
    part = tmp_path / "otadata.bin"
    part.write_bytes(b"".join(entry_bytes(words).ljust(0x1000, b"\xff") for words in ("seq 1 VALID", "seq 2 ABORTED")))
    done = reproduce(config, part, "--base", "0xd000")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert [boot["slot"] for boot in said["boots"]] == ["ota_0"] * 3
    assert any("no partition table" in text for text in load(Path(said["scenarios"][0])).left_out)


def test_a_dump_that_was_changed_is_not_taken_for_the_one_that_was_meant(config, dump, tmp_path):
    path = Path(json.loads(reproduce(config, dump).stdout)["scenarios"][0])
    kept = path.with_name(load(path).start.dump)
    kept.write_bytes(gzip.compress(dump.read_bytes()[:-1] + b"\0"))
    done = replay(config, path)
    assert done.exit_code == 2
    assert "not the dump that the scenario begins from" in done.stderr


def test_a_log_is_explained_and_the_likeliest_explanation_played(config, tmp_path):
    log = tmp_path / "crash.log"
    log.write_bytes(gzip.decompress((LOGS / "qemu" / "rb_crash_abort.log.gz").read_bytes()))
    done = reproduce(config, log)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["result"] == "reproduced"
    assert [boot["slot"] for boot in said["boots"]] == ["ota_0", "ota_1", "ota_0", "ota_0"]
    assert said["beginnings"] >= len(said["explanations"]) == len(said["scenarios"])


def test_a_log_that_nothing_explains_is_inconclusive(config):
    done = reproduce(config, LOGS / "field" / "skyfeeder-checksum-changes-every-boot.log")
    assert done.exit_code == 4, done.output
    assert json.loads(done.stdout)["explanations"] == []


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--saw", "ota_77"], "no slot"),
        (["--log", "nowhere.log"], "nowhere.log"),
    ],
)
def test_bad_options_are_told(config, dump, arguments, word):
    done = reproduce(config, dump, *arguments)
    assert done.exit_code == 2, done.output
    assert word in done.stderr


def test_a_dump_without_otadata_cannot_be_reproduced(config, tmp_path):
    erased = tmp_path / "erased.bin"
    erased.write_bytes(b"\xff" * 0x10000)
    done = reproduce(config, erased)
    assert done.exit_code == 2, done.output
    assert "nothing to reproduce" in done.stderr
