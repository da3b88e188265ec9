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
_CHECKERS = ("esp_image", "boot_comm")
"""Tags of the lines that say why an image was refused which was looked at; the second: made for another chip."""

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
CONFIRMED_ANOTHER = Hazard(
    what="an app confirmed while it was reached by fallback: the otadata entry that became VALID stands for another "
    "image, which did not boot",
    remedy="confirm only when esp_ota_get_state_partition() says PENDING_VERIFY for esp_ota_get_running_partition()",
    source="esp_ota_ops.c esp_ota_current_ota_is_workable: marks the active entry, whichever app runs",
)
CONFIRMED_ANOTHER_BRICKS = CONFIRMED_ANOTHER.model_copy(
    update={
        "what": f"{CONFIRMED_ANOTHER.what}; if that image's secure version is higher, the next boot burns it and "
        "refuses this app",
        "severity": "bricks",
    }
)
BRICKED = Hazard(
    what="nothing is left to boot: the anti-rollback eFuse is above the secure version of every image that is intact; "
    "only a cable helps",
    remedy="never confirm an app that was reached by fallback; restart after esp_ota_set_boot_partition() before "
    "anything more is downloaded",
    source="bootloader_utility.c update_anti_rollback, check_anti_rollback: burnt before the image is verified",
    severity="bricks",
)
ABORTED_APP_LEFT = Hazard(
    what="an app boots that is INVALID or ABORTED, because the anti-rollback eFuse is above the secure version of the "
    "good one",
    remedy="leave burning to esp_ota_mark_app_valid_cancel_rollback() and the bootloader; do not call "
    "esp_efuse_update_secure_version() on probation",
    source="bootloader_utility.c check_anti_rollback; bootloader_utility_load_boot_image looks at no otadata",
)
FALLBACK_APP_TOO_OLD = Hazard(
    what="the partition table of a build with anti-rollback has a factory or test app: ESP-IDF's build refuses that, "
    "because such an app is never updated, and once the eFuse was raised it never boots again",
    remedy="take a table of two OTA slots and nothing else",
    source="components/esptool_py/CMakeLists.txt: check_table_contents",
)
FIELD_FULL = Hazard(
    what="the secure version of the app that runs does not fit into the eFuse field, so it was not burnt: older apps "
    "are not refused",
    remedy="never raise the secure version above CONFIG_BOOTLOADER_APP_SEC_VER_SIZE_EFUSE_FIELD: no update widens it",
    source="esp_efuse_fields.c esp_efuse_update_secure_version",
)


def call_hazards(
    call: str, running: str, table: PartitionTable, config: BootConfig, otadata: Entries, error: str
) -> list[Hazard]:
    """Hazards of an app's call that returned `error` as the model says; `otadata` as it was before."""
    found: list[Hazard] = []
    entries = parse(otadata[0]), parse(otadata[1])
    active, count = active_index(entries), table.ota_count_bootloader
    if call != "confirm" or active < 0 or not count:
        return found
    another = f"ota_{slot_index(entries[active].seq, count)}" != running
    if another and state_name(entries[active].state) != "VALID":
        found.append(CONFIRMED_ANOTHER_BRICKS if config.anti_rollback else CONFIRMED_ANOTHER)
    if config.anti_rollback and error == "ESP_ERR_INVALID_ARG":
        found.append(FIELD_FULL)
    return found


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
    if config.anti_rollback:
        found += _with_anti_rollback(table, entries, prediction)
    return found


def _with_anti_rollback(
    table: PartitionTable, entries: tuple[SelectEntry, SelectEntry], prediction: Prediction | None
) -> list[Hazard]:
    found = []
    if table.slot("factory") is not None or table.slot("test") is not None:
        found.append(FALLBACK_APP_TOO_OLD)
    if prediction is None:
        return found
    if _burnt_for_nothing(prediction):
        found.append(BURNT_BEFORE_VERIFIED)
    if _refused_by_version(prediction):
        states = slot_states(entries, table.ota_count_bootloader)
        if prediction.result.outcome == "reset":
            found.append(BRICKED)
        elif states.get(prediction.result.slot or "") in _BARRED:
            found.append(ABORTED_APP_LEFT)
    if any(log.text.startswith("Max secure version is") for log in prediction.logs if log.tag == "efuse"):
        found.append(FIELD_FULL)
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


def _refused_by_version(prediction: Prediction) -> bool:
    """Whether an image was passed over that was not even looked at: such a refusal prints no line before its own."""
    before: Log | None = None
    for log in prediction.logs:
        silent = before is None or not (before.tag in _CHECKERS or before.text.startswith("Failed to get partition"))
        if log.text.endswith("is not bootable") and silent:
            return True
        before = log
    return False


def _burnt_for_nothing(prediction: Prediction) -> bool:
    """A refusal that follows an eFuse burn within one boot."""
    burnt = False
    for effect in prediction.effects:
        if isinstance(effect, BurnSecureVersion):
            burnt = True
        elif burnt and isinstance(effect, Log) and effect.text.endswith("is not bootable"):
            return True
    return False
