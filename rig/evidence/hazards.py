"""Situations in which a board does what ESP-IDF does, and that is what hurts. Each names its remedy and its source."""

from __future__ import annotations

from rig.evidence.observe import one_slot_twice, slot_states
from rig.evidence.predict import Entries, Prediction
from rig.evidence.records import Hazard
from rig.idf.bootloader import BootResult
from rig.idf.config import BootConfig
from rig.idf.effects import BurnSecureVersion, Log
from rig.idf.otadata import SelectEntry, active_index, parse, slot_index, state_name
from rig.idf.partitions import PartitionTable

_BARRED = ("INVALID", "ABORTED")

BARRED_IMAGE_BOOTS = Hazard(
    what="both otadata entries are INVALID or ABORTED and there is no factory app, so ota_0 boots whatever it holds, "
    "on every boot, and can never be confirmed",
    remedy="give the device a factory app, or let the app call esp_ota_set_boot_partition() when mark_valid fails with "
    "ESP_FAIL; update by cable otherwise",
    source="bootloader_utility.c bootloader_utility_get_selected_boot_partition; "
    "esp_ota_ops.c esp_ota_current_ota_is_workable",
)
FORWARD_TO_BARRED = Hazard(
    what="the selected image did not verify and the bootloader fell forward to an image that is INVALID or ABORTED",
    remedy="keep two good images: after a rollback, update again before the remaining one can rot; a factory app is "
    "tried before any higher slot",
    source="bootloader_utility.c bootloader_utility_load_boot_image: fallback looks at images, not at otadata",
)
ROLLBACK_TARGET_LOST = Hazard(
    what="both otadata entries select the same slot: the entry of the app to roll back to is gone",
    remedy="call esp_ota_set_boot_partition() once per update and restart before the next one; ESP-IDF v6.0 and later "
    "rewrite the entry in place instead",
    source="esp_ota_ops.c esp_rewrite_ota_data before v6.0 (esp-idf issue 14688)",
)
STICKY_OTADATA = Hazard(
    what="otadata holds no selectable entry but one with a bad CRC: every boot falls back without repairing it",
    remedy="let the app call esp_ota_set_boot_partition() for the running slot when esp_ota_get_state_partition() says "
    "ESP_ERR_NOT_FOUND, or erase otadata by cable",
    source="bootloader_utility.c bootloader_utility_get_selected_boot_partition: this branch writes nothing",
)
BURNT_BEFORE_VERIFIED = Hazard(
    what="the anti-rollback eFuse was raised by the descriptor of an image that did not verify; older images are "
    "refused from now on",
    remedy="never confirm (esp_ota_mark_app_valid_cancel_rollback) while the otadata entry belongs to another slot "
    "than the running one",
    source="bootloader_utility.c update_anti_rollback: called for a VALID entry before its image is loaded",
)
ENTRY_OF_ANOTHER = Hazard(
    what="the app that runs is not the one the active otadata entry stands for; confirming now would confirm the image "
    "that did not boot",
    remedy="before confirming compare esp_ota_get_boot_partition() with esp_ota_get_running_partition()",
    source="esp_ota_ops.c esp_ota_current_ota_is_workable: acts on the active entry, not on the running app",
)


def hazards(
    table: PartitionTable | None, config: BootConfig, otadata: Entries | None, prediction: Prediction | None
) -> list[Hazard]:
    """Hazards of a boot that ended as predicted; `otadata` as it is after the boot."""
    if table is None or otadata is None:
        return []
    entries = parse(otadata[0]), parse(otadata[1])
    found = _in_otadata(table, config, entries)
    if prediction is not None and prediction.result.outcome == "booted":
        found += _in_boot(table, entries, prediction.result)
        if _burnt_for_nothing(prediction):
            found.append(BURNT_BEFORE_VERIFIED)
    return found


def _in_otadata(table: PartitionTable, config: BootConfig, entries: tuple[SelectEntry, SelectEntry]) -> list[Hazard]:
    found = []
    count = table.ota_count_bootloader
    barred = [entry.sel_invalid for entry in entries]
    # two initial entries are written anew by the bootloader, whatever their states
    if count and table.slot("factory") is None and all(barred) and not all(entry.initial for entry in entries):
        found.append(BARRED_IMAGE_BOOTS)
    if not all(barred) and active_index(entries) < 0 and not config.anti_rollback:
        found.append(STICKY_OTADATA)
    if one_slot_twice(entries, count):
        found.append(ROLLBACK_TARGET_LOST)
    return found


def _in_boot(table: PartitionTable, entries: tuple[SelectEntry, SelectEntry], result: BootResult) -> list[Hazard]:
    found = []
    count = table.ota_count_bootloader
    states = slot_states(entries, count)
    fell = len(result.tried) > 1
    if fell and result.slot and states.get(result.slot) in _BARRED:
        found.append(FORWARD_TO_BARRED)
    active = active_index(entries)
    if active >= 0 and count:
        entry = entries[active]
        meant = f"ota_{slot_index(entry.seq, count)}"
        if meant != result.slot and state_name(entry.state) in ("NEW", "PENDING_VERIFY", "UNDEFINED"):
            found.append(ENTRY_OF_ANOTHER)
    return found


def _burnt_for_nothing(prediction: Prediction) -> bool:
    """A refusal that follows an eFuse burn within one boot."""
    burnt = False
    for effect in prediction.effects:
        if isinstance(effect, BurnSecureVersion):
            burnt = True
        elif burnt and isinstance(effect, Log) and effect.text.endswith("is not bootable"):
            return True
    return False
