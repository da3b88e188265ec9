"""Power lost at any flash mutation of a run, and within it: every crash image is booted (docs/crash.md)."""

import pytest

from rig.evidence.records import SweepRecord
from rig.evidence.report_page.sweeps import reason

requirement = pytest.mark.requirement
pytestmark = [
    pytest.mark.needs("power_cut", "flash_mutations", "crash_images"),
    # Unmodified firmware boots some hundred times.
    pytest.mark.timeout(900),
]

MARKED = ("bootloader", "ota_1: NEW → PENDING_VERIFY", "active", ["new app silently lost"])


def windows(sweep: SweepRecord):
    """The risky ones, as far as flash writes its bytes one after the other."""
    return [
        (window.writer, window.change, window.sector, window.outcomes)
        for window in sweep.windows
        if not window.single_bits
    ]


def unharmed(sweep: SweepRecord):
    """Whether something good boots after every cut, as ESP-IDF means it to; the reason if not."""
    assert sweep.verdict == "pass", reason(sweep)
    assert {outcome.name: outcome.images for outcome in sweep.outcomes}["unbootable"] == 0


@requirement(
    "CUT-40",
    "Wherever an update that is confirmed loses power, an intact app boots and the update can be repeated; only in two writes "
    "of otadata is the new app lost: NEW to PENDING_VERIFY, and its confirmation.",
)
def test_update_confirmed(every_power_cut):
    sweep = every_power_cut("update-ok")
    unharmed(sweep)
    assert windows(sweep) == [
        MARKED,
        ("app", "ota_1: PENDING_VERIFY → VALID", "active", ["confirmation lost"]),
    ]


@requirement(
    "CUT-41",
    "Wherever an update whose diagnostics fail loses power, the old app boots; only while INVALID is written is the record of "
    "the failure lost.",
)
def test_update_rejected(every_power_cut):
    sweep = every_power_cut("update-rejected")
    unharmed(sweep)
    assert windows(sweep) == [
        MARKED,
        ("app", "ota_1: PENDING_VERIFY → INVALID", "active", ["failure forgotten"]),
    ]


@requirement(
    "CUT-42",
    "Wherever an update that restarts on probation loses power, the old app boots; only while ABORTED is written is the record "
    "of the failure lost.",
)
def test_update_rolled_back(every_power_cut):
    sweep = every_power_cut("rollback")
    unharmed(sweep)
    assert windows(sweep) == [
        MARKED,
        ("bootloader", "ota_1: PENDING_VERIFY → ABORTED", "active", ["failure forgotten"]),
    ]


@requirement(
    "CUT-43",
    "Wherever the first boot with erased otadata and no factory app loses power, ota_0 boots; if the first entry is torn, no "
    "boot repairs it: reported as a hazard.",
)
def test_first_boot_and_update(every_power_cut):
    sweep = every_power_cut("update-erased-otadata")
    unharmed(sweep)
    assert windows(sweep) == [
        ("bootloader", "ota_0: none → VALID", "inactive", ["degraded otadata"]),
        MARKED,
        ("app", "ota_1: PENDING_VERIFY → VALID", "active", ["confirmation lost"]),
    ]
