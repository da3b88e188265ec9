"""Runs to fill a history with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rig.evidence.history.store import RunStart
from rig.evidence.records import Requirement, TestResult, Verdict

EPOCH = datetime(2026, 1, 1, 22, 0, tzinfo=UTC)


def start(name="run", *, hours=0.0, **other):
    facts = {"tool": "rollback-rig 0", "command": "rig qualify", "bench": "lab", "host": "here"}
    texts = [Requirement(id="RBK-01", area="rollback", text="A bad app is left.")]
    return RunStart(name, EPOCH + timedelta(hours=hours), requirements=texts, **{**facts, **other})


def result(test="t::a", board="one", verdict=Verdict.PASS, *, elf="aaaa", seconds=1.0, requirement="RBK-01", **other):
    return TestResult(
        test=test, requirements=[requirement], board=board, kind="virtual", chip="esp32c3", verdict=verdict,
        started=EPOCH, duration_s=seconds, app_elf=elf, bootloader="bbbb", firmware={"ESP-IDF": "v5.5"}, **other,
    )  # fmt: skip
