"""`rig qualify`: run the tests with live progress, write the report, print the table, end with a verdict."""

from __future__ import annotations

import os
import shutil
import sys
import webbrowser
from datetime import datetime
from pathlib import Path

from rich.console import Console

import rig
from rig import qualify
from rig.boards import inventory, kinds
from rig.boards.inventory import BenchConfig, BoardSection
from rig.errors import BenchFault
from rig.evidence.records import Requirement, RunRecord, TestResult
from rig.evidence.report import write_report
from rig.evidence.terminal import RunProgress, exit_code, print_summary


def run(
    config: Path, board: str | None, select: str | None, jobs: int | None, *, as_json: bool, open_page: bool | None
) -> int:
    """The exit code of `rig qualify`; see `rig.errors` for what it may raise."""
    bench = inventory.load(config)
    section = bench.find(board) if board else bench.board[0]
    tests = qualify.find_tests(config)
    screen = Console(stderr=as_json)
    started = datetime.now().astimezone()
    final = config.resolve().parent / bench.bench.reports / started.strftime("%Y-%m-%d_%H-%M-%S")
    # Work under a hidden name, so that a folder without a dot is always a whole report.
    partial = final.with_name(f".{final.name}.{os.getpid()}")
    carried = dict(qualify.collect(tests))
    plan = qualify.Plan(config.resolve(), tests, partial, section.name, jobs or _default_jobs(section), select)
    try:
        results, ended = _follow(plan, screen, total=len(carried) if select is None else None)
        record = _record(bench, section, carried, results, started)
        if not results and ended.exit_code != qualify.NOTHING_SELECTED:
            raise BenchFault(
                f"pytest ended with exit code {ended.exit_code} before any test finished:\n{ended.complaint}"
            )
        write_report(record, partial)
        final = _rename(partial, final)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    page = final / "index.html"
    if as_json:
        sys.stdout.write((final / "results.json").read_text(encoding="utf-8"))
    print_summary(record, screen, report=page)
    if ended.exit_code not in qualify.FINISHED:
        screen.print(f"pytest ended early with exit code {ended.exit_code}; see {final / 'pytest.log'}", soft_wrap=True)
    if open_page if open_page is not None else _has_desktop():
        webbrowser.open(page.as_uri())
    return exit_code(record) or (3 if ended.exit_code not in qualify.FINISHED else 0)


def _follow(plan: qualify.Plan, screen: Console, total: int | None) -> tuple[list[TestResult], qualify.Ended]:
    results: list[TestResult] = []
    with RunProgress(screen, total) as progress:
        for event in qualify.run(plan):
            match event:
                case qualify.Collected(count):
                    progress.total = count
                case qualify.Started(test):
                    progress.started(test)
                case qualify.Finished(result):
                    results.append(result)
                    progress.done(result)
                case qualify.Ended():
                    return sorted(results, key=lambda result: result.test), event
    raise AssertionError("qualify.run always ends with Ended")


def _record(
    bench: BenchConfig,
    section: BoardSection,
    carried: dict[str, list[Requirement]],
    results: list[TestResult],
    started: datetime,
) -> RunRecord:
    ran = {name for result in results for name in result.requirements}
    requirements = {
        requirement.id: requirement for listed in carried.values() for requirement in listed if requirement.id in ran
    }
    return RunRecord(
        tool=f"rollback-rig {rig.__version__}",
        started=started,
        finished=datetime.now().astimezone(),
        command=" ".join(["rig", *sys.argv[1:]]),
        boards=[{key: str(value) for key, value in kinds.describe(section).items() if key in ("name", "kind", "chip")}],
        firmware=[{"source": "synthesised test app", "ESP-IDF": bench.firmware.idf_version}],
        requirements=list(requirements.values()),
        results=results,
    )


def _rename(partial: Path, final: Path) -> Path:
    number, target = 2, final
    while target.exists():
        target = final.with_name(f"{final.name}-{number}")
        number += 1
    partial.rename(target)
    return target


def _default_jobs(section: BoardSection) -> int:
    # A virtual board mostly waits, as esptool does for its reset sequence: two a core.
    return min(2 * (os.cpu_count() or 1), 8) if section.kind == "virtual" else 1


def _has_desktop() -> bool:
    return sys.stdout.isatty() and bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
