"""Do the images verify as the device will verify them?"""

from __future__ import annotations

from rig.gate.check import Outcome, check, failed, passed, warning
from rig.gate.pieces import Pieces
from rig.gate.release import CannotTell, Release
from rig.gate.security import demands_signature
from rig.idf.image import AppImage, check_image
from rig.idf.memory import FlashImage

_REBUILD = "Build again, and compare the SHA-256 of what is released with that of the build."


@check(
    "GATE-APP-IMAGE",
    title="The app image verifies as the bootloader verifies it",
    reason="A device refuses it at the end of the download, or boots the old app for ever.",
    remedy=_REBUILD,
)
def app_image(release: Release) -> Outcome:
    build = release.build
    if build.app.broken:
        return failed(build.app.trouble)
    image = build.app.value
    if image.desc is None:
        return failed("it has no app descriptor, so no device knows its version")
    refused = _bootloader_says(build)
    if refused:
        return failed(f"the bootloader would say: {refused}")
    if not _enters_itself(image):
        return failed(f"its entry point {image.header.entry:#x} is in none of its segments")
    unseen = _behind(image.length, build.app_file.value)
    if unseen and not demands_signature(build.settings.value):
        return warning(f"{unseen} bytes lie behind its end, where no checksum and no hash looks")
    return passed(
        f"{image.length} bytes, {image.desc.project} {image.desc.version}, SHA-256 {image.sha256.hex()[:16]}…"
    )


@check(
    "GATE-APP-HASH",
    title="A SHA-256 is appended to the app image",
    reason="Without it only an 8-bit checksum stands between flipped bits and a boot.",
    remedy="Let idf.py make the image (esptool elf2image appends the hash unless --dont-append-digest is given).",
)
def app_hash(release: Release) -> Outcome:
    if not release.build.app_facts.value.hash_appended:
        return failed("the image header says that no hash is appended")
    if release.build.app.broken:
        # how it is broken is another check's to say
        raise CannotTell(release.build.app.trouble)
    return passed("a SHA-256 is appended, and it is right")


@check(
    "GATE-BOOTLOADER-IMAGE",
    title="The bootloader image verifies and ends before the partition table",
    reason="A broken bootloader is a dead board that only a cable revives.",
    remedy=f"{_REBUILD} A bootloader that is too long: move CONFIG_PARTITION_TABLE_OFFSET or log less.",
)
def bootloader_image(release: Release) -> Outcome:
    build = release.build
    if build.bootloader.broken:
        return failed(build.bootloader.trouble)
    image = build.bootloader.value
    end = build.bootloader_offset + len(build.bootloader_file.value)
    if end > build.table_offset:
        return failed(f"it ends at {end:#x} and reaches into the partition table at {build.table_offset:#x}")
    facts, app = build.bootloader_facts, build.app_facts
    if not facts.hash_appended:
        return failed("its header says that no hash is appended; ESP-IDF appends one to every bootloader")
    same_chip = app.held is not None and app.held.chip_id == facts.chip_id
    if same_chip and facts.min_revision > app.value.min_revision:
        return failed(
            f"it needs chip revision v{facts.min_revision // 100}.{facts.min_revision % 100}, which the app does not: "
            "the ROM of older chips refuses it"
        )
    if not _enters_itself(image):
        return failed(f"its entry point {image.header.entry:#x} is in none of its segments")
    desc = image.bootloader_desc
    return passed(f"{image.length} bytes" + (f", ESP-IDF {desc.idf_ver}, {desc.date_time}" if desc else ""))


def _enters_itself(image: AppImage) -> bool:
    entry = image.header.entry
    return any(each.load_address <= entry < each.load_address + len(each.data) for each in image.segments)


def _behind(length: int, data: bytes) -> int:
    """Bytes behind the image that are not padding."""
    return len(data[length:].strip(b"\xff\0"))


def _bootloader_says(build: Pieces) -> str:
    """What the bootloader holds against the app in its slot; empty for nothing."""
    slots = build.table.value.app_slots
    if not slots:
        raise CannotTell("the table has no app partition")
    data = build.app_file.value
    if slots[0].offset + len(data) > build.flash_size:
        raise CannotTell(f"{slots[0].slot} lies behind the end of flash")
    flash = FlashImage(bytes(slots[0].offset) + data)
    verdict = check_image(flash, slots[0].offset, max(slots[0].size, len(data)), build.boot_config)
    return "" if verdict.ok else "; ".join(line.text for line in verdict.logs) or "nothing, it stops in an assert"
