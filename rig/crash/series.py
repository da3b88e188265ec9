"""Cuts in real time, one after another on one board: each is recorded, whatever comes of it, and saved at once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from rig.boards.board import Board
from rig.boards.shelf import FirmwareShelf
from rig.crash import edges
from rig.crash.edges import Edge, Tried, Window
from rig.crash.outcomes import CLASSES
from rig.crash.scenarios import Scenario
from rig.crash.tally import describe
from rig.crash.timed import PATIENCE_S, Seen, cut_once
from rig.errors import BenchFault, FirmwareFault, Inconclusive, NotApplicable, RigError, UserError
from rig.evidence.judge import Judgement, worst
from rig.evidence.moments import Moment
from rig.evidence.observe import describe_entry
from rig.evidence.records import Record, Severity, Verdict
from rig.evidence.timed_cut import pace
from rig.evidence.trial import Trial
from rig.updates.agent import AgentTimeout

FILE = "cuts.json"
MOST_IN_VAIN = 3
"""So many cuts in a row that broke off are not bad luck: the bench is out of order."""
PRECEDENCE = (Verdict.FIRMWARE_FAIL, Verdict.BENCH_FAULT, Verdict.INCONCLUSIVE, Verdict.PASS)


class CutTimes(Record):
    """Seconds of the host's monotonic clock. The moment of a line is when its last byte had arrived."""

    asked_s: float = Field(description="from the moment to the call of the power switch, as it was to be")
    measured_s: float = Field(description="the same, as it was")
    switch_s: float = Field(description="from the call of the power switch until it returned")
    last_byte_s: float | None = Field(description="from that call to the last byte of the board, if any came after it")


class CutRecord(Record):
    """One cut and what it led to. `outcome` and `verdict` are two things: an outcome that hurts may be ESP-IDF's."""

    number: int = Field(description="from 1, in the order in which they were made")
    delay_s: float = Field(description="after the moment, seconds of the board's clock, as asked")
    measured_s: float | None = Field(description="the same, as measured; null if power was not cut")
    host: CutTimes | None = Field(description="null for a cut by the flash tap, which is exact and needs no switch")
    outcome: str | None = Field(description="a class of crash images; null if nothing can be said")
    severity: Severity | None
    verdict: Verdict = Field(description="of the judge: whether the board did what ESP-IDF does")
    reason: str
    boots: str = Field(description="what came up after the cut, power-up by power-up; empty if it broke off")
    otadata_at_cut: list[str] = Field(description="both entries as the cut left them")
    otadata_at_end: list[str] = Field(description="both entries when the board had settled")
    evidence: str = Field(description="folder of its console.log and trace, beside this file")


class EdgeRecord(Record):
    """Between two delays (seconds of the board's clock, as measured) the outcome changes."""

    low_s: float
    high_s: float
    below: str
    above: str


class SeriesRecord(Record):
    """All cuts of one command, the content of cuts.json."""

    format: Literal[1] = 1
    tool: str
    command: str
    started: datetime
    finished: datetime | None = Field(description="null while cuts are being made, and if that was broken off")
    scenario: str
    summary: str
    board: str
    kind: str
    chip: str
    idf_version: str
    variant: str
    moment: str
    pace: float = Field(
        description="seconds of the board's clock in one of the host's, while it works: the host waits that much less"
    )
    cuts: list[CutRecord]
    edges: list[EdgeRecord]

    @property
    def verdict(self) -> Verdict:
        """The worst of all; an outcome that is broken is the firmware's fault even if ESP-IDF does the same."""
        found = {cut.verdict for cut in self.cuts}
        if any(cut.severity is Severity.BROKEN for cut in self.cuts):
            found.add(Verdict.FIRMWARE_FAIL)
        return next((verdict for verdict in PRECEDENCE if verdict in found), Verdict.INCONCLUSIVE)


@dataclass(frozen=True)
class Cutting:
    """What is the same for every cut of a series. `patience`: see `rig.crash.timed.cut_once`."""

    scenario: Scenario
    board: Board
    firmware: FirmwareShelf
    moment: Moment
    patience: float = PATIENCE_S

    def cut(self, number: int, delay: float, folder: Path) -> CutRecord:
        """One cut, its evidence in `folder`. What goes wrong with it is in the record; UserError and NotApplicable,
        which would go wrong every time, are raised.
        """
        trial = Trial(self.board, self.firmware, folder)
        try:
            seen = cut_once(self.scenario, trial, self.moment, delay, self.patience)
        except (UserError, NotApplicable):
            raise
        except RigError as error:
            found = _broken_off(number, delay, error, trial)
        else:
            found = _record(number, delay, seen, pace(self.board))
        trial.record()
        return found


OneCut = Callable[[int, float, Path], CutRecord]
"""As `Cutting.cut`: number from 1, delay in seconds of the board's clock, folder for its evidence."""


class Series:
    """Makes cuts and keeps them in `folder`: cuts.json and a folder for each, every one of them whole or not there."""

    def __init__(self, head: SeriesRecord, cut: OneCut, folder: Path, told: Callable[[CutRecord], None]) -> None:
        self.record = head
        self._cut = cut
        self._folder = folder
        self._told = told
        self._in_vain = 0

    def sweep(self, delays: tuple[float, ...]) -> list[Edge]:
        """One cut for each delay; the edges they show. BenchFault or Inconclusive if the bench is out of order."""
        for delay in delays:
            self.cut(delay)
        return self._finish()

    def bisect(self, window: Window, resolution: float) -> list[Edge]:
        """Look for an edge. Inconclusive if both ends have the same outcome; else as `sweep`."""
        search = edges.bisect(window, resolution)
        delay = next(search)
        while True:
            try:
                delay = search.send(self.cut(delay))
            except StopIteration:
                return self._finish()

    def cut(self, delay: float) -> str | None:
        """One more cut, saved; its outcome."""
        number = len(self.record.cuts) + 1
        place = self._folder / f"{number:04d}"
        partial = self._folder / f".{place.name}.{os.getpid()}"
        try:
            found = self._cut(number, delay, partial).model_copy(update={"evidence": place.name})
            partial.rename(place)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        self._save(self.record.model_copy(update={"cuts": [*self.record.cuts, found]}))
        self._told(found)
        self._in_vain = 0 if found.boots or found.verdict is Verdict.FIRMWARE_FAIL else self._in_vain + 1
        if self._in_vain >= MOST_IN_VAIN:
            fault = BenchFault if found.verdict is Verdict.BENCH_FAULT else Inconclusive
            raise fault(
                f"{self._in_vain} cuts in a row broke off; the last one: {found.reason}",
                board=self.record.board,
                evidence=place,
                hint="see its console.log; rig doctor says whether the bench is in order",
            )
        return found.outcome

    def _finish(self) -> list[Edge]:
        """Edges lie between times that were measured: a busy host may have been late."""
        measured = ((cut.delay_s if cut.measured_s is None else cut.measured_s, cut) for cut in self.record.cuts)
        found = edges.changes([Tried(delay, cut.outcome) for delay, cut in measured])
        known = [EdgeRecord(low_s=edge.low, high_s=edge.high, below=edge.below, above=edge.above) for edge in found]
        self._save(self.record.model_copy(update={"edges": known, "finished": datetime.now().astimezone()}))
        return found

    def _save(self, record: SeriesRecord) -> None:
        partial = self._folder / f".{FILE}.{os.getpid()}"
        try:
            partial.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
            partial.replace(self._folder / FILE)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        self.record = record


def _record(number: int, delay: float, seen: Seen, rate: float) -> CutRecord:
    times = None
    if seen.cut.moment is not None and seen.cut.called is not None and seen.cut.done is not None:
        after, last = seen.cut.called, seen.cut.last_byte
        times = CutTimes(
            asked_s=seen.cut.delay,
            measured_s=after - seen.cut.moment,
            switch_s=seen.cut.done - after,
            last_byte_s=None if last is None else last - after,
        )
    known = seen.conclusion.verdict is not Verdict.BENCH_FAULT
    return CutRecord(
        number=number,
        delay_s=delay,
        measured_s=0.0 if times is None else times.measured_s * rate,
        host=times,
        outcome=seen.outcome if known else None,
        severity=CLASSES[seen.outcome].severity if known else None,
        verdict=seen.conclusion.verdict,
        reason="" if seen.conclusion.verdict is Verdict.PASS else seen.conclusion.reason,
        boots=describe(seen.chain),
        otadata_at_cut=[describe_entry(data) for data in seen.left],
        otadata_at_end=[describe_entry(data) for data in seen.chain.record.entries],
        evidence="",
    )


def _broken_off(number: int, delay: float, error: RigError, trial: Trial) -> CutRecord:
    """What a cut that broke off comes to: its own last word, unless the witnesses so far say worse."""
    own = Judgement(_verdict(error), error.what)
    judgement = worst([own, trial.so_far()])
    return CutRecord(
        number=number,
        delay_s=delay,
        measured_s=None,
        host=None,
        outcome=None,
        severity=None,
        verdict=judgement.verdict,
        reason=judgement.reason if judgement is own else f"{judgement.reason}; it broke off with: {error.what}",
        boots="",
        otadata_at_cut=[],
        otadata_at_end=[],
        evidence="",
    )


def _verdict(error: RigError) -> Verdict:
    if isinstance(error, FirmwareFault):
        return Verdict.FIRMWARE_FAIL
    # Silence proves nothing; whether the board says nothing at all, the witnesses know.
    if isinstance(error, BenchFault) and not isinstance(error, AgentTimeout):
        return Verdict.BENCH_FAULT
    return Verdict.INCONCLUSIVE
