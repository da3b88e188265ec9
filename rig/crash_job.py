"""One sweep of one scenario on one board of the bench: record it or go on with what was recorded, then explore.

A job can be sent to another process; so are the news of it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rig.boards import inventory, kinds
from rig.boards.board import powered
from rig.boards.image_boots import ImageBooter
from rig.boards.inventory import BenchConfig, BoardSection
from rig.boards.shelf import shelf_for
from rig.crash import record, recording, scenarios, store
from rig.crash.journal import Journal
from rig.crash.recording import Recording
from rig.crash.sweep import Bench, sweep
from rig.crash.whole import ReadsAll
from rig.errors import BenchFault, FirmwareFault, Inconclusive, NotApplicable, RigError, UserError
from rig.evidence.records import SweepRecord, Verdict
from rig.evidence.trial import Trial

VERDICTS: dict[type[RigError], Verdict] = {
    NotApplicable: Verdict.SKIPPED,
    FirmwareFault: Verdict.FIRMWARE_FAIL,
    BenchFault: Verdict.BENCH_FAULT,
    Inconclusive: Verdict.INCONCLUSIVE,
}
GOING_ON = "going on with the interrupted sweep"
RECORDING = "recording"
"""What the recording is called among the evidence of a sweep."""


class News(NamedTuple):
    """How far a job is. `step` in words; `total` is 0 while nothing can be counted."""

    scenario: str
    step: str
    done: int = 0
    total: int = 0
    booted: int = 0


Tell = Callable[[News], None]


@dataclass(frozen=True)
class Job:
    """What to sweep, and how.

    `evidence` receives the recording and the console of its run. `given`: a recording to take instead of making one.
    `resumed`: go on with an interrupted sweep if there is one. `pruned`: boot only what no booted image covers.
    """

    config: Path
    board: str
    scenario: str
    evidence: Path
    depth: int
    at_once: int
    given: Path | None = None
    resumed: bool = True
    pruned: bool = True


def work(job: Job, tell: Tell) -> SweepRecord:
    """Do it. A bench fault, a skip and the like are in the record; UserError is raised."""
    bench = inventory.load(job.config)
    section = bench.find(job.board)
    try:
        found = _recorded(job, bench, section, tell) if job.given is None else _given(job.given, section)
        return _explore(job, bench, section, found, tell)
    except UserError:
        raise
    except RigError as error:
        return _without(job, section, VERDICTS[type(error)], str(error))


def make_recording(config: Path, bench: BenchConfig, section: BoardSection, scenario: str, evidence: Path) -> Recording:
    """Run a scenario on the board and save what its flash saw in the folder of recordings."""
    evidence.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        firmware = shelf_for(section, bench.firmware, config, Path(scratch))
        with powered(kinds.open_board(section)) as board:
            made = record.record(scenarios.find(scenario), Trial(board, firmware, evidence))
    made.save(store.path_of(store.root_of(config, bench), section.name, scenario).parent)
    return made


def _recorded(job: Job, bench: BenchConfig, section: BoardSection, tell: Tell) -> Recording:
    path = store.path_of(store.root_of(job.config, bench), section.name, job.scenario)
    if job.resumed and _journal_path(job, bench, section).exists() and path.exists():
        found = recording.load(path)
        if _journal(job, bench, section, found).load():
            tell(News(job.scenario, GOING_ON))
            return found
    tell(News(job.scenario, "recording"))
    return make_recording(job.config, bench, section, job.scenario, job.evidence)


def _given(path: Path, section: BoardSection) -> Recording:
    found = recording.load(path)
    header = found.header
    if header.chip != section.chip:
        raise UserError(f"{path.name} was recorded on an {header.chip}, this board is an {section.chip}",
                        board=section.name, evidence=path)  # fmt: skip
    size = getattr(section, "flash_size", None)
    if size is not None and int(size.removesuffix("MB")) << 20 != header.flash_size:
        raise UserError(
            f"{path.name} is of a flash of {header.flash_size >> 20}MB, this board has {size}",
            board=section.name, evidence=path, hint="set `flash_size` of the board in rig.toml, or record again",
        )  # fmt: skip
    return found


def _explore(job: Job, bench: BenchConfig, section: BoardSection, found: Recording, tell: Tell) -> SweepRecord:
    def open_booter() -> ImageBooter:
        booter = kinds.image_booter(section, found.table)
        return booter if job.pruned else ReadsAll(booter)

    def told(done: int, total: int, booted: int) -> None:
        tell(News(job.scenario, "exploring", done, total, booted))

    saved = found.save(job.evidence)
    swept = sweep(
        found,
        Bench(section.name, section.kind, open_booter, job.at_once),
        _journal(job, bench, section, found),
        depth=job.depth,
        told=told,
    )
    return swept.model_copy(update={"evidence": {RECORDING: saved.name}})


def _journal(job: Job, bench: BenchConfig, section: BoardSection, found: Recording) -> Journal:
    return Journal(_journal_path(job, bench, section), found, f"{section.model_dump_json()} {job.pruned}")


def _journal_path(job: Job, bench: BenchConfig, section: BoardSection) -> Path:
    recorded = store.path_of(store.root_of(job.config, bench), section.name, job.scenario)
    return recorded.with_name(f"{job.scenario}.journal")


def _without(job: Job, section: BoardSection, verdict: Verdict, reason: str) -> SweepRecord:
    scenario = scenarios.SCENARIOS.get(job.scenario)
    return SweepRecord(
        scenario=job.scenario,
        summary=scenario.summary if scenario else "",
        board=section.name,
        kind=section.kind,
        chip=section.chip,
        idf_version="",
        variant=scenario.variant if scenario else "",
        verdict=verdict,
        images=0,
        booted=0,
        duration_s=0.0,
        mutations=[],
        outcomes=[],
        windows=[],
        findings=[],
        reason=reason,
    )
