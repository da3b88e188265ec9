"""The OTA calls of an app that write flash: update, choice of the boot slot, confirm, reject, erase.

Follows components/app_update/esp_ota_ops.c of ESP-IDF v4.4.8, v5.1.7, v5.5.5, v6.0.2 and v6.1-beta1, and
esp_partition_erase_range / esp_partition_write for the limits of a partition. Calls return the name of the `esp_err_t`
(`ESP_OK`, …). A slot that the table does not have is the NULL pointer of the C code.
"""

from __future__ import annotations

from rig.idf.config import BootConfig
from rig.idf.effects import SECTOR_SIZE, Erase, Log, Program, Steps
from rig.idf.errors import FormatError
from rig.idf.image import secure_version
from rig.idf.image_check import DESC_AT
from rig.idf.ota_queries import (
    AppAssert,
    AppContext,
    AppEnd,
    AppHang,
    OtaData,
    OtaHandle,
    app_count,
    esp_ota_check_rollback_is_possible,
    esp_ota_get_boot_partition,
    esp_ota_get_last_invalid_partition,
    esp_ota_get_next_update_partition,
    esp_ota_get_state_partition,
    find,
    is_ota,
    read_otadata,
    running_partition,
    verify_loud,
)
from rig.idf.otadata import ImageState, SelectEntry, active_index, seq_crc, slot_index
from rig.idf.partitions import Partition
from rig.idf.secure_version import accepts, update_secure_version

__all__ = [
    "OTA_SIZE_UNKNOWN",
    "OTA_WITH_SEQUENTIAL_WRITES",
    "RESTART",
    "AppAssert",
    "AppContext",
    "AppEnd",
    "AppHang",
    "esp_ota_abort",
    "esp_ota_begin",
    "esp_ota_check_rollback_is_possible",
    "esp_ota_end",
    "esp_ota_erase_last_boot_app_partition",
    "esp_ota_get_boot_partition",
    "esp_ota_get_last_invalid_partition",
    "esp_ota_get_next_update_partition",
    "esp_ota_get_state_partition",
    "esp_ota_invalidate_inactive_ota_data_slot",
    "esp_ota_mark_app_invalid_rollback",
    "esp_ota_mark_app_invalid_rollback_and_reboot",
    "esp_ota_mark_app_valid_cancel_rollback",
    "esp_ota_set_boot_partition",
    "esp_ota_set_boot_partition_skip_validate",
    "esp_ota_write",
    "next_seq",
]

OTA_SIZE_UNKNOWN = 0xFFFFFFFF
OTA_WITH_SEQUENTIAL_WRITES = 0xFFFFFFFE
RESTART = "esp_restart"
"""Result of a call that restarts the chip instead of returning."""

_IMAGE_MAGIC = 0xE9


def _error(text: str) -> Log:
    return Log("E", "esp_ota_ops", text)


def erase_range(part: Partition, offset: int, size: int) -> Steps[str]:
    """Erase `size` bytes at `offset` of the partition, both multiples of 4096 (esp_partition_erase_range)."""
    if offset > part.size:
        return "ESP_ERR_INVALID_ARG"
    if size > part.size - offset or size % SECTOR_SIZE:
        return "ESP_ERR_INVALID_SIZE"
    if offset % SECTOR_SIZE:
        return "ESP_ERR_INVALID_ARG"
    for sector in range(part.offset + offset, part.offset + offset + size, SECTOR_SIZE):
        yield Erase(sector)
    return "ESP_OK"


def _write(part: Partition, offset: int, data: bytes) -> Steps[str]:
    if offset > part.size:
        return "ESP_ERR_INVALID_ARG"
    if len(data) > part.size - offset:
        return "ESP_ERR_INVALID_SIZE"
    yield Program(part.offset + offset, data)
    return "ESP_OK"


def esp_ota_begin(ctx: AppContext, slot: str | None, size: int) -> Steps[tuple[str, int | None]]:
    """Start an update of `slot`: error and handle. `size` in bytes, 0 or OTA_SIZE_UNKNOWN: all, or sequential."""
    part = find(ctx, slot)
    if part is None or not is_ota(part):
        return "ESP_ERR_INVALID_ARG", None
    if part == running_partition(ctx):
        return "ESP_ERR_OTA_PARTITION_CONFLICT", None
    if ctx.rollback:
        _, state = yield from esp_ota_get_state_partition(ctx, ctx.running)
        if state == ImageState.PENDING_VERIFY:
            yield _error("Running app has not confirmed state (ESP_OTA_IMG_PENDING_VERIFY)")
            return "ESP_ERR_OTA_ROLLBACK_INVALID_STATE", None
    if ctx.config.idf >= (6, 1) and any(handle.part == part for handle in ctx.handles.values()):
        yield _error(f"OTA operation already in progress on partition {part.label}")
        return "ESP_ERR_OTA_ALREADY_IN_PROGRESS", None
    if ctx.config.idf >= (5, 5):
        # opened before anything can fail: after a failed erase the partition stays in use
        handle = _open(ctx, part, size)
    if size != OTA_WITH_SEQUENTIAL_WRITES:
        whole = size in (0, OTA_SIZE_UNKNOWN)
        error = yield from erase_range(part, 0, part.size if whole else (size + 0xFFF) & 0xFFFFF000)
        if error != "ESP_OK":
            return error, None
    if ctx.config.idf < (5, 5):
        handle = _open(ctx, part, size)
    elif ctx.rollback:
        yield from esp_ota_invalidate_inactive_ota_data_slot(ctx)
    return "ESP_OK", handle


def _open(ctx: AppContext, part: Partition, size: int) -> int:
    ctx.last_handle += 1
    ctx.handles[ctx.last_handle] = OtaHandle(ctx.last_handle, part, size == OTA_WITH_SEQUENTIAL_WRITES)
    return ctx.last_handle


def esp_ota_write(ctx: AppContext, handle: int, data: bytes) -> Steps[str]:
    """Append `data` to the update."""
    if not data:
        return "ESP_OK"
    entry = ctx.handles.get(handle)
    if entry is None:
        yield _error("not found the handle")
        return "ESP_ERR_INVALID_ARG"
    if entry.sequential:
        error = yield from _erase_ahead(entry, len(data))
        if error != "ESP_OK":
            return error
    if entry.wrote == 0 and not entry.partial.filled and data[0] != _IMAGE_MAGIC:
        yield _error(f"OTA image has invalid magic byte (expected 0xE9, saw 0x{data[0]:02x})")
        return "ESP_ERR_OTA_VALIDATE_FAILED"
    for piece in entry.partial.cut(data) if ctx.encrypted else [data]:
        error = yield from _write(entry.part, entry.wrote, piece)
        if error != "ESP_OK":
            return error
        entry.wrote += len(piece)
    return "ESP_OK"


def _erase_ahead(entry: OtaHandle, size: int) -> Steps[str]:
    first = entry.wrote // SECTOR_SIZE
    last = (entry.wrote + size - 1) // SECTOR_SIZE
    if entry.wrote % SECTOR_SIZE == 0:
        return (yield from erase_range(entry.part, entry.wrote, (last - first + 1) * SECTOR_SIZE))
    if first != last:
        return (yield from erase_range(entry.part, (first + 1) * SECTOR_SIZE, (last - first) * SECTOR_SIZE))
    return "ESP_OK"


def esp_ota_end(ctx: AppContext, handle: int) -> Steps[str]:
    """Finish the update: verify the image. The handle is gone whatever the result."""
    entry = ctx.handles.get(handle)
    if entry is None:
        return "ESP_ERR_NOT_FOUND"
    if entry.wrote == 0:
        del ctx.handles[handle]
        return "ESP_ERR_INVALID_ARG"
    if entry.partial.filled:
        error = yield from _write(entry.part, entry.wrote, entry.partial.flush())
        if error != "ESP_OK":
            del ctx.handles[handle]
            return "ESP_ERR_INVALID_STATE"
    intact = yield from verify_loud(ctx, entry.part)
    if not intact and ctx.config.idf >= (5, 5):
        yield _error("New image failed verification")
    del ctx.handles[handle]
    return "ESP_OK" if intact else "ESP_ERR_OTA_VALIDATE_FAILED"


def esp_ota_abort(ctx: AppContext, handle: int) -> str:
    """Give the update up; flash stays as it is."""
    return "ESP_ERR_NOT_FOUND" if ctx.handles.pop(handle, None) is None else "ESP_OK"


def esp_ota_set_boot_partition(ctx: AppContext, slot: str | None) -> Steps[str]:
    """Choose the slot of the next boot; factory erases otadata."""
    part = find(ctx, slot)
    if part is None:
        return "ESP_ERR_INVALID_ARG"
    intact = yield from verify_loud(ctx, part)
    if not intact:
        return "ESP_ERR_OTA_VALIDATE_FAILED"
    return (yield from _set_boot(ctx, part))


def esp_ota_set_boot_partition_skip_validate(ctx: AppContext, slot: str | None) -> Steps[str]:
    """The same without verifying the image. Raises FormatError before ESP-IDF v6.1."""
    _needs(ctx.config, (6, 1), "esp_ota_set_boot_partition_skip_validate")
    part = find(ctx, slot)
    if part is None:
        return "ESP_ERR_INVALID_ARG"
    return (yield from _set_boot(ctx, part))


def _set_boot(ctx: AppContext, part: Partition) -> Steps[str]:
    if part.subtype == 0x00:
        otadata = ctx.table.otadata_for_app
        return "ESP_ERR_NOT_FOUND" if otadata is None else (yield from erase_range(otadata, 0, otadata.size))
    if ctx.config.anti_rollback:
        version = secure_version(ctx.memory, part.offset)
        if version is None:
            return "ESP_ERR_NOT_FOUND"
        if not accepts(ctx.memory, ctx.config, version):
            yield _error(
                "This a new partition can not be booted due to a secure version is lower than stored in efuse. "
                "Partition will be erased."
            )
            error = yield from erase_range(part, 0, part.size)
            return "ESP_ERR_OTA_SMALL_SEC_VER" if error == "ESP_OK" else error
    return (yield from _choose(ctx, part.subtype & 0x0F))


def _choose(ctx: AppContext, target: int) -> Steps[str]:
    """esp_rewrite_ota_data. `target` is the subtype's low half, so the test app counts as ota_0."""
    otadata = yield from read_otadata(ctx)
    if otadata is None:
        return "ESP_ERR_NOT_FOUND"
    count = app_count(ctx)
    if target >= count:
        return "ESP_ERR_INVALID_ARG"
    active = active_index(otadata.entries)
    if active < 0:
        sector, seq = 0, target + 1
    else:
        current = otadata.entries[active].seq
        if ctx.config.idf >= (6, 0) and slot_index(current, count) == target:
            sector, seq = active, current
        else:
            sector, seq = 1 - active, next_seq(current, target, count)
    state = ImageState.NEW if ctx.rollback else ImageState.UNDEFINED
    return (yield from _rewrite(otadata, sector, otadata.entries[sector]._replace(seq=seq, state=int(state))))


def next_seq(current: int, target: int, count: int) -> int:
    """The sequence number written to boot slot `target` of `count` after `current`; equal if that slot has it already.

    The C code counts up in 32 bits. Raises AppHang where it never arrives (4, 8 or 16 slots near the limit).
    """
    base = (target + 1) % count
    seq = base if current <= base else base + -(-(current - base) // count) * count
    for _ in range(count):
        if seq <= 0xFFFFFFFF:
            return seq
        # wrapped: small numbers again, up to the last one below 2^32
        seq &= 0xFFFFFFFF
        if seq < current:
            seq += -(-(current - seq) // count) * count
    if seq <= 0xFFFFFFFF:
        return seq
    raise AppHang(f"no sequence number of slot {target} of {count} is {current:#x} or more")


def _rewrite(otadata: OtaData, sector: int, entry: SelectEntry) -> Steps[str]:
    """rewrite_ota_seq: the CRC is made anew."""
    entry = entry._replace(crc=seq_crc(entry.seq))
    error = yield from erase_range(otadata.part, sector * SECTOR_SIZE, SECTOR_SIZE)
    if error != "ESP_OK":
        return error
    return (yield from _write(otadata.part, sector * SECTOR_SIZE, entry.pack()))


def esp_ota_mark_app_valid_cancel_rollback(ctx: AppContext) -> Steps[str]:
    """Confirm the active entry, whichever slot runs; with anti-rollback then burn the running app's version."""
    otadata = yield from read_otadata(ctx)
    if otadata is None:
        return "ESP_ERR_NOT_FOUND"
    active = active_index(otadata.entries)
    if active < 0 or app_count(ctx) == 0:
        yield _error("Running firmware is factory")
        return "ESP_FAIL"
    entry = otadata.entries[active]
    if entry.state == ImageState.VALID:
        return "ESP_OK"
    error = yield from _rewrite(otadata, active, entry._replace(state=int(ImageState.VALID)))
    if error != "ESP_OK" or not ctx.config.anti_rollback:
        return error
    version = _running_version(ctx)
    if version is None:
        return "ESP_ERR_NOT_FOUND"
    return (yield from update_secure_version(ctx.memory, ctx.config, version))


def _running_version(ctx: AppContext) -> int | None:
    offset = running_partition(ctx).offset
    if ctx.config.idf < (5, 0):
        # v4.4 takes the descriptor linked into the running app, without looking for the magic
        return int.from_bytes(ctx.memory.read(offset + DESC_AT + 4, 4), "little")
    return secure_version(ctx.memory, offset)


def esp_ota_mark_app_invalid_rollback(ctx: AppContext) -> Steps[str]:
    """Reject the active entry without a restart. Raises FormatError before ESP-IDF v5.5."""
    _needs(ctx.config, (5, 5), "esp_ota_mark_app_invalid_rollback")
    return (yield from _reject(ctx))


def esp_ota_mark_app_invalid_rollback_and_reboot(ctx: AppContext) -> Steps[str]:
    """Reject the active entry and restart: RESTART, or the error of a call that returns."""
    error = yield from _reject(ctx)
    return RESTART if error == "ESP_OK" else error


def _reject(ctx: AppContext) -> Steps[str]:
    otadata = yield from read_otadata(ctx)
    if otadata is None:
        return "ESP_ERR_NOT_FOUND"
    active = active_index(otadata.entries)
    if active < 0 or app_count(ctx) == 0:
        yield _error("Running firmware is factory")
        return "ESP_FAIL"
    possible = yield from esp_ota_check_rollback_is_possible(ctx)
    if not possible:
        yield _error("Rollback is not possible, do not have any suitable apps in slots")
        return "ESP_ERR_OTA_ROLLBACK_FAILED"
    entry = otadata.entries[active]._replace(state=int(ImageState.INVALID))
    error = yield from _rewrite(otadata, active, entry)
    if error == "ESP_OK":
        suffix = "" if ctx.config.idf >= (5, 5) else " Restart."
        yield Log("I", "esp_ota_ops", f"Rollback to previously worked partition.{suffix}")
    return error


def esp_ota_erase_last_boot_app_partition(ctx: AppContext) -> Steps[str]:
    """Erase the slot of the inactive entry, then the entry; whatever state it has."""
    found = yield from _last_boot_app(ctx)
    if found is None:
        return "ESP_FAIL"
    part, otadata, sector = found
    error = yield from erase_range(part, 0, part.size)
    if error != "ESP_OK":
        return error
    return (yield from erase_range(otadata.part, sector * SECTOR_SIZE, SECTOR_SIZE))


def esp_ota_invalidate_inactive_ota_data_slot(ctx: AppContext) -> Steps[str]:
    """Erase the inactive entry only. Raises FormatError before ESP-IDF v5.5."""
    _needs(ctx.config, (5, 5), "esp_ota_invalidate_inactive_ota_data_slot")
    found = yield from _last_boot_app(ctx)
    if found is None:
        return "ESP_FAIL"
    _, otadata, sector = found
    return (yield from erase_range(otadata.part, sector * SECTOR_SIZE, SECTOR_SIZE))


def _last_boot_app(ctx: AppContext) -> Steps[tuple[Partition, OtaData, int] | None]:
    otadata = yield from read_otadata(ctx)
    if otadata is None:
        return None
    active = active_index(otadata.entries)
    count = app_count(ctx)
    if active < 0 or count == 0:
        return None
    other = otadata.entries[1 - active]
    if other.initial:
        return None
    part = find(ctx, f"ota_{slot_index(other.seq, count)}")
    if part is None or part == running_partition(ctx):
        return None
    return part, otadata, 1 - active


def _needs(config: BootConfig, since: tuple[int, int], call: str) -> None:
    if config.idf < since:
        raise FormatError(f"{call} came with ESP-IDF v{since[0]}.{since[1]}; this is {config.idf_version}")
