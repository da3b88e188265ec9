"""What a board showed of the release (rig.gate.watching), judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rig.gate.check import Outcome, check, failed, passed, warning
from rig.gate.release import CannotTell, Release
from rig.gate.settings import ANTI_ROLLBACK

if TYPE_CHECKING:
    from rig.gate.watching import Sights

NEW, PENDING, VALID = "NEW", "PENDING_VERIFY", "VALID"


@check(
    "GATE-ROLLBACK-WATCHED",
    title="The bootloader was seen to put a NEW image on probation",
    reason="sdkconfig says what was asked for; only a boot shows what the binary about to ship does.",
    remedy="Run the gate with --board NAME of a QEMU board; if it fails, ship the bootloader that sdkconfig describes.",
)
def rollback_watched(release: Release) -> Outcome:
    sights = _sights(release)
    if sights is None:
        return warning("not watched: no board was named (--board NAME)")
    states, slots, complete = sights.update
    if slots[0] != "ota_1":
        return failed(f"on {sights.board} it did not start ota_1, whose entry is NEW, but {slots[0] or 'nothing'}")
    if VALID in states and PENDING not in states and not complete:
        raise CannotTell(
            f"board {sights.board} does not show each write: the app confirmed {slots[0]} before its entry was read"
        )
    if PENDING not in states:
        return failed(f"on {sights.board} ota_1 was started and its entry went {_way(states)}, never {PENDING}")
    return passed(f"on {sights.board} ota_1 was started, its entry went {_way(states)}")


@check(
    "GATE-FALLBACK-CONFIRM",
    title="The app does not confirm an update that is not running",
    reason="After a torn update the old app runs by fallback. If it confirms then, it confirms the torn image: tried "
    "at every boot, and with anti-rollback the eFuse is burnt for it and no app boots any more.",
    remedy="Call esp_ota_mark_app_valid_cancel_rollback only if esp_ota_get_state_partition of the running partition "
    "says PENDING_VERIFY.",
)
def fallback_confirm(release: Release) -> Outcome:
    sights = _sights(release)
    if sights is None:
        return warning("not checked: artefacts do not show when the app confirms; --board NAME boots it by fallback")
    states, slots, _ = sights.fallback
    if slots[0] == "ota_1":
        return failed(f"on {sights.board} the torn image in ota_1 was started: nothing verifies it")
    if slots[0] is None:
        return failed(f"on {sights.board} nothing was started when the image in ota_1 was torn")
    if VALID in states:
        text = f"on {sights.board} {slots[0]} was started by fallback and the torn ota_1 became {VALID}: {_way(states)}"
        # Seen with ESP-IDF's own code: the next boot burns the torn image's secure version, then boots nothing.
        return failed(text) if release.build.settings.value.on(ANTI_ROLLBACK) else warning(text)
    return passed(
        f"on {sights.board} {slots[0]} was started by fallback; the entry of ota_1 went {_way(states)}; a confirmation "
        "that comes later than its start was not waited for"
    )


def _sights(release: Release) -> Sights | None:
    if isinstance(release.watched, CannotTell):
        raise release.watched
    return release.watched


def _way(states: tuple[str, ...]) -> str:
    # Erased in between, at every change.
    return " → ".join(state for state in states if state != "none") or "none"
