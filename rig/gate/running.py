"""What gets a device out of a first boot that goes wrong, and lets somebody see why."""

from __future__ import annotations

import re

from rig.gate.check import Outcome, check, failed, not_applicable, passed, warning
from rig.gate.release import CannotTell, Release
from rig.gate.rollback import INFO
from rig.idf.config import LOG_LEVELS

_TASK_WDT = ("ESP_TASK_WDT_INIT", "ESP_TASK_WDT", "TASK_WDT")
"""From v5.1, v4.4, and before (components/esp_system/sdkconfig.rename)."""
_IDLE = tuple(f"{old}TASK_WDT_CHECK_IDLE_TASK_CPU{core}" for old in ("ESP_", "") for core in (0, 1))
_INT_WDT = ("ESP_INT_WDT", "INT_WDT")
_WITH_BROWNOUT = frozenset({"esp32", "esp32s2", "esp32s3", "esp32c2", "esp32c3", "esp32c6", "esp32h2"})
"""Chips whose components/esp_system/port/soc/<chip>/Kconfig.system has the setting."""
_BROWNOUT = re.compile(r"(ESP(32\w*)?_)?BROWNOUT_DET")
"""ESP_BROWNOUT_DET from v5.0; ESP32_BROWNOUT_DET, ESP32C3_BROWNOUT_DET, … in v4.4."""


@check(
    "GATE-LOG-LEVEL",
    title="The bootloader logs at INFO at least",
    reason="Below INFO nothing on the console says which slot runs, so a field report cannot be understood.",
    remedy="Set CONFIG_BOOTLOADER_LOG_LEVEL_INFO=y.",
)
def log_level(release: Release) -> Outcome:
    level = release.build.settings.value.number("BOOTLOADER_LOG_LEVEL")
    name = LOG_LEVELS[level] if 0 <= level < len(LOG_LEVELS) else str(level)
    return passed(f"the bootloader logs at {name}") if level >= INFO else failed(f"it logs at {name}")


@check(
    "GATE-BOOTLOADER-WDT",
    title="The RTC watchdog guards bootloader and start-up",
    reason="A new app that hangs before app_main would stay there until somebody cuts its power.",
    remedy="Set CONFIG_BOOTLOADER_WDT_ENABLE=y.",
)
def bootloader_wdt(release: Release) -> Outcome:
    settings = release.build.settings.value
    if not settings.on("BOOTLOADER_WDT_ENABLE"):
        return failed("CONFIG_BOOTLOADER_WDT_ENABLE is off")
    text = "the RTC watchdog is on"
    if settings.knows("BOOTLOADER_WDT_TIME_MS"):
        text += f", {settings.number('BOOTLOADER_WDT_TIME_MS')} ms"
    if settings.on("BOOTLOADER_WDT_DISABLE_IN_USER_CODE"):
        text += ", and the app itself has to feed or disable it"
    return passed(text)


@check(
    "GATE-TASK-WDT",
    title="The task watchdog runs from the start and resets",
    reason="A new app whose tasks hang is rolled back only by a reset; a watchdog that just prints never resets.",
    remedy="Set CONFIG_ESP_TASK_WDT_INIT=y (v4.4: CONFIG_ESP_TASK_WDT=y) and CONFIG_ESP_TASK_WDT_PANIC=y.",
)
def task_wdt(release: Release) -> Outcome:
    settings = release.build.settings.value
    if not settings.on(*_TASK_WDT):
        return failed("the task watchdog is not started (CONFIG_ESP_TASK_WDT_INIT is off)")
    if not settings.on("ESP_TASK_WDT_PANIC", "TASK_WDT_PANIC"):
        return failed("CONFIG_ESP_TASK_WDT_PANIC is off: it prints and does not reset")
    if settings.knows(*_IDLE) and not settings.on(*_IDLE):
        return warning("it watches no idle task, so it sees only tasks that the app adds to it")
    if settings.knows("ESP_TASK_WDT_TIMEOUT_S"):
        return passed(f"the task watchdog is on, {settings.number('ESP_TASK_WDT_TIMEOUT_S')} s, with panic")
    return passed("the task watchdog is on, with panic")


@check(
    "GATE-INT-WDT",
    title="The interrupt watchdog is on",
    reason="A new app that is stuck with interrupts off is seen by no task watchdog.",
    remedy="Set CONFIG_ESP_INT_WDT=y.",
)
def int_wdt(release: Release) -> Outcome:
    if release.build.settings.value.on(*_INT_WDT):
        return passed("the interrupt watchdog is on")
    return failed("CONFIG_ESP_INT_WDT is off")


@check(
    "GATE-PANIC",
    title="A panic restarts the chip",
    reason="A new app that panics is rolled back at the restart; halted or in a debugger there is none.",
    remedy="Set CONFIG_ESP_SYSTEM_PANIC_PRINT_REBOOT=y.",
)
def panic(release: Release) -> Outcome:
    settings = release.build.settings.value
    stops = settings.named_on("ESP_SYSTEM_PANIC_PRINT_HALT", "ESP_SYSTEM_PANIC_GDBSTUB")
    if stops:
        return failed(f"{' and '.join(stops)} is on")
    if not settings.on("ESP_SYSTEM_PANIC_PRINT_REBOOT", "ESP_SYSTEM_PANIC_SILENT_REBOOT"):
        raise CannotTell("sdkconfig does not say what a panic does (CONFIG_ESP_SYSTEM_PANIC_*)")
    return passed("a panic restarts the chip")


@check(
    "GATE-BROWNOUT",
    title="The brownout detector is on",
    reason="Without it a sagging supply makes the chip write nonsense to flash instead of stopping it.",
    remedy="Set CONFIG_ESP_BROWNOUT_DET=y (v4.4: CONFIG_ESP32_BROWNOUT_DET and so on).",
)
def brownout(release: Release) -> Outcome:
    settings = release.build.settings.value
    names = [name for name in settings.values if _BROWNOUT.fullmatch(name)]
    if not names and release.build.chip.name in _WITH_BROWNOUT:
        raise CannotTell("sdkconfig says nothing of it (CONFIG_ESP_BROWNOUT_DET), and this chip has one")
    if not names:
        return not_applicable("sdkconfig has no setting for it, as of chips without one")
    if settings.on(*names):
        return passed("the brownout detector is on")
    return failed(f"CONFIG_{names[0]} is off")
