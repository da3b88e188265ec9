"""Which slot the second-stage bootloader starts with, and what it writes to otadata before it looks at an image.

Follows `bootloader_utility_load_partition_table`, `bootloader_utility_get_selected_boot_partition` and
`get_active_otadata_with_check_anti_rollback` in bootloader_utility.c, alike in ESP-IDF v4.4.8 to v6.1-beta1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from rig.idf.config import BootConfig
from rig.idf.effects import SECTOR_SIZE, Erase, Log, Memory, Program, Steps
from rig.idf.image import secure_version
from rig.idf.otadata import ENTRY_SIZE, ImageState, SelectEntry, newest, parse, slot_index
from rig.idf.partitions import PartitionTable
from rig.idf.secure_version import accepts, burnt_version, update_secure_version

FACTORY = -1
TEST = -2
MAX_OTA_SLOTS = 16

_PENDING = int(ImageState.PENDING_VERIFY)
_NEW = int(ImageState.NEW)

_DEFAULT_FACTORY = Log("I", "boot", "Defaulting to factory image")
_TRYING_OTA_0 = Log("I", "boot", "No factory image, trying OTA 0")
_TO_FACTORY = Log("E", "boot", "ota data partition invalid, falling back to factory")
_TRY_ALL = Log("E", "boot", "ota data partition invalid and no factory, will try all partitions")
_ANTI_ROLLBACK = Log("I", "boot", "Enabled a check secure version of app for anti rollback")
_INITIAL = Log("I", "boot", "otadata[0..1] in initial state")
_BOTH_VALID = Log("D", "boot_comm", "Both OTA copies are valid")


class Place(NamedTuple):
    """`esp_partition_pos_t`: flash offset and size in bytes; both 0 when there is no such partition."""

    offset: int
    size: int


NOWHERE = Place(0, 0)


class BootSlots(NamedTuple):
    """`bootloader_state_t`. `app_count` counts OTA entries, duplicates too; of duplicates the last one stays."""

    factory: Place
    test: Place
    ota: tuple[Place, ...]
    app_count: int
    otadata: Place

    def at(self, index: int) -> Place:
        """The partition behind a partition index (index_to_partition); behind a gap in the subtypes nothing."""
        if index == FACTORY:
            return self.factory
        if index == TEST:
            return self.test
        if 0 <= index < MAX_OTA_SLOTS and index < self.app_count:
            return self.ota[index]
        return NOWHERE


class Start(NamedTuple):
    """`slot`: partition index to load first, None when the chip must reset; `initial`: otadata was never written."""

    slot: int | None
    initial: bool


class DivisionByZero(Exception):
    """The C code divides by an app count of zero and the CPU takes an exception (only with anti-rollback)."""


_SLOTS: dict[int, tuple[PartitionTable, BootSlots]] = {}


def boot_slots(table: PartitionTable) -> BootSlots:
    """What the bootloader keeps of the table."""
    # by identity: hashing a table costs as much as a boot decision; the table is kept, so its id stays its own
    known = _SLOTS.get(id(table))
    if known is None:
        if len(_SLOTS) >= 256:
            _SLOTS.clear()
        known = _SLOTS[id(table)] = (table, _boot_slots(table))
    return known[1]


def _boot_slots(table: PartitionTable) -> BootSlots:
    factory = test = otadata = NOWHERE
    ota = [NOWHERE] * MAX_OTA_SLOTS
    app_count = 0
    for part in table.entries:
        place = Place(part.offset, part.size)
        if part.type == 0 and part.subtype == 0x00:
            factory = place
        elif part.type == 0 and part.subtype == 0x20:
            test = place
        elif part.type == 0 and part.subtype & ~0x0F == 0x10:
            ota[part.subtype & 0x0F] = place
            app_count += 1
        elif part.type == 1 and part.subtype == 0x00:
            otadata = place
    return BootSlots(factory, test, tuple(ota), app_count, otadata)


@lru_cache(maxsize=4096)
def rewrite(otadata: int, index: int, entry: SelectEntry) -> tuple[Erase, Program]:
    """Erase and write of entry `index` in the otadata partition at flash `otadata` (write_otadata)."""
    offset = otadata + SECTOR_SIZE * index
    return Erase(offset), Program(offset, entry.pack())


def select(memory: Memory, slots: BootSlots, config: BootConfig) -> Steps[Start]:
    """The slot to start with. With rollback PENDING_VERIFY becomes ABORTED, and an active NEW PENDING_VERIFY."""
    base, size = slots.otadata
    if base == 0:
        return Start(FACTORY, False)
    if size < 2 * SECTOR_SIZE:
        text = f"ota_info partition size {size} is too small (minimum {2 * SECTOR_SIZE} bytes)"
        yield Log("E", "boot", text)
        return Start(None, False)
    entries = [parse(memory.read(base, ENTRY_SIZE)), parse(memory.read(base + SECTOR_SIZE, ENTRY_SIZE))]
    debug = config.log_level in ("DEBUG", "VERBOSE")
    if debug:
        yield Log("D", "boot", f"OTA data offset 0x{base:x}")
        yield Log("D", "boot", f"otadata[0]: sequence values 0x{entries[0].seq:08x}")
        yield Log("D", "boot", f"otadata[1]: sequence values 0x{entries[1].seq:08x}")
    if config.rollback or config.anti_rollback:
        for index in (0, 1):
            if entries[index].state == _PENDING:
                if debug:
                    yield Log("D", "boot", f"otadata[{index}] is marking as ABORTED")
                entries[index] = entries[index]._replace(state=int(ImageState.ABORTED))
                yield from rewrite(base, index, entries[index])
    if config.anti_rollback:
        yield _ANTI_ROLLBACK
        yield Log("I", "boot", f"Secure version (from eFuse) = {burnt_version(memory, config)}")
        if entries[0].initial and entries[1].initial:
            yield _INITIAL
            return Start(FACTORY, True)
        eligible = yield from _secure_enough(memory, slots, config, entries)
    else:
        first, second = entries
        if (first.sel_invalid and second.sel_invalid) or slots.app_count == 0:
            if debug:
                text = "OTA sequence numbers both empty (all-0xFF) or partition table does not have bootable ota_apps"
                yield Log("D", "boot", f"{text} (app_count={slots.app_count})")
            if slots.factory.offset:
                yield _DEFAULT_FACTORY
                return Start(FACTORY, False)
            yield _TRYING_OTA_0
            return Start(0, first.initial and second.initial)
        eligible = (first.valid, second.valid)
    active = newest(entries, eligible)
    if debug and active >= 0:
        yield _BOTH_VALID if all(eligible) else Log("D", "boot_comm", f"Only otadata[{active}] is valid")
    if active < 0:
        yield _TO_FACTORY if slots.factory.offset else _TRY_ALL
        return Start(FACTORY, False)
    return (yield from _take(memory, slots, config, entries, active))


def _take(
    memory: Memory, slots: BootSlots, config: BootConfig, entries: list[SelectEntry], active: int
) -> Steps[Start]:
    entry = entries[active]
    chosen = slot_index(entry.seq, slots.app_count)
    debug = config.log_level in ("DEBUG", "VERBOSE")
    if debug:
        yield Log("D", "boot", f"Active otadata[{active}]")
        yield Log("D", "boot", f"Mapping seq {_raw_seq(entry.seq, config)} -> OTA slot {chosen}")
    if entry.state == _NEW and (config.rollback or config.anti_rollback):
        if debug:
            yield Log("D", "boot", f"otadata[{active}] is selected as new and marked PENDING_VERIFY state")
        entry = entry._replace(state=_PENDING)
        yield from rewrite(slots.otadata.offset, active, entry)
    if config.anti_rollback and entry.state == ImageState.VALID:
        # before the image is verified: a corrupt image with a readable descriptor burns the eFuse too
        yield from advance_efuse(memory, slots.ota[chosen], config)
    return Start(chosen, False)


def _raw_seq(seq: int, config: BootConfig) -> int:
    raw = (seq - 1) & 0xFFFFFFFF
    return raw - (1 << 32) if raw >> 31 and config.idf < (5, 0) else raw


def _secure_enough(
    memory: Memory, slots: BootSlots, config: BootConfig, entries: list[SelectEntry]
) -> Steps[tuple[bool, bool]]:
    eligible = [False, False]
    for index, entry in enumerate(entries):
        if not entry.valid:
            continue
        if slots.app_count == 0:
            raise DivisionByZero
        slot = slot_index(entry.seq, slots.app_count)
        eligible[index] = yield from passes_anti_rollback(memory, slots.ota[slot], config)
        if not eligible[index] and config.log_level in ("DEBUG", "VERBOSE"):
            text = "has an app with secure_version, this version is smaller than in the device."
            yield Log("D", "boot", f"OTA slot {slot} {text} This OTA slot will not be selected.")
    return eligible[0], eligible[1]


def passes_anti_rollback(memory: Memory, place: Place, config: BootConfig) -> Steps[bool]:
    """Whether the app at `place` has a descriptor whose secure version is high enough (check_anti_rollback)."""
    version = secure_version(memory, place.offset) if place.offset else None
    if version is None:
        yield _no_description(place)
        return False
    return accepts(memory, config, version)


def advance_efuse(memory: Memory, place: Place, config: BootConfig) -> Steps[None]:
    """Burn the eFuse up to the secure version of the app at `place` (update_anti_rollback)."""
    version = secure_version(memory, place.offset) if place.offset else None
    if version is None:
        yield _no_description(place)
    else:
        yield from update_secure_version(memory, config, version)


def _no_description(place: Place) -> Log:
    # ESP_ERR_NOT_FOUND 0x105 without the magic, ESP_ERR_INVALID_ARG 0x102 without a partition
    return Log("E", "boot", f"Failed to get partition description {261 if place.offset else 258}")
