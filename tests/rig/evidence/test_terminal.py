"""The table at the end of a run and the progress during it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from rig.evidence.records import Hazard, Requirement, RunRecord, Verdict
from rig.evidence.report import render_page
from rig.evidence.terminal import RunProgress, print_summary
from tests.rig.evidence.consoles import plain_console, printed, terminal
from tests.rig.evidence.sweeps import good_sweep

SAMPLE = Path(__file__).parents[2] / "data" / "report" / "sample_run.json"


@pytest.fixture
def run() -> RunRecord:
    return RunRecord.model_validate_json(SAMPLE.read_text(encoding="utf-8"))


def summary(run: RunRecord, console: Console, report: Path | None = None) -> str:
    print_summary(run, console, report)
    return printed(console)


def test_table_names_every_requirement_board_and_verdict(run: RunRecord) -> None:
    text = summary(run, plain_console())
    for requirement in run.requirements:
        assert requirement.id in text
        assert requirement.text.split()[0] in text
    for result in run.results:
        assert result.board in text
        assert result.verdict.value in text


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_table_fits_80_columns_in_any_encoding(run: RunRecord, encoding: str) -> None:
    text = summary(run, plain_console(80, encoding))
    assert max(cell_len(line) for line in text.splitlines()) <= 80


def test_sums_reasons_hazards_skips_and_report_follow_the_table(run: RunRecord) -> None:
    text = summary(run, plain_console(200), Path("reports/2025-03-14/index.html"))
    tail = text[text.rindex("test_harness_reads_its_own_log") :]
    assert "F firmware fail: test_panic_before_confirm_goes_back on bench-a" in tail
    assert "after the panic the board booted ota_1 (1.2.0) again" in tail
    assert "- skipped (4 tests): board bench-a has no power switch (needs power_cut)" in tail
    assert "hazard (2 tests): A corrupt otadata entry is never repaired" in tail
    assert text.endswith(
        "31 pass, 1 firmware fail, 1 bench fault, 1 inconclusive, 7 skipped\nreport: reports/2025-03-14/index.html\n"
    )


def test_differences_between_boards_are_marked_told_and_counted(run: RunRecord) -> None:
    text = summary(run, plain_console(200), Path("reports/2025-03-14/index.html"))
    table, tail = text.split("test_harness_reads_its_own_log", 1)
    marked = re.findall(r"^ (\S+) .*\n (differs|other boots|not comparable) ", table, re.MULTILINE)
    assert [name for name, mark in marked if mark == "differs"] == ["RB-03", "RB-05", "CFG-01"]
    assert ("CUT-01", "not comparable") in marked
    assert "differs: test_panic_before_confirm_goes_back: virtual-1 passes, bench-a firmware fail\n" in tail
    assert "  bench-a: boot 2: ota_1 1.2.0; boot 3: ota_1 1.2.0; boot 4: ota_1 1.2.0 " in tail
    assert "3 of 16 requirements differ between boards, 5 not comparable\n" in tail
    assert "\nvirtual-1: 20 pass, 1 skipped\nbench-a: 1 firmware fail, 1 bench fault" in tail


def test_of_one_board_nothing_is_compared(run: RunRecord) -> None:
    alone = run.model_copy(update={"results": [result for result in run.results if result.board == "bench-a"]})
    text = summary(alone, plain_console(200))
    assert "differ" not in text
    assert "not comparable" not in text
    assert "bench-a: " not in text


def test_another_variant_is_announced_before_and_after_the_table(run: RunRecord) -> None:
    assert "VARIANT" not in summary(run, plain_console())
    text = summary(run.model_copy(update={"variant": "no_rollback"}), plain_console())
    said = "VARIANT no_rollback instead of rollback: 2 of 17 requirements fail with it"
    assert text.startswith(said)
    assert text.count(said) == 2


def test_path_of_the_report_is_never_broken_over_lines(run: RunRecord) -> None:
    path = Path("/srv/reports") / ("x" * 120) / "index.html"
    assert f"report: {path}\n" in summary(run, plain_console(), path)


def test_cell_with_several_verdicts_says_how_many_had_the_worst(run: RunRecord) -> None:
    assert "F firmware fail 1/2" in summary(run, plain_console())


def test_without_colour_there_is_no_escape_sequence_and_with_it_there_is(run: RunRecord) -> None:
    assert "\x1b" not in summary(run, plain_console())
    assert "\x1b[" in summary(run, terminal())


def test_text_from_a_board_cannot_steer_the_terminal_or_rich(run: RunRecord) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J[bold red]x[/] \u202e line\nnext"
    result = run.results[0].model_copy(update={"verdict": Verdict.BENCH_FAULT, "reason": evil, "board": evil})
    text = summary(run.model_copy(update={"results": [result]}), plain_console(200))
    assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert "[bold red]x[/]" in text


def test_letters_the_terminal_lacks_are_spelled_out(run: RunRecord) -> None:
    result = run.results[0].model_copy(update={"verdict": Verdict.BENCH_FAULT, "reason": "Gerät fehlt"})
    assert "Ger\\xe4t fehlt" in summary(run.model_copy(update={"results": [result]}), plain_console(80, "ascii"))


def test_nothing_tested_is_said(run: RunRecord) -> None:
    assert "nothing was tested" in summary(run.model_copy(update={"results": []}), plain_console())


def test_requirements_without_a_test_are_counted_where_a_pass_is_announced(run: RunRecord) -> None:
    carried = {name for result in run.results for name in result.requirements}
    covered = run.model_copy(update={"requirements": [r for r in run.requirements if r.id in carried]})
    gaps = [Requirement(id=f"GAP-{number}", area="gaps", text="Not yet.") for number in (1, 2)]
    assert "no test" not in summary(covered, plain_console())
    for more, words in ((gaps[:1], "1 requirement has no test"), (gaps, "2 requirements have no test")):
        record = covered.model_copy(update={"requirements": [*covered.requirements, *more]})
        assert words in summary(record, plain_console())
        assert words in render_page(record)


def test_off_a_terminal_progress_is_one_line_per_finished_test(run: RunRecord) -> None:
    console = plain_console()
    with RunProgress(console, {"virtual-1": 21, "bench-a": 20}) as progress:
        for result in run.results:
            progress.started(result.board, result.test)
            progress.done(result.board, result)
    lines = printed(console).splitlines()
    assert len(lines) == len(run.results)
    assert lines[0] == "[ 1/41] P pass          test_blank_otadata_boots_factory on virtual-1  1.27 s"


def test_live_line_shows_position_sums_and_what_runs(run: RunRecord) -> None:
    failed = next(result for result in run.results if result.verdict is Verdict.FIRMWARE_FAIL)
    progress = RunProgress(plain_console(), {"bench-a": 41})
    progress.done("bench-a", run.results[0])
    progress.done("bench-a", failed)
    progress.started("bench-a", "tests/test_x.py::test_y[z::1]")
    assert progress.line("bench-a") == "[ 2/41]  1 firmware fail, 1 pass  test_y[z::1]"
    progress.started("bench-a", "tests/test_x.py::test_z")
    progress.done("bench-a", run.results[0].model_copy(update={"test": "tests/test_x.py::test_z"}))
    assert "test_z" not in progress.line("bench-a")


def test_each_board_has_a_live_line_of_its_own(run: RunRecord) -> None:
    progress = RunProgress(plain_console(), {"virtual-1": None, "bench-a": 20})
    progress.started("virtual-1", "x::test_a")
    progress.done("bench-a", run.results[0])
    assert progress.line("virtual-1") == "virtual-1  [0/?]  test_a"
    progress.expect("virtual-1", 21)
    progress.ended("virtual-1", "pytest was ended by signal 9")
    progress.ended("bench-a")
    assert progress.line("virtual-1") == "virtual-1  [ 0/21]  pytest was ended by signal 9"
    assert progress.line("bench-a") == "bench-a    [ 1/20]  1 pass  finished"


def test_on_a_terminal_all_boards_are_shown_at_once(run: RunRecord) -> None:
    console = terminal(100)
    with RunProgress(console, {"virtual-1": 21, "bench-a": 20}) as progress:
        progress.started("bench-a", "x::test_b")
    assert re.search(r"virtual-1  \[ 0/21\]  starting.*\n.*bench-a    \[ 0/20\]  test_b", printed(console))


def test_more_tests_than_announced_never_read_as_more_than_all(run: RunRecord) -> None:
    progress = RunProgress(plain_console(), {"one": 1})
    progress.done("one", run.results[0])
    progress.done("one", run.results[1])
    assert progress.line("one") == "[2/2]  2 pass"


def test_on_a_terminal_passes_stay_silent_and_the_rest_is_kept(run: RunRecord) -> None:
    console = terminal(100)
    with RunProgress(console, {"virtual-1": 21, "bench-a": 20}) as progress:
        for result in run.results:
            progress.done(result.board, result)
    text = printed(console)
    for result in run.results:
        kept = f"on {result.board}  " in text and f"{result.verdict.value:13}" in text
        assert kept or result.verdict is Verdict.PASS
    assert "P pass  " not in text
    assert text.count("F firmware fail") == 1


def test_a_run_of_sweeps_alone_is_not_called_untested(run: RunRecord) -> None:
    empty = run.model_copy(update={"requirements": [], "results": []})
    assert "nothing was tested" in summary(empty, plain_console())
    swept = summary(empty.model_copy(update={"sweeps": [good_sweep()]}), plain_console())
    assert "nothing was tested" not in swept
    assert "1 power-cut sweep, 7,718 crash images: 1,424 at a hazard, 0 broken" in swept


def test_a_hazard_that_bricks_and_bits_that_were_burnt_for_good_stand_out(run: RunRecord) -> None:
    first = run.results[0]
    hazard = Hazard(what="nothing is left", remedy="none", source="x.c", severity="bricks")
    lesser = Hazard(what="a record is lost", remedy="none", source="x.c")
    spent = first.model_copy(update={"hazards": [lesser, hazard], "burnt": (1, 3)})
    changed = run.model_copy(update={"results": [spent, *run.results[1:]]})
    text = summary(changed, plain_console(200))
    assert "hazard that bricks (1 test): nothing is left" in text
    assert text.index("nothing is left") < text.index("a record is lost")
    assert f"eFuses of {first.board}: secure version 1 to 3, 2 bits burnt for good" in text
    page = render_page(changed)
    assert "Bricks the device" in page
    assert "2 bits burnt for good" in page
    assert "Bricks the device" not in render_page(run)
