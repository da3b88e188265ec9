"""What the model says of a download: the effects of `update_url` on otadata (PROTOCOL.md, 8.1).

What happens on the way from the server the model cannot know; the app says how far it came, and is held to that.
"""

from __future__ import annotations

from rig.idf import ota_ops
from rig.idf.effects import Steps
from rig.idf.ota_ops import AppContext

_TRANSFER = ("ESP_FAIL", "ESP_ERR_TIMEOUT", "ESP_ERR_INVALID_VERSION")
"""Errors that say nothing of the image in the slot: nothing may be done with it after them."""


def download(context: AppContext, slot: str | None, data: bytes, error: str | None, came: int | None) -> Steps[str]:
    """The error that must have been returned. `data`: what the slot holds when all has come.

    `error` as the app returned it, None when power was lost; `came`: the bytes it says it has written, None when it did
    not begin, or succeeded.
    """
    if error not in (None, "ESP_OK") and came is None:
        return str(error)
    begun, handle = yield from ota_ops.esp_ota_begin(context, slot, ota_ops.OTA_WITH_SEQUENTIAL_WRITES)
    if handle is None or begun != "ESP_OK":
        return begun
    if error is not None and (came == 0 or error in _TRANSFER or error.startswith("ESP_ERR_HTTP_")):
        return error
    whole = came is None or error == "ESP_ERR_INVALID_SIZE"
    result = yield from ota_ops.esp_ota_write(context, handle, data if whole else data[:came])
    if result == "ESP_OK":
        result = yield from ota_ops.esp_ota_end(context, handle)
    if result == "ESP_OK":
        result = yield from ota_ops.esp_ota_set_boot_partition(context, slot)
    return result
