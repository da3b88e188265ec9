"""`rig nightly`: boards, firmware, doctor, qualification, report and history, one after the other."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from rig import doctor_processes
from rig.boards import inventory
from rig.boards.inventory import SerialBoardSection
from rig.boards.lease import held_for_children
from rig.boards.serial import lease_of
from rig.errors import BenchFault, UserError
from rig.evidence.history.analysis import Analysis, analyse
from rig.evidence.history.page import render
from rig.evidence.history.read import WINDOW, Filter, Reader
from rig.evidence.history.store import open_history
from rig.evidence.verdicts import Verdict
from rig.processes import ended_like_ctrl_c
from rig.qualify_boards import fitting
from rig.qualify_command import Done, Request, qualify_boards, sections_of
from rig.screen import Screen

HISTORY_PAGE = "history.html"
"""Beside the report's page."""


@dataclass(frozen=True)
class Night:
    """What is to be done; see `rig nightly --help`. Limits in seconds."""

    config: Path
    boards: str = "all"
    select: str | None = None
    jobs: int | None = None
    variant: str | None = None
    firmware: str | None = None
    test_limit_s: float = 3600.0
    board_limit_s: float | None = None


@dataclass(frozen=True)
class Ended:
    """How a night ended. `left_out`: boards that did not work to the end, and why."""

    exit_code: int
    left_out: Mapping[str, str]


def run(night: Night) -> Ended:
    """The whole night. Raises what its parts raise; BenchFault if no board is fit."""
    screen = Screen()
    bench = inventory.load(night.config)
    sections = fitting(bench, night.boards)
    leases = [lease_of(section) for section in sections if isinstance(section, SerialBoardSection)]
    _step(screen, f"boards: {', '.join(section.name for section in sections)}")
    with ended_like_ctrl_c(), held_for_children(leases) as in_use:
        _say_left_out(screen, in_use)
        sections_of(bench, _request(night, in_use))  # refuses a night without a board, before firmware is built
        ours = [section.name for section in sections if section.name not in in_use]
        if night.firmware is not None:
            _step(screen, f"firmware: {night.firmware}")
            fetch_firmware(night.firmware, night.config)
        _step(screen, f"doctor: {', '.join(ours)}")
        with screen.status("trying the boards out"):
            unfit = doctor_processes.unfit(night.config, ours)
        _say_left_out(screen, unfit)
        for name in unfit:
            screen.print(f"  rig doctor {name} says what to do about it", highlight=False, soft_wrap=True)
        _step(screen, "qualification and sweeps")
        done = qualify_boards(_request(night, {**in_use, **unfit}), screen)
    path = night.config.resolve().parent / bench.bench.history
    with open_history(path) as history:
        _report_history(screen, Reader(history.connection), done)
    return Ended(done.exit_code, done.record.quarantined)


def _say_left_out(screen: Screen, left_out: Mapping[str, str]) -> None:
    for name, why in left_out.items():
        screen.print(Text(f"board {name} is left out: {why}", style="bold yellow"), soft_wrap=True)


def fetch_firmware(line: str, config: Path) -> None:
    """Run the command that builds or fetches firmware, its output shown. UserError if it cannot be run, or fails."""
    try:
        code = subprocess.run(shlex.split(line), cwd=config.resolve().parent, stdin=subprocess.DEVNULL).returncode
    except (OSError, ValueError, IndexError) as error:
        raise UserError(f"--firmware: {line!r} cannot be run: {error}", hint="a program and its arguments") from error
    if code:
        raise UserError(f"--firmware: {line!r} failed with exit code {code}", hint="its own output is above")


def _request(night: Night, left_out: Mapping[str, str]) -> Request:
    return Request(
        night.config, spread_over=night.boards, select=night.select, jobs=night.jobs, variant=night.variant,
        test_limit_s=night.test_limit_s, board_limit_s=night.board_limit_s, left_out=left_out,
    )  # fmt: skip


def _report_history(screen: Screen, reader: Reader, done: Done) -> None:
    """The history's page beside the report, and who is to blame for what went wrong this night."""
    runs = reader.runs(WINDOW)
    everything = Filter()
    found = analyse(reader.outcomes(everything), reader.flakes(everything), reader.requirements())
    page = done.page.with_name(HISTORY_PAGE)
    try:
        page.write_text(render(found, runs, reader.count()), encoding="utf-8")
        screen.print(f"history: {page}", highlight=False, soft_wrap=True)
    except OSError as error:
        raise BenchFault(f"{page}: cannot be written: {error.strerror}") from error
    finally:
        _print_blame(screen, found, done)


def _print_blame(screen: Screen, found: Analysis, done: Done) -> None:
    loud = (Verdict.FIRMWARE_FAIL, Verdict.BENCH_FAULT, Verdict.INCONCLUSIVE)
    wrong = {name for result in done.record.results if result.verdict in loud for name in result.requirements}
    for blame, rows in found.troubles:
        names = [row.name for row in rows if row.name in wrong]
        if names:
            what = f"{blame.culprit}{f' {blame.what}' if blame.what else ''}"
            screen.print(Text(f"{what}: {blame.why}", style="bold"), soft_wrap=True)
            screen.print(f"  explains {', '.join(sorted(names))}", highlight=False, soft_wrap=True)


def _step(screen: Screen, text: str) -> None:
    screen.print(Text(f"-- {text}", style="bold"), soft_wrap=True)
