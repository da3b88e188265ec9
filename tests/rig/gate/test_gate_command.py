"""`rig gate` from outside: exit codes, what a person reads, what a program reads, and builds that are not whole."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rig.cli import main
from rig.errors import UserError
from rig.gate import catalogue, listing
from rig.gate.check import Status
from rig.gate.release import Margin, parse_margin
from tests.rig.gate.builds import (
    APP,
    ARGS,
    BOOTLOADER,
    CONFIG,
    MISSING,
    OTADATA,
    TABLE,
    configure,
    edit_json,
    good_build,
    outcomes,
)

DOCUMENT = Path(__file__).parents[3] / "docs" / "gate.md"


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    return good_build(tmp_path_factory.mktemp("good"))


@pytest.fixture
def build(master, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(master, tmp_path / "build")


def gate(*arguments, code, width=100):
    result = CliRunner(env={"COLUMNS": str(width)}).invoke(main, ["gate", *map(str, arguments)])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def as_json(*arguments, code):
    return json.loads(gate(*arguments, "--json", code=code).stdout)


def test_a_good_build_may_ship(build):
    text = gate(build, code=0).stdout
    assert "may ship: 4 warning" in text
    assert "must not" not in text


def test_what_fails_comes_first_with_reason_and_remedy(build):
    configure(build, BOOTLOADER_APP_ROLLBACK_ENABLE=False)
    text = gate(build, code=1).stdout
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if "GATE-" in line)
    assert re.match("failed +GATE-ROLLBACK ", lines[first])
    assert "CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE is off" in lines[first + 1]
    assert lines[first + 2].lstrip().startswith("why: ")
    assert "try: Set CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE=y" in text
    assert lines[-1].startswith("must not ship: 1 failed")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_text_fits_the_terminal_and_breaks_no_name(build, width):
    configure(build, BOOTLOADER_APP_ROLLBACK_ENABLE=False)
    text = gate(build, code=1, width=width).stdout
    explained = [line for line in text.splitlines() if line.startswith(" " * 15)]
    assert explained
    assert all(len(line) <= max(width, 55) and line == line.rstrip() for line in explained)
    assert "CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE=y" in text


def test_the_json_is_what_docs_say(build):
    said = as_json(build, code=0)
    assert (said["format"], said["version"], said["passed"]) == ("rig-gate", 1, True)
    assert said["firmware"]["version"] == "2.0.0"
    assert [check["id"] for check in said["checks"]] == list(catalogue.BY_ID)
    assert sum(said["counts"].values()) == len(said["checks"])
    document = DOCUMENT.read_text()
    keys = set(said) | set(said["firmware"]) | set(said["checks"][0]) | set(said["counts"])
    assert {key for key in keys if f"`{key}`" not in document} == set()


def test_the_document_has_every_check_as_it_is():
    assert listing.table() in DOCUMENT.read_text(), "put what `python -m rig.gate.listing` prints into docs/gate.md"


def test_a_failure_is_accepted_by_id_with_a_reason(build):
    configure(build, BOOTLOADER_LOG_LEVEL=2, ESP_INT_WDT=False)
    accept = "GATE-LOG-LEVEL=no console = no log"
    assert as_json(build, "--accept", accept, code=1)["accepted"] == 1
    said = as_json(build, "--accept", accept, "--accept", "GATE-INT-WDT=one core only", code=0)
    checks = {check["id"]: check for check in said["checks"]}
    assert checks["GATE-LOG-LEVEL"]["accepted"] == "no console = no log"
    assert checks["GATE-LOG-LEVEL"]["status"] == "failed"
    assert not checks["GATE-LOG-LEVEL"]["blocks"]
    assert "accepted: one core only" in gate(build, "--accept", accept, "--accept", "GATE-INT-WDT=one core only",
                                             code=0).stdout  # fmt: skip


def test_an_acceptance_without_need_is_named(build):
    assert as_json(build, "--accept", "GATE-TLS=why not", code=0)["needless_accepts"] == ["GATE-TLS"]
    assert "--accept GATE-TLS: there was nothing to accept" in gate(build, "--accept", "GATE-TLS=x", code=0).stdout


def test_missing_pieces_stop_the_release_unless_accepted(build):
    shutil.rmtree(build / "config")
    text = gate(build, code=1).stdout
    assert re.search(r"not done +GATE-ROLLBACK +config/sdkconfig.json is missing", text)
    assert text.splitlines()[-1].endswith("--accept-missing")
    said = as_json(build, "--accept-missing", code=0)
    assert said["counts"]["not done"] == said["accepted"] > 10


def test_a_torn_file_is_not_a_missing_one(build):
    (build / CONFIG).write_text((build / CONFIG).read_text()[:100])
    said = as_json(build, "--accept-missing", code=1)
    assert [check["id"] for check in said["checks"] if check["blocks"]] == ["GATE-FILES"]


@pytest.mark.parametrize("lost", ["config", "flash_files"])
def test_a_path_that_the_system_refuses_is_a_piece_that_cannot_be_read(build, lost):
    if lost == "config":
        shutil.rmtree(build / "config")
        # As a folder that may not be entered, which root may: the system cannot say whether anything is in it.
        (build / "config").symlink_to("x" * 300)
    else:
        edit_json(build / ARGS, {"flash_files": {"0x10000": "x" * 300}})
    said = as_json(build, code=1)
    assert "GATE-FILES" in [check["id"] for check in said["checks"] if check["blocks"]]


@pytest.mark.parametrize("piece", [APP, BOOTLOADER, TABLE, OTADATA, CONFIG, ARGS])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_a_pipe_or_a_folder_in_place_of_a_file_is_not_read(build, piece, make):
    (build / piece).unlink()
    make(build / piece)
    said = as_json(build, "--accept-missing", code=1)
    assert next(check["found"] for check in said["checks"] if check["id"] == "GATE-FILES") == f"{piece} is no file"


def test_a_file_larger_than_any_flash_is_not_read(build):
    with (build / APP).open("r+b") as file:
        file.truncate(20 << 30)
    said = as_json(build, "--accept-missing", code=1)
    assert "more than any flash" in next(each["found"] for each in said["checks"] if each["id"] == "GATE-FILES")


@pytest.mark.parametrize(
    ("piece", "change", "check"),
    [
        (CONFIG, {"BOOTLOADER_APP_ROLLBACK_ENABLE": "true"}, "GATE-ROLLBACK"),
        (ARGS, {"flash_files": {"zzz": APP}}, "GATE-LAYOUT"),
        (ARGS, {"flash_files": MISSING}, "GATE-LAYOUT"),
        (ARGS, {"otadata": {"offset": "otadata", "file": OTADATA}}, "GATE-LAYOUT"),
    ],
)
def test_what_makes_no_sense_is_not_accepted_as_missing(build, piece, change, check):
    edit_json(build / piece, change)
    said = as_json(build, "--accept-missing", code=1)
    assert check in [each["id"] for each in said["checks"] if each["blocks"]]


def test_an_app_alone_is_checked_as_far_as_it_goes(build, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in (APP, "project_description.json"):
        shutil.copy(build / name, alone)
    found = outcomes(alone)
    assert found["GATE-APP-HASH"].status is Status.PASSED
    assert found["GATE-VERSION"].status is Status.PASSED
    gate(alone, code=1)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["nowhere"], "does not exist"),
        (["x" * 300], "cannot be read"),
        (["empty"], "holds nothing of an ESP-IDF build"),
        (["build", "--previous", "nowhere"], "does not exist"),
        (["build", "--previous", "empty"], "holds nothing of an ESP-IDF build"),
        (["build", "--accept", "GATE-NONSENSE=x"], "there is no check 'GATE-NONSENSE'"),
        (["build", "--accept", "GATE-TLS"], "a reason is needed"),
        (["build", "--accept", "GATE-TLS= "], "a reason is needed"),
        (["build", "--accept", "GATE-TLS=a", "--accept", "GATE-TLS=b"], "is there twice"),
        (["build", "--margin", "a lot"], "neither a share nor a size"),
        (["build", "--margin", "100%"], "neither a share nor a size"),
        (["build", "--board", "any"], "rig.toml"),
        ([], "BUILD_DIR"),
    ],
)
def test_wrong_use_is_explained(build, arguments, why):
    Path("empty").mkdir()
    assert why in gate(*arguments, code=2).stderr


@pytest.mark.parametrize(
    ("text", "room"),
    [
        ("0", 0),
        ("65536", 65536),
        ("010", 10),
        ("0x10000", 65536),
        ("64K", 65536),
        ("1M", 1 << 20),
        ("10%", 104857),
        ("2.5 %", 26214),
    ],
)
def test_margins(text, room):
    assert parse_margin(text).of(0x100000) == room


@given(st.text(max_size=8))
def test_a_margin_is_read_or_refused(text):
    try:
        margin = parse_margin(text)
    except UserError:
        return
    assert isinstance(margin, Margin)
    assert margin.of(0x100000) >= 0


TEXTS = ("flasher_args.json", CONFIG, "project_description.json")
NOTHING = st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.just([]) | st.just({})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from((*TEXTS, APP, BOOTLOADER, TABLE, OTADATA)), share=st.floats(0, 1), junk=st.binary(max_size=8)
)
def test_no_torn_file_makes_a_check_raise_or_pass_unseen(master, tmp_path, name, share, junk):
    folder = tmp_path / "torn"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(master, folder)
    whole = (folder / name).read_bytes()
    torn = whole[: int(len(whole) * share)] + junk
    (folder / name).write_bytes(torn)
    found = outcomes(folder)
    stopped = [outcome for outcome in found.values() if outcome.status in (Status.FAILED, Status.NOT_DONE)]
    assert stopped or still_good(name, torn, whole)


def still_good(name, torn, whole):
    """Whether only what nobody reads is lost or added: blanks of JSON, bytes behind an image or a table."""
    if name in TEXTS:
        return torn.strip() == whole.strip()
    needed = whole.rstrip(b"\xff") + b"\xff" * 32 if name == TABLE else whole
    return torn.startswith(needed)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(TEXTS), pick=st.integers(0, 1000), value=NOTHING)
@example(name=ARGS, pick=2, value=None)
def test_no_value_of_another_kind_makes_a_check_raise(master, tmp_path, name, pick, value):
    folder = tmp_path / "odd"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(master, folder)
    data = json.loads((folder / name).read_text())
    key = list(data)[pick % len(data)]
    data[key] = value
    (folder / name).write_text(json.dumps(data))
    # the outcome may be any: for most keys any value is right
    assert len(outcomes(folder)) == len(catalogue.CHECKS)
