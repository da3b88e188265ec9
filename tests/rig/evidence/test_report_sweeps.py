"""The power-cut map and what the report says of sweeps: no mutation lost, deviations loud, small enough to open."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.crash.tally import ERASE_MS, PROGRAM_MS
from rig.evidence.records import RunRecord, Severity, SweepRecord, SweptMutation, Verdict
from rig.evidence.report import headline, render_page
from rig.evidence.report_page import sweeps
from rig.evidence.report_page.cutmap import FOLDED, cut_map, in_otadata, packed
from rig.evidence.report_page.summary import exit_code
from rig.evidence.report_page.text import clean, one_line
from tests.rig.evidence.pages import HOSTILE, MEASURE, Page, seen_in_browser
from tests.rig.evidence.sweeps import broken_sweep, good_sweep, hazard, mutations, run_of, window

SAMPLE = Path(__file__).parents[2] / "data" / "report" / "sample_run.json"
CLASSES = ["old app", "new app", "unbootable"]
TEXTS = st.sampled_from(
    [
        "program 256 bytes of ota_1 at {:#x}",
        "erase ota_1 at {:#x}",
        "program 32 bytes of otadata[1] (0xe000): app writes ota_1: none → NEW",
        "erase otadata[0] at 0xd000: app writes otadata: written → erased",
        "burn the secure version 0 → 1 into the eFuse",
        "nvs 0x0{:x} 0xABC {:#x}",
    ]
) | st.text(max_size=12).map(lambda text: text.replace("{", "").replace("}", ""))


@st.composite
def swept(draw: st.DrawFn) -> list[SweptMutation]:
    """Stretches of mutations whose addresses go up by some step, as writing an image makes them."""
    found: list[SweptMutation] = []
    missing = draw(st.integers(3, 40))
    for _ in range(draw(st.integers(0, 6))):
        text, start, step = draw(TEXTS), draw(st.integers(0, 2**24)), draw(st.integers(0, 4096))
        outcome, worst, images = draw(st.sampled_from(CLASSES)), draw(st.sampled_from(CLASSES)), draw(st.integers(1, 3))
        for place in range(draw(st.integers(1, 2 * FOLDED))):
            value = start + step * place
            number = len(found) + (3 if len(found) < missing else 4)
            found.append(
                SweptMutation(
                    number=number, text=text.format(value, value), outcome=outcome, worst=worst, images=images
                )
            )
    return found


def sweep_of(cells: list[SweptMutation]) -> SweepRecord:
    return good_sweep().model_copy(update={"mutations": cells})


def with_verdict(verdict: Verdict) -> SweepRecord:
    return good_sweep(size=16).model_copy(update={"verdict": verdict})


def with_tests(*verdicts: Verdict, swept: list[SweepRecord]) -> RunRecord:
    run = RunRecord.model_validate_json(SAMPLE.read_text(encoding="utf-8"))
    results = [run.results[0].model_copy(update={"verdict": verdict}) for verdict in verdicts]
    return run.model_copy(update={"results": results, "sweeps": swept})


# --- the map -------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(swept())
def test_what_the_pages_script_gets_holds_every_mutation_as_it_was(cells: list[SweptMutation]) -> None:
    shapes, runs = packed(cells, CLASSES)
    unpacked = []
    for first, count, shape, start, step, outcome, worst, images in runs:
        for place in range(count):
            text = hex(start + step * place).join(shapes[shape])
            unpacked.append((first + place, text, CLASSES[outcome], CLASSES[worst], images))
    assert unpacked == [(cell.number, one_line(cell.text), cell.outcome, cell.worst, cell.images) for cell in cells]


@settings(deadline=None)
@given(swept())
def test_every_mutation_is_in_one_cell_and_only_what_leads_to_the_same_is_folded(cells: list[SweptMutation]) -> None:
    drawn = [cell for stretch in cut_map(sweep_of(cells), CLASSES).stretches for cell in stretch.cells]
    numbers = [number for cell in drawn for number in range(cell.mutation.number, cell.last + 1)]
    assert numbers == [cell.number for cell in cells]
    for cell in drawn:
        folded = [one for one in cells if cell.mutation.number <= one.number <= cell.last]
        assert len({(one.outcome, one.worst) for one in folded}) == 1
        assert len(folded) == 1 or (len(folded) >= FOLDED and not any(map(in_otadata, folded)))


def test_the_otadata_writes_of_an_update_stand_beside_one_folded_download() -> None:
    stretches = cut_map(good_sweep(), [outcome.name for outcome in good_sweep().outcomes]).stretches
    assert [(stretch.caption, [cell.count for cell in stretch.cells]) for stretch in stretches] == [
        ("", [1093]),
        ("app writes ota_1: none → NEW", [1, 1]),
        ("bootloader writes ota_1: NEW → PENDING_VERIFY", [1, 1]),
        ("", [1]),
        ("app writes ota_1: PENDING_VERIFY → VALID", [1, 1]),
    ]


def test_ten_updates_of_1100_mutations_stay_far_below_a_megabyte() -> None:
    run = run_of(good_sweep(f"update-{number}") for number in range(10))
    assert all(len(sweep.mutations) == 1100 for sweep in run.sweeps)
    assert len(render_page(run).encode()) < 300_000


def test_classes_have_signs_of_their_own_and_the_mild_ones_come_first() -> None:
    shown = list(sweeps.legend([good_sweep(), broken_sweep()]).values())
    order = [Severity.GOOD, Severity.HAZARD, Severity.BROKEN]
    assert [order.index(one.severity) for one in shown] == sorted(order.index(one.severity) for one in shown)
    assert [(one.sign, one.name, one.images) for one in shown[-2:]] == [
        ("E", "confirmation lost", 158),
        ("F", "unbootable", 142),
    ]
    assert len({one.colour for one in shown}) == len(shown)


def test_any_number_of_classes_has_signs() -> None:
    good = good_sweep()
    many = [good.outcomes[0].model_copy(update={"name": f"class {number}"}) for number in range(60)]
    shown = sweeps.legend([good.model_copy(update={"outcomes": many, "mutations": []})]).values()
    assert len({one.sign for one in shown}) == 60


# --- what the page says --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sweep", [good_sweep(), broken_sweep()], ids=["good", "broken"])
def test_board_version_numbers_outcomes_and_windows_are_on_the_page(sweep: SweepRecord) -> None:
    text = Page(render_page(run_of([sweep]))).text
    numbers = (sweep.images, sweep.nested_images, sweep.booted, sweep.images + sweep.nested_images - sweep.booted)
    for said in (sweep.scenario, sweep.summary, sweep.board, sweep.idf_version, *(f"{n:,}" for n in numbers)):
        assert said in text
    assert "agrees with a booted one in every byte that was read" in text
    for outcome in sweep.outcomes:
        assert outcome.meaning in text
        assert re.search(
            rf"{outcome.name}\W*{outcome.severity.value}{outcome.images:,}\W*{outcome.model_images:,}", text
        )
    for one in sweep.windows:
        assert f"{one.change} by the {one.writer}" in text
        assert f"{one.typical_ms:g} ms{one.longest_ms:g} ms" in text.replace("\n", "")
        assert one.first in text
        assert one.last in text


def test_the_table_of_windows_names_the_data_sheet_with_the_times_that_were_added_up() -> None:
    text = Page(render_page(run_of([good_sweep()]))).text
    erase, program = (f"{times[0]:g} ms typical, {times[1]:g} ms maximum" for times in (ERASE_MS, PROGRAM_MS))
    said = (
        "estimate: the flash operations in which a cut is risky, by Winbond's W25Q32JV data sheet: sector erase (4 KiB)"
    )
    assert f"{said} {erase};" in text
    assert f"page program {program}." in text


def test_deviations_are_loud_hazards_are_not_and_both_name_the_command_to_see_them() -> None:
    page = render_page(run_of([broken_sweep()]))
    deviations = page[page.index("<h3>Deviations") : page.index("<h3>Where the cuts led")]
    hazards = page[page.index("<h3>Hazards") : page.index('id="reading"')]
    assert "rig crash replay update-broken/m0105/torn-erase-3" in deviations
    assert "unbootable, where ESP-IDF v5.5 as modelled gives new app silently lost" in deviations
    assert '<li class="firmware-fail">' in deviations
    assert "confirmation lost, by a cut" not in deviations
    assert "rig crash replay update-broken/m0108" in hazards
    assert "let the server offer the update again" in hazards
    assert "bootloader_utility.c write_otadata" in hazards
    assert "firmware-fail" not in hazards
    alerts = page[page.index('id="attention"') : page.index('id="cuts"')]
    assert "unbootable: 142 crash images, in the model 0" in alerts
    assert "rig crash replay update-broken/m0105/torn-erase-3" in alerts


def test_a_board_that_does_as_the_model_has_no_deviation_and_needs_no_attention() -> None:
    page = render_page(run_of([good_sweep()]))
    assert "Deviations" not in page
    assert 'id="attention"' not in page
    assert "<h3>Hazards" in page


def test_outcomes_that_differ_from_the_model_are_marked() -> None:
    page = Page(render_page(run_of([broken_sweep()])))
    assert [a["class"] for a in page.all("tr") if "unlike" in a.get("class", "")] == ["unlike"] * 3
    assert "≠ 71" in page.text
    assert "≠" not in Page(render_page(run_of([good_sweep()]))).text


def test_hazards_with_the_same_remedy_stand_together() -> None:
    one, other, third = (hazard("s", name, cut, 1) for name, cut in (("a", "m1"), ("a", "m2"), ("b", "m3")))
    grouped = sweeps.hazards(good_sweep().model_copy(update={"findings": [one, third, other]}))
    assert [[finding.image for finding in group.findings] for group in grouped] == [["s/m1", "s/m2"], ["s/m3"]]


def test_a_window_that_several_runs_have_in_common_is_one_line_with_all_of_them() -> None:
    good, broken = good_sweep(), broken_sweep()
    shared = sweeps.windows([good, good_sweep("again"), broken])
    assert [[sweep.scenario for sweep in one.sweeps] for one in shared] == [
        ["update-ok", "again"],
        ["update-ok", "again"],
        ["update-broken"],
    ]


def test_a_window_of_single_bits_within_one_mutation_says_so() -> None:
    bits = window("s", "app writes ota_1: none → NEW", "unbootable", 7).model_copy(
        update={"first": "s/m0008/torn-program-word-6", "last": "s/m0008/torn-program-word-6", "mutations": 0}
        | {"single_bits": True}
    )
    text = Page(render_page(run_of([broken_sweep().model_copy(update={"windows": [bits]})]))).text
    assert "within one mutation" in text
    assert "Only if single bits of one program stay as they were" in text


def test_a_run_of_sweeps_alone_has_no_empty_tables_of_tests() -> None:
    page = Page(render_page(run_of([good_sweep()])))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert not {"requirements", "coverage", "tests"} & set(ids)
    assert "requirement has no test" not in page.text
    targets = {a["href"][1:] for _, a in page.elements if a.get("href", "").startswith("#")}
    assert targets <= set(ids)
    assert len(ids) == len(set(ids))


def test_a_run_with_tests_and_sweeps_has_both() -> None:
    ids = {a.get("id") for _, a in Page(render_page(with_tests(Verdict.PASS, swept=[good_sweep()]))).elements}
    assert {"requirements", "coverage", "tests", "cuts", "cut1"} <= ids


def test_only_the_pages_own_script_may_run_with_sweeps_too() -> None:
    text = render_page(run_of([good_sweep()]))
    script = re.search(r"<script>(.*)</script>", text, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script.group(1).encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text


def hostile_sweep() -> SweepRecord:
    """A sweep in which everything that is free text is an attack."""
    data = json.loads(broken_sweep().model_dump_json())
    fixed = {"verdict", "severity", "writer", "sector", "kind"}

    def spoil(value: object, key: str = "") -> object:
        if isinstance(value, dict):
            return {name: spoil(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [spoil(item, key) for item in value]
        if key in ("name", "outcome", "worst", "outcomes"):
            return f"{value} {HOSTILE}"
        return HOSTILE if isinstance(value, str) and key not in fixed else value

    return SweepRecord.model_validate(spoil(data))


def test_hostile_text_is_shown_not_run() -> None:
    text = render_page(run_of([hostile_sweep()]))
    page = Page(text)
    assert len(page.all("script")) == 1
    assert not [a for _, attributes in page.elements for a in attributes if a.startswith("on")]
    assert page.all("img") == []
    assert "<script>document.title='owned'</script>" in page.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)
    for attribute in ("data-classes", "data-shapes"):
        for known in (a[attribute] for _, a in page.elements if attribute in a):
            texts = [text for row in json.loads(known) for text in row]
            assert texts
            assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e]", "".join(texts))


# --- the verdict on a run ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tests", "verdicts", "said", "code"),
    [
        ([], [Verdict.PASS], "The one power-cut sweep passed", 0),
        ([], [Verdict.PASS, Verdict.PASS], "All 2 power-cut sweeps passed", 0),
        ([], [Verdict.PASS, Verdict.FIRMWARE_FAIL], "Firmware failed 1 of 2 power-cut sweeps", 1),
        ([Verdict.PASS] * 3, [Verdict.PASS] * 2, "All 3 tests and 2 power-cut sweeps passed", 0),
        ([Verdict.PASS], [Verdict.PASS] * 2, "1 test and 2 power-cut sweeps passed", 0),
        ([Verdict.PASS] * 3, [Verdict.FIRMWARE_FAIL], "Firmware failed 1 of 1 power-cut sweep", 1),
        (
            [Verdict.FIRMWARE_FAIL, Verdict.PASS],
            [Verdict.FIRMWARE_FAIL, Verdict.PASS],
            "Firmware failed 1 of 2 tests and 1 of 2 power-cut sweeps",
            1,
        ),
        ([Verdict.BENCH_FAULT], [Verdict.PASS], "The bench failed in 1 of 1 test", 3),
        ([Verdict.SKIPPED], [Verdict.PASS], "The one power-cut sweep passed", 0),
        ([Verdict.INCONCLUSIVE], [Verdict.PASS], "1 of 1 test inconclusive", 4),
    ],
)
def test_sweeps_count_in_headline_and_exit_code(
    tests: list[Verdict], verdicts: list[Verdict], said: str, code: int
) -> None:
    run = with_tests(*tests, swept=[with_verdict(verdict) for verdict in verdicts])
    assert headline(run) == said
    assert exit_code(run) == code


# --- in a browser --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("sweep", [broken_sweep(), hostile_sweep()], ids=["usual", "hostile"])
def test_page_fits_its_window_and_its_script_runs(tmp_path: Path, width: int, sweep: SweepRecord) -> None:
    seen = seen_in_browser(tmp_path, render_page(run_of([sweep, good_sweep()])), width, MEASURE)
    assert seen["out"] == []
    assert seen["scroll"] <= width
    assert seen["script"]
    assert seen["title"].startswith("Firmware failed 1 of 2 power-cut sweeps")


USE = """
const view = frame.contentWindow, map = page.querySelector(".map"), cells = map.querySelector(".cells");
const told = page.querySelector(".told"), fold = cells.querySelector(".fold"), seen = {};
const press = (key) => cells.dispatchEvent(new view.KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
const point = (cell, share, what = "pointermove") => {
  const box = cell.getBoundingClientRect();
  cell.dispatchEvent(new view.PointerEvent(what, {bubbles: true, clientX: box.left + share * box.width}));
};
press("Home");
seen.keys = [told.textContent];
while (Number(cells.getAttribute("aria-valuenow")) < Number(cells.getAttribute("aria-valuemax"))) {
  press("ArrowRight");
  seen.keys.push(told.textContent);
}
press("Home"); press("PageDown");
seen.paged = cells.getAttribute("aria-valuetext");
point(fold, 0.5);
seen.middle = told.textContent;
seen.pinned = Boolean(fold.querySelector(".pin"));
seen.widths = Math.min(...[...cells.querySelectorAll("[data-n]")].map((cell) => cell.getBoundingClientRect().width));
point(fold, 0.5, "click");
seen.unfolded = [];
for (const cell of cells.querySelectorAll(".unfolded [data-n]")) {
  point(cell, 0.5);
  seen.unfolded.push(told.textContent);
}
seen.thin = Math.min(...[...cells.querySelectorAll("[data-n]")].map((cell) => cell.getBoundingClientRect().width));
press("Enter");
seen.left = cells.querySelectorAll(".unfolded").length;
frame.contentWindow.location.hash = "#cut2";
await new Promise((done) => setTimeout(done, 50));
seen.opened = page.getElementById("cut2").open;
return seen;
"""


def test_every_mutation_is_reached_by_keyboard_and_by_pointer_with_what_was_written(tmp_path: Path) -> None:
    sweep = broken_sweep()
    seen = seen_in_browser(tmp_path, render_page(run_of([sweep, good_sweep()])), 1200, USE)
    told = [f"{sweep.scenario}/m{cell.number:04d} {cell.text}Cut right after it: " for cell in sweep.mutations]
    assert [said[: len(text)] for said, text in zip(seen["keys"], told, strict=True)] == told
    erase = seen["keys"][105]
    assert erase.endswith(
        "F unbootable; the worst of 45 crash images: F unbootablerig crash replay update-broken/m0105"
    )
    written = "Cut right after it: C old app, failure recorded; the worst of 37 crash images: F unbootable"
    assert written in seen["keys"][106]
    assert "A old app; the worst of 5 crash images" in seen["keys"][50]
    assert seen["paged"].startswith("103: erase otadata[1]")
    assert seen["pinned"]
    assert seen["middle"].startswith(told[51])
    assert [said[: len(text)] for said, text in zip(seen["unfolded"], told, strict=False)] == told[:103]
    assert len(seen["unfolded"]) == 103
    assert seen["widths"] >= 20
    assert seen["thin"] >= 8
    assert seen["left"] == 0
    assert seen["opened"]


def test_the_sample_itself_is_in_order() -> None:
    cells = mutations(32, broken=True)
    assert all(right.number == left.number + 1 for left, right in pairwise(cells))
    assert clean(cells[-2].text) == "erase otadata[1] (0xe000): app writes ota_1: PENDING_VERIFY → VALID"
