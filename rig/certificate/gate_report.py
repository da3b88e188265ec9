"""The gate's report (`rig gate --json`) read back, and what it comes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict

from rig.certificate.records import Note, Part
from rig.evidence.records import Verdict
from rig.gate.check import Status

WATCHED = "GATE-ROLLBACK-WATCHED"
NEVER_ACCEPTED = ("GATE-ROLLBACK", WATCHED)
"""A failure of these may be a reason to ship all the same, but not one to certify rollback."""


class GateCheck(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: str
    title: str
    status: Status
    found: str
    accepted: str | None

    @property
    def fails(self) -> bool:
        """Whether it stands against the release."""
        return self.status is Status.FAILED and (self.accepted is None or self.id in NEVER_ACCEPTED)

    @property
    def open(self) -> bool:
        """Whether it could not be done, and nobody accepted that."""
        return self.status is Status.NOT_DONE and self.accepted is None


class GateReport(BaseModel):
    """docs/gate.md describes it; keys that do not matter here are left out."""

    model_config = ConfigDict(frozen=True)

    format: Literal["rig-gate"]
    version: Literal[1]
    previous: str | None
    board: str | None
    checks: list[GateCheck]

    def check(self, name: str) -> GateCheck | None:
        """The check with that id, if it is there."""
        return next((check for check in self.checks if check.id == name), None)


def gate_part(gate: GateReport) -> Part:
    """Firmware fail for a failure that stands, inconclusive for what could not be done, else pass."""
    failing = [check.id for check in gate.checks if check.fails]
    missing = [check.id for check in gate.checks if check.open]
    if failing:
        return Part(name="gate", verdict=Verdict.FIRMWARE_FAIL, text=f"failed: {', '.join(failing)}")
    if missing:
        return Part(name="gate", verdict=Verdict.INCONCLUSIVE, text=f"could not be checked: {', '.join(missing)}")
    counts = Counter("accepted" if check.accepted is not None else check.status.value for check in gate.checks)
    text = ", ".join(f"{counts[word]} {word}" for word in ("passed", "warning", "accepted") if counts[word])
    verdict = Verdict.PASS if counts[Status.PASSED.value] else Verdict.INCONCLUSIVE
    return Part(name="gate", verdict=verdict, text=text or "no check was done")


def gate_notes(gate: GateReport) -> Iterator[Note]:
    """Every check that is not simply passed or without an object."""
    for check in gate.checks:
        if check.fails and check.accepted is not None:
            text = f"{check.id} failed: {check.found}; a certificate cannot accept that ({check.accepted})"
        elif check.accepted is not None:
            text = f"{check.id} accepted ({check.accepted}): {check.status.value}: {check.found}"
        elif check.status in (Status.FAILED, Status.NOT_DONE, Status.WARNING):
            text = f"{check.id} {check.status.value}: {check.found}"
        else:
            continue
        yield Note(about="gate", text=text)
    if gate.previous is None:
        yield Note(about="gate", text="no previous release was named: nothing was compared with what devices have")
