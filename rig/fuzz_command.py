"""`rig fuzz`: walks by chance with a live count, and what they found as a scenario."""

from __future__ import annotations

import json
import random
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rich.status import Status

from rig.boards import inventory, kinds
from rig.boards.board import Capability, powered
from rig.boards.inventory import BenchConfig, BoardSection, VirtualBoardSection
from rig.evidence.report_page.text import clean
from rig.fieldkit.chance import Choices
from rig.fieldkit.fuzz import Found, Pair, Progress, explore, replayed, shortest
from rig.fieldkit.pairs import Shelves, at_once, on_board, small_partitions, stand_in
from rig.fieldkit.saved import save, step_words
from rig.fieldkit.scenario import Scenario
from rig.processes import ended_like_ctrl_c
from rig.screen import Screen
from rig.virtual.builds import read_variant

VARIANTS = ("rollback", "factory", "three_slots", "factory_three_slots", "no_rollback", "factory_no_rollback")
BURNING = ("anti_rollback",)
"""With eFuses that a virtual board has new ones of for every walk."""
IMAGES = {
    "rollback": ("no_rollback",),
    "no_rollback": ("rollback",),
    "factory": ("factory_no_rollback",),
    "factory_no_rollback": ("factory",),
    "anti_rollback": ("anti_rollback_1", "anti_rollback_2"),
}
"""Apps of other variants that fit: other configuration, other secure version."""
HARDWARE_WEAR = 1000
"""Erases of a sector; flash chips stand 100,000."""
MINUTE_S = 60.0


class Limits(NamedTuple):
    """When to stop; None: not for that reason."""

    minutes: float | None
    steps: int | None
    wear: int | None


class Result(NamedTuple):
    board: str
    idf_version: str
    seed: int
    progress: Progress
    seconds: float
    found: Found | None
    path: Path | None
    again: bool | None
    """Whether the shortened scenario showed the same on the board itself; None if that was not asked."""


def run(
    config: Path,
    board: str | None,
    limits: Limits,
    seed: int | None,
    variants: Sequence[str],
    output: Path | None,
    *,
    as_json: bool,
) -> int:
    """The exit code of `rig fuzz`. Raises UserError for an unknown variant or board, BenchFault for a failing bench."""
    bench = inventory.load(config)
    section = bench.find(board) if board else bench.board[0]
    for variant in variants:
        read_variant(variant)  # refuses an unknown one
    screen = Screen(stderr=as_json)
    number = random.randrange(1 << 32) if seed is None else seed
    folder = output or config.resolve().parent / bench.bench.reports / "fuzz"
    with ended_like_ctrl_c(), tempfile.TemporaryDirectory() as scratch:
        result = _fuzzed(section, bench, config, Path(scratch), limits, number, tuple(variants), folder, screen)
    if as_json:
        print(json.dumps(_plain(result), indent=2))
    _show(result, screen)
    return 0 if result.found is None else 1


def _fuzzed(
    section: BoardSection,
    bench: BenchConfig,
    config: Path,
    scratch: Path,
    limits: Limits,
    seed: int,
    variants: tuple[str, ...],
    folder: Path,
    screen: Screen,
) -> Result:
    version = bench.firmware.idf_version
    shelves = Shelves(section, bench, config, scratch, version)
    choices = _choices(section, variants)
    watch = _Watch(_with_defaults(limits, section), section.name)
    with _opened(section, shelves) as pair, screen.status(section.name) as status:
        found = explore(pair, version, choices, seed, watch.telling(status))
        again: bool | None = None
        if found is not None:
            status.update(f"{section.name}: {found.disagreement.what}; looking for fewer steps")
            found, again = _shortened(found, section, shelves, pair, version, status)
    path = None if found is None else save(found.scenario, folder)
    return Result(section.name, version, seed, watch.progress, watch.seconds, found, path, again)


@contextmanager
def _opened(section: BoardSection, shelves: Shelves) -> Iterator[Pair]:
    if isinstance(section, VirtualBoardSection):
        yield at_once(section, shelves)
        return
    with powered(kinds.open_board(section)) as board:
        yield on_board(board, shelves)


def _choices(section: BoardSection, variants: tuple[str, ...]) -> Choices:
    virtual = isinstance(section, VirtualBoardSection)
    synthesised = section.firmware == "synthesised"
    chosen = variants or (VARIANTS + (BURNING if virtual else ()) if synthesised else VARIANTS[:1])
    cuts = not {Capability.POWER_CUT, Capability.FLASH_MUTATIONS} & set(kinds.KINDS[section.kind].missing(section))
    return Choices(
        variants=chosen,
        images_of=IMAGES if synthesised else {},
        partitions=small_partitions(chosen) if virtual else {},
        cuts=cuts,
        slow=virtual,
    )


def _with_defaults(limits: Limits, section: BoardSection) -> Limits:
    wear = limits.wear or (HARDWARE_WEAR if section.kind == "serial" else None)
    minutes = limits.minutes if limits.minutes or limits.steps else 1.0
    return Limits(minutes, limits.steps, wear)


def _shortened(
    found: Found, section: BoardSection, shelves: Shelves, pair: Pair, version: str, status: Status
) -> tuple[Found, bool | None]:
    """On a virtual chip only: hardware is not worn out for it. Then once more on the board itself."""

    def told(shorter: Scenario) -> None:
        status.update(f"{section.name}: {len(shorter.steps)} steps left")

    if isinstance(section, VirtualBoardSection):
        return shortest(found, pair, version, told) or found, None
    if section.firmware != "synthesised":
        return found, None
    short = shortest(found, stand_in(section, shelves), version, told)
    if short is None:
        return found, None
    confirmed = replayed(short.scenario, pair, version)
    return (found, False) if confirmed is None else (confirmed, True)


class _Watch:
    """When to stop, and the count that people see."""

    def __init__(self, limits: Limits, board: str) -> None:
        self.progress = Progress(0, 0, 0)
        self._limits = limits
        self._board = board
        self._began = time.monotonic()
        self.seconds = 0.0

    def telling(self, status: Status) -> Callable[[Progress], bool]:
        """For `explore`: whether to go on, asked before every step."""

        def go_on(progress: Progress) -> bool:
            self.progress = progress
            self.seconds = time.monotonic() - self._began
            if progress.steps % 50 == 0:
                status.update(f"{self._board}: {progress.steps} steps in {progress.walks + 1} walks")
            return not self._over(progress)

        return go_on

    def _over(self, progress: Progress) -> bool:
        limits = self._limits
        if limits.minutes is not None and self.seconds >= limits.minutes * MINUTE_S:
            return True
        if limits.wear is not None and progress.erases >= limits.wear:
            return True
        return limits.steps is not None and progress.steps >= limits.steps


def _show(result: Result, screen: Screen) -> None:
    done = f"{result.progress.steps} steps in {result.progress.walks + 1} walks"
    where = f"{result.board} (ESP-IDF {result.idf_version}), seed {result.seed}"
    if result.found is None:
        screen.print(f"board and model agreed: {done}, {where}", style="green", highlight=False, soft_wrap=True)
        return
    for step in result.found.scenario.steps:
        screen.print(f"  {clean(step_words(step))}", highlight=False, markup=False, soft_wrap=True)
    screen.print(clean(str(result.found.disagreement)), style="bold red", highlight=False, soft_wrap=True)
    screen.print(f"found after {done}, {where}", highlight=False, soft_wrap=True)
    if result.again is False:
        screen.print("the shortened scenario does not show it on the board; this is the whole walk", highlight=False)
    command = shlex.join(["rig", "replay", str(result.path), "--board", result.board])
    screen.print(f"try: {command}", highlight=False, soft_wrap=True)


def _plain(result: Result) -> dict[str, object]:
    found = result.found
    return {
        "board": result.board,
        "idf_version": result.idf_version,
        "seed": result.seed,
        "walks": result.progress.walks + 1,
        "steps": result.progress.steps,
        "seconds": round(result.seconds, 3),
        "most_erases_of_a_sector": result.progress.erases,
        "found": None
        if found is None
        else {**found.disagreement._asdict(), "scenario": str(result.path), "steps": len(found.scenario.steps)},
    }
