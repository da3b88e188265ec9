"""`rig qualify`: run the tests with live progress, write the report, print the table, end with a verdict."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import rig
from rig import qualify
from rig.boards import inventory
from rig.boards.inventory import BenchConfig, BoardSection
from rig.errors import BenchFault, Inconclusive, UserError
from rig.evidence.records import Requirement, RunRecord, SweepRecord, TestResult, Verdict
from rig.evidence.terminal import RunProgress, exit_code, print_summary
from rig.processes import ended_like_ctrl_c
from rig.qualify_boards import board_facts, check_spent, choose, copies, firmware_facts
from rig.report_folder import ReportFolder, print_json, show
from rig.requirements_command import uncovered
from rig.screen import Screen
from rig.virtual.builds import read_variant

Carried = dict[str, list[Requirement]]
TESTS = "tests"
"""The folder of a report that holds a folder of evidence for each board."""


def run(
    config: Path,
    boards: Sequence[str],
    select: str | None,
    jobs: int | None,
    *,
    suite: str,
    variant: str | None,
    burn_efuses: Sequence[str],
    as_json: bool,
    open_page: bool | None,
    reported: Callable[[Path], object] = lambda page: None,
) -> int:
    """The exit code of `rig qualify`; see `rig.errors` for what it may raise. `reported` is told the report's page."""
    if suite == "field" and variant is not None:
        raise UserError("--variant: each scenario of the suite field names its own build variant", hint="leave it out")
    bench = inventory.load(config)
    sections = choose(bench, boards)
    jobs_of = copies(sections, jobs)
    check_spent(sections, burn_efuses)
    if variant is not None:
        read_variant(variant)  # refuses an unknown one
    tests = qualify.find_tests(config, suite)
    screen = Screen(stderr=as_json)
    started = datetime.now().astimezone()
    folder = ReportFolder(config, bench, started)
    partial = folder.partial
    with ended_like_ctrl_c(), folder.removed_on_error():
        with screen.status("collecting the tests"):
            carried = qualify.collect(tests, select)
        if not carried:
            raise Inconclusive(
                f"no test fits -k {shlex.quote(select)}" if select else f"{tests} holds no test",
                hint="rig requirements lists the tests",
            )
        folder.make()
        plans = [
            qualify.Plan(
                config.resolve(), tests, partial / TESTS / section.name, section.name, jobs_of[section.name], select,
                variant, section.name in burn_efuses,
            )
            for section in sections
        ]  # fmt: skip
        found, swept, ended = _follow(plans, screen, len(carried))
        if not any(found.values()):
            raise BenchFault(_nothing_ran(ended))
        results = []
        for section in sections:
            own = [_placed(result, section, partial) for result in found[section.name]]
            results += own + _lost(section, carried, own, ended[section.name], started)
        requirements = [requirement for listed in carried.values() for requirement in listed]
        # A whole run also says what nothing tests yet; a selection says nothing of the rest.
        requirements += uncovered(tests) if select is None else []
        placed = [_placed_sweep(sweep, partial) for sweep in swept]
        record = _record(bench, sections, variant, requirements, results, placed, started)
        for plan in plans:
            plan.results.unlink(missing_ok=True)
        try:
            page = folder.finish(record)
        except BenchFault:
            print_summary(record, screen)
            raise
    reported(page)
    if as_json:
        print_json(page)
    print_summary(record, screen, report=page)
    crashed = [end for end in ended.values() if end.exit_code not in qualify.FINISHED]
    for end in crashed:
        log = page.parent / TESTS / end.board / qualify.LOG
        screen.print(f"{_end_in_words(end)} on {end.board}; see {log}", highlight=False, soft_wrap=True)
    show(page, open_page, screen)
    return exit_code(record) or (BenchFault.exit_code if crashed else 0)


def _follow(
    plans: Sequence[qualify.Plan], screen: Screen, total: int
) -> tuple[dict[str, list[TestResult]], list[SweepRecord], dict[str, qualify.Ended]]:
    """Results of each board's pytest by the board's name, the sweeps of all, and how each ended."""
    results: dict[str, list[TestResult]] = {plan.board: [] for plan in plans}
    swept: list[SweepRecord] = []
    ended: dict[str, qualify.Ended] = {}
    progress = RunProgress(screen, {plan.board: total for plan in plans})
    with contextlib.closing(qualify.run(*plans)) as events, progress:
        for event in events:
            match event:
                case qualify.Collected(board, count):
                    progress.expect(board, count)
                case qualify.Started(board, test):
                    progress.started(board, test)
                case qualify.Finished(board, result):
                    results[board].append(result)
                    progress.done(board, result)
                case qualify.Swept(board, sweep):
                    swept.append(sweep)
                case qualify.Ended(board, code):
                    ended[board] = event
                    progress.ended(board, "" if code in qualify.FINISHED else _end_in_words(event))
    ordered = {board: sorted(some, key=lambda result: result.test) for board, some in results.items()}
    return ordered, sorted(swept, key=lambda sweep: (sweep.scenario, sweep.board)), ended


def _nothing_ran(ended: Mapping[str, qualify.Ended]) -> str:
    several = len(ended) > 1
    said = [
        f"{_end_in_words(end)} {f'on {board} ' if several else ''}before any test finished:\n{end.complaint}"
        for board, end in ended.items()
    ]
    return "\n".join(said)


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
            evidence={qualify.LOG: f"{TESTS}/{section.name}/{qualify.LOG}"},
        )
        for test, requirements in carried.items()
        if test not in finished
    ]


def _end_in_words(ended: qualify.Ended) -> str:
    if ended.exit_code < 0:
        return f"pytest was ended by signal {-ended.exit_code} ({signal.Signals(-ended.exit_code).name})"
    return f"pytest ended with exit code {ended.exit_code}"


def _placed(result: TestResult, section: BoardSection, folder: Path) -> TestResult:
    """With its board, and with evidence named as it lies in the report, whose folder has not got its name yet."""
    here = f"{folder}{os.sep}"
    return result.model_copy(
        update={
            # A test that never asked for the board does not know it.
            "board": section.name,
            "kind": section.kind,
            "chip": section.chip,
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
    variant: str | None,
    requirements: list[Requirement],
    results: list[TestResult],
    swept: list[SweepRecord],
    started: datetime,
) -> RunRecord:
    return RunRecord(
        tool=f"rollback-rig {rig.__version__}",
        started=started,
        finished=datetime.now().astimezone(),
        command=shlex.join(["rig", *sys.argv[1:]]),
        variant=variant,
        boards=[board_facts(section) for section in sections],
        firmware=firmware_facts(bench, sections, results),
        requirements=list({requirement.id: requirement for requirement in requirements}.values()),
        results=results,
        sweeps=swept,
    )
