"""What helps against each class of outcome that hurts although ESP-IDF means it so, and where that is written."""

from __future__ import annotations

from collections.abc import Mapping

from rig.evidence import cut_hazards, hazards
from rig.evidence.records import Hazard

_BRICK = Hazard(
    what="nothing bootable is left",
    remedy="keep a factory app; with anti-rollback, let an app confirm only when its own state is PENDING_VERIFY, "
    "never when it was reached by fallback",
    source="bootloader_utility.c bootloader_utility_load_boot_image, update_anti_rollback",
)
_WITHOUT_PROBATION = Hazard(
    what="the new app's entry is accepted with another state than NEW, so it is never put on probation",
    remedy="let the app run its diagnostics at its first start by its own mark in NVS, whatever its state is",
    source="bootloader_common_loader.c bootloader_common_ota_select_crc: the CRC covers ota_seq, not ota_state",
)
_ANOTHER_APP = Hazard(
    what="of two entries the one that was active is erased first, so the older one decides",
    remedy="erase the older app's entry before (esp_ota_erase_last_boot_app_partition), then go back to factory",
    source="esp_ota_ops.c esp_ota_set_boot_partition: for factory it erases the otadata partition sector by sector",
)
_CHOSEN_AGAIN = Hazard(
    what="the record of the app that runs is rewritten in place; between erase and write there is none",
    remedy="do not call esp_ota_set_boot_partition() for the slot that esp_ota_get_boot_partition() names already",
    source="esp_ota_ops.c esp_rewrite_ota_data from v6.0",
)
_FIRMWARE = Hazard(
    what="the app itself does not settle",
    remedy="see the boot: rig crash replay",
    source="the app under test",
)

REMEDIES: Mapping[str, Hazard] = {
    "new app silently lost": cut_hazards.UPDATE_LOST,
    "confirmation lost": cut_hazards.CONFIRMATION_LOST,
    "failure forgotten": cut_hazards.FAILURE_FORGOTTEN,
    "rollback target lost": hazards.ROLLBACK_TARGET_LOST,
    "degraded otadata": hazards.STICKY_OTADATA,
    "barred app boots": hazards.BARRED_IMAGE_BOOTS,
    "new app without probation": _WITHOUT_PROBATION,
    "another app": _ANOTHER_APP,
    "unbootable": _BRICK,
    "damaged app boots": _FIRMWARE,
    "update cannot be repeated": hazards.STICKY_OTADATA,
    "not settled": _FIRMWARE,
    "restarts for ever": _FIRMWARE,
    "hangs": _FIRMWARE,
}


def remedy_of(outcome: str, where: str) -> Hazard:
    """What is known about that class when it comes from a cut at `where`."""
    if outcome == "confirmation lost" and where.endswith(" VALID → NEW"):
        return _CHOSEN_AGAIN
    return REMEDIES[outcome]
