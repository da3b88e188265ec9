"""`rig qualify`: run the tests with live progress, write the report, print the table, end with a verdict."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import sys
import webbrowser
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import FrameType

import rig
from rig import qualify
from rig.boards import inventory, kinds
from rig.boards.inventory import BenchConfig, BoardSection
from rig.errors import BenchFault, Inconclusive
from rig.evidence.records import Requirement, RunRecord, TestResult, Verdict
from rig.evidence.report import write_report
from rig.evidence.terminal import RunProgress, exit_code, print_summary
from rig.requirements_command import uncovered
from rig.screen import Screen

Carried = dict[str, list[Requirement]]
SIGNAL_EXIT = 128
"""What shells add to the number of the signal that ended a command."""


def run(
    config: Path, board: str | None, select: str | None, jobs: int | None, *, as_json: bool, open_page: bool | None
) -> int:
    """The exit code of `rig qualify`; see `rig.errors` for what it may raise."""
    bench = inventory.load(config)
    section = bench.find(board) if board else bench.board[0]
    tests = qualify.find_tests(config)
    screen = Screen(stderr=as_json)
    started = datetime.now().astimezone()
    final = config.resolve().parent / bench.bench.reports / started.strftime("%Y-%m-%d_%H-%M-%S")
    # Work under a hidden name, so that a folder without a dot is always a whole report.
    partial = final.with_name(f".{final.name}.{os.getpid()}")
    with _ended_like_ctrl_c(), _removed_on_error(partial):
        with screen.status("collecting the tests"):
            carried = qualify.collect(tests, select)
        if not carried:
            raise Inconclusive(
                f"no test fits -k {shlex.quote(select)}" if select else f"{tests} holds no test",
                hint="rig requirements lists the tests",
            )
        plan = qualify.Plan(config.resolve(), tests, partial, section.name, jobs or _default_jobs(section), select)
        results, ended = _follow(plan, screen, len(carried))
        if not results:
            raise BenchFault(f"{_end_in_words(ended)} before any test finished:\n{ended.complaint}")
        results += _lost(section, carried, results, ended, started)
        requirements = [requirement for listed in carried.values() for requirement in listed]
        # A whole run also says what nothing tests yet; a selection says nothing of the rest.
        requirements += uncovered(tests) if select is None else []
        record = _record(bench, section, requirements, [_relative(result, partial) for result in results], started)
        try:
            write_report(record, partial)
            plan.results.unlink()
            final = _rename(partial, final)
        except OSError as error:
            print_summary(record, screen)
            raise BenchFault(f"{final.parent}: the report cannot be written there: {error.strerror}") from error
    page = final / "index.html"
    if as_json:
        # JSON is UTF-8, whatever the terminal's encoding.
        sys.stdout.buffer.write((final / "results.json").read_bytes())
    print_summary(record, screen, report=page)
    if ended.exit_code not in qualify.FINISHED:
        screen.print(f"{_end_in_words(ended)}; see {final / 'pytest.log'}", highlight=False, soft_wrap=True)
    if (open_page if open_page is not None else _has_desktop()) and not webbrowser.open(page.as_uri()):
        screen.print("no browser could be started")
    return exit_code(record) or (BenchFault.exit_code if ended.exit_code not in qualify.FINISHED else 0)


@contextlib.contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """SIGTERM and a closed terminal end the run as Ctrl-C does: with nothing left behind."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(SIGNAL_EXIT + number)

    # What nohup ignores stays ignored.
    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _removed_on_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _follow(plan: qualify.Plan, screen: Screen, total: int) -> tuple[list[TestResult], qualify.Ended]:
    results: list[TestResult] = []
    with contextlib.closing(qualify.run(plan)) as events, RunProgress(screen, total) as progress:
        for event in events:
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


def _lost(
    section: BoardSection, carried: Carried, results: list[TestResult], ended: qualify.Ended, started: datetime
) -> list[TestResult]:
    """A bench fault for each test whose result never came back, so that no report is silent about one."""
    finished = {result.test for result in results}
    return [
        TestResult(
            test=test,
            requirements=[requirement.id for requirement in requirements],
            board=section.name,
            kind=section.kind,
            chip=section.chip,
            verdict=Verdict.BENCH_FAULT,
            reason=f"{_end_in_words(ended)} and left no result of this test",
            started=started,
            duration_s=0.0,
            details=ended.complaint,
            evidence={"pytest.log": "pytest.log"},
        )
        for test, requirements in carried.items()
        if test not in finished
    ]


def _end_in_words(ended: qualify.Ended) -> str:
    if ended.exit_code < 0:
        return f"pytest was ended by signal {-ended.exit_code} ({signal.Signals(-ended.exit_code).name})"
    return f"pytest ended with exit code {ended.exit_code}"


def _relative(result: TestResult, folder: Path) -> TestResult:
    """With evidence named as it lies in the report, whose folder has not got its name yet."""
    here = f"{folder}{os.sep}"
    return result.model_copy(
        update={"reason": result.reason.replace(here, ""), "details": result.details.replace(here, "")}
    )


def _record(
    bench: BenchConfig,
    section: BoardSection,
    requirements: list[Requirement],
    results: list[TestResult],
    started: datetime,
) -> RunRecord:
    return RunRecord(
        tool=f"rollback-rig {rig.__version__}",
        started=started,
        finished=datetime.now().astimezone(),
        command=shlex.join(["rig", *sys.argv[1:]]),
        boards=[{key: str(value) for key, value in kinds.describe(section).items() if key in ("name", "kind", "chip")}],
        firmware=[{"source": "synthesised test app", "ESP-IDF": bench.firmware.idf_version}],
        requirements=list({requirement.id: requirement for requirement in requirements}.values()),
        results=results,
    )


def _rename(partial: Path, final: Path) -> Path:
    number, target = 2, final
    while target.exists():
        target = final.with_name(f"{final.name}-{number}")
        number += 1
    return partial.rename(target)


def _default_jobs(section: BoardSection) -> int:
    # A virtual board mostly waits, as esptool does for its reset sequence: two a core.
    return min(2 * (os.cpu_count() or 1), 8) if section.kind == "virtual" else 1


def _has_desktop() -> bool:
    return sys.stdout.isatty() and bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
