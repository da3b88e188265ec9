"""Golden vectors: the model agrees with them, disagreement is found and shown, and broken files are refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rig.idf.conformance import Difference, Tally, check_file, check_rows
from rig.idf.errors import FormatError
from rig.idf.vector_images import KINDS, image
from rig.idf.vectors import layout_table, parse_line, read_rows

VECTORS = Path(__file__).parents[2] / "data" / "vectors"
FILES = sorted(VECTORS.glob("*.jsonl.gz"))
KINDS_OF_FILE = ("a-exhaustive", "a-sampled", "b-seq", "c-powercut", "c-torn", "d-exhaustive", "e-gpio", "e-seq-limits")

Row = dict[str, Any]


def write(path: Path, *rows: Row | str | bytes) -> Path:
    lines = [row if isinstance(row, str | bytes) else json.dumps(row) for row in rows]
    data = b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines)
    path.write_bytes(gzip.compress(data))
    return path


def check(path: Path) -> tuple[Tally, list[Difference]]:
    tally = Tally()
    return tally, list(check_file(path, tally))


def first_row(prefix: str, wanted: Callable[[Row], bool] = lambda row: True) -> Row:
    for path in FILES:
        if path.name.startswith(prefix):
            with gzip.open(path) as lines:
                for line in lines:
                    row: Row = json.loads(line)
                    if wanted(row):
                        return row
    raise AssertionError(f"no such row in {prefix}")


def boot_row() -> Row:
    """A boot that writes otadata, tries two slots and prints an image error."""
    return first_row(
        "a-sampled-boot-rb",
        lambda row: row["out"]["booted"] is not None and len(row["out"]["tried"]) > 1 and len(row["out"]["mut"]) > 1,
    )


def update_row() -> Row:
    """A walk cut down to its first complete update."""
    row = first_row("b-seq-v6.0.2-rb-n2")
    for index, step in enumerate(row["steps"]):
        if step.get("op", "").startswith("update") and len(step["out"]["rc"]) == 4 and "slots" in step["out"]:
            row["steps"] = row["steps"][: index + 1]
            return row
    raise AssertionError("no update")


def test_there_are_vectors_of_every_kind() -> None:
    for kind in KINDS_OF_FILE:
        assert any(path.name.startswith(kind) for path in FILES), kind


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_the_model_does_what_the_c_code_did(path: Path) -> None:
    tally, differences = check(path)
    assert differences == []
    assert tally.differ == tally.image_lines_differ == 0
    assert tally.checked >= tally.rows > 0


def test_walks_branches_and_versions_count_one_check_each() -> None:
    walk = first_row("b-seq")
    recorded = sum("out" in step for step in walk["steps"])
    cut = first_row("c-powercut", lambda row: len(row.get("next_cuts", ())) > 1)
    for row, count in ((walk, recorded), (cut, 3 + 2 * len(cut["next_cuts"])), (first_row("e-gpio"), 5)):
        tally = Tally()
        parsed = parse_line(Path("one.gz"), 1, json.dumps(row).encode())
        assert list(check_rows([parsed], tally)) == []
        assert tally.checked == count


def tamper_result(out: Row) -> None:
    out.update(result="reset", booted=None)


def tamper_tried(out: Row) -> None:
    out["tried"] = out["tried"][:1]


def tamper_otadata(out: Row) -> None:
    out["otadata"] = [out["otadata"][0], out["otadata"][0]]


def tamper_efuse(out: Row) -> None:
    out["efuse"] = 7


def tamper_mut(out: Row) -> None:
    out["mut"] = out["mut"][::-1]


def tamper_log(out: Row) -> None:
    out["log"] = [line for line in out["log"] if not line.startswith("I boot")]


@pytest.mark.parametrize(
    ("tamper", "fields"),
    [
        (tamper_result, {"result", "booted"}),
        (tamper_tried, {"tried"}),
        (tamper_otadata, {"otadata"}),
        (tamper_efuse, {"efuse"}),
        (tamper_mut, {"mut"}),
        (tamper_log, {"log"}),
    ],
)
def test_a_boot_that_differs_is_shown_side_by_side(
    tmp_path: Path, tamper: Callable[[Row], None], fields: set[str]
) -> None:
    good, bad = boot_row(), boot_row()
    tamper(bad["out"])
    path = write(tmp_path / "v.gz", good, bad)
    tally, differences = check(path)
    assert (tally.checked, tally.differ) == (2, 1)
    [difference] = differences
    assert (difference.file, difference.line, difference.what) == (path, 2, "boot")
    assert {field.name for field in difference.fields} == fields
    assert all(field.expected != field.got for field in difference.fields)
    assert dict(difference.context)["layout"] == bad["layout"]


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        ("rc", ["begin=ESP_OK"], "rc"),
        ("slots", {}, "slot ota_"),
        ("mut", [["W", 131072, 256, "crc32:00000000"]], "mut"),
        ("result", "restart", "result"),
    ],
)
def test_a_call_that_differs_is_found_in_its_step(tmp_path: Path, key: str, value: object, field: str) -> None:
    row = update_row()
    row["steps"][-1]["out"][key] = value
    tally, [difference] = check(write(tmp_path / "v.gz", row))
    assert tally.differ == 1
    assert difference.what == f"step {len(row['steps']) - 1}: {row['steps'][-1]['op']}"
    assert [part.name.startswith(field) for part in difference.fields] == [True]


def test_lines_about_the_image_are_counted_apart(tmp_path: Path) -> None:
    row = first_row("a-sampled", lambda row: sum("esp_image" in line for line in row["out"]["log"]) == 1)
    row["out"]["log"] = [line.replace("esp_image: ", "esp_image: not ") for line in row["out"]["log"]]
    tally, differences = check(write(tmp_path / "v.gz", row))
    assert differences == []
    assert (tally.image_lines_checked, tally.image_lines_differ, tally.differ) == (1, 1, 0)


def test_a_recording_that_gave_up_waiting_is_held_to_as_far_as_it_goes(tmp_path: Path) -> None:
    row = first_row("e-seq-limits", lambda row: any("why" in out for out in row["out"].values()))
    tally, differences = check(write(tmp_path / "v.gz", row))
    assert (tally.gave_up, differences) == (1, [])
    next(out for out in row["out"].values() if "why" in out)["mut"] = [["E", 36864, 4096]]
    assert check(write(tmp_path / "w.gz", row))[0].differ == 1


def test_a_walk_goes_on_in_the_state_it_is_in(tmp_path: Path) -> None:
    row = update_row()
    boots = [index for index, step in enumerate(row["steps"]) if step.get("op") == "boot"]
    row["steps"].insert(boots[0] + 1, {"env": "od-erase", "otadata": ["", ""]})
    assert check(write(tmp_path / "v.gz", row))[0].differ > 0


# broken files


def without(key: str) -> Row:
    row = boot_row()
    del row[key]
    return row


def with_(**values: object) -> Row:
    return {**boot_row(), **values}


def with_out(**values: object) -> Row:
    row = boot_row()
    row["out"] = {key: value for key, value in {**row["out"], **values}.items() if value is not None}
    return row


@pytest.mark.parametrize(
    ("row", "message"),
    [
        pytest.param("{", "line 2", id="no-json"),
        pytest.param(b"\xff\xfe", "line 2", id="no-text"),
        pytest.param("[]", "must be an object", id="no-object"),
        pytest.param("", "line 2", id="empty-line"),
        *(
            pytest.param(without(key), key, id=f"without-{key}")
            for key in ("cfg", "layout", "slots", "otadata", "op", "out")
        ),
        *(
            pytest.param(with_out(**{key: None}), key, id=f"out-without-{key}")
            for key in ("result", "tried", "otadata", "efuse", "mut", "log")
        ),
        pytest.param(with_(cfg="rbx"), "configuration 'rbx'", id="cfg"),
        pytest.param(with_(ver="five"), "'five' is no ESP-IDF version", id="ver"),
        pytest.param(with_(layout="x2"), "layout 'x2'", id="layout"),
        pytest.param(with_(layout="n17"), "layout 'n17'", id="too-many-slots"),
        pytest.param(with_(op="bot"), "unknown operation 'bot'", id="op"),
        pytest.param(with_(op="update ota_0 ok:1"), "unknown operation", id="op-without-chunk"),
        pytest.param(with_(op="update ota_0 nice:1 256", running="ota_0"), "'nice:1' names no image", id="op-image"),
        pytest.param(with_(op="mark_valid"), "'running'", id="no-running"),
        pytest.param(with_(op="mark_valid", running="ota_9"), "'ota_9'", id="running"),
        pytest.param(with_(gpio="reset"), "gpio 'reset'", id="gpio"),
        pytest.param(with_(cut_after=-1), "cut_after is -1", id="cut"),
        pytest.param(with_(efuse="1"), "efuse is '1'", id="efuse"),
        pytest.param(with_(slots={"ota_0": "good"}), "'good' names no image", id="image"),
        pytest.param(with_(slots={"ota_9": "ok"}), "no slot 'ota_9'", id="slot"),
        pytest.param(with_(slots=3), "line 2", id="slots"),
        pytest.param(with_(otadata=[""]), "two sectors", id="one-sector"),
        pytest.param(with_(otadata=["xx", ""]), "line 2", id="no-hex"),
        pytest.param(with_out(result="won"), "result 'won'", id="result"),
        pytest.param(with_out(mut=[["X", 1, 2]]), "unknown mutation", id="mutation"),
        pytest.param(with_out(mut=[[]]), "line 2", id="empty-mutation"),
        pytest.param(with_(out={"v6.0.2": {}}), "neither", id="no-reference-version"),
        pytest.param({**with_(), "steps": [{"op": "boot"}]}, "'out' is missing", id="step-without-out"),
        pytest.param({**with_(), "steps": [3]}, "line 2", id="step"),
        pytest.param({**with_(), "init": 5}, "line 2", id="init"),
        pytest.param(
            {**with_(), "next_cuts": [{"out": boot_row()["out"]}]}, "'next' is missing", id="cut-without-next"
        ),
    ],
)
def test_a_broken_line_is_refused_by_file_and_line(tmp_path: Path, row: Row | str | bytes, message: str) -> None:
    path = write(tmp_path / "broken.jsonl.gz", boot_row(), row)
    with pytest.raises(FormatError, match=r"broken\.jsonl\.gz: line 2: ") as caught:
        check(path)
    assert message in str(caught.value)


def test_a_file_that_is_no_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plain.jsonl"
    path.write_text(json.dumps(boot_row()))
    with pytest.raises(FormatError, match=r"plain\.jsonl: line 1: not a readable gzip file"):
        check(path)


def test_a_truncated_gzip_is_refused_at_the_line_it_ends_in(tmp_path: Path) -> None:
    whole = (VECTORS / FILES[0].name).read_bytes()
    path = tmp_path / "short.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match=r"short\.gz: line \d{3,}: not a readable gzip file"):
        check(path)


def test_a_corrupt_gzip_is_refused(tmp_path: Path) -> None:
    data = bytearray((VECTORS / FILES[0].name).read_bytes())
    data[len(data) // 2] ^= 0xFF
    path = tmp_path / "rotten.gz"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"rotten\.gz: line \d+"):
        check(path)


@pytest.mark.parametrize("content", [b"", gzip.compress(b"", mtime=0)], ids=["empty", "empty inside gzip"])
def test_a_file_without_rows_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "empty.gz"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"empty\.gz: line 1: no rows"):
        check(path)


def test_a_file_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"absent\.gz"):
        check(tmp_path / "absent.gz")


# images and layouts


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_of_image_has_its_size(kind: str) -> None:
    assert len(image(f"{kind}:3:1")) == (432 if kind == "nohash" else 464)
    assert image(f"{kind}:3:1@100") == image(f"{kind}:3:1")[:100]


def test_special_images() -> None:
    assert image("erased") == b""
    assert image("zero") == bytes(1024)
    assert image("raw:e902") == b"\xe9\x02"
    assert image("ok") == image("ok:0:0")


def test_layouts_are_the_tables_of_the_recorder() -> None:
    table = layout_table("f2t")
    assert [(part.label, part.offset) for part in table.entries] == [
        ("nvs", 0x9000),
        ("otadata", 0xD000),
        ("phy_init", 0xF000),
        ("factory", 0x10000),
        ("ota_0", 0x20000),
        ("ota_1", 0x30000),
        ("test", 0x40000),
    ]
    assert len(list(read_rows(FILES[-1]))) == 100
