"""Bootloaders that are wrong on purpose: negative controls, to see that the bench finds them.

Each wraps the reference model, so everything else about it stays right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rig.idf.bootloader import NONE, BootResult, Pins, run
from rig.idf.config import BootConfig
from rig.idf.effects import SECTOR_SIZE, Erase, Log, Memory, Program, Steps
from rig.idf.errors import FormatError
from rig.idf.otadata import ENTRY_SIZE, ImageState, active_index, parse
from rig.idf.partitions import MAX_LENGTH, PartitionTable

Bootloader = Callable[[Memory, BootConfig, Pins], Steps[BootResult]]


def erases_both_entries(memory: Memory, config: BootConfig, pins: Pins = NONE) -> Steps[BootResult]:
    """To write one otadata entry it erases both, then writes both: for a moment there is no record at all."""
    otadata = _otadata(memory, config)
    steps = run(memory, config, pins)
    saved: Program | None = None
    while True:
        try:
            effect = next(steps)
        except StopIteration as stop:
            result: BootResult = stop.value
            return result
        number = None if otadata is None or not isinstance(effect, Erase) else (effect.offset - otadata) // SECTOR_SIZE
        if otadata is not None and number in (0, 1):
            other = otadata + (1 - number) * SECTOR_SIZE
            saved = Program(other, memory.read(other, ENTRY_SIZE))
            yield Erase(other)
        yield effect
        if saved is not None and isinstance(effect, Program):
            yield saved
            saved = None


def needs_an_entry(memory: Memory, config: BootConfig, pins: Pins = NONE) -> Steps[BootResult]:
    """Erases both entries, too, and boots nothing when no entry can be chosen, where ESP-IDF tries what there is."""
    otadata = _otadata(memory, config)
    if otadata is not None:
        first, second = (parse(memory.read(otadata + n * SECTOR_SIZE, ENTRY_SIZE)) for n in (0, 1))
        if active_index((first, second)) < 0:
            yield Log("E", "boot", "No bootable app partitions in the partition table")
            return BootResult("reset", None, None, ())
    return (yield from erases_both_entries(memory, config, pins))


def confirms_new(memory: Memory, config: BootConfig, pins: Pins = NONE) -> Steps[BootResult]:
    """Marks a NEW entry VALID where PENDING_VERIFY is due: no update is ever on probation."""
    steps = run(memory, config, pins)
    otadata = _otadata(memory, config)
    while True:
        try:
            effect = next(steps)
        except StopIteration as stop:
            result: BootResult = stop.value
            return result
        if otadata is not None and isinstance(effect, Program) and effect.offset in (otadata, otadata + SECTOR_SIZE):
            entry = parse(effect.data)
            if entry.state == ImageState.PENDING_VERIFY:
                effect = effect._replace(data=entry._replace(state=int(ImageState.VALID)).pack())
        yield effect


def never_aborts(memory: Memory, config: BootConfig, pins: Pins = NONE) -> Steps[BootResult]:
    """Passes over an entry that is still PENDING_VERIFY, but does not write that down."""
    steps = run(memory, config, pins)
    otadata = _otadata(memory, config)
    places = () if otadata is None else (otadata, otadata + SECTOR_SIZE)
    kept: int | None = None
    while True:
        try:
            effect = next(steps)
        except StopIteration as stop:
            result: BootResult = stop.value
            return result
        if isinstance(effect, Erase) and effect.offset in places:
            pending = parse(memory.read(effect.offset, ENTRY_SIZE)).state == ImageState.PENDING_VERIFY
            kept = effect.offset if pending else None
        if isinstance(effect, Erase | Program) and effect.offset == kept:
            continue
        yield effect


WRONG: Mapping[str, Bootloader] = {
    "confirms_new": confirms_new,
    "never_aborts": never_aborts,
    "erases_both_entries": erases_both_entries,
    "needs_an_entry": needs_an_entry,
}


def _otadata(memory: Memory, config: BootConfig) -> int | None:
    try:
        table = PartitionTable.from_binary(memory.read(config.partition_table_offset, MAX_LENGTH))
    except FormatError:
        return None
    part = table.otadata_for_bootloader
    return part.offset if part else None
