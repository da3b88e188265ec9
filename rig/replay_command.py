"""`rig replay`: one scenario on one board, its differences, and the one word for it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import NamedTuple

from rig.boards import inventory, kinds
from rig.boards.board import Board, powered
from rig.boards.inventory import BenchConfig, BoardSection
from rig.errors import BenchFault, Inconclusive, NotApplicable, UserError
from rig.evidence.report_page.text import clean
from rig.fieldkit.firmware import firmware_for, version_for
from rig.fieldkit.on_board import board_subject
from rig.fieldkit.play import Played, Replay, differences, play
from rig.fieldkit.scenario import Scenario, at_home, load
from rig.processes import ended_like_ctrl_c
from rig.screen import Screen

EXIT = {Replay.REPRODUCED: 0, Replay.NOT_REPRODUCED: 1, Replay.BENCH_FAULT: 3}


class Replayed(NamedTuple):
    """What came of it. `played` is None where the bench failed; `why` are the differences, or what failed."""

    board: str
    idf_version: str
    result: Replay
    why: list[str]
    played: Played | None


def run(config: Path, board: str | None, path: Path, *, as_json: bool) -> int:
    """The exit code of `rig replay`. UserError for a broken scenario, or one that this board cannot be given."""
    scenario = at_home(load(path), path)
    if not scenario.expect:
        raise UserError(f"{path}: it expects nothing, so nothing can be reproduced", hint="add an [[expect]]")
    bench = inventory.load(config)
    section = bench.find(board) if board else bench.board[0]
    screen = Screen(stderr=as_json)
    found = replayed(scenario, section, bench, config, screen)
    if as_json:
        print(json.dumps(plain(found, scenario), indent=2))
    show(found, scenario, screen)
    return EXIT[found.result]


def replayed(scenario: Scenario, section: BoardSection, bench: BenchConfig, config: Path, screen: Screen) -> Replayed:
    """Play it on the board of that section."""
    version = version_for(scenario, bench)
    try:
        with (
            ended_like_ctrl_c(),
            tempfile.TemporaryDirectory() as scratch,
            powered(kinds.open_board(section)) as opened,
            screen.status(f"{section.name}: {scenario.name}") as status,
        ):
            _demand(scenario, opened)
            shelf = firmware_for(scenario, section, bench, config, Path(scratch), version)
            subject = board_subject(opened, shelf)
            total = len(scenario.steps)
            played = play(
                scenario, subject, version,
                lambda number, step: status.update(f"{section.name}: step {number} of {total}, {step.do}"),
            )  # fmt: skip
            version = subject.build.boot_config.idf_version
    except NotApplicable as error:
        raise UserError(
            f"{scenario.name} cannot be played here: {error.what}", board=section.name, hint=error.hint
        ) from error
    except (BenchFault, Inconclusive) as error:
        return Replayed(section.name, version, Replay.BENCH_FAULT, str(error).splitlines(), None)
    expect = scenario.expected(version)
    if expect is None:
        raise UserError(f"{scenario.name} expects nothing of ESP-IDF {version}, which this board's firmware is")
    why = differences(played, expect)
    return Replayed(section.name, version, Replay.NOT_REPRODUCED if why else Replay.REPRODUCED, why, played)


def _demand(scenario: Scenario, board: Board) -> None:
    for need in scenario.needs:
        if (reason := board.missing.get(need)) is not None:
            raise NotApplicable(f"it needs {need}: {reason}", board=board.name)


def show(found: Replayed, scenario: Scenario, screen: Screen) -> None:
    head = [f"{scenario.name}: {scenario.summary}", *([scenario.issue] if scenario.issue else [])]
    for text in (*head, *(f"left out: {sentence}" for sentence in scenario.left_out)):
        screen.print(clean(text), highlight=False, markup=False, soft_wrap=True)
    if found.played is not None:
        for number, boot in enumerate(found.played.boots, 1):
            said = f"  boot {number}: {boot.slot or 'nothing bootable'} {boot.version or ''} {boot.state or ''}"
            screen.print(clean(said.rstrip()), highlight=False, markup=False, soft_wrap=True)
    for text in found.why:
        screen.print(f"  {clean(text)}", highlight=False, markup=False, soft_wrap=True)
    style = "green" if found.result is Replay.REPRODUCED else "bold red"
    line = f"{found.result} on {found.board} (ESP-IDF {found.idf_version})"
    screen.print(line, style=style, highlight=False, soft_wrap=True)


def plain(found: Replayed, scenario: Scenario) -> dict[str, object]:
    played = found.played
    return {
        "scenario": scenario.name,
        "issue": scenario.issue,
        "board": found.board,
        "idf_version": found.idf_version,
        "result": found.result.value,
        "why": found.why,
        "boots": [] if played is None else [boot._asdict() for boot in played.boots],
        "answers": [] if played is None else list(played.answers),
        "otadata": [] if played is None else [entry.hex() for entry in played.left.entries],
    }
