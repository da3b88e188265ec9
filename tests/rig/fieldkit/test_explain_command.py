"""`rig explain` on whatever people send: every packing and encoding of a log, and files that are none."""

import bz2
import gzip
import json
import lzma
import random
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from rig.cli import main

LOGS = Path(__file__).parents[2] / "data" / "logs"
NAME = "skyfeeder-checksum-changes-every-boot.log"
LOG = (LOGS / "field" / NAME).read_bytes()


def run(*args, stdin=None):
    return CliRunner().invoke(main, ["explain", *map(str, args)], input=stdin)


def written(tmp_path, data, name="sent"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def verdict(done):
    assert done.exit_code in (0, 4), done.output
    return json.loads(done.stdout)["verdict"]


ENCODED = {
    "plain": LOG,
    "gzip": gzip.compress(LOG),
    "bzip2": bz2.compress(LOG),
    "xz": lzma.compress(LOG),
    "UTF-8 with a mark": b"\xef\xbb\xbf" + LOG,
    "UTF-16 with a mark": LOG.decode().encode("utf-16"),
    "UTF-16 little-endian": LOG.decode().encode("utf-16-le"),
    "UTF-16 big-endian": LOG.decode().encode("utf-16-be"),
    "UTF-16 in gzip": gzip.compress(LOG.decode().encode("utf-16")),
    "NULs in front": b"\0" * 300 + LOG,
    "NULs in between": LOG.replace(b"\n", b"\0\n"),
}


@pytest.mark.parametrize("how", ENCODED)
def test_a_log_is_read_however_it_was_packed(tmp_path, how):
    assert verdict(run("--json", written(tmp_path, ENCODED[how]))) == "unbootable-hardware"


def test_a_log_comes_from_standard_input_and_out_of_an_archive(tmp_path):
    assert verdict(run("--json", "-", stdin=LOG)) == "unbootable-hardware"
    with zipfile.ZipFile(tmp_path / "log.zip", "w") as archive:
        archive.writestr(NAME, LOG)
    assert verdict(run("--json", tmp_path / "log.zip")) == "unbootable-hardware"


NONE_OF_THEM = {
    "empty": (b"", "empty"),
    "noise": (random.Random(1).randbytes(0x40000), "noise"),
    "ELF": (b"\x7fELF" + bytes(100), "ELF"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "picture"),
    "Zstandard": (b"\x28\xb5\x2f\xfd" + bytes(range(256)), "Zstandard"),
    "torn gzip": (gzip.compress(LOG)[:-20], "unpacked"),
}


@pytest.mark.parametrize("what", NONE_OF_THEM)
def test_a_file_that_is_none_gets_a_message_that_says_what_it_is(tmp_path, what):
    data, word = NONE_OF_THEM[what]
    done = run(written(tmp_path, data))
    assert done.exit_code == 2
    assert word in done.stderr
    assert "try: " in done.stderr
    assert "Traceback" not in done.output


def test_a_file_that_is_not_there(tmp_path):
    done = run(tmp_path / "nothing.log")
    assert done.exit_code == 2
    assert "No such file" in done.stderr


def test_for_people_the_verdict_comes_first_with_its_lines_and_what_would_settle_it():
    done = run(LOGS / "field" / "espidf-4799-debug-truncated-before-decision.log")
    assert done.exit_code == 4
    lines = done.stdout.splitlines()
    assert lines[1].startswith("inconclusive: ")
    assert "what would settle it" in done.stdout
    assert "0x1e000" in done.stdout


def test_json_and_text_say_the_same():
    path = LOGS / "qemu" / "rb_three_generations.log.gz"
    data = json.loads(run("--json", path).stdout)
    text = run(path).stdout
    assert data["verdict"] in text
    assert len(data["boots"]) == data["counts"]["bootloader_banners"] == 6
    assert all(boot["version"] in text for boot in data["boots"])


def test_no_terminal_control_of_a_log_reaches_the_terminal(tmp_path):
    start = b"I (1) boot: Loaded app from partition at offset 0x10000\n"
    log = LOG + start + b"I (2) cpu_start: App version:  \x1b]0;x\x07\x1b[2J1\n"
    done = run(written(tmp_path, log))
    assert "\x1b]" not in done.stdout
    assert "\x07" not in done.stdout
