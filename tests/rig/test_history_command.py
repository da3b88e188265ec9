"""`rig history` and `rig compare` from outside: who is to blame, what changed, and what cannot be read."""

import csv
import io
import json
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from rig.cli import main
from rig.evidence.history.store import open_history
from rig.evidence.records import Requirement, RunRecord, Verdict
from tests.rig.evidence.history.runs import EPOCH, result, start

BOARDS = ("shelf", "desk", "rack")
REQUIREMENTS = [f"RBK-{number:02}" for number in range(8)]


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """Six nights on three boards: a build that broke RBK-03 from the fourth on, and a board that went bad."""
    monkeypatch.chdir(tmp_path)
    Path("rig.toml").write_text('[bench]\nname = "lab"\n[[board]]\nname = "shelf"\nkind = "virtual"\n')
    with open_history(tmp_path / "history.sqlite") as history:
        for night in range(6):
            run = history.begin(start(f"night-{night}", hours=24 * night))
            for number, requirement in enumerate(REQUIREMENTS):
                for board in BOARDS:
                    verdict = Verdict.PASS
                    if board == "desk" and number <= 4 and night >= 2:
                        verdict = Verdict.BENCH_FAULT
                    if number == 3 and night >= 3:
                        verdict = Verdict.FIRMWARE_FAIL
                    elf = "0123456789abcdef" if night < 3 else "fedcba9876543210"
                    test = f"tests/test_rollback.py::test_{number}"
                    history.add(run, result(test, board, verdict, elf=elf, requirement=requirement))
            if night != 1:
                history.finish(run, EPOCH, 0, None, {})
    return tmp_path


def rig(*arguments, code=0):
    done = CliRunner(env={"COLUMNS": "100"}).invoke(main, arguments)
    assert done.exit_code == code, done.output
    assert "Traceback (most" not in done.output
    return done.stdout if code != 2 else done.stderr


def test_it_tells_a_firmware_regression_from_a_bad_board(lab):
    found = json.loads(rig("history", "--json"))
    rows = {row["name"]: row for row in found["requirements"]}
    (blame,) = rows["RBK-03"]["blame"]
    assert (blame["culprit"], blame["what"]) == ("firmware", "fedcba987+bbbb")
    assert (rows["RBK-03"]["last_good"], rows["RBK-03"]["first_bad"]) == ("night-2", "night-3")
    (blame,) = rows["RBK-00"]["blame"]
    assert (blame["culprit"], blame["what"]) == ("board", "desk")
    assert rows["RBK-07"]["blame"] == []


def test_for_a_person_each_culprit_is_said_once_with_what_it_explains(lab):
    said = rig("history")
    assert "6 runs, 144 results" in said
    assert "night-1 was broken off, with 24 results" in said
    assert "RBK-03       PPBFFF" in said
    assert said.count("board desk: desk goes wrong in 17 of 45 tries") == 1
    assert "  RBK-03 since night-3, last good: night-2" in said


def test_it_can_be_asked_of_one_requirement_board_or_build(lab):
    one = json.loads(rig("history", "--json", "--requirement", "RBK-03"))
    assert [row["name"] for row in one["requirements"]] == ["RBK-03"]
    shelf = json.loads(rig("history", "--json", "--board", "shelf"))
    assert [row["name"] for row in shelf["boards"]] == ["shelf"]
    build = json.loads(rig("history", "--json", "--firmware", "fedc"))
    assert [row["name"] for row in build["builds"]] == ["fedcba987+bbbb"]


def test_the_page_stands_alone_and_says_the_same(lab):
    rig("history", "--page", "page.html")
    page = Path("page.html").read_text()
    assert "5 of 8 requirements in trouble" in page
    assert "Firmware fedcba987+bbbb" in page
    assert "Board desk" in page
    assert "broken off" in page
    assert "http" not in page.replace("http-equiv", "")
    assert 'aria-hidden="true"' in page
    assert "RBK-03, oldest run first: pass, pass, bench fault, firmware fail" in page


def test_what_a_person_wrote_is_no_markup(lab):
    with open_history(Path("history.sqlite").resolve()) as history:
        history.begin(start("<b>bold</b>", command="rig <script>"))
    rig("history", "--page", "page.html")
    assert "<script>" not in Path("page.html").read_text()


def test_two_runs_are_compared(lab):
    said = rig("compare", "night-2", "night-3", code=1)
    assert "worse  pass → firmware fail" in said
    assert "3 worse, 0 other changes" in said
    assert rig("compare", "last", "last").endswith("0 worse, 0 other changes\n")
    assert json.loads(rig("compare", "--json", "last~1", "last"))["changes"] == []


def test_everything_can_be_taken_out(lab):
    rows = list(csv.DictReader(io.StringIO(rig("history", "export"))))
    assert len(rows) == 144
    assert rows == [
        {name: str(value) for name, value in row.items()}
        for row in json.loads(rig("history", "export", "--format", "json"))
    ]


def report(lab, name, began, verdict=Verdict.PASS):
    """The folder of a run that began then."""
    record = RunRecord(
        tool="rollback-rig 0", started=began, finished=began, command="rig qualify",
        requirements=[Requirement(id="RBK-01", area="a", text="A sentence.")],
        results=[result(board="old", verdict=verdict)],
    )  # fmt: skip
    folder = lab / "reports" / name
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(record.model_dump_json())
    return str(folder)


def test_reports_are_taken_in_once(lab):
    folder = report(lab, "2020", EPOCH.replace(year=2020))
    said = rig("history", "import", folder, f"{folder}/results.json")
    assert said.splitlines() == ["2020: 1 results taken in", "2020 is in the history already"]
    assert "2020 is in the history already" in rig("history", "import", f"{folder}/results.json")
    assert "no report of a run" in rig("history", "import", "rig.toml", code=2)


def test_reports_come_to_their_place_in_time(lab):
    years = [2031, 2020, 2030, 2021]
    folders = [report(lab, str(year), EPOCH.replace(year=year)) for year in years]
    between = report(lab, "between", EPOCH + timedelta(hours=1))
    said = rig("history", "import", *folders, between)
    assert "between: left out: it lies between runs that are there" in said
    runs = json.loads(rig("history", "--json"))["runs"]
    names = [run["name"] for run in runs]
    assert names == ["2020", "2021", *(f"night-{night}" for night in range(6)), "2030", "2031"]
    assert not any(run["clock_went_back"] for run in runs)


def test_before_anything_is_taken_in_every_report_is_read(lab):
    folder = report(lab, "2020", EPOCH.replace(year=2020))
    rig("history", "import", folder, "rig.toml", code=2)
    assert "2020" not in rig("history", "--json")


def test_the_only_run_of_a_trouble_is_named_wherever_it_stands(lab):
    bad = [report(lab, str(year), EPOCH.replace(year=year), Verdict.FIRMWARE_FAIL) for year in (2019, 2020)]
    Path("history.sqlite").unlink()
    rig("history", "import", bad[1])
    rig("history", "import", bad[0])
    assert "RBK-01 since 2019, last good: never" in rig("history")


def test_any_tool_for_sqlite_reads_it(lab):
    with sqlite3.connect("history.sqlite") as database:
        views = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'view'")}
        for view in views:
            database.execute(f"SELECT * FROM {view}").fetchall()
    assert views == {"results_flat", "tries_flat"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("history", "--requirement", "NO-1"), "no run had a requirement NO-1"),
        (("compare", "last", "nothing"), "no run is called nothing"),
        (("compare", "last", "last~9"), "the newest: night-3, night-4, night-5"),
    ],
)
def test_what_is_not_there_is_said(lab, arguments, said):
    assert said in rig(*arguments, code=2)


def test_without_a_history_it_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rig.toml").write_text('[[board]]\nname = "a"\nkind = "virtual"\n')
    assert "there is no history yet" in rig("history", code=2)
    Path("rig.toml").write_text("[bench\n")
    assert "not valid TOML" in rig("history", code=2)
    Path("rig.toml").unlink()
    assert "no such file" in rig("history", code=2)
