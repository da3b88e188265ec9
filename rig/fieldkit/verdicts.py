"""What may be said of a field report: one word, worst first, and what it claims."""

from __future__ import annotations

from enum import StrEnum


class FieldVerdict(StrEnum):
    """In order of weight: where a log shows several things, the first of these is its verdict.

    No word claims more than its line says. What cannot be explained weighs more than what went well.
    """

    UNBOOTABLE_BEFORE_BOOTLOADER = "unbootable-before-bootloader"
    UNBOOTABLE_HARDWARE = "unbootable-hardware"
    BENCH_FAULT = "bench-fault"
    UNBOOTABLE = "unbootable"
    BOOTLOADER_BUG = "bootloader-bug"
    MISCONFIGURATION = "misconfiguration"
    OTADATA_FOREIGN = "otadata-foreign"
    ROLLBACK_TARGET_LOST = "rollback-target-lost"
    UPDATED_TARGET_LOST = "updated-ok-but-rollback-target-lost"
    ROLLBACK_ENVIRONMENT_FAULT = "rollback-environment-fault"
    ROLLBACK_CORRECT = "rollback-correct"
    ROLLBACK_CAUSE_UNKNOWN = "rollback-correct-cause-unknown"
    FALLBACK_UNREACHABLE = "fallback-image-unreachable"
    FALLBACK_INVALID = "fallback-image-invalid"
    UPDATE_REJECTED = "update-rejected"
    UPDATE_REJECTED_CAUSE_UNKNOWN = "update-rejected-cause-unknown"
    RECOVERED_DEGRADED = "recovered-degraded"
    INCONCLUSIVE = "inconclusive"
    CONFIRMED = "confirmed"
    NO_TRANSITION = "no-transition"


WEIGHT = {verdict: number for number, verdict in enumerate(FieldVerdict)}
"""0 weighs most."""

MEANINGS = {
    FieldVerdict.UNBOOTABLE_BEFORE_BOOTLOADER: "the ROM found no bootloader that it could start",
    FieldVerdict.UNBOOTABLE_HARDWARE: "nothing boots, and flash reads differently from one time to the next",
    FieldVerdict.BENCH_FAULT: "flashing or the bench made this, not an update and not the firmware",
    FieldVerdict.UNBOOTABLE: "the bootloader found no app that it could start",
    FieldVerdict.BOOTLOADER_BUG: "the bootloader did what ESP-IDF's does not do for this otadata",
    FieldVerdict.MISCONFIGURATION: "bootloader, app and partition table do not fit each other",
    FieldVerdict.OTADATA_FOREIGN: "otadata holds what neither ESP-IDF's bootloader nor its OTA calls write",
    FieldVerdict.ROLLBACK_TARGET_LOST: "there was no good app left to go back to",
    FieldVerdict.UPDATED_TARGET_LOST: "the update runs, but the record of the app before it was lost on the way",
    FieldVerdict.ROLLBACK_ENVIRONMENT_FAULT: "the bootloader went back because power or a reset ended the probation",
    FieldVerdict.ROLLBACK_CORRECT: "the new app did not pass its probation, and the last good one came back",
    FieldVerdict.ROLLBACK_CAUSE_UNKNOWN: "the last good app came back; what ended the new one is not in the evidence",
    FieldVerdict.FALLBACK_UNREACHABLE: "the bootloader cannot reach the chosen image; another app was started",
    FieldVerdict.FALLBACK_INVALID: "the chosen image is damaged; another app was started",
    FieldVerdict.UPDATE_REJECTED: "the new image was refused before any boot; the old app goes on",
    FieldVerdict.UPDATE_REJECTED_CAUSE_UNKNOWN: "the new image was refused before any boot, and nothing says why",
    FieldVerdict.RECOVERED_DEGRADED: "an app was started although otadata named none",
    FieldVerdict.CONFIRMED: "a new app was confirmed",
    FieldVerdict.NO_TRANSITION: "boots without a change of image states",
    FieldVerdict.INCONCLUSIVE: "the decisive line or sector is not in the evidence",
}
"""One sentence for people."""
