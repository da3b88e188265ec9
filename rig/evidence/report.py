"""Write the report of a run: `index.html` to look at, `junit.xml` for CI servers, `results.json` for programs."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rig.evidence.junit import render_junit
from rig.evidence.records import RunRecord, TestResult, Verdict
from rig.evidence.report_page import coverage, differences, summary, sweeps
from rig.evidence.report_page.cutmap import cut_map
from rig.evidence.report_page.lanes import chart
from rig.evidence.report_page.text import clean, one_line, relative_link, seconds

PAGE = Path(__file__).parent / "report_page"
ODD = (differences.DIFFERS, differences.BOOTS)
"""Marks of a test that went differently on different boards."""
TITLES = {"how": "flashed"}
"""Heads of columns whose keys in results.json do not say enough."""


def write_report(run: RunRecord, folder: Path) -> Path:
    """Write `index.html`, `junit.xml` and `results.json` into `folder` (made if missing); returns the path of the page.

    All three are rendered before anything is written, and each appears under its name only when complete.
    Links to evidence are relative to `folder`, which may be moved as a whole. Raises OSError if it is not writable.
    """
    files = {
        "results.json": run.model_dump_json(indent=2) + "\n",
        "junit.xml": render_junit(run),
        "index.html": render_page(run),
    }
    folder.mkdir(parents=True, exist_ok=True)
    _write_all(folder, files)
    return folder / "index.html"


def render_page(run: RunRecord) -> str:
    """The page as one HTML text with style and script inside; it refers to nothing but evidence beside it."""
    environment = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_presentable,
    )
    script = _script(run)
    compared = differences.comparisons(run)
    anchors = _anchors(compared)
    sentences = {requirement.id: requirement.text for requirement in run.requirements}
    rows = summary.rows(run)
    marks = differences.marks(rows, compared)
    mark_of = {id(row): mark for row, mark in zip(rows, marks, strict=True)}
    cover = coverage.coverage(run.results)
    classes = sweeps.legend(run.sweeps)
    cut_anchors = {id(sweep): f"cut{number}" for number, sweep in enumerate(run.sweeps, 1)}
    return environment.get_template("page.html.j2").render(
        run=run,
        css=Markup(environment.get_template("page.css").render()),
        sweep_css=Markup(environment.get_template("sweeps.css").render()),
        script=Markup(script),
        script_hash=_script_hash(script),
        verdict=summary.overall(run),
        headline=headline(run),
        subline=_subline(run),
        counts=summary.count(run.results),
        all_counts=summary.count(summary.judged(run)),
        meaning=summary.MEANING,
        attention=_attention(run.results),
        attention_sweeps=_attention(run.sweeps),
        power_cuts=sweeps,
        classes=classes,
        cut_anchor=lambda sweep: cut_anchors[id(sweep)],
        map_of=lambda sweep: cut_map(sweep, list(classes)),
        hazards=summary.hazards(run),
        skips=summary.skip_reasons(run),
        skipped=Verdict.SKIPPED,
        boards=summary.columns(run),
        bench_lines=summary.bench_lines(run),
        retried=summary.retried(run),
        areas=summary.areas(rows),
        cover=cover,
        states=coverage.STATES,
        todo=[cell for cell in cover.cells if "bootloader" in cell.missing],
        unexpected=any(cell.unexpected for cell in cover.cells),
        titles=TITLES,
        instead=summary.instead(run),
        by_board=summary.by_board(run),
        compared=compared,
        differ=differences.sums(run),
        different=sorted((test for test in compared if test.mark in ODD), key=lambda test: ODD.index(test.mark)),
        odd_marks=ODD,
        marks=marks,
        mark_of=lambda row: mark_of[id(row)],
        worst=summary.worst,
        took=seconds((run.finished - run.started).total_seconds()),
        anchor=lambda thing: anchors[id(thing)],
        sentences=lambda result: [f"{name}: {sentences[name]}" for name in result.requirements if name in sentences],
        chart_of=chart,
        css_name=_css_name,
        short_name=short_name,
        by_verdict=_by_verdict,
        words=_words,
        words_of=_words_of,
        change_key=coverage.key,
        cell_title=_cell_title,
        breakable=_breakable,
        columns_of=_columns,
        relative_link=relative_link,
        seconds=seconds,
        when=_when,
    )


def headline(run: RunRecord) -> str:
    """The outcome of the run in a few words."""
    verdict = summary.overall(run)
    ran = [
        (some, what)
        for every, what in ((run.results, "test"), (run.sweeps, "power-cut sweep"))
        if (some := [item for item in every if item.verdict is not Verdict.SKIPPED])
    ]
    so_many = [(sum(item.verdict is verdict for item in some), len(some), what) for some, what in ran]
    those = " and ".join(f"{n} of {_several(all_, what)}" for n, all_, what in so_many if n)
    match verdict:
        case Verdict.FIRMWARE_FAIL:
            return f"Firmware failed {those}"
        case Verdict.BENCH_FAULT:
            return f"The bench failed in {those}"
        case Verdict.INCONCLUSIVE:
            return f"{those} inconclusive" if those else "Nothing was tested"
    if sum(n for n, _, _ in so_many) == 1:
        return f"The one {so_many[0][2]} passed"
    every = "All " if all(n > 1 for n, _, _ in so_many) else ""
    return f"{every}{' and '.join(_several(n, what) for n, _, what in so_many)} passed"


def short_name(result: TestResult | differences.Comparison) -> str:
    """The test's own name, without its file."""
    return summary.split_test(result.test)[1]


def _anchors(compared: Sequence[differences.Comparison]) -> dict[int, str]:
    """Where each test and each of its results stands in the page, by `id()`: a lone result stands for its test."""
    found: dict[int, str] = {}
    for number, test in enumerate(compared, 1):
        found[id(test)] = f"t{number}"
        for place, result in enumerate(test.results, 1):
            found[id(result)] = f"t{number}-{place}" if test.several else f"t{number}"
    return found


def _script(run: RunRecord) -> str:
    files = ["page.js", "sweeps.js"] if run.sweeps else ["page.js"]
    return "".join((PAGE / name).read_text(encoding="utf-8") for name in files)


def _tests(number: int) -> str:
    return _several(number, "test")


def _several(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _subline(run: RunRecord) -> str:
    skipped = summary.count(summary.judged(run))[Verdict.SKIPPED]
    parts = [
        _several(len(summary.all_boards(run)), "board"),
        f"{skipped} skipped" if skipped else "nothing skipped",
        *([sweeps.number(sweeps.images_of(run), "crash image")] if run.sweeps else []),
        *filter(None, [summary.untested(run)]),
        *summary.burnt(run),
        seconds((run.finished - run.started).total_seconds()),
        _when(run.started),
    ]
    return " · ".join(parts)


def _attention(results: Iterable[summary.Judged]) -> list[summary.Judged]:
    """What a person must look at, most serious first."""
    loud = [Verdict.FIRMWARE_FAIL, Verdict.BENCH_FAULT, Verdict.INCONCLUSIVE]
    return sorted((r for r in results if r.verdict in loud), key=lambda result: loud.index(result.verdict))


def _by_verdict(cell: Sequence[TestResult]) -> list[tuple[Verdict, list[TestResult]]]:
    groups = [(verdict, [r for r in cell if r.verdict is verdict]) for verdict in summary.PRECEDENCE]
    return [(verdict, some) for verdict, some in groups if some]


def _words(row: summary.Row) -> str:
    """What the text filter looks at in a row of requirements."""
    results = [f"{result.test} {result.board}" for cell in row.results for result in cell]
    requirement = row.requirement
    return one_line(" ".join([requirement.id, requirement.area, requirement.text, *results])).lower()


def _words_of(result: TestResult) -> str:
    return one_line(" ".join([result.test, result.board, *result.requirements, result.reason])).lower()


def _cell_title(cell: coverage.Cell) -> str:
    lines = [f"{cell.before} → {cell.after}"]
    lines += [f"{count} by the {writer}" for writer, count in cell.seen.items() if count]
    if cell.tests:
        lines.append(f"in {_tests(cell.tests)}")
    reasons = {"bootloader": cell.by_bootloader, "app": cell.by_app}
    lines += [f"the {writer} can: {when}" for writer, when in reasons.items() if when]
    if cell.before != cell.after and not any(reasons.values()):
        lines.append("neither bootloader nor app of ESP-IDF makes this change")
    return "\n".join(lines)


def _breakable(state: str) -> Markup:
    return Markup("_<wbr>").join(Markup.escape(part) for part in state.split("_"))


def _columns(items: Iterable[Mapping[str, str]]) -> list[str]:
    return list(dict.fromkeys(key for item in items for key in item))


def _css_name(verdict: Verdict) -> str:
    return verdict.value.replace(" ", "-")


def _when(moment: datetime) -> str:
    zone = moment.tzname() or ""
    return f"{moment:%Y-%m-%d %H:%M:%S} {zone}".strip()


def _presentable(value: object) -> object:
    """Every value on its way into the page; markup made here passes, text from elsewhere is cleaned."""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _script_hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _write_all(folder: Path, files: Mapping[str, str]) -> None:
    """Write each file under a name of its own first; the page, by which a report is known to be there, moves last."""
    suffix = f".{uuid4().hex}.part"
    parts = {name: folder / f".{name}{suffix}" for name in files}
    try:
        for name, text in files.items():
            with parts[name].open("w", encoding="utf-8", errors="replace", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        for name, part in parts.items():
            part.replace(folder / name)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
