"""`esp_ota_resume`: go on with an update that a reset interrupted.

Follows components/app_update/esp_ota_ops.c of ESP-IDF v5.5.5, v6.0.2 and v6.1-beta1. Unlike `esp_ota_begin` it neither
looks whether the running app is confirmed nor touches otadata.
"""

from __future__ import annotations

from rig.idf.effects import Log, Steps
from rig.idf.errors import FormatError
from rig.idf.ota_queries import AppContext, OtaHandle, find, is_ota, running_partition


def esp_ota_resume(ctx: AppContext, slot: str | None, offset: int) -> Steps[tuple[str, int | None]]:
    """Error and handle; sectors are erased as the writes reach them. `offset`: bytes that are in the slot already.

    Raises FormatError before ESP-IDF v5.5.
    """
    if ctx.config.idf < (5, 5):
        raise FormatError(f"esp_ota_resume came with ESP-IDF v5.5; this is {ctx.config.idf_version}")
    part = find(ctx, slot)
    if part is None or offset > part.size or not is_ota(part):
        return "ESP_ERR_INVALID_ARG", None
    if part == running_partition(ctx):
        return "ESP_ERR_OTA_PARTITION_CONFLICT", None
    if ctx.config.idf >= (6, 1) and any(handle.part == part for handle in ctx.handles.values()):
        yield Log("E", "esp_ota_ops", f"OTA operation already in progress on partition {part.label}")
        return "ESP_ERR_OTA_ALREADY_IN_PROGRESS", None
    ctx.last_handle += 1
    ctx.handles[ctx.last_handle] = OtaHandle(ctx.last_handle, part, sequential=True, wrote=offset)
    return "ESP_OK", ctx.last_handle
