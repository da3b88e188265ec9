"""Every check, in the order of the report, and the run of all of them."""

from __future__ import annotations

from rig.gate import anti_rollback, compared, described, files, images, rollback, running, security, table, watched
from rig.gate.check import Check, Outcome
from rig.gate.release import Release

CHECKS: tuple[Check, ...] = (
    files.files,
    files.layout,
    files.chip,
    rollback.rollback,
    rollback.bootloader_config,
    described.app_config,
    watched.rollback_watched,
    watched.fallback_confirm,
    rollback.validation,
    rollback.pins,
    anti_rollback.field,
    anti_rollback.slots,
    anti_rollback.efuse_real,
    table.rules,
    table.md5,
    table.ota_slots,
    table.otadata,
    table.app_fits,
    images.app_image,
    images.app_hash,
    images.bootloader_image,
    security.signed,
    security.flash_encryption,
    security.nvs_keys,
    security.debug_doors,
    security.tls,
    security.http,
    running.log_level,
    running.bootloader_wdt,
    running.task_wdt,
    running.int_wdt,
    running.panic,
    running.brownout,
    compared.version,
    compared.project,
    compared.secure_version,
    compared.table_same,
    compared.bootloader_rules,
    compared.bootloader_same,
    compared.chip_same,
    compared.flash_same,
    compared.signature_key,
)

BY_ID = {check.id: check for check in CHECKS}


def run(release: Release) -> list[tuple[Check, Outcome]]:
    """What every check found, in order."""
    return [(check, check.run(release)) for check in CHECKS]
