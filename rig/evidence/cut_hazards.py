"""Hazards of a power cut that fell between erase and write of an otadata entry: ESP-IDF keeps no second copy of it.

The windows are named in docs/facts.md; each is one sector erase of esp_flash_partitions' otadata.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rig.evidence.observe import NO_ENTRY
from rig.evidence.records import Hazard, Transition

UPDATE_LOST = Hazard(
    what="an update was lost by a power cut: its entry was erased to write PENDING_VERIFY, and the old app boots as if "
    "there had been no update",
    remedy="let the server compare the version that runs with the one it delivered, and deliver again",
    source="bootloader_utility.c bootloader_utility_get_selected_boot_partition: write_otadata erases before it writes",
)
CONFIRMATION_LOST = Hazard(
    what="a confirmation was lost by a power cut: the entry of the confirmed app was erased to write VALID, and the "
    "old app boots",
    remedy="confirm as soon as the diagnostics allow and when power is steady; let the server deliver again",
    source="esp_ota_ops.c esp_ota_current_ota_is_workable: rewrite_ota_seq erases before it writes",
)
FAILURE_FORGOTTEN = Hazard(
    what="the record of a failed update was lost by a power cut: the old app boots, but nothing says which image "
    "failed, so the same one may be fetched again",
    remedy="note the version on trial in NVS before the first boot, and refuse it when it comes back",
    source="esp_ota_ops.c esp_ota_current_ota_is_workable, bootloader_utility.c write_otadata: erase before write",
)


def cut_hazards(transitions: Iterable[Transition], interrupted: Sequence[str]) -> list[Hazard]:
    """Hazards of the power cuts of one trial; `interrupted` are the app's calls in which power was lost."""
    found = []
    for change in transitions:
        if change.after != NO_ENTRY:
            continue
        if change.before == "NEW":
            found.append(UPDATE_LOST)
        elif change.before == "PENDING_VERIFY":
            found.append(CONFIRMATION_LOST if "confirm" in interrupted else FAILURE_FORGOTTEN)
    return found
