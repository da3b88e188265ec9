"""`rig conformance` from outside: what it says when rows agree, differ, or are broken."""

from __future__ import annotations

import copy
import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.cli import main
from rig.idf.conformance import Tally, check_rows
from rig.idf.errors import FormatError
from rig.idf.vectors import parse_line

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "data" / "vectors"
WALKS = VECTORS / "b-seq-v5.5.5-rb-n2.jsonl.gz"
LIMITS = VECTORS / "e-seq-limits-rb.jsonl.gz"
KINDS = (WALKS, LIMITS, VECTORS / "c-powercut-v5.5.5-rb.jsonl.gz", VECTORS / "a-sampled-boot-rb-n2t.jsonl.gz")


@cache
def rows_of(path: Path) -> tuple[dict[str, Any], ...]:
    """The first rows of a file, not to be changed."""
    with gzip.open(path) as lines:
        return tuple(json.loads(line) for _, line in zip(range(20), lines, strict=False))


def rows(path: Path, count: int) -> list[dict[str, Any]]:
    """The first rows of a file, to be altered."""
    return copy.deepcopy(list(rows_of(path)[:count]))


def written(path: Path, content: list[Any]) -> Path:
    """A file of rows; text stands for itself."""
    lines = (row if isinstance(row, str) else json.dumps(row) for row in content)
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def conformance(*arguments: str | Path, width: int = 300) -> Result:
    return CliRunner(env={"COLUMNS": str(width)}).invoke(main, ["conformance", *map(str, arguments)])


def refused(*arguments: str | Path) -> str:
    """What a refusal says."""
    result = conformance(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return result.stderr


def last_line(result: Result) -> str:
    return result.stdout.splitlines()[-1]


def table(result: Result) -> list[list[str]]:
    """The cells of the rows that are shown side by side: field, ESP-IDF, mark, model."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.stdout.splitlines() if "│" in line]


# --- rows that agree ----------------------------------------------------------------------------------------------


def test_files_that_agree_end_with_the_sum_and_exit_code_0(tmp_path):
    walk = written(tmp_path / "walk.jsonl.gz", rows(WALKS, 2))
    result = conformance(LIMITS, walk)
    assert result.exit_code == 0
    assert "e-seq-limits-rb.jsonl.gz: 500 checked, 0 differ\nwalk.jsonl.gz: 38 checked, 0 differ\n" in result.stdout
    assert last_line(result) == "538 checked, 0 differ"


# --- rows that differ ---------------------------------------------------------------------------------------------


FIRST_BOOT = "01000000" + "ff" * 20 + "02000000" + "9a984347"
WRONG = FIRST_BOOT.replace("9a984347", "9a984348")


def put(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda out: out.update({name: value})


@pytest.mark.parametrize(
    ("alter", "shown"),
    [
        (put("result", "reset"), ["result", "reset", "!=", "booted"]),
        (put("booted", "ota_1"), ["booted", "ota_1", "!=", "ota_0"]),
        (put("tried", ["ota_0", "ota_1"]), ["", "ota_1", "!=", ""]),
        (put("otadata", [WRONG, ""]), ["otadata", WRONG, "!=", FIRST_BOOT]),
        (put("efuse", 3), ["efuse", "3", "!=", "0"]),
        (put("mut", [["E", 53248, 4096]]), ["", "", "!=", f"W 0xd000 32 {FIRST_BOOT}"]),
        (lambda out: out["log"].insert(1, "W boot: not so"), ["", "W boot: not so", "!=", ""]),
        (lambda out: out["log"].pop(0), ["log", "", "!=", "I boot: No factory image, trying OTA 0"]),
    ],
    ids=["result", "booted", "tried", "otadata", "efuse", "mutations", "a line more", "a line less"],
)
def test_an_altered_row_is_shown_side_by_side_with_exit_code_1(tmp_path, alter, shown):
    content = rows(WALKS, 2)
    alter(content[1]["steps"][0]["out"])
    result = conformance(written(tmp_path / "altered.jsonl.gz", content))
    assert result.exit_code == 1
    assert "altered.jsonl.gz, line 2, step 0: boot" in result.stdout
    assert shown in table(result)
    assert sum("!=" in row for row in table(result)) == 1
    assert last_line(result) == "38 checked, 1 differ"


def test_lines_that_are_the_same_stand_beside_each_other(tmp_path):
    content = rows(WALKS, 2)
    content[1]["steps"][0]["out"]["log"].insert(0, "W boot: not so")
    result = conformance(written(tmp_path / "altered.jsonl.gz", content))
    last = "I boot: Disabling RNG early entropy source..."
    assert ["", last, "", last] in table(result)


def test_in_80_columns_the_whole_value_is_shown(tmp_path):
    content = rows(WALKS, 2)
    content[1]["steps"][0]["out"]["otadata"][0] = WRONG
    result = conformance(written(tmp_path / "altered.jsonl.gz", content), width=80)
    lines = [row for row in table(result) if "".join(row)]
    assert "".join(row[1] for row in lines).startswith(WRONG)
    assert "".join(row[3] for row in lines).startswith(FIRST_BOOT)
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_show_limits_what_is_shown_and_not_what_is_counted(tmp_path):
    content = rows(WALKS, 3)
    for row in content:
        row["steps"][0]["out"]["efuse"] = 3
    path = written(tmp_path / "altered.jsonl.gz", content)
    assert conformance(path).stdout.count("step 0: boot") == 3
    for show in (0, 2):
        result = conformance("--show", str(show), path)
        assert result.stdout.count("step 0: boot") == show
        assert result.exit_code == 1
        assert last_line(result).endswith(" checked, 3 differ")


def test_a_row_for_all_versions_differs_once_for_each(tmp_path):
    content = rows(LIMITS, 1)
    content[0]["out"]["v5.5.5"]["booted"] = "ota_0"
    result = conformance(written(tmp_path / "altered.jsonl.gz", content))
    assert last_line(result) == "5 checked, 5 differ"


def test_a_name_that_looks_like_markup_is_shown_as_it_is(tmp_path):
    assert "[red]x.jsonl.gz: 5 checked" in conformance(written(tmp_path / "[red]x.jsonl.gz", rows(LIMITS, 1))).stdout


# --- broken files -------------------------------------------------------------------------------------------------


def test_an_absent_file_is_refused_before_anything_is_checked(tmp_path):
    said = refused(LIMITS, tmp_path / "absent.jsonl.gz")
    assert "absent.jsonl.gz' does not exist" in said


def test_a_folder_is_refused(tmp_path):
    assert "is a directory" in refused(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"line 1: no rows"),
        (gzip.compress(b""), r"line 1: no rows"),
        (LIMITS.read_bytes()[:-1000], "not a readable gzip file: Compressed file ended before"),
        (LIMITS.read_bytes()[:-3], "not a readable gzip file: Compressed file ended before"),
        (LIMITS.read_bytes()[:1000] + b"\xff" * 8 + LIMITS.read_bytes()[1008:], ": "),
        (gzip.decompress(LIMITS.read_bytes()), "line 1: not a readable gzip file: Not a gzipped file"),
        (b"PK\x03\x04 a zip file", "line 1: not a readable gzip file: Not a gzipped file"),
    ],
    ids=["empty", "no rows", "truncated", "end lost", "damaged", "not compressed", "something else"],
)
def test_a_file_that_is_no_whole_gzip_is_refused(tmp_path, content, said):
    path = tmp_path / "broken.jsonl.gz"
    path.write_bytes(content)
    text = refused(path)
    assert text.startswith(f"rig: user error: {path}: line ")
    assert said in text


def without(name: str) -> dict[str, Any]:
    row = rows(LIMITS, 1)[0]
    del row[name]
    return row


def with_(**fields: Any) -> dict[str, Any]:
    return {**rows(LIMITS, 1)[0], **fields}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[1, 2]", "a row must be an object"),
        ("\x00\x01", "Expecting value"),
        ("[" * 100_000, "nested too deep"),
        (without("otadata"), "field 'otadata' is missing"),
        (without("op"), "field 'ops' is missing"),
        (with_(cfg="xy"), "configuration 'xy'; allowed: norb, norbfr, rb"),
        (with_(ver="v3.0"), "v3.0"),
        (with_(layout="n17"), "layout 'n17'; allowed: "),
        (with_(slots={"ota_0": "good"}), "'good' names no image: allowed: "),
        (with_(slots={"ota_9": "ok"}), "the layout has no slot 'ota_9'"),
        (with_(otadata=["00", "11", "22"]), "otadata has two sectors, not 3"),
        (with_(otadata=["0x", ""]), "non-hexadecimal number"),
        (with_(op="explode"), "unknown operation 'explode'"),
        (with_(op="mark_valid"), "field 'running' is missing"),
        (with_(cut_after=-1), "cut_after is -1"),
        (
            with_(out={**rows(LIMITS, 1)[0]["out"]["v5.5.5"], "mut": [["W", 53248, 4, 5]]}),
            "unknown mutation ['W', 53248, 4, 5]",
        ),
        (with_(out={}), "'out' has neither 'result' nor 'v5.5.5'"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_a_broken_line_is_named_with_its_number(tmp_path, line, said):
    path = written(tmp_path / "broken.jsonl.gz", [*rows(LIMITS, 2), line, *rows(LIMITS, 1)])
    text = refused(path)
    assert text.startswith(f"rig: user error: {path}: line 3: ")
    assert said in text


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2**33) | st.floats(allow_nan=False) | st.text(max_size=4)
    | st.sampled_from(("boot", "ota_0", "00", "ff" * 32, "E", "W", "booted")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(path=st.sampled_from(KINDS), data=st.data())
def test_whatever_stands_in_a_field_a_row_is_read_or_refused(path, data):
    row = data.draw(st.sampled_from(rows(path, 20)))
    holder: Any = {"row": row}
    key: Any = "row"
    while isinstance(holder[key], dict | list) and holder[key] and (key == "row" or data.draw(st.booleans())):
        holder = holder[key]
        key = data.draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
    holder[key] = data.draw(ANYTHING)
    said = refusal(path, row)
    assert said is None or said.startswith(f"{path}: line 7: ")


def refusal(path: Path, row: object) -> str | None:
    try:
        list(check_rows([parse_line(path, 7, json.dumps(row).encode())], Tally()))
    except FormatError as error:
        return str(error)
    return None


# --- how it ends --------------------------------------------------------------------------------------------------


def test_ctrl_c_ends_it_with_exit_code_130(tmp_path):
    pipe = tmp_path / "pipe.jsonl.gz"
    os.mkfifo(pipe)
    process = started(LIMITS, pipe)
    assert process.stdout.readline() == b"e-seq-limits-rb.jsonl.gz: 500 checked, 0 differ\n"
    # It waits now for someone to write into the pipe.
    process.send_signal(signal.SIGINT)
    rest, said = process.communicate()
    assert (process.returncode, rest, said) == (130, b"", b"rig: interrupted\n")


def test_a_terminal_without_the_letters_of_a_name_gets_them_spelled_out(tmp_path):
    path = written(tmp_path / "ä.jsonl.gz", rows(LIMITS, 1))
    process = started(path, PYTHONIOENCODING="ascii")
    output, said = process.communicate()
    assert (process.returncode, said) == (0, b"")
    assert output.startswith(b"\\xe4.jsonl.gz: 5 checked, 0 differ\n")


def started(*files: Path, **environment: str) -> subprocess.Popen[bytes]:
    """`rig conformance` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "rig", "conformance", *map(str, files)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment},
    )  # fmt: skip
