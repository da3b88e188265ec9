"""Bootloaders that are wrong on purpose: negative controls, to see that the bench finds them.

Each wraps the reference model, so everything else about it stays right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from rig.idf.bootloader import NONE, BootResult, Pins, run
from rig.idf.config import BootConfig
from rig.idf.effects import SECTOR_SIZE, Effect, Erase, Log, Memory, Program, Steps
from rig.idf.errors import FormatError
from rig.idf.otadata import ENTRY_SIZE, ImageState, active_index, parse
from rig.idf.partitions import MAX_LENGTH, PartitionTable

Bootloader = Callable[[Memory, BootConfig, Pins], Steps[BootResult]]


def erases_both_entries(memory: Memory, config: BootConfig, pins: Pins = NONE) -> Steps[BootResult]:
    """To write one otadata entry it erases both, then writes both: for a moment there is no record at all."""
    otadata = _otadata(memory, config)
    saved: Program | None = None

    def both(effect: Effect) -> Iterator[Effect]:
        nonlocal saved
        number = None if otadata is None or not isinstance(effect, Erase) else (effect.offset - otadata) // SECTOR_SIZE
        if otadata is not None and number in (0, 1):
            other = otadata + (1 - number) * SECTOR_SIZE
            saved = Program(other, memory.read(other, ENTRY_SIZE))
            yield Erase(other)
        yield effect
        if saved is not None and isinstance(effect, Program):
            yield saved
            saved = None

    return _altered(run(memory, config, pins), both)


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
    otadata = _otadata(memory, config)

    def confirmed(effect: Effect) -> Iterator[Effect]:
        if otadata is not None and isinstance(effect, Program) and effect.offset in (otadata, otadata + SECTOR_SIZE):
            entry = parse(effect.data)
            if entry.state == ImageState.PENDING_VERIFY:
                effect = effect._replace(data=entry._replace(state=int(ImageState.VALID)).pack())
        yield effect

    return _altered(run(memory, config, pins), confirmed)


def never_aborts(memory: Memory, config: BootConfig, pins: Pins = NONE) -> Steps[BootResult]:
    """Passes over an entry that is still PENDING_VERIFY, but does not write that down."""
    otadata = _otadata(memory, config)
    places = () if otadata is None else (otadata, otadata + SECTOR_SIZE)
    kept: int | None = None

    def unwritten(effect: Effect) -> Iterator[Effect]:
        nonlocal kept
        if isinstance(effect, Erase) and effect.offset in places:
            pending = parse(memory.read(effect.offset, ENTRY_SIZE)).state == ImageState.PENDING_VERIFY
            kept = effect.offset if pending else None
        if not (isinstance(effect, Erase | Program) and effect.offset == kept):
            yield effect

    return _altered(run(memory, config, pins), unwritten)


WRONG: Mapping[str, Bootloader] = {
    "confirms_new": confirms_new,
    "never_aborts": never_aborts,
    "erases_both_entries": erases_both_entries,
    "needs_an_entry": needs_an_entry,
}


def _altered(steps: Steps[BootResult], change: Callable[[Effect], Iterator[Effect]]) -> Steps[BootResult]:
    """The same decisions; what `change` makes of each effect is done in its place."""
    while True:
        try:
            effect = next(steps)
        except StopIteration as stop:
            result: BootResult = stop.value
            return result
        yield from change(effect)


def _otadata(memory: Memory, config: BootConfig) -> int | None:
    try:
        table = PartitionTable.from_binary(memory.read(config.partition_table_offset, MAX_LENGTH))
    except FormatError:
        return None
    part = table.otadata_for_bootloader
    return part.offset if part else None
