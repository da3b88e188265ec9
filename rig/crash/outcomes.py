"""What a power cut led to, as a class with a name; and what is wrong with it. Pure.

A class says how things ended for a person: which app runs, and whether the device still knows what happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rig.crash.chain import Chain
from rig.evidence.observe import NO_ENTRY, slot_states
from rig.evidence.records import Severity
from rig.idf.config import BootConfig
from rig.idf.otadata import ERASED_SEQ, active_index, parse

GOOD, HAZARD, BROKEN = Severity.GOOD, Severity.HAZARD, Severity.BROKEN
FAILED = ("INVALID", "ABORTED")
BRICK = "unbootable"


class Meaning(NamedTuple):
    """A class: how bad it is, and what it means."""

    severity: Severity
    text: str


CLASSES: Mapping[str, Meaning] = {
    "old app": Meaning(GOOD, "the app from before runs; the update had not been chosen yet"),
    "new app": Meaning(GOOD, "the new app runs and is confirmed"),
    "new app on probation": Meaning(GOOD, "the new app runs and waits to be confirmed"),
    "update failed, recorded": Meaning(GOOD, "the app from before runs; otadata says that the new one failed"),
    "factory app": Meaning(GOOD, "the factory app runs, as was asked for"),
    "new app silently lost": Meaning(HAZARD, "the update had been chosen; the app from before runs, no trace is left"),
    "confirmation lost": Meaning(HAZARD, "an app that passed its diagnostics is gone, another one runs"),
    "failure forgotten": Meaning(HAZARD, "the app from before runs, and nothing says which image failed"),
    "rollback target lost": Meaning(HAZARD, "both otadata entries choose one slot: there is nothing to go back to"),
    "new app without probation": Meaning(HAZARD, "the new app runs as if confirmed, though nobody confirmed it"),
    "degraded otadata": Meaning(HAZARD, "an app runs, but no otadata entry can be chosen, and no boot repairs that"),
    "another app": Meaning(HAZARD, "neither the app from before nor the new one runs"),
    "barred app boots": Meaning(HAZARD, "an app runs that is INVALID or ABORTED, though another one is intact"),
    "update cannot be repeated": Meaning(BROKEN, "the same update, done again, does not lead to the new app"),
    "not settled": Meaning(BROKEN, "every power-up changes otadata or the eFuse again"),
    "restarts for ever": Meaning(BROKEN, "the app that was booted restarts again and again"),
    "hangs": Meaning(BROKEN, "nothing happens any more after the bootloader started"),
    "damaged app boots": Meaning(BROKEN, "an image was started that does not verify"),
    "unbootable": Meaning(BROKEN, "the bootloader finds nothing to boot: only a cable helps"),
}  # fmt: skip
"""In ascending order of how bad they are."""
RANK = {name: rank for rank, name in enumerate(CLASSES)}


class Progress(NamedTuple):
    """How far the run had come when power was lost: what the new app's record had said by then."""

    chosen: bool = False
    tried: bool = False
    confirmed: bool = False
    failed: bool = False

    def saw(self, state: str) -> Progress:
        """The same, once its record has said `state`."""
        return Progress(
            self.chosen or state in ("NEW", "PENDING_VERIFY", "VALID", *FAILED),
            self.tried or state == "PENDING_VERIFY",
            self.confirmed or state == "VALID",
            self.failed or state in FAILED,
        )

    def joined(self, other: Progress) -> Progress:
        """What either of them saw."""
        return Progress(*(mine or its for mine, its in zip(self, other, strict=True)))


class Ending(NamedTuple):
    """What was looked at when the board had settled. `intact`: slots whose image verifies; `repeats`: see classify."""

    chain: Chain
    intact: frozenset[str]
    repeats: bool


class Setting(NamedTuple):
    """What a class depends on besides the ending: the run's slots, the number of OTA slots, the bootloader's rules.

    `ways`: how many slots otadata could choose from before the run.
    """

    before: str
    target: str
    slots: int
    ways: int
    config: BootConfig


def classify(ending: Ending, progress: Progress, interrupted: str, setting: Setting) -> str:
    """The class of one crash image. `interrupted`: the state that was being written to otadata at the cut, or empty."""
    chain, last = ending.chain, ending.chain.last
    if last.slot is None or last.end == "nothing bootable":
        return "hangs" if last.end == "hangs" else "unbootable"
    if last.slot not in ending.intact:
        return "damaged app boots"
    if last.end == "hangs":
        return "hangs"
    if last.end == "restarts":
        return "restarts for ever"
    if not chain.settled:
        return "not settled"
    if not ending.repeats:
        return "update cannot be repeated"
    states = record_states(chain, setting)
    if _barred(last.slot, ending, states):
        return "barred app boots"
    if is_degraded(chain, setting):
        return "degraded otadata"
    if last.slot == setting.target and setting.target != setting.before:
        return _new_app(chain, progress, states, setting)
    if _no_way_back(chain, setting):
        return "rollback target lost"
    if last.slot == setting.before:
        return _old_app(progress, interrupted, states, setting)
    return "confirmation lost" if setting.target == setting.before else "another app"


def record_states(chain: Chain, setting: Setting) -> dict[str, str]:
    """State by OTA slot when it had settled."""
    first, second = chain.record.entries
    return slot_states((parse(first), parse(second)), setting.slots) if first else {}


def is_degraded(chain: Chain, setting: Setting) -> bool:
    """No entry can be chosen, and the bootloader does not take otadata for one that was never written."""
    first, second = chain.record.entries
    if not first or chain.last.slot == "factory":
        return False
    pair = parse(first), parse(second)
    blank = all(entry.initial for entry in pair)
    starts_afresh = blank and (setting.config.anti_rollback or all(entry.sel_invalid for entry in pair))
    return active_index(pair) < 0 and not starts_afresh


def _no_way_back(chain: Chain, setting: Setting) -> bool:
    """Of a run that only chose the running slot again: whether the entry of the other slot is gone."""
    first, second = chain.record.entries
    if not first or setting.target != setting.before or chain.last.slot != setting.before:
        return False
    usable = [entry for entry in (parse(first), parse(second)) if entry.crc_ok and entry.seq != ERASED_SEQ]
    return len({(entry.seq - 1) % max(1, setting.slots) for entry in usable}) < setting.ways


def _barred(slot: str, ending: Ending, states: Mapping[str, str]) -> bool:
    return states.get(slot) in FAILED and bool(ending.intact - {slot})


def _new_app(chain: Chain, progress: Progress, states: Mapping[str, str], setting: Setting) -> str:
    if setting.target == "factory":
        return "factory app"
    state = states.get(setting.target, NO_ENTRY)
    if state in ("PENDING_VERIFY", "NEW"):
        return "new app on probation"
    on_trial = progress.tried or progress.confirmed or "PENDING_VERIFY" in chain.states
    return "new app" if state == "VALID" and on_trial else "new app without probation"


def _old_app(progress: Progress, interrupted: str, states: Mapping[str, str], setting: Setting) -> str:
    if setting.target in (setting.before, "factory"):
        return "old app"
    if states.get(setting.target) in FAILED and progress.chosen:
        return "update failed, recorded"
    if progress.failed or interrupted in FAILED:
        return "failure forgotten"
    if progress.confirmed or interrupted == "VALID":
        return "confirmation lost"
    return "new app silently lost" if progress.chosen else "old app"
