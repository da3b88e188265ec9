"""The place where every flash and eFuse mutation of a chip can be recorded, and where power can be cut.

One tap belongs to one chip. The chip tells it of each mutation before doing it; the tap answers how much of it happens.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rig.idf.effects import SECTOR_SIZE, BurnSecureVersion, Erase, Mutation, Program

Kind = Literal["erase", "program", "burn", "any"]
Phase = Literal["before", "torn", "after"]

# An interrupted erase leaves cells between the erased and the untouched part in no defined state.
MAX_UNDEFINED = 16


@dataclass(frozen=True)
class Cut:
    """Where power is lost: at the `nth` mutation (from 1) of `kind` that touches flash bytes `start` to `end`.

    `before`: it does not happen; `after`: it is complete; `torn`: only its beginning happens. Of a torn mutation `keep`
    bytes (of the sector, or of the data) are done; without `keep` the number is drawn from `seed`, as are the undefined
    bytes of an erase. An eFuse burn is atomic: torn means before. `start` and `end` do not apply to it.
    """

    kind: Kind = "any"
    start: int = 0
    end: int | None = None
    nth: int = 1
    phase: Phase = "before"
    keep: int | None = None
    seed: int = 0


class Recorded(NamedTuple):
    """One mutation as it was applied in full, and the life (boot number, from 1; 0 without a chip) that made it."""

    life: int
    mutation: Mutation


class Verdict(NamedTuple):
    """What the memory has to do with an announced mutation, and whether power is gone afterwards."""

    mutation: Mutation | None
    scramble: tuple[int, bytes] | None
    power_lost: bool


class MutationTap:
    """Recorder and cut injector; every method may be called from any thread."""

    def __init__(self) -> None:
        self.life = 0
        self._lock = threading.Lock()
        self._recording = False
        self._records: list[Recorded] = []
        self._cut: Cut | None = None
        self._matched = 0
        self._fired = threading.Event()

    @property
    def records(self) -> tuple[Recorded, ...]:
        """What was recorded so far, in the order the chip did it; programs are single pages."""
        with self._lock:
            return tuple(self._records)

    def start_recording(self) -> None:
        """Forget earlier records and record from now on."""
        with self._lock:
            self._records.clear()
            self._recording = True

    def stop_recording(self) -> tuple[Recorded, ...]:
        """Stop, and return what was recorded; `records` keeps it."""
        with self._lock:
            self._recording = False
            return tuple(self._records)

    def arm(self, cut: Cut) -> None:
        """Lose power at `cut`; counting starts now. Replaces an earlier cut."""
        if cut.nth < 1:
            raise ValueError(f"nth counts from 1, not {cut.nth}")
        with self._lock:
            self._cut = cut
            self._matched = 0
            self._fired.clear()

    def disarm(self) -> None:
        """No cut any more."""
        with self._lock:
            self._cut = None

    @property
    def fired(self) -> bool:
        """Whether the cut that was armed last has happened."""
        return self._fired.is_set()

    def wait_fired(self, timeout: float) -> bool:
        """Wait at most `timeout` wall-clock seconds for the armed cut to happen."""
        return self._fired.wait(timeout)

    def announce(self, mutation: Mutation) -> Verdict:
        """Called by the memory before each mutation: what to do of it, and whether power is lost then."""
        with self._lock:
            cut = self._due(mutation)
            if cut is None:
                self._record(mutation)
                return Verdict(mutation, None, power_lost=False)
            self._cut = None
            verdict = _interrupted(mutation, cut)
            if cut.phase == "after":
                self._record(mutation)
            self._fired.set()
            return verdict

    def interrupt(self, mutation: Mutation, share: float) -> Verdict:
        """Called by the memory instead of `announce` when power is lost after `share` (0 to 1) of the mutation."""
        size = SECTOR_SIZE if isinstance(mutation, Erase) else len(getattr(mutation, "data", b""))
        cut = Cut(phase="after") if share >= 1 else Cut(phase="torn", keep=int(size * share))
        with self._lock:
            if share >= 1:
                self._record(mutation)
            return _interrupted(mutation, cut)

    def _record(self, mutation: Mutation) -> None:
        if self._recording:
            self._records.append(Recorded(self.life, mutation))

    def _due(self, mutation: Mutation) -> Cut | None:
        if self._cut is None or not _matches(self._cut, mutation):
            return None
        self._matched += 1
        return self._cut if self._matched == self._cut.nth else None


def _matches(cut: Cut, mutation: Mutation) -> bool:
    if isinstance(mutation, BurnSecureVersion):
        return cut.kind in ("burn", "any")
    kind = "erase" if isinstance(mutation, Erase) else "program"
    size = SECTOR_SIZE if isinstance(mutation, Erase) else len(mutation.data)
    touches = mutation.offset + size > cut.start and (cut.end is None or mutation.offset < cut.end)
    return cut.kind in (kind, "any") and touches


def _interrupted(mutation: Mutation, cut: Cut) -> Verdict:
    if cut.phase == "after":
        return Verdict(mutation, None, power_lost=True)
    if cut.phase == "before" or isinstance(mutation, BurnSecureVersion):
        return Verdict(None, None, power_lost=True)
    source = random.Random(cut.seed)
    if isinstance(mutation, Program):
        kept = source.randint(0, len(mutation.data)) if cut.keep is None else cut.keep
        return Verdict(Program(mutation.offset, mutation.data[:kept]), None, power_lost=True)
    kept = source.randint(0, SECTOR_SIZE) if cut.keep is None else min(cut.keep, SECTOR_SIZE)
    undefined = source.randbytes(source.randint(0, min(MAX_UNDEFINED, SECTOR_SIZE - kept)))
    return Verdict(None, (mutation.offset, b"\xff" * kept + undefined), power_lost=True)
