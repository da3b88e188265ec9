"""Sweeps as `rig crash sweep` leaves them: an update whose cuts lead where ESP-IDF means them to, and a brick."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from rig.evidence.records import (
    CutFinding,
    Outcome,
    RiskyWindow,
    RunRecord,
    Severity,
    SweepRecord,
    SweptMutation,
    Verdict,
)

OTA_1 = 0x110000
NEW, PENDING, VALID = (
    "app writes ota_1: none → NEW",
    "bootloader writes ota_1: NEW → PENDING_VERIFY",
    "app writes ota_1: PENDING_VERIFY → VALID",
)


def mutations(size: int, broken: bool = False) -> list[SweptMutation]:
    """An update of an image of `size` 256-byte pages; with `broken` a cut while the record is renewed bricks."""
    found: list[SweptMutation] = []

    def add(text: str, outcome: str, worst: str, images: int) -> None:
        found.append(SweptMutation(number=len(found), text=text, outcome=outcome, worst=worst, images=images))

    def entry(change: str, between: str, after: str) -> None:
        add(f"erase otadata[1] (0xe000): {change}", between, between, 45)
        add(f"program 32 bytes of otadata[1] (0xe000): {change}", after, between, 37)

    add("nothing", "old app", "old app", 1)
    for page in range(size):
        if page % 16 == 0:
            add(f"erase ota_1 at {OTA_1 + 256 * page:#x}", "old app", "old app", 5)
        add(f"program 256 bytes of ota_1 at {OTA_1 + 256 * page:#x}", "old app", "old app", 5)
    entry(NEW, "old app", "new app")
    entry(PENDING, "unbootable" if broken else "new app silently lost", "old app, failure recorded")
    add("program 64 bytes of nvs at 0x9080", "old app, failure recorded", "old app, failure recorded", 5)
    entry(VALID, "unbootable" if broken else "confirmation lost", "new app")
    return found


def good_sweep(scenario: str = "update-ok", board: str = "virtual-c3", size: int = 1027) -> SweepRecord:
    """An update of 1,100 mutations on a board that does as the model says."""
    cells = mutations(size)
    renewed = len(cells) - 5
    return SweepRecord(
        scenario=scenario,
        summary="an update that is confirmed",
        board=board,
        kind="virtual",
        chip="esp32c3",
        idf_version="v5.5",
        variant="rollback",
        verdict=Verdict.PASS,
        images=5553,
        nested_images=2165,
        booted=1204,
        duration_s=2.71,
        mutations=cells,
        outcomes=[
            Outcome(
                name="old app",
                severity=Severity.GOOD,
                meaning="the app from before runs; the update had not been chosen yet",
                images=6120,
                model_images=6120,
            ),
            Outcome(
                name="new app",
                severity=Severity.GOOD,
                meaning="the new app runs and is confirmed",
                images=62,
                model_images=62,
            ),
            Outcome(
                name="old app, failure recorded",
                severity=Severity.GOOD,
                meaning="the app from before runs; otadata says that the new one failed",
                images=112,
                model_images=112,
            ),
            Outcome(
                name="new app silently lost",
                severity=Severity.HAZARD,
                meaning="the update had been chosen; the app from before runs without a trace of it",
                images=1266,
                model_images=1266,
            ),
            Outcome(
                name="confirmation lost",
                severity=Severity.HAZARD,
                meaning="an app that passed its diagnostics is gone, another one runs",
                images=158,
                model_images=158,
            ),
        ],
        windows=[
            window(scenario, PENDING, "new app silently lost", renewed),
            window(scenario, VALID, "confirmation lost", renewed + 3),
        ],
        findings=[
            hazard(scenario, "new app silently lost", f"m{renewed:04d}/torn-erase-1", 1266),
            hazard(scenario, "confirmation lost", f"m{renewed + 3:04d}/torn-erase-3", 158),
        ],
    )


def broken_sweep(scenario: str = "update-broken", board: str = "virtual-c3", size: int = 96) -> SweepRecord:
    """A bootloader that finds nothing to boot while an entry is renewed."""
    good, cells = good_sweep(scenario, board, size), mutations(size, broken=True)
    renewed = len(cells) - 5
    bricked = [image for image in good.outcomes if image.severity is Severity.HAZARD]
    return good.model_copy(
        update={
            "verdict": Verdict.FIRMWARE_FAIL,
            "images": 680,
            "nested_images": 0,
            "booted": 310,
            "mutations": cells,
            "outcomes": [
                *(outcome for outcome in good.outcomes if outcome.severity is Severity.GOOD),
                *(outcome.model_copy(update={"images": 0, "model_images": 71}) for outcome in bricked),
                Outcome(
                    name="unbootable",
                    severity=Severity.BROKEN,
                    meaning="the bootloader finds nothing to boot: only a cable helps",
                    images=142,
                    model_images=0,
                ),
            ],
            "windows": [window(scenario, PENDING, "unbootable", renewed)],
            "findings": [
                CutFinding(
                    kind="deviation",
                    image=f"{scenario}/m{renewed:04d}/torn-erase-3",
                    images=142,
                    what="unbootable, where ESP-IDF v5.5 as modelled gives new app silently lost",
                    board_did="no app nothing bootable",
                    model_did="ota_0 VALID runs",
                ),
                hazard(scenario, "confirmation lost", f"m{renewed + 3:04d}", 4),
            ],
        }
    )


def window(scenario: str, change: str, outcome: str, erase: int) -> RiskyWindow:
    """From the erase of an entry to the last byte of its program."""
    writer, _, what = change.partition(" writes ")
    return RiskyWindow(
        writer="app" if writer == "app" else "bootloader",
        change=what,
        sector="active",
        outcomes=[outcome],
        first=f"{scenario}/m{erase:04d}/torn-erase-1",
        last=f"{scenario}/m{erase + 1:04d}/torn-program-31",
        mutations=1,
        images=71,
        typical_ms=45.7,
        longest_ms=403.0,
        single_bits=False,
    )


def hazard(scenario: str, outcome: str, cut: str, images: int) -> CutFinding:
    return CutFinding(
        kind="hazard",
        image=f"{scenario}/{cut}",
        images=images,
        what=f"{outcome}, by a cut while the entry is renewed",
        board_did="ota_0 VALID runs",
        model_did="ota_0 VALID runs",
        remedy=f"remedy against {outcome}: let the server offer the update again",
        source="bootloader_utility.c write_otadata: it erases the sector before it writes the entry",
    )


def run_of(sweeps: Iterable[SweepRecord]) -> RunRecord:
    """A run of sweeps alone."""
    started = datetime(2025, 3, 14, 2, 0, tzinfo=UTC)
    return RunRecord(
        tool="rollback-rig 0.1.0",
        started=started,
        finished=started + timedelta(seconds=140),
        command="rig crash sweep --board virtual-c3",
        requirements=[],
        results=[],
        sweeps=list(sweeps),
    )
