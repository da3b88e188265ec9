"""What a dump tells of the configuration that wrote it: versions of bootloader and apps, texts in them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from rig.fieldkit.dump_find import Dump
from rig.fieldkit.dump_images import Judged
from rig.fieldkit.dump_otadata import Otadata
from rig.idf.config import idf_family
from rig.idf.errors import FormatError
from rig.idf.image_desc import BootloaderDesc
from rig.idf.otadata import ImageState

_ANTI_ROLLBACK = b"Enabled a check secure version of app for anti rollback"
"""Only a bootloader with anti-rollback has it (bootloader_utility.c), unless its log level is below INFO."""
_ROLLBACK_APP = b"Running app has not confirmed state (ESP_OTA_IMG_PENDING_VERIFY)"
"""Only an app with CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE that calls esp_ota_begin has it (esp_ota_ops.c)."""
_DESC_MAGIC = re.compile(rb"\x50[\0-\x0f]..", re.DOTALL)
_VERSION = re.compile(rb"v(\d+\.\d+(?:\.\d+)?(?:-[\w.-]{1,24})?)\0")
_BY_BOOTLOADER = (ImageState.PENDING_VERIFY, ImageState.ABORTED)


class Clues(NamedTuple):
    """None: nothing tells. `family` as in rig.idf.config.IDF_VERSIONS; `reasons` say what each rests on."""

    bootloader: str | None
    family: str | None
    rollback: bool | None
    anti_rollback: bool | None
    reasons: tuple[str, ...]


def clues(dump: Dump, bootloader: tuple[int, int], images: Sequence[Judged], otadata: Otadata) -> Clues:
    """`bootloader`: flash [start, end) where one may lie."""
    start, end = bootloader
    code = dump.part(start, max(0, end - start))
    version = _bootloader_version(code)
    reasons = [f"the bootloader says that it is ESP-IDF {version}"] if version else []
    family = _family(version)
    if family is None:
        family, reason = _apps_family(images)
        reasons += reason
    anti = True if _ANTI_ROLLBACK in code else None
    if anti:
        reasons.append("the bootloader has the texts of anti-rollback")
    rollback, why = _rollback(dump, images, otadata)
    return Clues(version, family, True if anti else rollback, anti, tuple(reasons + why))


def _bootloader_version(code: bytes) -> str | None:
    """As its descriptor says (v5.2 and later), else the first text in it that reads like a version."""
    if code[:1] != b"\xe9":
        return None
    for match in _DESC_MAGIC.finditer(code):
        desc = BootloaderDesc.find(code[match.start() :])
        if desc and _family(desc.idf_ver):
            return desc.idf_ver
    found = _VERSION.search(code)
    return f"v{found[1].decode()}" if found else None


def _family(version: str | None) -> str | None:
    try:
        return idf_family(version) if version and version.startswith("v") else None
    except FormatError:
        return None


def _apps_family(images: Sequence[Judged]) -> tuple[str | None, list[str]]:
    told = {item.part.slot: item.desc.idf_ver for item in images if item.desc and _family(item.desc.idf_ver)}
    families = {_family(version) for version in told.values()}
    if len(families) != 1:
        return None, []
    which = ", ".join(f"{slot} {version}" for slot, version in told.items())
    return families.pop(), [f"ESP-IDF of the apps: {which}; the bootloader may be older"]


def _rollback(dump: Dump, images: Sequence[Judged], otadata: Otadata) -> tuple[bool | None, list[str]]:
    for entry in otadata.entries:
        if entry.written and entry.fields.state in _BY_BOOTLOADER:
            state = ImageState(entry.fields.state).name
            return True, [f"otadata[{entry.number}] is {state}, which only a bootloader with app rollback writes"]
    armed = [item.part.slot for item in images if _ROLLBACK_APP in dump.part(item.part.offset, item.part.size)]
    if armed:
        return True, [f"the app in {armed[0]} was built with app rollback; the bootloader should have been, too"]
    written = [entry for entry in otadata.entries if entry.written]
    if any(entry.fields.state == ImageState.NEW for entry in written):
        return True, ["an entry is NEW, which an app built with app rollback writes"]
    if written and all(entry.fields.state == ImageState.UNDEFINED for entry in written):
        return False, ["the states are UNDEFINED, which an app built without app rollback writes"]
    return None, []
