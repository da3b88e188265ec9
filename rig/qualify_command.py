"""`rig qualify`: run the tests with live progress, write the report, print the table, end with a verdict."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import rig
from rig import qualify
from rig.boards import inventory, kinds
from rig.boards.inventory import BenchConfig, BoardSection
from rig.errors import BenchFault, Inconclusive, UserError
from rig.evidence.history.read import Reader
from rig.evidence.history.store import RunStart, open_history
from rig.evidence.records import Requirement, Retry, RunRecord, SweepRecord, TestResult, Verdict
from rig.evidence.terminal import RunProgress, exit_code, print_summary
from rig.processes import ended_like_ctrl_c
from rig.qualify_boards import board_facts, check_spent, choose, copies, firmware_facts, fitting
from rig.report_folder import ReportFolder, print_json, show
from rig.requirements_command import uncovered
from rig.run_log import RunLog, host, without_worn, worn_out
from rig.screen import Screen
from rig.virtual.builds import read_variant

Carried = Mapping[str, qualify.Carried]
TESTS = "tests"
"""The folder of a report that holds a folder of evidence for each board."""
SPREAD = "spread"
"""Name of the one pytest that spreads the tests over all boards, and of its folder."""
NO_BOARD = "-"
LIMIT_S = 3600.0
"""A test that takes longer is stuck: the longest that pytest-timeout allows one is a fraction of it."""


@dataclass(frozen=True)
class Request:
    """What to qualify. `boards`: their names; or `spread_over`: which boards to spread the tests over (`fitting`).

    `test_limit_s` and `board_limit_s`: see `qualify.SpreadOver`. `left_out`: boards that fit and are unfit, and why.
    """

    config: Path
    boards: Sequence[str] = ()
    spread_over: str | None = None
    select: str | None = None
    jobs: int | None = None
    suite: str = "qualification"
    variant: str | None = None
    burn_efuses: Sequence[str] = ()
    test_limit_s: float = LIMIT_S
    board_limit_s: float | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """A run that is over: its record, the page of its report, and the exit code it comes to."""

    record: RunRecord
    page: Path
    exit_code: int


def run(request: Request, *, as_json: bool, open_page: bool | None) -> int:
    """The exit code of `rig qualify`; see `rig.errors` for what it may raise."""
    screen = Screen(stderr=as_json)
    done = qualify_boards(request, screen)
    if as_json:
        print_json(done.page)
    show(done.page, open_page, screen)
    return done.exit_code


def qualify_boards(request: Request, screen: Screen) -> Done:
    """Run the tests with progress on `screen`, write the report and print its table."""
    if request.suite == "field" and request.variant is not None:
        raise UserError("--variant: each scenario of the suite field names its own build variant", hint="leave it out")
    config = request.config
    bench = inventory.load(config)
    sections = sections_of(bench, request)
    jobs_of = copies(sections, request.jobs) if request.spread_over is None else {}
    check_spent(sections, request.burn_efuses)
    if request.variant is not None:
        read_variant(request.variant)  # refuses an unknown one
    tests = qualify.find_tests(config, request.suite)
    started = datetime.now().astimezone()
    folder = ReportFolder(config, bench, started)
    with (
        ended_like_ctrl_c(),
        open_history(config.resolve().parent / bench.bench.history) as history,
        folder.removed_on_error(),
    ):
        known = Reader(history.connection)
        sections = _unworn(sections, known, request, screen)
        with screen.status("collecting the tests"):
            carried = qualify.collect(tests, request.select)
        if not carried:
            raise Inconclusive(
                f"no test fits -k {shlex.quote(request.select)}" if request.select else f"{tests} holds no test",
                hint="rig requirements lists the tests",
            )
        folder.make()
        if request.spread_over is None:
            plans = [_plan(request, tests, folder.partial, section, jobs_of) for section in sections]
        else:
            plans = [_spread_plan(request, tests, folder.partial, sections, known.durations())]
            qualify.write_spread(plans[0], carried)
        requirements = [requirement for test in carried.values() for requirement in test.requirements]
        log = RunLog(history, _start(bench, request, folder, started, requirements))
        found = _follow(plans, sections, screen, len(carried), log)
        if not any(found.results.values()):
            raise BenchFault(_nothing_ran(found.ended))
        results = _results(found, sections, carried, folder.partial, started)
        # A whole run also says what nothing tests yet; a selection says nothing of the rest.
        requirements += uncovered(tests) if request.select is None else []
        placed = [_placed_sweep(sweep, folder.partial) for sweep in found.sweeps]
        record = _record(bench, sections, request, requirements, results, placed, started)
        found.quarantined |= request.left_out
        record = record.model_copy(update={"quarantined": found.quarantined})
        for plan in plans:
            plan.results.unlink(missing_ok=True)
            plan.spread_file.unlink(missing_ok=True)
        try:
            page = folder.finish(record)
        except BenchFault:
            print_summary(record, screen)
            raise
        crashed = [end for end in found.ended.values() if end.exit_code not in qualify.FINISHED]
        code = exit_code(record) or (BenchFault.exit_code if crashed else 0)
        log.finish(results, placed, exit_code=code, report=page, quarantined=found.quarantined)
    print_summary(record, screen, report=page)
    for end in crashed:
        path = page.parent / TESTS / end.board / qualify.LOG
        screen.print(f"{_end_in_words(end)} on {end.board}; see {path}", highlight=False, soft_wrap=True)
    if log.failed is not None:
        screen.print(f"this run is not whole in the history: {log.failed}", highlight=False, soft_wrap=True)
        code = code or BenchFault.exit_code
    return Done(record, page, code)


def _unworn(sections: Sequence[BoardSection], known: Reader, request: Request, screen: Screen) -> list[BoardSection]:
    standing = known.standing()
    worn = worn_out(sections, standing)
    if worn and request.spread_over is None:
        name, why = next(iter(worn.items()))
        raise UserError(
            f"board {name} is worn out: {why}", hint="use another board, or raise its wear_budget in rig.toml"
        )
    for name, why in worn.items():
        screen.print(f"board {name} is left out: {why}", highlight=False, soft_wrap=True)
    return without_worn(sections, standing)


def _start(
    bench: BenchConfig, request: Request, folder: ReportFolder, started: datetime, requirements: list[Requirement]
) -> RunStart:
    return RunStart(
        folder.final.name, started, f"rollback-rig {rig.__version__}", _command(), bench.bench.name, host(),
        request.variant, requirements,
    )  # fmt: skip


def _command() -> str:
    return shlex.join(["rig", *sys.argv[1:]])


def sections_of(bench: BenchConfig, request: Request) -> list[BoardSection]:
    """The boards that a request means; UserError for one that there is not, or for what does not go together."""
    if request.spread_over is None:
        return choose(bench, request.boards)
    if request.boards:
        raise UserError(
            "--board and --boards exclude each other",
            hint="--board NAME runs every test on each board, --boards spreads them over all that fit",
        )
    if request.burn_efuses:
        raise UserError("--burn-efuses: a board that is spent is not one of many", hint="name it by --board")
    fit = [section for section in fitting(bench, request.spread_over) if section.name not in request.left_out]
    if not fit:
        said = "; ".join(f"{name}: {why}" for name, why in request.left_out.items())
        raise BenchFault(f"no board is left: {said}", hint="rig doctor says what to do about each")
    return fit[: request.jobs]


def _plan(
    request: Request, tests: Path, folder: Path, section: BoardSection, jobs_of: Mapping[str, int]
) -> qualify.Plan:
    return qualify.Plan(
        request.config.resolve(), tests, folder / TESTS / section.name, section.name, jobs_of[section.name],
        request.select, request.variant, section.name in request.burn_efuses,
    )  # fmt: skip


def _spread_plan(
    request: Request, tests: Path, folder: Path, sections: Sequence[BoardSection], seconds: Mapping[str, float]
) -> qualify.Plan:
    lacks = {section.name: sorted(kinds.KINDS[section.kind].missing(section)) for section in sections}
    return qualify.Plan(
        request.config.resolve(), tests, folder / TESTS / SPREAD, SPREAD, len(sections), request.select,
        request.variant, spread=qualify.SpreadOver(lacks, seconds, request.test_limit_s, request.board_limit_s),
    )  # fmt: skip


@dataclass
class _Found:
    """What came of the plans, by the name of each."""

    results: dict[str, list[TestResult]]
    sweeps: list[SweepRecord] = field(default_factory=list)
    ended: dict[str, qualify.Ended] = field(default_factory=dict)
    retries: dict[str, list[Retry]] = field(default_factory=dict)
    """By test, in spread runs."""
    quarantined: dict[str, str] = field(default_factory=dict)


def _follow(
    plans: Sequence[qualify.Plan], sections: Sequence[BoardSection], screen: Screen, total: int, log: RunLog
) -> _Found:
    by_name = {section.name: section for section in sections}
    found = _Found({plan.board: [] for plan in plans})
    progress = RunProgress(screen, {plan.board: total for plan in plans})
    with contextlib.closing(qualify.run(*plans)) as events, progress:
        for event in events:
            match event:
                case qualify.Collected(board, count):
                    # In a spread run the workers' own item that does nothing is counted, too.
                    progress.expect(board, min(count, total))
                case qualify.Started(board, test):
                    progress.started(board, test)
                case qualify.Finished(board, result):
                    # A test that never asked for the board does not know it.
                    section = by_name[board if result.board == NO_BOARD else result.board]
                    facts = {"board": section.name, "kind": section.kind, "chip": section.chip}
                    result = result.model_copy(update=facts)
                    found.results[board].append(result)
                    log.add(result)
                    progress.done(board, result)
                case qualify.Retried(board, test, retry, _):
                    found.retries.setdefault(test, []).append(retry)
                    progress.retried(board, test, retry)
                case qualify.Quarantined(board, name, reason):
                    found.quarantined[name] = reason
                    progress.say(f"board {name} is taken out: {reason}")
                case qualify.Swept(_, sweep):
                    found.sweeps.append(sweep)
                case qualify.Ended(board, code):
                    found.ended[board] = event
                    progress.ended(board, "" if code in qualify.FINISHED else _end_in_words(event))
    found.results = {board: sorted(some, key=lambda result: result.test) for board, some in found.results.items()}
    found.sweeps.sort(key=lambda sweep: (sweep.scenario, sweep.board))
    return found


def _results(
    found: _Found, sections: Sequence[BoardSection], carried: Carried, folder: Path, started: datetime
) -> list[TestResult]:
    """All results with their boards and evidence, and one for each test that left none."""
    by_name = {section.name: section for section in sections}
    results = []
    for plan, some in found.results.items():
        own = [_placed(result, folder) for result in some]
        own = [result.model_copy(update={"retries": _tries(found, result.test, folder)}) for result in own]
        ended = found.ended[plan]
        lost = _lost(by_name.get(plan), carried, own, _why_lost(found, sections, ended), ended, started)
        results += own + [result.model_copy(update={"retries": _tries(found, result.test, folder)}) for result in lost]
    return results


def _tries(found: _Found, test: str, folder: Path) -> list[Retry]:
    here = f"{folder}{os.sep}"
    return [
        retry.model_copy(
            update={
                "reason": retry.reason.replace(here, ""),
                "evidence": {name: f"{TESTS}/{path}" for name, path in retry.evidence.items()},
            }
        )
        for retry in found.retries.get(test, [])
    ]


def _why_lost(found: _Found, sections: Sequence[BoardSection], ended: qualify.Ended) -> str:
    if len(found.quarantined) == len(sections):
        return f"no board was left for it: {'; '.join(f'{name}: {why}' for name, why in found.quarantined.items())}"
    return f"{_end_in_words(ended)} and left no result of this test"


def _nothing_ran(ended: Mapping[str, qualify.Ended]) -> str:
    several = len(ended) > 1
    said = [
        f"{_end_in_words(end)} {f'on {board} ' if several else ''}before any test finished:\n{end.complaint}"
        for board, end in ended.items()
    ]
    return "\n".join(said)


def _lost(
    section: BoardSection | None,
    carried: Carried,
    results: list[TestResult],
    reason: str,
    ended: qualify.Ended,
    started: datetime,
) -> list[TestResult]:
    """A bench fault for each test whose result never came back, so that no report is silent about one."""
    finished = {result.test for result in results}
    return [
        TestResult(
            test=name,
            requirements=[requirement.id for requirement in test.requirements],
            board=section.name if section else NO_BOARD,
            kind=section.kind if section else NO_BOARD,
            chip=section.chip if section else NO_BOARD,
            verdict=Verdict.BENCH_FAULT,
            reason=reason,
            started=started,
            duration_s=0.0,
            details=ended.complaint,
            evidence={qualify.LOG: f"{TESTS}/{ended.board}/{qualify.LOG}"},
        )
        for name, test in carried.items()
        if name not in finished
    ]


def _end_in_words(ended: qualify.Ended) -> str:
    if ended.exit_code < 0:
        return f"pytest was ended by signal {-ended.exit_code} ({signal.Signals(-ended.exit_code).name})"
    return f"pytest ended with exit code {ended.exit_code}"


def _placed(result: TestResult, folder: Path) -> TestResult:
    """With evidence named as it lies in the report, whose folder has not got its name yet."""
    here = f"{folder}{os.sep}"
    return result.model_copy(
        update={
            "reason": result.reason.replace(here, ""),
            "details": result.details.replace(here, ""),
            "evidence": {name: f"{TESTS}/{path}" for name, path in result.evidence.items()},
        }
    )


def _placed_sweep(sweep: SweepRecord, folder: Path) -> SweepRecord:
    """As `_placed`; its evidence is named as it lies in the file system."""
    evidence = {name: os.path.relpath(path, folder) for name, path in sweep.evidence.items()}
    return sweep.model_copy(update={"evidence": evidence})


def _record(
    bench: BenchConfig,
    sections: Sequence[BoardSection],
    request: Request,
    requirements: list[Requirement],
    results: list[TestResult],
    swept: list[SweepRecord],
    started: datetime,
) -> RunRecord:
    return RunRecord(
        tool=f"rollback-rig {rig.__version__}",
        started=started,
        finished=datetime.now().astimezone(),
        command=_command(),
        variant=request.variant,
        spread=request.spread_over is not None,
        boards=[board_facts(section) for section in sections],
        firmware=firmware_facts(bench, sections, results),
        requirements=list({requirement.id: requirement for requirement in requirements}.values()),
        results=results,
        sweeps=swept,
    )
