"""Anti-rollback: eFuse bits, once burnt, stay burnt."""

from __future__ import annotations

from rig.gate.check import Outcome, check, failed, not_applicable, passed, warning
from rig.gate.release import Release
from rig.gate.settings import ANTI_ROLLBACK, ROLLBACK

_OFF = not_applicable("CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK is off")
_FEW = 2


@check(
    "GATE-SECURE-VERSION-FIELD",
    title="The secure version fits the eFuse field",
    reason="A version above the field can never be burnt: confirming fails, and rollback to older apps stays possible.",
    remedy="Lower CONFIG_BOOTLOADER_APP_SECURE_VERSION, or before the first device ships widen "
    "CONFIG_BOOTLOADER_APP_SEC_VER_SIZE_EFUSE_FIELD.",
)
def field(release: Release) -> Outcome:
    build = release.build
    settings = build.settings.value
    if not settings.on(ANTI_ROLLBACK):
        return _OFF
    if not settings.on(*ROLLBACK):
        return failed("anti-rollback is on without rollback, on which it depends")
    name = "BOOTLOADER_APP_SEC_VER_SIZE_EFUSE_FIELD"
    widest = build.chip.secure_version_bits
    bits = settings.number(name) if settings.knows(name) else widest
    if not 1 <= bits <= widest:
        return failed(f"the field is {bits} bits wide; {build.chip.title} allows 1 to {widest}")
    version = build.app_desc.value.secure_version
    if settings.knows("BOOTLOADER_APP_SECURE_VERSION"):
        configured = settings.number("BOOTLOADER_APP_SECURE_VERSION")
        if version != configured:
            return failed(f"the app says secure version {version}, sdkconfig {configured}: they are of two builds")
    if version > bits:
        return failed(f"secure version {version} does not fit a field of {bits} bits")
    text = f"secure version {version} of {bits}; {bits - version} more can follow"
    return warning(text) if bits - version < _FEW else passed(text)


@check(
    "GATE-ANTI-ROLLBACK-SLOTS",
    title="No factory or test app beside anti-rollback",
    reason="Their secure version stays as flashed, so after the first burn they are refused: a fallback that is none.",
    remedy="Take the factory and test partitions out of the partition table.",
)
def slots(release: Release) -> Outcome:
    if not release.build.settings.value.on(ANTI_ROLLBACK):
        return _OFF
    found = [entry.slot for entry in release.build.table.value.app_slots if entry.slot in ("factory", "test")]
    if found:
        return failed(f"the table has {' and '.join(str(slot) for slot in found)}")
    return passed("OTA slots only")


@check(
    "GATE-EFUSE-REAL",
    title="eFuses are real",
    reason="With emulated eFuses nothing is ever burnt: anti-rollback and every key protection are for show.",
    remedy="Switch off CONFIG_EFUSE_VIRTUAL and CONFIG_BOOTLOADER_EFUSE_SECURE_VERSION_EMULATE.",
)
def efuse_real(release: Release) -> Outcome:
    found = release.build.settings.value.named_on("EFUSE_VIRTUAL", "BOOTLOADER_EFUSE_SECURE_VERSION_EMULATE")
    return failed(f"{' and '.join(found)} is on") if found else passed("no eFuse is emulated")
