"""The `rig` command from outside: help, exit codes, and what it says of bad input."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import rig
from rig.boards import inventory
from rig.cli import main

ROOT = Path(__file__).parents[2]
COMMANDS = ("qualify", "conformance", "serve", "list", "requirements", "build", "doctor")
READ_BENCH = ("qualify", "serve", "list", "build", "doctor")
GOOD = """
[bench]
name = "desk"

[firmware]
idf_version = "v5.5"

[[board]]
name = "one"
kind = "virtual"
chip = "esp32c6"
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Runs the command in this process, in an empty folder, in a terminal of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return lambda *arguments: CliRunner().invoke(main, arguments, prog_name="rig")


def refused(result: Result, code: int = 2) -> str:
    """What a refusal says: on stderr, without a traceback and with nothing on stdout."""
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
    return result.stderr


def started(*arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    """`python -m rig` as a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    return subprocess.run([sys.executable, "-m", "rig", *arguments], cwd=ROOT, env=environment, **options)


# --- help ---------------------------------------------------------------------------------------------------------


CRASH = ("scenarios", "record", "sweep", "show", "replay", "cut")


@pytest.mark.parametrize(
    "arguments",
    [(), *((command,) for command in COMMANDS), ("crash",), *(("crash", command) for command in CRASH)],
    ids=lambda a: " ".join(a) or "rig",
)
def test_help_fits_80_columns_and_names_no_python_types(run, arguments):
    result = run(*arguments, "--help")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert result.stdout.startswith(" ".join(("Usage: rig", *arguments)))
    assert not re.search(r"\b(TEXT|INTEGER|RANGE|PATH)\b", result.stdout)


def test_help_says_what_every_command_is_for_without_cutting_it_short(run):
    text = run("--help").stdout
    for command in COMMANDS:
        assert re.search(rf"^  {command} +[A-Z].*[^.]\.$", text, re.MULTILINE), command


@pytest.mark.parametrize("arguments", [(), ("qualify",)], ids=["rig", "qualify"])
def test_help_lists_the_exit_codes(run, arguments):
    text = run(*arguments, "--help").stdout
    codes = re.findall(r"^    (\d+) +(.*)", text, re.MULTILINE)
    assert dict(codes) == {
        "0": "all passed, or skipped with the reason",
        "1": "firmware fault",
        "2": "wrong use or broken input",
        "3": "bench fault",
        "4": "inconclusive, or nothing was tested",
        "130": "interrupted",
    }


def test_python_m_rig_is_the_command():
    done = started("--version", capture_output=True)
    assert done.returncode == 0
    assert done.stdout.decode().split() == ["rig,", "version", rig.__version__]


# --- wrong use ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("frobnicate",), "No such command 'frobnicate'"),
        (("qualify", "--jobs", "0"), "'--jobs': 0 is not in the range 1<=x<=64"),
        (("qualify", "--jobs", "many"), "'--jobs': 'many' is not a valid"),
        (("qualify", "test_update.py"), "unexpected extra argument"),
        (("serve", "--port", "65536"), "'--port': 65536 is not in the range"),
        (("conformance",), "Missing argument 'FILE...'"),
        (("conformance", "--show", "-1", "x"), "'--show': -1 is not in the range"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_use_names_the_argument(run, arguments, said):
    assert said in refused(run(*arguments))


@pytest.mark.parametrize("command", ["qualify", "serve"])
def test_an_unknown_board_lists_the_known(run, command):
    Path("rig.toml").write_text(GOOD)
    said = refused(run(command, "--board", "two"))
    assert said == "rig: user error: no board is called 'two'\ntry: one of: one\n"
    assert os.listdir() == ["rig.toml"]


# --- a broken rig.toml --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("[bench]", "[bench]\ncolour = 1", "bench.colour: unknown key; allowed here: name, reports"),
        ("[firmware]", "[firmwares]", "firmwares: unknown key; allowed here: bench, firmware, board"),
        ('chip = "esp32c6"', "speed = 1", "board[0].speed: unknown key; allowed here: name, tags, kind, chip"),
        ('name = "desk"', "name = 3", "bench.name = 3: "),
        ('chip = "esp32c6"', 'time_scale = "fast"', "board[0].time_scale = 'fast': "),
        ('chip = "esp32c6"', 'chip = "esp8266"', "board[0].chip = 'esp8266': Input should be 'esp32c3'"),
        ("v5.5", "v5.6", "firmware.idf_version = 'v5.6': Input should be 'v4.4', 'v5.1', 'v5.5'"),
        ('kind = "virtual"\n', "", "board[0].kind: missing"),
        (GOOD, "", "board: missing\ntry: "),
        (GOOD, "board = []", "board: at least one is needed\ntry: "),
        ("[[board]]", "[board]", "board: a list of tables is needed: write [[board]] above each board\ntry: "),
        ('kind = "virtual"', "kind = 3", "board[0].kind = 3: allowed: virtual, qemu, serial\ntry: "),
        ('name = "one"', 'name = "one two"', "board[0].name = 'one two': letters, digits, '.', '_' and '-' are"),
        ('chip = "esp32c6"', 'tags = "nightly"', "board[0].tags = 'nightly': a list is needed\n"),
        ('name = "desk"', "reports = 3", "bench.reports = 3: a text is needed\n"),
        ('chip = "esp32c6"', 'chip = "esp3', "not valid TOML: "),
    ],
    ids=[
        "unknown key", "unknown table", "unknown key of a board", "wrong type", "text for a number", "wrong value",
        "unknown version", "missing key", "empty file",
        "no board", "one bracket less", "wrong kind", "wrong letters", "text for a list", "number for a text", "torn",
    ],
)  # fmt: skip
def test_a_broken_bench_names_the_key_and_what_is_allowed(run, before, after, said):
    Path("rig.toml").write_text(GOOD.replace(before, after))
    text = refused(run("list"))
    assert text.startswith(f"rig: user error: rig.toml: {said}")
    assert "\ntry: " in text


@pytest.mark.parametrize("command", READ_BENCH)
def test_every_command_that_reads_the_bench_refuses_a_broken_one_and_leaves_nothing(run, command):
    Path("rig.toml").write_text(GOOD.replace("[bench]", "[bench]\ncolour = 1"))
    assert "bench.colour" in refused(run(command))
    assert os.listdir() == ["rig.toml"]


@pytest.mark.parametrize("command", READ_BENCH)
def test_an_absent_bench_says_how_to_name_one(run, command):
    assert "rig.toml: no such file\ntry: " in refused(run(command))
    assert "--config" in refused(run(command))


def test_a_folder_is_no_bench(run, tmp_path):
    assert "is a directory" in refused(run("list", "--config", str(tmp_path)))


def test_a_bench_torn_within_a_letter_is_refused(run):
    Path("rig.toml").write_bytes(GOOD.encode() + "ä".encode()[:1])
    assert "rig.toml: cannot be read" in refused(run("list"))


# --- list ---------------------------------------------------------------------------------------------------------


def test_list_shows_what_each_board_can_and_cannot_with_the_reason(run):
    Path("rig.toml").write_text(GOOD)
    text = run("list").stdout
    assert re.search(r"^one +virtual +esp32c6 +free", text, re.MULTILINE)
    assert re.search(r"^    can .*\bpower_cut\b", text, re.MULTILINE)
    assert re.search(r"^    cannot wifi: .*no radio", text, re.MULTILINE)


def test_list_for_programs_is_json(run):
    Path("rig.toml").write_text(GOOD)
    (board,) = json.loads(run("list", "--json").stdout)
    assert (board["name"], board["kind"], board["chip"]) == ("one", "virtual", "esp32c6")
    assert "wifi" in board["missing"]
    assert "power_cut" not in board["missing"]


# --- how a command ends -------------------------------------------------------------------------------------------


def test_a_fault_of_rig_itself_does_not_read_as_a_firmware_fault(run, monkeypatch):
    def broken(_path: Path) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(inventory, "load", broken)
    result = run("list")
    assert result.exit_code == 3
    assert "ZeroDivisionError: a bug" in result.stderr
    assert "the fault is in rig, not in the firmware" in result.stderr


@pytest.mark.parametrize(
    "arguments", [("list", "--json"), ("conformance", "tests/data/vectors/e-seq-limits-rb.jsonl.gz")], ids=str
)
def test_a_reader_that_leaves_ends_the_command_quietly(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = started(*arguments, stdout=writing, stderr=subprocess.PIPE)
    finally:
        os.close(writing)
    assert done.returncode == 141  # 128 + SIGPIPE, as other commands do; 0 or 1 would be a verdict
    assert done.stderr == b""


def test_a_full_disk_behind_the_output_is_no_verdict():
    with open("/dev/full", "wb") as full:
        done = started("list", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 3
    assert done.stderr == b"rig: bench fault: [Errno 28] No space left on device\n"
