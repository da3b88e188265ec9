"""Signs that the bench, not the firmware, made a boot what it is."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from rig.evidence.events import (
    AppLoaded,
    BootloaderStart,
    Brownout,
    DownloadMode,
    Event,
    Garbled,
    Reset,
    RomBanner,
    RomFault,
)

BROWNOUT_RESET = 15
GARBAGE_BYTES = 16
"""So many bytes of noise in one boot are more than the glitch at a power edge."""


class ExpectedReset(StrEnum):
    """How the harness, or the app, brought the boot about."""

    POWER_ON = "power-on"
    RESET_LINE = "reset line"
    RESTART = "software restart or panic"
    WATCHDOG = "restart, panic or watchdog"
    DEEP_SLEEP = "wake from deep sleep"
    FRESH_PROCESS = "power-on of a fresh emulator process"
    ANY = "any"


_NUMBERS = {
    ExpectedReset.POWER_ON: {1},
    # USB-Serial-JTAG chips reset through 21 to 23
    ExpectedReset.RESET_LINE: {1, 21, 22, 23},
    ExpectedReset.FRESH_PROCESS: {1},
    ExpectedReset.RESTART: {3, 12},
    # a panic that a watchdog brought about ends in a software reset
    ExpectedReset.WATCHDOG: {3, 7, 8, 9, 11, 12, 13, 16, 17, 18},
    ExpectedReset.DEEP_SLEEP: {5},
}
"""Reset reason numbers of rom/rtc.h; what is used here is the same on every chip."""


def bench_signs(events: Sequence[Event], expected: ExpectedReset) -> list[str]:
    """One sentence for each sign, the clearest first; `events` of one boot."""
    if not events:
        return ["no output after the reset: no power, wrong port, wrong baud rate, or the chip is held in reset"]
    signs = _reset_signs(events, expected)
    if any(isinstance(event, Brownout) for event in events):
        signs.append("the brownout detector was triggered: supply")
    if any(
        isinstance(event, DownloadMode) or (isinstance(event, Reset) and "DOWNLOAD" in event.boot_name)
        for event in events
    ):
        signs.append("the chip started its serial loader: boot pin held low during reset")
    if any(isinstance(event, RomFault) for event in events) and not _bootloader_ran(events):
        signs.append("the ROM could not start the bootloader: flash unreadable, or nothing flashed")
    noise = sum(event.bad for event in events if isinstance(event, Garbled))
    if noise >= GARBAGE_BYTES:
        signs.append(f"{noise} bytes of garbage in the log: baud rate, ground, or supply")
    return signs


def reset_doubts(events: Sequence[Event], expected: ExpectedReset) -> list[str]:
    """Where the reset reason matters and was not seen."""
    seen = any(isinstance(event, Reset) for event in events)
    if seen or expected is not ExpectedReset.POWER_ON or not events:
        return []
    return ["the reset reason was not seen, so the power cut is not proven: keep the console open across it"]


def _reset_signs(events: Sequence[Event], expected: ExpectedReset) -> list[str]:
    resets = [event for event in events if isinstance(event, Reset)]
    signs = [
        f"brownout reset ({event.reason}): supply"
        for event in resets
        if event.number == BROWNOUT_RESET or "BROWN" in event.name.upper()
    ]
    if not signs and resets and expected is not ExpectedReset.ANY and resets[0].number not in _NUMBERS[expected]:
        signs.append(f"reset reason is {resets[0].reason}, expected {expected}")
    starts = sum(isinstance(event, BootloaderStart) for event in events)
    if starts > 1 or sum(isinstance(event, AppLoaded) for event in events) > 1 or _reset_inside(events):
        signs.append("the board was reset again within the boot")
    return signs


def _reset_inside(events: Sequence[Event]) -> bool:
    """ROM lines after the bootloader started belong to another reset."""
    started = False
    for event in events:
        if isinstance(event, BootloaderStart | AppLoaded):
            started = True
        elif started and isinstance(event, Reset | RomBanner):
            return True
    return False


def _bootloader_ran(events: Sequence[Event]) -> bool:
    return any(isinstance(event, BootloaderStart | AppLoaded) for event in events)
