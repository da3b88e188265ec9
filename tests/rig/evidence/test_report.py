"""The report page: complete, self-contained, safe against what boards print, never half written."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from rig.evidence import report
from rig.evidence.records import RunRecord, Verdict
from rig.evidence.report import headline, render_page, write_report
from rig.evidence.report_page.coverage import STATES, coverage
from rig.evidence.report_page.summary import exit_code
from rig.evidence.report_page.text import clean, relative_link, seconds
from tests.rig.evidence.pages import HOSTILE, MEASURE, Page, chromium, seen_in_browser

SAMPLE = Path(__file__).parents[2] / "data" / "report" / "sample_run.json"


@pytest.fixture
def run() -> RunRecord:
    return RunRecord.model_validate_json(SAMPLE.read_text(encoding="utf-8"))


def hostile(value: Any, key: str = "") -> Any:
    """The same JSON with every free text replaced."""
    if isinstance(value, dict):
        return {name: hostile(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [hostile(item, key) for item in value]
    fixed = key in ("verdict", "by", "started", "finished")
    return HOSTILE if isinstance(value, str) and not fixed else value


def with_verdicts(run: RunRecord, *verdicts: Verdict) -> RunRecord:
    results = [run.results[0].model_copy(update={"verdict": verdict}) for verdict in verdicts]
    return run.model_copy(update={"results": results})


def test_report_is_three_files_and_results_read_back_as_written(run: RunRecord, tmp_path: Path) -> None:
    page = write_report(run, tmp_path / "new" / "folder")
    assert page == tmp_path / "new" / "folder" / "index.html"
    assert sorted(path.name for path in page.parent.iterdir()) == ["index.html", "junit.xml", "results.json"]
    assert RunRecord.model_validate_json((page.parent / "results.json").read_text(encoding="utf-8")) == run


@pytest.mark.parametrize("broken", ["render_page", "render_junit", "_write_all"])
def test_failure_leaves_the_old_report_and_no_parts(
    run: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    write_report(with_verdicts(run, Verdict.PASS), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*_: object) -> str:
        raise OSError("disk full")

    if broken == "_write_all":
        monkeypatch.setattr(report.os, "fsync", fail)
    else:
        monkeypatch.setattr(report, broken, fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(run, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_every_requirement_and_every_result_is_on_the_page(run: RunRecord) -> None:
    page = Page(render_page(run))
    for requirement in run.requirements:
        assert requirement.id in page.text
        assert requirement.text in page.text
    tests = [attributes for attributes in page.all("details") if "test" in attributes.get("class", "").split()]
    names = list(dict.fromkeys(result.test for result in run.results))
    assert len(tests) == len(names)
    for name, attributes in zip(names, tests, strict=True):
        verdicts = {result.verdict.value.replace(" ", "-") for result in run.results if result.test == name}
        assert set(attributes["data-verdicts"].split()) == verdicts
    for result in run.results:
        assert result.test in page.text
        assert clean(result.reason) in page.text
        for transition in result.transitions:
            assert all(line in page.text for line in transition.witness)


def test_every_requirement_row_names_the_verdicts_of_its_tests(run: RunRecord) -> None:
    rows = {a["data-words"]: a["data-verdicts"] for t, a in Page(render_page(run)).elements if a.get("class") == "row"}
    for requirement in run.requirements:
        found = next(verdicts for words, verdicts in rows.items() if words.startswith(requirement.id.lower() + " "))
        expected = {r.verdict.value.replace(" ", "-") for r in run.results if requirement.id in r.requirements}
        assert set(found.split()) == expected
    assert len(rows) == len(run.requirements) + 1


def test_links_inside_the_page_lead_somewhere_and_ids_are_unique(run: RunRecord) -> None:
    page = Page(render_page(run))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for _, a in page.elements if a.get("href", "").startswith("#")}
    assert targets <= set(ids)
    places = {i for i in ids if re.fullmatch(r"t\d+(-\d+)?", i)}
    lone = [name for name in places if not any(other.startswith(f"{name}-") for other in places)]
    assert len(lone) == len(run.results)
    assert set(lone) <= targets


def test_evidence_is_linked_relative_to_the_report_and_nothing_outside_it(run: RunRecord) -> None:
    page = Page(render_page(run))
    linked = {unquote(a["href"]).removeprefix("./") for a in page.all("a") if a["href"].startswith("./")}
    paths = {path for result in run.results for path in result.evidence.values()}
    assert linked == {path for path in paths if ".." not in path} | {"results.json", "junit.xml"}
    assert "../outside/host.log, outside this report" in page.text


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../../x", "C:/x", "C:\\x", "\\\\host\\x", "//host/x", "a\\..\\..\\x"]
)
def test_path_out_of_the_report_is_no_link(path: str) -> None:
    assert relative_link(path) is None


@pytest.mark.parametrize("path", ["javascript:alert(1)", "http://x.example/y", "data:text/html,x", "a b#c?d/é.log"])
def test_any_other_path_is_a_file_beside_the_report(path: str) -> None:
    address = relative_link(path)
    assert address is not None
    assert re.fullmatch(r"\./[A-Za-z0-9%._~/-]+", address)
    assert unquote(address) == "./" + path


@pytest.mark.parametrize("spoil", [lambda data: data, hostile])
def test_page_refers_to_nothing_external(spoil: Any) -> None:
    text = render_page(RunRecord.model_validate(spoil(json.loads(SAMPLE.read_text(encoding="utf-8")))))
    page = Page(text)
    addresses = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "action", "formaction", "data", "srcset", "poster", "background")
    ]
    assert addresses
    assert all(address.startswith(("#", "./")) for address in addresses)
    assert not {"link", "img", "iframe", "object", "embed", "base", "form", "audio", "video"} & {
        t for t, _ in page.elements
    }
    styles = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert len(styles) == 1
    assert "url(" not in styles[0]
    assert "@import" not in styles[0]


def test_hostile_text_is_shown_not_run() -> None:
    data = hostile(json.loads(SAMPLE.read_text(encoding="utf-8")))
    text = render_page(RunRecord.model_validate(data))
    page = Page(text)
    assert len(page.all("script")) == 1
    assert not [a for _, attributes in page.elements for a in attributes if a.startswith("on")]
    assert "<script>document.title='owned'</script>" in page.text
    assert "{{ 7*7 }}" in page.text
    assert "\\x00\\x07\\x85\\u202e" in page.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)


def test_only_the_pages_own_script_may_run(run: RunRecord) -> None:
    text = render_page(run)
    policy = next(a["content"] for a in Page(text).all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    script = re.search(r"<script>(.*)</script>", text, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script.group(1).encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_same_run_gives_the_same_page(run: RunRecord) -> None:
    assert render_page(run) == render_page(run)


def test_loud_results_are_listed_first_and_opened(run: RunRecord) -> None:
    text = render_page(run)
    alerts = text[text.index('id="attention"') : text.index('id="requirements"')]
    places = [alerts.index(f'<li class="{name}">') for name in ("firmware-fail", "bench-fault", "inconclusive")]
    assert places == sorted(places)
    opened = [a["data-verdicts"].split()[0] for a in Page(text).all("details") if "open" in a]
    assert sorted(opened) == ["bench-fault", "firmware-fail", "inconclusive"]


def test_skip_reasons_and_hazards_are_on_the_page(run: RunRecord) -> None:
    page = render_page(run)
    skipped = html.unescape(page[page.index('id="skipped"') : page.index('id="ran"')])
    assert all(r.reason in skipped for r in run.results if r.verdict is Verdict.SKIPPED)
    hazards = html.unescape(page[page.index('id="hazards"') : page.index('id="requirements"')])
    for hazard in (hazard for result in run.results for hazard in result.hazards):
        assert hazard.what in hazards
        assert hazard.remedy in hazards


def test_every_boot_cut_and_change_is_drawn(run: RunRecord) -> None:
    classes = [attributes.get("class", "") for _, attributes in Page(render_page(run)).elements]
    for name, count in {
        "bar": sum(len(result.boots) for result in run.results),
        "reset": sum(len(result.boots) for result in run.results),
        "cut": sum(len(result.cuts) for result in run.results),
        "dot": sum(len(result.transitions) for result in run.results),
    }.items():
        assert sum(name in value.split() for value in classes) == count, name


def test_matrix_has_every_pair_of_states_and_the_counts_of_the_run(run: RunRecord) -> None:
    text = render_page(run)
    matrix = text[text.index('<table class="matrix">') :]
    matrix = matrix[: matrix.index("</table>")]
    assert matrix.count("<td ") == len(STATES) ** 2
    cover = coverage(run.results)
    assert sum(sum(cell.seen.values()) for cell in cover.cells) == sum(len(r.transitions) for r in run.results)
    assert matrix.count('class="missing"') == cover.bootloader_total - cover.bootloader_seen


def test_empty_run_says_that_nothing_was_tested(run: RunRecord) -> None:
    empty = run.model_copy(update={"requirements": [], "results": [], "boards": [], "firmware": []})
    assert "Nothing was tested" in Page(render_page(empty)).text


@pytest.mark.parametrize(
    ("verdicts", "said", "code"),
    [
        ([Verdict.PASS, Verdict.PASS], "All 2 tests passed", 0),
        ([Verdict.PASS, Verdict.SKIPPED], "The one test passed", 0),
        ([Verdict.INCONCLUSIVE, Verdict.BENCH_FAULT, Verdict.FIRMWARE_FAIL], "Firmware failed 1 of 3 tests", 1),
        ([Verdict.INCONCLUSIVE, Verdict.BENCH_FAULT, Verdict.PASS], "The bench failed in 1 of 3 tests", 3),
        ([Verdict.INCONCLUSIVE, Verdict.PASS, Verdict.SKIPPED], "1 of 2 tests inconclusive", 4),
        ([Verdict.SKIPPED], "Nothing was tested", 4),
        ([], "Nothing was tested", 4),
    ],
)
def test_outcome_in_words_and_exit_code_follow_the_worst_verdict(
    run: RunRecord, verdicts: list[Verdict], said: str, code: int
) -> None:
    outcome = with_verdicts(run, *verdicts)
    assert headline(outcome) == said
    assert exit_code(outcome) == code


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0.00 s"),
        (9.99, "9.99 s"),
        (12.34, "12.3 s"),
        (59.97, "1 min 00 s"),
        (3720, "1 h 02 min"),
        (float("nan"), "? s"),
    ],
)
def test_durations_read_as_a_person_would_say_them(value: float, said: str) -> None:
    assert seconds(value) == said


USE = """
const shown = (what) => [...page.querySelectorAll(what)].filter((e) => !e.hidden).length;
const count = () => [shown("tr.row"), shown("details.test")];
const find = page.getElementById("find"), seen = {all: count()};
find.value = "rb-03 BENCH-A";
find.dispatchEvent(new Event("input"));
seen.words = count();
page.getElementById("clear").click();
seen.cleared = count();
page.getElementById("differ").click();
seen.differences = count();
page.getElementById("clear").click();
page.querySelector('[data-verdict="inconclusive"]').click();
seen.verdict = count();
page.querySelector('[data-verdict="firmware-fail"]').click();
seen.verdicts = count();
page.getElementById("clear").click();
page.querySelector('[data-change="PENDING_VERIFY>none"]').click();
seen.change = count();
frame.contentWindow.location.hash = page.querySelector("#table a.go").hash;
await new Promise((done) => setTimeout(done, 50));
seen.followed = [...count(), page.getElementById("t1").open, page.activeElement.closest("details")?.id];
return seen;
"""


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("spoil", [lambda data: data, hostile], ids=["usual", "hostile"])
def test_page_fits_its_window_and_runs_only_its_own_script(tmp_path: Path, width: int, spoil: Any) -> None:
    run = RunRecord.model_validate(spoil(json.loads(SAMPLE.read_text(encoding="utf-8"))))
    seen = seen_in_browser(tmp_path, render_page(run), width, MEASURE)
    assert seen["size"] == width
    assert seen["out"] == []
    assert seen["scroll"] <= width
    assert seen["script"]
    assert seen["title"] == f"{headline(run)} · rollback qualification"


def test_filters_by_words_verdicts_and_change_and_links_open_their_test(run: RunRecord, tmp_path: Path) -> None:
    seen = seen_in_browser(tmp_path, render_page(run), 1200, USE)
    everything = [len(run.requirements) + 1, len({result.test for result in run.results})]
    assert seen["all"] == seen["cleared"] == everything
    assert seen["words"] == [1, 2]
    assert seen["verdict"] == [1, 1]
    assert seen["verdicts"] == [3, 2]
    assert seen["differences"] == [3, 2]
    assert seen["change"] == [1, 1]
    assert seen["followed"] == [*everything, True, "t1"]


def test_page_can_be_photographed(run: RunRecord, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    chromium(tmp_path, render_page(run), "--window-size=1400,1000", f"--screenshot={picture}")
    assert picture.read_bytes().startswith(b"\x89PNG")
    # A blank page of this size is under 10 kB.
    assert picture.stat().st_size > 40_000
