"""From observed states to transitions: what changed, by whom, in which boot, and what shows it.

Some steps leave no trace of their own (a set_boot before a reset, PENDING_VERIFY of a boot that died early). Where
ESP-IDF knows only one way from one seen state to the next, the steps between are filled in and say that they are
inferred: only the bootloader writes PENDING_VERIFY (over NEW) and ABORTED (over PENDING_VERIFY), only the app NEW
and INVALID.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from rig.evidence.boots import Boot, MarkKind, Segmented
from rig.evidence.observe import (
    NO_ENTRY,
    By,
    Observation,
    Sample,
    observations,
    one_slot_twice,
    running_slot,
    slot_states,
)
from rig.evidence.records import Transition


class _Known(NamedTuple):
    state: str
    boot: int
    witness: str
    offset: int


def transitions(log: Segmented, samples: Sequence[Sample] = ()) -> list[Transition]:
    """Transitions of all OTA slots in order of being seen."""
    found = _Follower(log.boots)
    for seen in observations(log.before, log.boots, samples):
        if isinstance(seen, Sample):
            found.sample(seen)
        else:
            found.observe(seen)
    return found.transitions


class _Follower:
    def __init__(self, boots: Sequence[Boot]) -> None:
        self.boots = boots
        self.known: dict[str, _Known] = {}
        self.twice: str | None = None
        self.transitions: list[Transition] = []

    def sample(self, sample: Sample) -> None:
        number = self._boot_at(sample.offset)
        table = self.boots[max(number, 0)].table if self.boots else None
        if table is None or not table.ota_count_bootloader:
            return
        self.twice = one_slot_twice(sample.parsed, table.ota_count_bootloader)
        for slot, state in slot_states(sample.parsed, table.ota_count_bootloader).items():
            self._reach(Observation(slot, state, number, None, None, sample.describe(), sample.offset))

    def observe(self, seen: Observation) -> None:
        # esp_ota_get_state_partition reports the first entry of the slot, not the newer one
        if seen.by is None and seen.slot == self.twice:
            return
        self._reach(seen)

    def _reach(self, seen: Observation) -> None:
        known = self.known.get(seen.slot)
        if known is None:
            if seen.before is not None:
                self._add(seen.slot, seen.before, seen.state, seen.by or "app", seen.boot, seen.witness)
        elif known.state != seen.state:
            self._steps(known, seen)
        self.known[seen.slot] = _Known(seen.state, seen.boot, seen.witness, seen.offset)

    def _steps(self, known: _Known, seen: Observation) -> None:
        path = self._path(known, seen)
        boot = known.boot
        for before, after in pairwise(path):
            last = after == path[-1]
            by = seen.by if last and seen.by else self._author(before, after, known, seen)
            boot = seen.boot if last and seen.by else self._boot_of(before, after, boot, seen)
            text = seen.witness if last else f"inferred: only so {seen.slot} comes from {known.state} to {seen.state}"
            self._add(seen.slot, before, after, by, boot, text, known.witness if before == path[0] else None)

    def _path(self, known: _Known, seen: Observation) -> tuple[str, ...]:
        before, after = known.state, seen.state
        if self._harness_wrote(known, seen):
            return (before, after)
        booted_between = seen.boot > known.boot
        if after == "PENDING_VERIFY" and before != "NEW":
            return (before, "NEW", after)
        if after == "ABORTED" and before == "NEW":
            return (before, "PENDING_VERIFY", after)
        if after == "ABORTED" and before != "PENDING_VERIFY":
            return (before, "NEW", "PENDING_VERIFY", after)
        if after in ("VALID", "INVALID") and before == "NEW" and booted_between:
            return (before, "PENDING_VERIFY", after)
        if after == "VALID" and before != "PENDING_VERIFY" and seen.by is None and self._updated(known, seen):
            return (before, "NEW", "PENDING_VERIFY", after)
        return (before, after)

    def _updated(self, known: _Known, seen: Observation) -> bool:
        """The slot was not running at first and ran later: an update in between, not a first boot without factory."""
        if known.boot < 0 or seen.boot <= known.boot:
            return False
        return running_slot(self.boots[known.boot]) != seen.slot and running_slot(self.boots[seen.boot]) == seen.slot

    def _author(self, before: str, after: str, known: _Known, seen: Observation) -> By:
        if self._harness_wrote(known, seen):
            return "harness"
        if after in ("PENDING_VERIFY", "ABORTED") or (before, after) == ("NEW", NO_ENTRY):
            return "bootloader"
        if (before, after) == (NO_ENTRY, "VALID") and all(
            slot == seen.slot or other.state == NO_ENTRY for slot, other in self.known.items()
        ):
            return "bootloader"
        return "app"

    def _boot_of(self, before: str, after: str, earlier: int, seen: Observation) -> int:
        """In which boot a step happened that is seen in `seen.boot` and began from what boot `earlier` left."""
        if before == "PENDING_VERIFY":
            # the next bootloader would have made it ABORTED
            return min(earlier + 1, seen.boot) if after == "ABORTED" else earlier
        ran = [n for n in range(earlier + 1, seen.boot + 1) if running_slot(self.boots[n]) == seen.slot]
        if after == "PENDING_VERIFY":
            return ran[0] if ran else min(earlier + 1, seen.boot)
        if after == "NEW" and seen.state != "NEW":
            return max((ran[0] if ran else seen.boot) - 1, earlier)
        return seen.boot

    def _harness_wrote(self, known: _Known, seen: Observation) -> bool:
        return any(
            mark.kind is MarkKind.FLASH_WRITTEN and known.offset <= mark.offset <= seen.offset
            for boot in self.boots[max(known.boot, 0) : max(seen.boot, 0) + 1]
            for mark in boot.marks
        )

    def _boot_at(self, offset: int) -> int:
        return sum(1 for boot in self.boots if boot.events[0].at.offset < offset) - 1

    def _add(
        self, slot: str, before: str, after: str, by: By, boot: int, text: str, earlier: str | None = None
    ) -> None:
        lines = [text] if earlier is None else [earlier, text]
        self.transitions.append(Transition(slot=slot, before=before, after=after, by=by, boot=boot, witness=lines))
