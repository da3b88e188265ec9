"""Against the previous release: its bootloader, table and eFuses are what devices in the field have."""

from __future__ import annotations

import re

from packaging.version import InvalidVersion, Version

from rig.gate import signature
from rig.gate.check import Outcome, check, failed, not_applicable, passed, warning
from rig.gate.pieces import Pieces
from rig.gate.release import CannotTell, Release
from rig.gate.security import demands_signature, scheme
from rig.gate.settings import ANTI_ROLLBACK, ROLLBACK
from rig.idf.image_desc import BOOTLOADER_DESC_SIZE, BootloaderDesc
from rig.idf.partitions import Partition

_SAME_RULES = (
    ROLLBACK,
    (ANTI_ROLLBACK,),
    ("BOOTLOADER_EFUSE_SECURE_VERSION_EMULATE",),
    ("SECURE_BOOT",),
    ("SECURE_BOOT_V1_ENABLED",),
    ("SECURE_BOOT_V2_ENABLED",),
    ("SECURE_FLASH_ENC_ENABLED",),
    ("EFUSE_VIRTUAL",),
)
_NO_LIMIT = (0, 0xFFFF)
"""Highest revisions that limit nothing: an image without that field has 0 there."""
_DATE_AT, _DATE_SIZE = 40, 24
"""esp_bootloader_desc_t.date_time."""


@check(
    "GATE-VERSION",
    title="The version says which release this is, and is a new one",
    reason="Devices that skip the version they run never take an update of the same version, and reports mix them up.",
    remedy="Set a new PROJECT_VER (version.txt, git tag or CONFIG_APP_PROJECT_VER) and build from a clean tree.",
)
def version(release: Release) -> Outcome:
    desc = release.build.app_desc.value
    if not desc.version.strip():
        return failed("the app has no version")
    step, down = desc.version, ""
    if release.previous is not None:
        before = release.previous.app_desc.value.version
        if desc.version == before:
            return failed(f"{desc.version}, as the previous release")
        step = f"{before} → {desc.version}"
        if _goes_down(before, desc.version):
            down = "the number goes down; apps that compare versions refuse the update"
    dirty = "built from a tree with changes that are in no commit" if desc.version.endswith("-dirty") else ""
    if down or dirty:
        return warning(f"{step}: {'; '.join(filter(None, (down, dirty)))}")
    if release.previous is None:
        return passed(f"{step}; no previous release was named to compare with (--previous BUILD_DIR)")
    return passed(step)


def _goes_down(before: str, now: str) -> bool:
    """No for versions without a number."""
    old, new = _number(before), _number(now)
    return old is not None and new is not None and new < old


def _number(version: str) -> Version | None:
    """The release that a version names or, as `git describe` has it, stands behind."""
    try:
        return Version(version.removesuffix("-dirty"))
    except InvalidVersion:
        found = re.match(r"v?\d+(\.\d+)*", version)
        return Version(found[0]) if found else None


@check(
    "GATE-PROJECT",
    title="The project name is the previous release's",
    reason="Another name is most often the wrong build; apps that compare it refuse the update.",
    remedy="Keep the name in project() of CMakeLists.txt, or name the right previous release.",
)
def project(release: Release) -> Outcome:
    old, new = release.before.app_desc.value.project, release.build.app_desc.value.project
    return passed(f"still {new}") if old == new else failed(f"{new}; the previous release is {old}")


@check(
    "GATE-SECURE-VERSION",
    title="The secure version is not lower than the previous release's",
    reason="A device that has confirmed the previous release refuses a lower one: at download, and in the bootloader.",
    remedy="Raise CONFIG_BOOTLOADER_APP_SECURE_VERSION to the previous one, or higher.",
)
def secure_version(release: Release) -> Outcome:
    old, new = release.before.app_desc.value.secure_version, release.build.app_desc.value.secure_version
    if new < old:
        return failed(f"{new}; the previous release has {old}")
    if new > old:
        return passed(f"{old} → {new}: once confirmed, devices never go back to the previous release")
    return passed(f"secure version {new}, as before")


@check(
    "GATE-TABLE-SAME",
    title="The partition table is the previous release's",
    reason="No update writes the table: an app made for another one looks for its data where it is not.",
    remedy="Build with the previous release's partition CSV and CONFIG_PARTITION_TABLE_OFFSET.",
)
def table_same(release: Release) -> Outcome:
    old, new = release.before, release.build
    if old.table_offset != new.table_offset:
        return failed(f"it is at {new.table_offset:#x}, before at {old.table_offset:#x}")
    before, now = old.table.value.entries, new.table.value.entries
    if [entry.to_binary() for entry in before] == [entry.to_binary() for entry in now]:
        return passed(f"all {len(now)} rows are the same")
    rows = [(_row(before, number), _row(now, number)) for number in range(max(len(before), len(now)))]
    changes = [
        f"row {number}: {new_row}, before {old_row}"
        for number, (old_row, new_row) in enumerate(rows)
        if old_row != new_row
    ]
    return failed("; ".join(changes))


@check(
    "GATE-BOOTLOADER-RULES",
    title="The app is built for the bootloader that devices have",
    reason="An app that counts on rollback, anti-rollback or encryption, on a bootloader without it, is never "
    "confirmed, never rolled back, or never starts.",
    remedy="Configure it as the previous release, or ship the change to new devices only, as a product of its own.",
)
def bootloader_rules(release: Release) -> Outcome:
    old, new = release.before.settings.value, release.build.settings.value
    changed = [
        f"CONFIG_{names[0]} is {_on(new.on(*names))}, before {_on(old.on(*names))}"
        for names in _SAME_RULES
        if old.on(*names) != new.on(*names)
    ]
    if new.on(ANTI_ROLLBACK) and old.on(ANTI_ROLLBACK):
        bits = "BOOTLOADER_APP_SEC_VER_SIZE_EFUSE_FIELD"
        was, now = (each.number(bits) if each.knows(bits) else None for each in (old, new))
        if was != now:
            changed.append(f"the eFuse field has {now} bits, before {was}")
    return (
        failed("; ".join(changed))
        if changed
        else passed("rollback, anti-rollback, secure boot and encryption are as before")
    )


@check(
    "GATE-BOOTLOADER-SAME",
    title="The bootloader is the previous release's",
    reason="An update does not replace the bootloader: a new one reaches new devices only, and two have to be tested.",
    remedy="Ship the previous bootloader.bin, or qualify this app on both.",
)
def bootloader_same(release: Release) -> Outcome:
    old, new = release.before, release.build
    if old.bootloader_file.value == new.bootloader_file.value:
        return passed("it is the previous one, byte for byte")
    if _undated(old) == _undated(new):
        return passed("the same but for the time it was built or signed at")
    return warning(
        f"it differs (ESP-IDF {_made_with(old)} → {_made_with(new)}): devices in the field keep the previous one"
    )


@check(
    "GATE-CHIP-SAME",
    title="It is for the chip, and the chip revisions, of the previous release",
    reason="A device refuses an image for another chip, or for a newer revision than its own.",
    remedy="Set the target, CONFIG_…_REV_MIN and CONFIG_…_REV_MAX as in the previous release.",
)
def chip_same(release: Release) -> Outcome:
    old, new = release.before.app_facts.value, release.build.app_facts.value
    if old.chip_id != new.chip_id:
        return failed(f"chip id {new.chip_id}, before {old.chip_id}")
    if new.min_revision > old.min_revision:
        return failed(
            f"it needs chip revision {_revision(new.min_revision)}, before {_revision(old.min_revision)}: older "
            "devices refuse it"
        )
    if new.max_revision not in _NO_LIMIT:
        if old.max_revision in _NO_LIMIT:
            return warning(
                f"it allows chips up to {_revision(new.max_revision)}, before without a limit: newer devices refuse it"
            )
        if new.max_revision < old.max_revision:
            return failed(f"it allows chips up to {_revision(new.max_revision)}, before {_revision(old.max_revision)}")
    return passed(f"{release.build.chip.title}, from revision {_revision(new.min_revision)}")


@check(
    "GATE-FLASH-SAME",
    title="Flash size, mode and MMU page are the previous release's",
    reason="Flash is set up by the bootloader in the field; an app made for larger flash or another page fails.",
    remedy="Set CONFIG_ESPTOOLPY_FLASHSIZE, CONFIG_ESPTOOLPY_FLASHMODE and CONFIG_MMU_PAGE_SIZE as before.",
)
def flash_same(release: Release) -> Outcome:
    old, new = release.before, release.build
    if old.flash_size != new.flash_size:
        return failed(f"flash has {new.flash_size // 0x100000} MB, before {old.flash_size // 0x100000} MB")
    was, now = old.app_desc.value.mmu_page_size, new.app_desc.value.mmu_page_size
    if was and now and was != now:
        return failed(f"MMU pages have {now:#x} bytes, before {was:#x}")
    before, after = old.flash_settings, new.flash_settings
    changed = [
        f"{name} {getattr(after, name)}, before {getattr(before, name)}"
        for name in ("flash_mode", "flash_freq")
        if getattr(after, name) != getattr(before, name)
    ]
    if changed:
        return warning(f"{' and '.join(changed)}: devices in the field stay with what their bootloader says")
    return passed(f"{new.flash_size // 0x100000} MB, {after.flash_mode}, {after.flash_freq}")


@check(
    "GATE-SIGNATURE-KEY",
    title="The app is signed with a key of the previous release",
    reason="Devices trust the keys they have; an app signed with new ones only is refused by all of them.",
    remedy="Sign with the old key first. A second signature (espsecure sign-data --append-signatures) counts only with "
    "hardware secure boot; without it the key of a fleet cannot be changed.",
)
def signature_key(release: Release) -> Outcome:
    old, new = release.before, release.build
    if not demands_signature(old.settings.value):
        return not_applicable("the previous release demands no signature")
    if scheme(old.settings.value) == "v1":
        return not_applicable("signatures of version 1 carry no key")
    before = signature.examine(old.app_file.value, scheme(old.settings.value))
    if before.trouble:
        raise CannotTell(f"the previous app: {before.trouble}")
    now = signature.examine(new.app_file.value, scheme(old.settings.value))
    if now.trouble:
        return failed(now.trouble)
    if not old.settings.value.on("SECURE_BOOT") and now.keys[0] != before.keys[0]:
        # secure_boot_signatures_app.c: one block of the update counts, and the app's own first one is trusted
        return failed("its first signature is by another key, and without secure boot no other counts")
    common = [key for key in now.keys if key in before.keys]
    return passed(f"key {common[0][:16]}…") if common else failed("it has none of the keys of the previous release")


def _row(entries: tuple[Partition, ...], number: int) -> str:
    if number >= len(entries):
        return "nothing"
    entry = entries[number]
    flags = f", flags {entry.flags:#x}" if entry.flags else ""
    return f"{entry.label} ({entry.type_name} {entry.subtype_name}) {entry.offset:#x} {entry.size:#x}{flags}"


def _on(value: bool) -> str:
    return "on" if value else "off"


def _revision(number: int) -> str:
    return f"v{number // 100}.{number % 100}"


def _undated(build: Pieces) -> list[tuple[int, bytes]]:
    """The segments of the bootloader by load address, without the time it was built at and without signature."""
    segments = []
    for segment in build.bootloader.value.segments:
        data = segment.data
        if BootloaderDesc.find(data) is not None:
            data = data[:_DATE_AT] + data[_DATE_AT + _DATE_SIZE : BOOTLOADER_DESC_SIZE] + data[BOOTLOADER_DESC_SIZE:]
        segments.append((segment.load_address, data))
    return segments


def _made_with(build: Pieces) -> str:
    desc = build.bootloader.value.bootloader_desc
    return desc.idf_ver if desc else "unknown"
