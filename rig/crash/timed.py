"""One power cut in real time on a live board: run a scenario, cut, follow the board until it is settled, classify.

What crash images cannot show is here: supply voltage that decays, RTC memory, a flash chip in the middle of its work.
What is not known of a live board is left out, never guessed: its eFuses, and whether the update can be repeated.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from rig.crash.chain import MOST_POWER_UPS, Boot, Chain, Record, Stage
from rig.crash.outcomes import Ending, Progress, Setting, classify
from rig.crash.scenarios import Scenario
from rig.errors import Inconclusive, NotApplicable, UserError
from rig.evidence.assemble import reported
from rig.evidence.conclusion import Conclusion
from rig.evidence.logparse import LogParser
from rig.evidence.moments import AtMutation, Moment
from rig.evidence.observe import NO_ENTRY, slot_states
from rig.evidence.power_up import watch
from rig.evidence.timed_cut import TimedCut
from rig.evidence.trial import Trial
from rig.evidence.witnesses import ERASED_ENTRY, Entries, Witnesses
from rig.idf.memory import verify
from rig.idf.otadata import parse

PATIENCE_S = 30.0
"""How long after a reset an app may take until it has finished its start and diagnostics, seconds of the host."""
NO_EFUSE = 0
"""A live board's eFuses are not looked at."""

_RESET = re.compile(rb"rst:0x[0-9a-f]+ \(")
_WRITTEN_BY_APP = {"pass": "VALID", "delay": "VALID", "fail": "INVALID"}
"""The state that an app on probation writes, by the outcome of its diagnostics."""


class Seen(NamedTuple):
    """What one cut led to. `outcome`: a class of `rig.crash.outcomes`; `left`: otadata as the cut left it."""

    outcome: str
    chain: Chain
    left: Entries
    cut: TimedCut
    conclusion: Conclusion


class _Before(NamedTuple):
    """Where the part of the run that matters began: bytes of log, and otadata at that point."""

    position: int
    entries: Entries


class _Left(NamedTuple):
    """Otadata as the cut left it, after `position` bytes of log."""

    position: int
    entries: Entries


class _Came(NamedTuple):
    """How far the target's record had come, and the state that was being written to it at the cut, if any."""

    progress: Progress
    interrupted: str


def cut_once(scenario: Scenario, trial: Trial, moment: Moment, delay: float, patience: float = PATIENCE_S) -> Seen:
    """Run `scenario`, cut power `delay` seconds of the board's clock after `moment`, and see where that leads.

    A flash mutation is counted as in names of crash images: from the installation on. The trial's judge has had its
    say in `conclusion`; what it finds is the firmware's fault, whatever the outcome. Raises Inconclusive if the moment
    never comes, NotApplicable for what cannot be repeated on a live board, BenchFault when the bench fails.
    """
    scenario.install(trial)
    if trial.build.boot_config.anti_rollback:
        raise NotApplicable(
            f"{scenario.name} burns eFuses, so it can be run once on a board, not again and again",
            hint=f"rig crash sweep {scenario.name} cuts it in all places, on images of the flash",
        )
    moment = _prepared(scenario, trial, moment)
    before = _Before(trial.witnesses.position, _entries_until(trial.witnesses, trial.witnesses.position)[-1][1])
    with trial.power_lost_after(moment, delay) as cut:
        scenario.run(trial)
    left = _Left(trial.witnesses.position, trial.read_back())
    chain = follow(trial, left.entries, patience)
    conclusion = trial.judge()
    setting = _setting(trial, conclusion, before, chain)
    progress, interrupted = _progress(scenario, trial.witnesses, before, setting, left)
    outcome = classify(Ending(chain, _intact(trial, chain), True), progress, interrupted, setting)
    return Seen(outcome, chain, left.entries, cut, conclusion)


def follow(trial: Trial, before: Entries, patience: float = PATIENCE_S) -> Chain:
    """Power the board up, let its app finish, and again, until a power-up has changed otadata no more.

    `before`: otadata as it is now. BenchFault if the board says nothing at all.
    """
    stages: list[Stage] = []
    settled = False
    while not settled and len(stages) < MOST_POWER_UPS:
        trial.power_up()
        boots = watch(trial.board, trial.build.table, patience)
        after = trial.read_back()
        stages.append(Stage(tuple(Boot(seen.slot, seen.state, seen.end) for seen in boots), Record(after, NO_EFUSE)))
        settled, before = after == before, after
    return Chain(tuple(stages), settled)


def _prepared(scenario: Scenario, trial: Trial, moment: Moment) -> Moment:
    """Do what comes before the part that matters; the moment as it is counted from there."""
    if not isinstance(moment, AtMutation):
        scenario.prepare(trial)
        return moment
    tap = trial.board.tap
    if tap is None:
        raise UserError("this board does not see its flash mutations", board=trial.board.name,
                        hint="cut on a line, an event or after a time")  # fmt: skip
    tap.start_recording()
    try:
        scenario.prepare(trial)
    finally:
        begin = len(tap.stop_recording())
    if moment.number <= begin:
        raise UserError(
            f"{moment} comes before the part of {scenario.name} that matters",
            board=trial.board.name,
            hint=f"the first one of it is number {begin + 1}",
        )
    return AtMutation(moment.number - begin)


def _entries_until(witnesses: Witnesses, end: int) -> list[tuple[int, Entries]]:
    """Otadata as the app reported it or the bench read it, in order, as far as `end` bytes of log."""
    parser = LogParser()
    events = [event for chunk in witnesses.chunks for event in parser.feed(chunk.data, chunk.time)]
    said = [(sample.offset, sample.entries) for sample in reported([*events, *parser.finish()])]
    read = [(sample.position, sample.entries) for sample in witnesses.samples]
    return sorted((one for one in (*said, *read) if one[0] <= end), key=lambda one: one[0])


def _setting(trial: Trial, conclusion: Conclusion, before: _Before, chain: Chain) -> Setting:
    """`target` is what the app was last told to choose; before it was told anything, nothing has been chosen."""
    booted = [record.slot for record in conclusion.records if record.slot is not None]
    running = booted[0] if booted else chain.last.slot or ""
    told = [call.slot for call in trial.witnesses.calls if call.start >= before.position and call.slot is not None]
    count = trial.build.table.ota_count_bootloader
    ways = sum(state != NO_ENTRY for state in _states(before.entries, count).values())
    return Setting(running, told[-1] if told else running, count, ways, trial.build.boot_config)


def _progress(scenario: Scenario, witnesses: Witnesses, before: _Before, setting: Setting, left: _Left) -> _Came:
    """By what the app said until the cut and what the cut left. What was so before the run does not count."""
    stale = frozenset(before.entries)
    known = [one for one in _entries_until(witnesses, left.position) if before.position <= one[0] < left.position]
    states = [
        (at, _states(entries, setting.slots, stale).get(setting.target, NO_ENTRY))
        for at, entries in (*known, (left.position, left.entries))
    ]
    progress = Progress()
    for _, state in states:
        if state != NO_ENTRY:
            progress = progress.saw(state)
    *earlier, (_, last) = states
    if last != NO_ENTRY or not earlier or earlier[-1][1] != "PENDING_VERIFY":
        return _Came(progress, "")
    log = b"".join(chunk.data for chunk in witnesses.chunks)[earlier[-1][0] : left.position]
    return _Came(progress, _being_written(scenario.diagnostics, log))


def _being_written(diagnostics: str, log: bytes) -> str:
    """What was to take the place of a PENDING_VERIFY that is gone; `log` since it was seen."""
    return "ABORTED" if _RESET.search(log) else _WRITTEN_BY_APP.get(diagnostics, "")


def _states(entries: Entries, slots: int, stale: frozenset[bytes] = frozenset()) -> dict[str, str]:
    first, second = (ERASED_ENTRY if data in stale else data for data in entries)
    return slot_states((parse(first), parse(second)), slots)


def _intact(trial: Trial, chain: Chain) -> frozenset[str]:
    """Slots whose image verifies, as far as the bench knows it; the running one unless it is known not to."""
    flash, config = trial.witnesses.known, trial.build.boot_config
    found = set()
    for part in trial.build.table.app_slots:
        try:
            good = verify(flash, part.offset, part.size, config).check.ok
        except Inconclusive:
            good = part.slot == chain.last.slot
        if good and part.slot is not None:
            found.add(part.slot)
    return frozenset(found)
