"""`rig crash sweep`: explore every power cut of recorded runs, print what they lead to, write a report."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

import rig
from rig import crash_workers
from rig.boards import inventory, kinds
from rig.boards.inventory import BenchConfig, BoardSection
from rig.crash import recording, scenarios
from rig.crash_job import GOING_ON, Job, News
from rig.evidence.records import RunRecord, SweepRecord, Verdict
from rig.evidence.report_page.summary import counts_line, exit_code
from rig.evidence.terminal_sweeps import print_sweep
from rig.processes import ended_like_ctrl_c
from rig.qualify_boards import board_facts, firmware_facts
from rig.report_folder import ReportFolder, print_json, show
from rig.screen import Screen

TOLD = (GOING_ON, *(verdict.value for verdict in Verdict))
"""Steps that are worth a line in a log."""
SWEEPS = "sweeps"
"""The folder of a report that holds the recordings."""


def run(
    config: Path,
    board: str | None,
    names: Sequence[str],
    given: Path | None,
    *,
    depth: int,
    jobs: int | None,
    resumed: bool,
    pruned: bool,
    as_json: bool,
    open_page: bool | None,
) -> int:
    """The exit code of `rig crash sweep`; see `rig.errors` for what it may raise."""
    bench = inventory.load(config)
    section = bench.find(board) if board else bench.board[0]
    if given is not None:
        wanted = [recording.load(given).name]
    else:
        wanted = list(dict.fromkeys(scenarios.find(name).name for name in names)) or list(scenarios.SCENARIOS)
    cores = jobs or os.cpu_count() or 1
    # Where a process drives one booter only, scenarios share the cores.
    by_scenario = kinds.booters_at_once(section) == 1
    screen = Screen(stderr=as_json)
    started = datetime.now().astimezone()
    folder = ReportFolder(config, bench, started)
    with ended_like_ctrl_c(), folder.removed_on_error():
        folder.make()
        plan = Job(
            config=config.resolve(),
            board=section.name,
            scenario="",
            evidence=folder.partial,
            depth=depth,
            at_once=1 if by_scenario else cores,
            given=given,
            resumed=resumed,
            pruned=pruned,
        )
        planned = [replace(plan, scenario=name, evidence=folder.partial / SWEEPS / name) for name in wanted]
        swept = _follow(planned, min(cores, len(planned)) if by_scenario else 1, screen)
        record = _record(bench, section, [_placed(sweep) for sweep in swept], started)
        page = folder.finish(record)
    if as_json:
        print_json(page)
    for sweep in record.sweeps:
        print_sweep(sweep, screen)
        screen.print()
    if len(record.sweeps) > 1:
        screen.print(counts_line(record.sweeps), highlight=False)
    screen.print(f"report: {page}", highlight=False, soft_wrap=True)
    show(page, open_page, screen)
    return exit_code(record)


def _follow(planned: Sequence[Job], at_once: int, screen: Screen) -> list[SweepRecord]:
    """The jobs side by side, with a bar for each; their results in the order of `planned`."""
    found: dict[int, SweepRecord] = {}
    with _bars(planned, screen) as bars, contextlib.closing(crash_workers.run(planned, at_once)) as said:
        for place, word in said:
            if isinstance(word, SweepRecord):
                found[place] = word
                word = News(word.scenario, word.verdict.value, word.images, word.images, word.booted)
            bars.tell(word)
    return [found[place] for place in sorted(found)]


class _Bars:
    """A bar for each scenario; where nothing can move, a line when one goes on and when it ends."""

    def __init__(self, progress: Progress, planned: Sequence[Job]) -> None:
        self._progress = progress
        self._tasks = {
            job.scenario: progress.add_task(job.scenario, total=None, step="waiting", booted="") for job in planned
        }

    def tell(self, news: News) -> None:
        booted = f"{news.booted:,} booted" if news.booted else ""
        task = self._tasks[news.scenario]
        if self._progress.disable and news.step in TOLD:
            self._progress.console.print(f"{news.scenario}: {news.step}", highlight=False)
        if news.total <= 1:
            self._progress.update(task, step=news.step, total=news.total or None, completed=news.done)
        else:
            self._progress.update(task, step=news.step, completed=news.done, total=news.total, booted=booted)


@contextlib.contextmanager
def _bars(planned: Sequence[Job], screen: Screen) -> Iterator[_Bars]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} images"),
        TextColumn("{task.fields[step]} {task.fields[booted]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        yield _Bars(progress, planned)


def _placed(sweep: SweepRecord) -> SweepRecord:
    """With its evidence named as it lies in the report."""
    evidence = {name: f"{SWEEPS}/{sweep.scenario}/{path}" for name, path in sweep.evidence.items()}
    return sweep.model_copy(update={"evidence": evidence})


def _record(bench: BenchConfig, section: BoardSection, swept: Sequence[SweepRecord], started: datetime) -> RunRecord:
    return RunRecord(
        tool=f"rollback-rig {rig.__version__}",
        started=started,
        finished=datetime.now().astimezone(),
        command=shlex.join(["rig", *sys.argv[1:]]),
        boards=[board_facts(section)],
        firmware=firmware_facts(bench, [section], []),
        requirements=[],
        results=[],
        sweeps=list(swept),
    )
