"""Rollback in the bootloader: what sdkconfig asks for, and how far bootloader.bin itself bears it out."""

from __future__ import annotations

from rig.gate.check import Outcome, check, failed, passed, warning
from rig.gate.pieces import BOOTLOADER_CONFIG, CONFIG, Pieces
from rig.gate.release import CannotTell, Release
from rig.gate.settings import ANTI_ROLLBACK, ROLLBACK, Settings
from rig.idf.config import LOG_LEVELS

INFO, DEBUG = LOG_LEVELS.index("INFO"), LOG_LEVELS.index("DEBUG")
_ALWAYS = b"No bootable app partitions in the partition table"
_AT_INFO = b"Loaded app from partition at offset"
_ANTI_ROLLBACK_AT_INFO = b"Enabled a check secure version of app for anti rollback"
_ROLLBACK_AT_DEBUG = b"is marking as ABORTED"
"""Texts that only a bootloader so configured carries (bootloader_utility.c, v4.4 to v6.0)."""

_RULES = (
    "BOOTLOADER_APP_ROLLBACK_ENABLE",
    ANTI_ROLLBACK,
    "BOOTLOADER_APP_SEC_VER_SIZE_EFUSE_FIELD",
    "BOOTLOADER_LOG_LEVEL",
    "BOOTLOADER_WDT_ENABLE",
    "BOOTLOADER_SKIP_VALIDATE_ON_POWER_ON",
    "BOOTLOADER_SKIP_VALIDATE_ALWAYS",
    "BOOTLOADER_FACTORY_RESET",
    "BOOTLOADER_APP_TEST",
    "PARTITION_TABLE_OFFSET",
    "ESPTOOLPY_FLASHSIZE",
    "SECURE_BOOT",
    "SECURE_FLASH_ENC_ENABLED",
)


@check(
    "GATE-ROLLBACK",
    title="The bootloader is configured with app rollback",
    reason="Without it a bad update is booted for ever, and no update can ever put it into the bootloader.",
    remedy="Set CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE=y and build the bootloader anew.",
)
def rollback(release: Release) -> Outcome:
    settings = release.build.settings.value
    if not settings.on(*ROLLBACK):
        return failed("CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE is off")
    if settings.on(ANTI_ROLLBACK):
        return passed("rollback and anti-rollback are on")
    return passed("CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE is on")


@check(
    "GATE-BOOTLOADER-CONFIG",
    title="bootloader.bin is the one that sdkconfig describes",
    reason="A bootloader kept from another build has other rules than the sdkconfig that everybody looks at.",
    remedy="Build bootloader and app together; if an older bootloader ships on purpose, accept this with that reason.",
)
def bootloader_config(release: Release) -> Outcome:
    build = release.build
    settings = build.settings.value
    differing = _own_settings(build, settings) + _versions(build) + _texts(build, settings)
    if differing:
        return failed("; ".join(differing))
    seen = []
    shown = False
    if build.bootloader_settings.held is not None:
        seen.append(f"{BOOTLOADER_CONFIG} says the same")
        shown = True
    if build.bootloader.value.bootloader_desc is not None:
        seen.append("it names the app's ESP-IDF")
    if _ALWAYS in build.bootloader_file.value:
        seen.append("its texts fit")
        shown = shown or settings.number("BOOTLOADER_LOG_LEVEL") >= DEBUG
    if not seen:
        return warning(
            "nothing in bootloader.bin says how it was configured: it has neither descriptor nor ESP-IDF's texts"
        )
    if not shown and (release.watched is None or isinstance(release.watched, CannotTell)):
        return warning("; ".join([*seen, "whether rollback is in it does not show: --board watches it"]))
    return passed("; ".join(seen))


@check(
    "GATE-VALIDATION",
    title="The bootloader verifies an app before it starts it",
    reason="Without verification a torn or damaged app is started, and nothing falls back to the good one.",
    remedy="Switch off CONFIG_BOOTLOADER_SKIP_VALIDATE_ALWAYS and CONFIG_BOOTLOADER_SKIP_VALIDATE_ON_POWER_ON.",
)
def validation(release: Release) -> Outcome:
    settings = release.build.settings.value
    skips = settings.named_on("BOOTLOADER_SKIP_VALIDATE_ALWAYS", "BOOTLOADER_SKIP_VALIDATE_ON_POWER_ON")
    if skips:
        return failed(f"{' and '.join(skips)} is on")
    if settings.on("BOOTLOADER_SKIP_VALIDATE_IN_DEEP_SLEEP"):
        return warning(
            "after deep sleep the app is not verified: never choose another slot and then enter deep sleep, restart"
        )
    return passed("no CONFIG_BOOTLOADER_SKIP_VALIDATE_* is on")


@check(
    "GATE-PINS",
    title="Pins for factory reset and test app lead somewhere",
    reason="A held test pin without a test partition is a boot loop although all apps are good.",
    remedy="Add a partition of subtype `test`, name existing partitions in CONFIG_BOOTLOADER_DATA_FACTORY_RESET, or "
    "switch the pin off.",
)
def pins(release: Release) -> Outcome:
    build = release.build
    config = build.boot_config
    table = build.table.value
    if config.test_app_pin and table.slot("test") is None:
        return failed("CONFIG_BOOTLOADER_APP_TEST is on and the table has no test partition")
    if config.factory_reset is None:
        return passed("a test partition is there" if config.test_app_pin else "no pin is in use")
    unknown = [label for label in config.factory_reset.labels if table.by_label(label) is None]
    if unknown:
        return failed(f"a factory reset is to erase {', '.join(unknown)}, which the table does not have")
    return passed(f"a factory reset erases {', '.join(config.factory_reset.labels) or 'nothing'}")


def _own_settings(build: Pieces, settings: Settings) -> list[str]:
    own = build.bootloader_settings.held
    if own is None:
        return []
    other = [name for name in _RULES if _plain(own.values.get(name)) != _plain(settings.values.get(name))]
    return [
        f"{name} is {own.values.get(name)} in {BOOTLOADER_CONFIG} and {settings.values.get(name)} in {CONFIG}"
        for name in other
    ]


def _plain(value: object) -> object:
    return value or None


def _versions(build: Pieces) -> list[str]:
    desc = build.bootloader.value.bootloader_desc
    app = build.app_desc.value.idf_ver
    if desc is None or desc.idf_ver == app:
        return []
    return [f"the bootloader was built with ESP-IDF {desc.idf_ver}, the app with {app}"]


def _texts(build: Pieces, settings: Settings) -> list[str]:
    data = build.bootloader_file.value
    if _ALWAYS not in data:
        return []
    level = settings.number("BOOTLOADER_LOG_LEVEL")
    expected = {
        _AT_INFO: level >= INFO,
        _ANTI_ROLLBACK_AT_INFO: level >= INFO and settings.on(ANTI_ROLLBACK),
        _ROLLBACK_AT_DEBUG: level >= DEBUG and settings.on(*ROLLBACK),
    }
    wrong = []
    for text, wanted in expected.items():
        if (text in data) != wanted:
            has = "lacks" if wanted else "has"
            wrong.append(f"bootloader.bin {has} the text {text.decode()!r}, against sdkconfig")
    return wrong
