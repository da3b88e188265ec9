"""Which slot the bootloader starts next from a dump, under each configuration, by the reference model. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from rig.evidence.observe import describe_entry
from rig.fieldkit.dump_clues import Clues
from rig.fieldkit.explained import NextBoot
from rig.idf.bootloader import BootResult, boot, run
from rig.idf.config import IDF_VERSIONS, BootConfig
from rig.idf.effects import SECTOR_SIZE, BurnSecureVersion, Effect, Log, Steps
from rig.idf.memory import FlashImage, complete
from rig.idf.otadata import ENTRY_SIZE
from rig.idf.partitions import PartitionTable

_TOLD_TAGS = ("boot", "boot_comm", "efuse")
_ASIDE = ("Disabling RNG", "Calculated hash", "Expected hash", "Mapping segment", "calling set_cache", "configure drom")
_LAST_OF_LISTING = ("End of partition table",)
ANY = "every ESP-IDF version"


class Setup(NamedTuple):
    """One configuration: `mode` and `table_name` for people, `burnt`: secure version in the eFuse."""

    mode: str
    table_name: str
    config: BootConfig
    burnt: int

    @property
    def name(self) -> str:
        return ", ".join(part for part in (self.mode, self.table_name) if part)


class Outcome(NamedTuple):
    """One boot: its result and effects, what it wrote into otadata, and the slot of the boot after it."""

    result: BootResult
    effects: tuple[Effect, ...]
    after: tuple[bytes, bytes] | None
    then: str | None


class Start(NamedTuple):
    """Flash as far as it is known, completed by what is assumed; `in_file`: whether the table itself is."""

    memory: FlashImage
    table: PartitionTable
    table_name: str
    in_file: bool
    assumes: tuple[str, ...]


def setups(base: BootConfig, table_name: str, secure_versions: Iterable[int]) -> list[Setup]:
    """All versions, with and without rollback, and with anti-rollback for each secure version in the eFuse."""
    found = []
    for version in IDF_VERSIONS:
        config = replace(base, idf_version=version, log_level="DEBUG")
        found.append(Setup("app rollback", table_name, replace(config, rollback=True), 0))
        found.append(Setup("no app rollback", table_name, config, 0))
        strict = replace(config, rollback=True, anti_rollback=True)
        found += [
            Setup(f"anti-rollback, eFuse at {burnt}", table_name, strict, burnt)
            for burnt in sorted(set(secure_versions))
        ]
    return found


def next_boots(
    starts: Sequence[Start], base: BootConfig, secure_versions: Iterable[int], clues: Clues
) -> list[NextBoot]:
    """One for each thing that can happen, the likeliest first."""
    grouped: dict[tuple[object, ...], list[tuple[Setup, Outcome, Start]]] = {}
    versions = tuple(secure_versions)
    for start in starts:
        for setup in setups(base, start.table_name, versions):
            outcome = boot_once(start, setup)
            key = (outcome.result.outcome, outcome.result.slot, outcome.after, outcome.then, _burns(outcome.effects))
            grouped.setdefault(key, []).append((setup, outcome, start))
    ranked = [(max(_likelihood(item[0], clues) for item in group), group) for group in grouped.values()]
    ranked.sort(key=lambda item: -item[0])
    return [_told(group, clues) for _, group in ranked]


def _likelihood(setup: Setup, clues: Clues) -> int:
    config = setup.config
    points = 4 * (clues.rollback is not None and config.rollback == clues.rollback)
    points += 2 * (config.idf_version == clues.family)
    # anti-rollback is rare, and needs a table without factory; nothing tells what is in the eFuse
    points += 8 if clues.anti_rollback and config.anti_rollback else -8 * config.anti_rollback
    return points + (clues.rollback is None and config.rollback)


def boot_once(start: Start, setup: Setup) -> Outcome:
    """On a copy of its flash; and the boot after it, if nobody confirms the first."""
    memory = start.memory.copy()
    memory.secure_version = setup.burnt
    result, effects = complete(_steps(memory, start, setup), memory)
    after = entries_of(memory, start.table)
    then, _ = complete(_steps(memory, start, setup), memory)
    return Outcome(result, tuple(effects), after, then.slot)


def _steps(memory: FlashImage, start: Start, setup: Setup) -> Steps[BootResult]:
    return run(memory, setup.config) if start.in_file else boot(memory, start.table, setup.config)


def entries_of(memory: FlashImage, table: PartitionTable) -> tuple[bytes, bytes] | None:
    """Both select entries where the bootloader looks for them."""
    part = table.otadata_for_bootloader
    if part is None:
        return None
    return memory.read(part.offset, ENTRY_SIZE), memory.read(part.offset + SECTOR_SIZE, ENTRY_SIZE)


def _burns(effects: Iterable[Effect]) -> tuple[BurnSecureVersion, ...]:
    return tuple(effect for effect in effects if isinstance(effect, BurnSecureVersion))


def _told(group: Sequence[tuple[Setup, Outcome, Start]], clues: Clues) -> NextBoot:
    likely = sorted(group, key=lambda item: -_likelihood(item[0], clues))
    _, outcome, start = likely[0]
    why = list(_lines(outcome.effects))
    why += _writes(entries_of(start.memory, start.table), outcome)
    why.append(_afterwards(outcome))
    return NextBoot(
        configurations=list(names([setup for setup, _, _ in likely])),
        slot=outcome.result.slot,
        why=[line for line in why if line],
        assumes=list(start.assumes),
    )


def names(setups_alike: Sequence[Setup]) -> Iterator[str]:
    """Configurations for people: the mode, and the versions that do alike."""
    by_mode: dict[str, list[str]] = {}
    for setup in setups_alike:
        by_mode.setdefault(setup.name, []).append(setup.config.idf_version)
    for mode, versions in by_mode.items():
        yield f"{mode} ({ANY if len(versions) == len(IDF_VERSIONS) else ', '.join(versions)})"


def _lines(effects: Sequence[Effect]) -> Iterator[str]:
    """The bootloader's own lines that tell why, without the listing of the table and the mapping of segments."""
    logs = [effect for effect in effects if isinstance(effect, Log)]
    listed = [index for index, line in enumerate(logs) if line.text.startswith(_LAST_OF_LISTING)]
    for line in logs[listed[-1] + 1 if listed else 0 :]:
        loud = line.level in "EW"
        if loud or (
            line.tag in _TOLD_TAGS and not line.text.startswith(_ASIDE) and not line.text.startswith("start: ")
        ):
            yield f"{line.level} {line.tag}: {line.text}"


def _writes(before: tuple[bytes, bytes] | None, outcome: Outcome) -> list[str]:
    found = []
    if before and outcome.after:
        found = [
            f"writes otadata[{number}]: {describe_entry(old)} becomes {describe_entry(new)}"
            for number, (old, new) in enumerate(zip(before, outcome.after, strict=True))
            if old != new
        ]
    found += [f"burns the eFuse: secure version {burn.before} becomes {burn.after}" for burn in _burns(outcome.effects)]
    return found


def _afterwards(outcome: Outcome) -> str:
    first, then = outcome.result.slot, outcome.then
    if first is None:
        return "the bootloader crashes" if outcome.result.outcome == "exception" else "the chip resets, for ever"
    if then == first:
        return f"after one more reset: {first} again, confirmed or not"
    return f"reset before it is confirmed: {then or 'nothing boots'}"
