"""What an app finds when it asks ESP-IDF about its slots; nothing here writes.

Follows components/app_update/esp_ota_ops.c of ESP-IDF v4.4.8, v5.1.7, v5.5.5, v6.0.2 and v6.1-beta1. The app goes by
the first otadata partition and by consecutive OTA subtypes, where the bootloader goes by the last one and by rows. The
active entry is the one the next boot will pick, not the running slot. Debug lines are not modelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rig.idf.config import BootConfig
from rig.idf.effects import SECTOR_SIZE, Log, Memory, Steps
from rig.idf.encrypted_write import PartialBlock
from rig.idf.errors import FormatError
from rig.idf.image import ImageCheck, secure_version, segment_lines
from rig.idf.memory import verify
from rig.idf.otadata import ENTRY_SIZE, ImageState, SelectEntry, active_index, oldest, parse, slot_index
from rig.idf.partitions import Partition, PartitionTable
from rig.idf.secure_version import accepts
from rig.idf.signature import verify_signature

MAX_OTA_SLOTS = 16
_OTA_NAMES = tuple(f"ota_{index}" for index in range(MAX_OTA_SLOTS))
_FAILED = (int(ImageState.INVALID), int(ImageState.ABORTED))


class AppEnd(Exception):
    """The call never returns; the text says why."""


class AppAssert(AppEnd):
    """A C assertion fails: the app panics."""


class AppHang(AppEnd):
    """The C code loops for ever, until a watchdog resets the chip."""


@dataclass
class OtaHandle:
    """An update in progress (ota_ops_entry_t); `wrote` in bytes; `partial`: held back by flash encryption."""

    number: int
    part: Partition
    sequential: bool
    wrote: int = 0
    partial: PartialBlock = field(default_factory=PartialBlock)


@dataclass
class AppContext:
    """One session of an app, from its start to the next reset. `running` is the slot it runs from.

    `encrypted`: the eFuses switch flash encryption on.
    """

    memory: Memory
    table: PartitionTable
    config: BootConfig
    running: str
    handles: dict[int, OtaHandle] = field(default_factory=dict)
    last_handle: int = 0
    encrypted: bool = False

    @property
    def rollback(self) -> bool:
        return self.config.rollback or self.config.anti_rollback


class OtaData(NamedTuple):
    """The otadata partition as the app finds it, and its two entries."""

    part: Partition
    entries: tuple[SelectEntry, SelectEntry]


def find(ctx: AppContext, slot: str | None) -> Partition | None:
    """The partition of a slot, None when the table has none (a NULL pointer in the C code)."""
    return None if slot is None else ctx.table.slot_for_app(slot)


def running_partition(ctx: AppContext) -> Partition:
    """The partition the app runs from. Raises FormatError when the table has none of that name."""
    part = ctx.table.slot_for_app(ctx.running)
    if part is None:
        raise FormatError(f"the app cannot run from {ctx.running!r}: the partition table has no such slot")
    return part


def is_ota(part: Partition) -> bool:
    return part.type == 0 and part.subtype & ~0x0F == 0x10


def app_count(ctx: AppContext) -> int:
    """esp_ota_get_app_partition_count. Raises AppAssert with 16 slots and a test app, whose subtype comes next."""
    count = ctx.table.ota_count_app
    if count >= MAX_OTA_SLOTS and ctx.table.slot_for_app("test") is not None:
        raise AppAssert("assert: ota_app_count < 16")
    return count


def read_otadata(ctx: AppContext) -> Steps[OtaData | None]:
    part = ctx.table.otadata_for_app
    if part is None:
        yield Log("E", "esp_ota_ops", "not found otadata")
        return None
    read = ctx.memory.read
    return OtaData(part, (parse(read(part.offset, ENTRY_SIZE)), parse(read(part.offset + SECTOR_SIZE, ENTRY_SIZE))))


def verify_loud(ctx: AppContext, part: Partition) -> Steps[bool]:
    """esp_image_verify. Raises AppAssert with anti-rollback for an image without descriptor."""
    check = verify(ctx.memory, part.offset, part.size, ctx.config).check
    yield from segment_lines(check, ctx.config, "")
    return (yield from _conclude(ctx, part, check, check.logs))


def verify_silent(ctx: AppContext, part: Partition) -> Steps[bool]:
    """The same with ESP_IMAGE_VERIFY_SILENT, which does not silence every line."""
    check = verify(ctx.memory, part.offset, part.size, ctx.config).check
    return (yield from _conclude(ctx, part, check, check.silent_logs))


def _conclude(ctx: AppContext, part: Partition, check: ImageCheck, lines: Sequence[Log]) -> Steps[bool]:
    """The last step of verifying: the appended hash, or in its place the signature, which is never silent."""
    scheme = ctx.config.signed_updates
    if scheme is not None and (check.ok or check.only_hash_wrong):
        running = running_partition(ctx).offset
        return (yield from verify_signature(ctx.memory, part.offset, running, scheme, ctx.config))
    yield from lines
    if check.asserts:
        raise AppAssert("assert: data_buffer[0] == ESP_APP_DESC_MAGIC_WORD")
    return check.ok


def esp_ota_get_boot_partition(ctx: AppContext) -> Steps[str | None]:
    """The slot that is configured to boot."""
    otadata = yield from read_otadata(ctx)
    if otadata is None:
        return None
    entries = otadata.entries
    count = app_count(ctx)
    if (entries[0].sel_invalid and entries[1].sel_invalid) or count == 0:
        return (yield from _default_boot(ctx))
    active = active_index(entries)
    if active < 0:
        yield Log("E", "esp_ota_ops", "ota data invalid, no current app. Assuming factory")
        return (yield from _default_boot(ctx))
    return _OTA_NAMES[slot_index(entries[active].seq, count)]


def _default_boot(ctx: AppContext) -> Steps[str | None]:
    for name in ("factory", *_OTA_NAMES, "test"):
        if ctx.table.slot_for_app(name) is not None:
            return name
    yield Log("E", "esp_ota_ops", "invalid partition table, no app partitions")
    return None


def esp_ota_get_next_update_partition(ctx: AppContext, start_from: str | None = None) -> str | None:
    """The OTA slot behind `start_from` (the running one by default), wrapping; the first for factory and test."""
    after = ctx.running if start_from is None else start_from
    present = [name for name in _OTA_NAMES if ctx.table.slot_for_app(name) is not None]
    if not present:
        return None
    if after not in present:
        return present[0]
    return present[(present.index(after) + 1) % len(present)]


def esp_ota_get_state_partition(ctx: AppContext, slot: str | None) -> Steps[tuple[str, int | None]]:
    """The state in the first entry, not the newest, with a good CRC that maps to `slot`."""
    part = find(ctx, slot)
    if part is None:
        return "ESP_ERR_INVALID_ARG", None
    if not is_ota(part):
        return "ESP_ERR_NOT_SUPPORTED", None
    count = app_count(ctx)
    otadata = yield from read_otadata(ctx)
    if otadata is None or count == 0:
        return "ESP_ERR_NOT_FOUND", None
    for entry in otadata.entries:
        if slot_index(entry.seq, count) == part.subtype & 0x0F and entry.crc_ok:
            return "ESP_OK", entry.state
    return "ESP_ERR_NOT_FOUND", None


def esp_ota_get_last_invalid_partition(ctx: AppContext) -> Steps[str | None]:
    """The slot that was rejected or aborted last, as far as its image still verifies."""
    otadata = yield from read_otadata(ctx)
    if otadata is None:
        return None
    first, second = otadata.entries
    failed = oldest(otadata.entries, (_has_failed(first), _has_failed(second)))
    count = app_count(ctx)
    if failed < 0 or count == 0:
        return None
    name = _OTA_NAMES[slot_index(otadata.entries[failed].seq, count)]
    part = find(ctx, name)
    if part is None:
        return None
    intact = yield from verify_silent(ctx, part)
    return name if intact else None


def _has_failed(entry: SelectEntry) -> bool:
    return not entry.initial and entry.state in _FAILED


def esp_ota_check_rollback_is_possible(ctx: AppContext) -> Steps[bool]:
    """Whether rejecting the active entry would leave an app to boot."""
    otadata = yield from read_otadata(ctx)
    if otadata is None:
        return False
    count = app_count(ctx)
    active = active_index(otadata.entries)
    if count == 0 or active < 0:
        return False
    other = otadata.entries[1 - active]
    if not other.valid:
        # with anti-rollback there should be no factory app, and none is looked for
        factory = find(ctx, "factory")
        if factory is None or ctx.config.anti_rollback:
            return False
        return (yield from verify_silent(ctx, factory))
    part = find(ctx, _OTA_NAMES[slot_index(other.seq, count)])
    if part is None:
        return False
    intact = yield from verify_silent(ctx, part)
    if not intact or not ctx.config.anti_rollback:
        return intact
    version = secure_version(ctx.memory, part.offset)
    return version is not None and accepts(ctx.memory, ctx.config, version)
