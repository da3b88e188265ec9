"""What a recorded run wrote, mutation by mutation, in a person's words; and its writes to otadata as wholes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

from rig.crash.chain import otadata_offset, record
from rig.crash.names import Cut
from rig.crash.outcomes import Progress, Setting
from rig.crash.recording import Recording
from rig.evidence.observe import NO_ENTRY, slot_states
from rig.idf.effects import SECTOR_SIZE, BurnSecureVersion, Erase, Mutation
from rig.idf.memory import FlashImage
from rig.idf.otadata import SelectEntry, active_index, parse, slot_index, state_name
from rig.idf.partitions import PartitionTable

Writer = Literal["bootloader", "app"]
Sector = Literal["active", "inactive", "both"]
Pair = tuple[SelectEntry, SelectEntry]


_POSITION = re.compile(r" at 0x[0-9a-f]+$")


class Write(NamedTuple):
    """One rewrite of otadata: mutations `first` to `last` (from 1), from the entries before it to those after it.

    `sector`: whether it goes to the entry that was active before, to the other one, or to both. `slot` is the slot
    whose record changes, with its state `before` and `after` (`none` without an entry).
    """

    first: int
    last: int
    sector: Sector
    writer: Writer
    slot: str
    before: str
    after: str
    entries_before: Pair
    entries_after: Pair

    @property
    def change(self) -> str:
        """The write, for a person."""
        return f"{self.slot}: {self.before} → {self.after}"


@dataclass(frozen=True)
class Story:
    """A recording, understood. `before`: the slot that ran at the beginning; `target`: the one the run chose."""

    recording: Recording
    writes: tuple[Write, ...]
    texts: tuple[str, ...]
    states: tuple[dict[str, str], ...]
    entries: tuple[Pair | None, ...]
    before: str
    target: str
    stale: frozenset[SelectEntry]
    ways: int

    @property
    def otadata(self) -> int | None:
        return otadata_offset(self.recording.table)

    def write_at(self, number: int) -> Write | None:
        """The otadata write that mutation `number` belongs to."""
        return next((write for write in self.writes if write.first <= number <= write.last), None)

    def what_at(self, number: int) -> str:
        """What mutation `number` is part of: a write to otadata as a whole, or what it does by itself."""
        write = self.write_at(number)
        return write.change if write else _POSITION.sub("", self.texts[number])

    def interrupted(self, cut: Cut) -> str:
        """The state of the new app that was being written to otadata at that cut; empty for none."""
        write = self.write_at(cut.number)
        inside = write is not None and (bool(cut.form) or cut.number < write.last)
        return write.after if write is not None and inside and write.slot == self.target else ""

    def progress(self, number: int) -> Progress:
        """What the new app's record had said after mutation `number`. What was so before the run does not count."""
        return self._progress[max(0, number - self.recording.header.begin)]

    @cached_property
    def _progress(self) -> tuple[Progress, ...]:
        found = []
        so_far = Progress()
        for number in range(self.recording.header.begin, len(self.states)):
            pair = self.entries[number] or ()
            if any(_slot(entry, self.slots) == self.target and entry not in self.stale for entry in pair):
                so_far = so_far.saw(self.states[number].get(self.target, NO_ENTRY))
            found.append(so_far)
        return tuple(found)

    @property
    def slots(self) -> int:
        return self.recording.table.ota_count_bootloader

    @cached_property
    def setting(self) -> Setting:
        """What the classes of this run depend on."""
        return Setting(self.before, self.target, self.slots, self.ways, self.recording.boot_config)

    def followed_by(self, recording: Recording) -> Story:
        """A power-up after a cut in this run, understood as a part of the same story."""
        inner = understand(recording, self.before)
        return replace(inner, target=self.target, stale=self.stale, ways=self.ways)


def understand(recording: Recording, before: str) -> Story:
    """Go through a recording once; `before` is the slot that boots from its beginning."""
    table = recording.table
    offset = otadata_offset(table)
    flash = recording.start()
    pairs = [_pair(flash, offset)]
    texts = ["nothing"]
    spans = list(_spans(recording.mutations, offset))
    for mutation in recording.mutations:
        texts.append(_describe(mutation, table))
        flash.apply(mutation)
        pairs.append(_pair(flash, offset))
    count = table.ota_count_bootloader
    states = [slot_states(pair, count) if pair else {} for pair in pairs]
    writes = []
    for first, last in spans:
        write = _write(first, last, pairs, states, count, offset, recording.mutations)
        writes.append(write)
        for number in range(first, last + 1):
            texts[number] += f": {write.writer} writes {write.change}"
    begin = recording.header.begin
    stale = frozenset(pairs[begin] or ())
    ways = len({_slot(entry, count) for entry in pairs[begin] or ()} - {None})
    return Story(
        recording, tuple(writes), tuple(texts), tuple(states), tuple(pairs), before,
        _target(writes, begin, before), stale, ways,
    )  # fmt: skip


def _pair(flash: FlashImage, offset: int | None) -> Pair | None:
    if offset is None:
        return None
    first, second = record(flash, offset).entries
    return parse(first), parse(second)


def _spans(mutations: tuple[Mutation, ...], offset: int | None) -> Iterator[tuple[int, int]]:
    """Mutations that rewrite one entry: an erase and the programs that follow in that sector; or erases of both."""
    if offset is None:
        return
    number = 0
    while number < len(mutations):
        sector = _entry_of(mutations[number], offset)
        number += 1
        if sector is None:
            continue
        first = number
        erases = isinstance(mutations[first - 1], Erase)
        while number < len(mutations):
            following, erase = _entry_of(mutations[number], offset), isinstance(mutations[number], Erase)
            joined = following == sector and not erase
            both = erases and erase and following == 1 and sector == 0 and number == first
            if not (joined or both):
                break
            number += 1
            if both:
                break
        yield first, number


def _entry_of(mutation: Mutation, offset: int) -> int | None:
    if isinstance(mutation, BurnSecureVersion) or not offset <= mutation.offset < offset + 2 * SECTOR_SIZE:
        return None
    return (mutation.offset - offset) // SECTOR_SIZE


def _write(
    first: int,
    last: int,
    pairs: list[Pair | None],
    states: list[dict[str, str]],
    count: int,
    offset: int | None,
    mutations: tuple[Mutation, ...],
) -> Write:
    old, new = pairs[first - 1], pairs[last]
    assert old is not None
    assert new is not None
    assert offset is not None
    touched = {_entry_of(mutation, offset) for mutation in mutations[first - 1 : last]}
    active = active_index(old)
    sector: Sector = "both" if len(touched) > 1 else "active" if touched == {active} else "inactive"
    changed = [slot for slot in states[last] if states[first - 1].get(slot) != states[last][slot]]
    entry = new[max(number for number in touched if number is not None)]
    slot = _slot(entry, count) or (changed[0] if changed else "otadata")
    before, after = states[first - 1].get(slot, NO_ENTRY), states[last].get(slot, NO_ENTRY)
    if sector == "both":
        slot, before, after = "otadata", "written", "erased"
    return Write(first, last, sector, _writer(before, after, old), slot, before, after, old, new)


def _writer(before: str, after: str, old: Pair) -> Writer:
    """Only the bootloader writes PENDING_VERIFY and ABORTED, and VALID where there was no entry at all."""
    if after in ("PENDING_VERIFY", "ABORTED"):
        return "bootloader"
    if after == "VALID" and before != "PENDING_VERIFY" and all(entry.initial for entry in old):
        return "bootloader"
    return "app"


def _target(writes: list[Write], begin: int, before: str) -> str:
    run = [write for write in writes if write.first > begin]
    chosen = [write.slot for write in run if write.after == "NEW"]
    if chosen:
        return chosen[-1]
    return "factory" if any(write.sector == "both" for write in run) else before


def _slot(entry: SelectEntry, count: int) -> str | None:
    return f"ota_{slot_index(entry.seq, count)}" if entry.crc_ok and count and entry.seq != 0xFFFFFFFF else None


def _describe(mutation: Mutation, table: PartitionTable) -> str:
    if isinstance(mutation, BurnSecureVersion):
        return f"burn the secure version {mutation.before} → {mutation.after} into the eFuse"
    part = next((entry for entry in table.entries if entry.offset <= mutation.offset < entry.end), None)
    where = "outside all partitions" if part is None else part.slot or part.label
    if part is not None and part.offset == otadata_offset(table):
        where = f"otadata[{(mutation.offset - part.offset) // SECTOR_SIZE}]"
    if isinstance(mutation, Erase):
        return f"erase {where} at {mutation.offset:#x}"
    return f"program {len(mutation.data)} bytes of {where} at {mutation.offset:#x}"


def state_of(entry: SelectEntry) -> str:
    """The state of an entry, `none` for an erased one, `damaged` where its CRC is wrong."""
    if entry.seq == 0xFFFFFFFF:
        return NO_ENTRY
    return state_name(entry.state) if entry.crc_ok else "damaged"
