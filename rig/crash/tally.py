"""Adds up what the crash images of one recording lead to: classes, cells of the map, risky windows and findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import NamedTuple

from rig.crash import torn
from rig.crash.chain import Chain
from rig.crash.explore import Explored, Seen
from rig.crash.hazards import remedy_of
from rig.crash.names import Cut, Name
from rig.crash.outcomes import BRICK, CLASSES, RANK, Ending, Progress, classify
from rig.crash.story import Story, Write
from rig.evidence.records import CutFinding, Outcome, RiskyWindow, Severity, SweptMutation, Verdict

ERASE_MS = (45.0, 400.0)
PROGRAM_MS = (0.7, 3.0)
"""Typical and longest: sector erase (4 KiB) and page program of Winbond's W25Q32JV data sheet."""


class _Inside(NamedTuple):
    """A crash image within an otadata write, and its class."""

    cut: Cut
    outcome: str


@dataclass
class _Cell:
    outcome: str = ""
    worst: str = ""
    images: int = 0


@dataclass
class _Group:
    """Findings alike: the first image that shows it stands for all."""

    name: str
    board: str
    model: str
    images: int = 0


@dataclass
class Tally:
    """Takes crash images one by one; what it keeps grows with mutations and classes, not with images."""

    story: Story
    images: int = 0
    nested: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    model_counts: Counter[str] = field(default_factory=Counter)
    _cells: dict[int, _Cell] = field(default_factory=dict)
    _inside: dict[int, list[_Inside]] = field(default_factory=dict)
    _hazards: dict[tuple[str, str], _Group] = field(default_factory=dict)
    _deviations: dict[tuple[str, str, str, str], _Group] = field(default_factory=dict)

    def add(self, explored: Explored) -> str:
        """Count one; its class on the board."""
        cut, seen = explored.point.cut, explored.seen
        write = self.story.write_at(cut.number)
        inside = write if write is not None and (cut.form or cut.number < write.last) else None
        progress = self.story.progress(explored.point.prefix)
        interrupted = self.story.interrupted(cut)
        where = f"a cut at {self.story.what_at(cut.number)}"
        outcome = self._count(str(Name(self.story.recording.name, (cut,))), seen, progress, interrupted, where)
        self.images += 1
        cell = self._cells.setdefault(cut.number, _Cell())
        cell.images += 1
        if not cut.form:
            cell.outcome = outcome
        if not cell.worst or RANK[outcome] > RANK[cell.worst]:
            cell.worst = outcome
        if inside is not None:
            self._inside.setdefault(inside.first, []).append(_Inside(cut, outcome))
        return outcome

    def add_nested(self, name: Name, seen: Seen, progress: Progress, interrupted: str, where: str) -> str:
        """Count the crash image of a second cut; its class on the board. `where`: what that cut interrupted."""
        self.nested += 1
        return self._count(str(name), seen, progress, interrupted, f"a second cut, at {where}")

    def _count(self, name: str, seen: Seen, progress: Progress, interrupted: str, where: str) -> str:
        board = classify(Ending(seen.board, seen.intact, seen.repeats), progress, interrupted, self.story.setting)
        model = board
        if seen.deviates:
            model = classify(Ending(seen.model, seen.intact, seen.repeats), progress, interrupted, self.story.setting)
            did = (
                told(seen.board, seen.board_writes, seen.model_writes),
                told(seen.model, seen.model_writes, seen.board_writes),
            )
            self._deviations.setdefault((board, model, *did), _Group(name, *did)).images += 1
        elif CLASSES[board].severity is not Severity.GOOD:
            text = describe(seen.board)
            self._hazards.setdefault((board, where), _Group(name, text, text)).images += 1
        self.counts[board] += 1
        self.model_counts[model] += 1
        return board

    # --- results -----------------------------------------------------------------------------------------------

    @property
    def verdict(self) -> Verdict:
        """Firmware fail for any deviation, and where something is broken even if the model agrees that it is."""
        broken = any(CLASSES[name].severity is Severity.BROKEN for name in self.counts)
        return Verdict.FIRMWARE_FAIL if self._deviations or broken else Verdict.PASS

    def outcomes(self) -> list[Outcome]:
        """Every class that occurred on the board or on the model, mildest first; and bricks, even if there is none."""
        names = sorted({*self.counts, *self.model_counts, BRICK}, key=RANK.__getitem__)
        return [
            Outcome(
                name=name,
                severity=CLASSES[name].severity,
                meaning=CLASSES[name].text,
                images=self.counts[name],
                model_images=self.model_counts[name],
            )
            for name in names
        ]

    def mutations(self) -> list[SweptMutation]:
        """One cell for each mutation."""
        return [
            SweptMutation(
                number=number, text=self.story.texts[number], outcome=cell.outcome, worst=cell.worst, images=cell.images
            )
            for number, cell in sorted(self._cells.items())
        ]

    def windows(self) -> list[RiskyWindow]:
        """Every otadata write in which a cut leads to something that neither a cut before nor one after it leads to."""
        found = (self._window(write) for write in self.story.writes if write.first in self._inside)
        return [window for window in found if window is not None]

    def _window(self, write: Write) -> RiskyWindow | None:
        before, after = self._cells[write.first - 1].outcome, self._cells[write.last].outcome
        unsafe = [
            image
            for image in self._inside[write.first]
            if image.outcome not in (before, after) and CLASSES[image.outcome].severity is not Severity.GOOD
        ]
        even_without = CLASSES[after].severity is not Severity.GOOD and CLASSES[before].severity is Severity.GOOD
        if even_without:
            unsafe += [image for image in self._inside[write.first] if image.outcome == after]
            unsafe.append(_Inside(Cut(write.last), after))
        if not unsafe:
            return None
        whole = [image for image in unsafe if not image.cut.form or torn.kind_of(image.cut.form) == "bytes"]
        shown = sorted(whole or unsafe, key=lambda image: (image.cut.number, not image.cut.form))
        typical, longest = self._lasts(write, shown)
        scenario = self.story.recording.name
        return RiskyWindow(
            writer=write.writer,
            change=write.change,
            sector=write.sector,
            outcomes=sorted({image.outcome for image in shown}, key=RANK.__getitem__),
            first=str(Name(scenario, (shown[0].cut,))),
            last=str(Name(scenario, (shown[-1].cut,))),
            mutations=sum(not image.cut.form for image in shown),
            images=len(shown),
            typical_ms=typical,
            longest_ms=longest,
            single_bits=not whole,
        )

    def _lasts(self, write: Write, unsafe: list[_Inside]) -> tuple[float, float]:
        """Milliseconds of the operations in which a cut is unsafe."""
        torn_ones = {image.cut.number for image in unsafe if image.cut.form}
        typical = longest = 0.0
        for number in range(write.first, write.last + 1):
            if number in torn_ones:
                times = ERASE_MS if self.story.texts[number].startswith("erase") else PROGRAM_MS
                typical, longest = typical + times[0], longest + times[1]
        return round(typical, 1), round(longest, 1)

    def findings(self) -> list[CutFinding]:
        """Deviations first, then hazards, the worst first."""
        deviations = sorted(self._deviations.items(), key=lambda item: -RANK[item[0][0]])
        hazards = sorted(self._hazards.items(), key=lambda item: -RANK[item[0][0]])
        return [
            *(self._deviation(board, model, group) for (board, model, _, _), group in deviations),
            *(self._hazard(outcome, where, group) for (outcome, where), group in hazards),
        ]

    def _deviation(self, board: str, model: str, group: _Group) -> CutFinding:
        version = self.story.recording.header.idf_version
        what = f"{board}, where ESP-IDF {version} as modelled gives {model}"
        if board == model:
            what = f"{board}, as with ESP-IDF {version} as modelled, but on another way"
        return CutFinding(
            kind="deviation",
            image=group.name,
            images=group.images,
            what=what,
            board_did=group.board,
            model_did=group.model,
        )

    def _hazard(self, outcome: str, where: str, group: _Group) -> CutFinding:
        known = remedy_of(outcome, where)
        return CutFinding(
            kind="hazard",
            image=group.name,
            images=group.images,
            what=f"{outcome}, by {where}: {CLASSES[outcome].text}",
            board_did=group.board,
            model_did=group.model,
            remedy=known.remedy,
            source=known.source,
        )


def told(chain: Chain, writes: Sequence[Sequence[str]], others: Sequence[Sequence[str]]) -> str:
    """The power-ups, and what the first one did to otadata and eFuse in which they did `others` elsewhere."""
    for number, (own, other) in enumerate(zip_longest(writes, others, fillvalue=()), 1):
        if writes and others and own != other:
            return f"{describe(chain)}; in power-up {number}: {', '.join(own) or 'writes nothing'}"
    return describe(chain)


def describe(chain: Chain) -> str:
    """The power-ups in few words: `ota_1 PENDING_VERIFY restarts, ota_0 VALID runs; power off; …`."""
    stages = []
    for stage in chain.stages:
        boots = (f"{boot.slot or 'no app'} {boot.state or ''} {boot.end}".replace("  ", " ") for boot in stage.boots)
        stages.append(", ".join(boots))
    return "; power off; ".join(stages)
