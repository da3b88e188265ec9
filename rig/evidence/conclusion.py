"""What a trial comes to: boots, transitions, verdict and hazards, from the witnesses gathered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from rig.boards.firmware import FirmwareBuild
from rig.errors import BenchFault, FirmwareFault, Inconclusive
from rig.evidence import emulated, trace
from rig.evidence.assemble import TrialEvidence, judge_trial
from rig.evidence.bench import ExpectedReset, bench_signs
from rig.evidence.boots import Mark, MarkKind
from rig.evidence.cut_hazards import cut_hazards
from rig.evidence.entry_words import ERASED
from rig.evidence.judge import Judgement, worst
from rig.evidence.logparse import LogParser
from rig.evidence.observe import Sample, describe_entry
from rig.evidence.records import BootRecord, Hazard, Transition, Verdict
from rig.evidence.seen import SeenBoots, SeenOtadata, SeenTransitions
from rig.evidence.witnesses import ERASED_ENTRY, Witnesses

KINDS = {
    "power cut": MarkKind.POWER_CUT,
    "power off": MarkKind.POWER_CUT,
    "power on": MarkKind.POWER_ON,
    "reset line": MarkKind.RESET_LINE,
    "flash read": MarkKind.FLASH_READ,
    "crash asked": MarkKind.CRASH_ASKED,
    "restart": MarkKind.RESTARTED,
}
CUTS = ("power cut", "power off")
STARTS = ("power on", "reset line")
FAULTS = {
    Verdict.FIRMWARE_FAIL: FirmwareFault,
    Verdict.BENCH_FAULT: BenchFault,
    Verdict.INCONCLUSIVE: Inconclusive,
}


class Conclusion(NamedTuple):
    """One trial's boots in order, all transitions, and what the judge says of them."""

    records: list[BootRecord]
    changes: list[Transition]
    verdict: Verdict
    reason: str
    details: str
    hazards: list[Hazard]
    witnesses: Witnesses

    @property
    def booted(self) -> SeenBoots:
        """The slot of each boot; None for one that started no app."""
        return SeenBoots(self.records)

    @property
    def versions(self) -> list[str | None]:
        """The app version of each boot."""
        return [boot.version for boot in self.records]

    @property
    def offsets(self) -> list[str | None]:
        """The flash offset each boot was loaded from, as the bootloader says it, e.g. `0x110000`."""
        return [boot.offset for boot in self.records]

    @property
    def transitions(self) -> SeenTransitions:
        """Every change of an image state as (slot, before, after, by)."""
        return SeenTransitions(self.changes)

    @property
    def otadata(self) -> SeenOtadata:
        """Both select entries at the end, read from flash by the ROM loader; empty for one that reads as blank."""
        return SeenOtadata.of(self.witnesses.samples[-1].entries, self.witnesses.erased)

    @property
    def secure_version(self) -> int | None:
        """The eFuse's secure version at the end, read from outside; None where nobody looks at it."""
        seen = self.witnesses.secure_versions
        return seen[-1].value if seen else None

    @property
    def judgement(self) -> Judgement:
        """What the judge says, without the trace."""
        return Judgement(self.verdict, self.reason, self.details)

    def weighed_with(self, other: Judgement | None) -> Conclusion:
        """The same, or what is known besides if that is worse."""
        heavier = self.judgement if other is None else worst([self.judgement, other])
        return self._replace(verdict=heavier.verdict, reason=heavier.reason, details=heavier.details)

    def describe(self) -> str:
        """Boots and transitions, for a person whose test ended before it could compare them."""
        boots = [
            f"  boot {boot.index}: {boot.slot or 'no app'}, version {boot.version or '-'}, "
            f"reset {boot.reset or 'not seen'}, "
            f"state {boot.state_on_entry or '-'} to {boot.state_on_exit or '-'}, ended by {boot.ended_by or '-'}"
            for boot in self.records
        ]
        return "\n".join(["boots:", *boots, "transitions:", *(f"  {change}" for change in self.changes)])

    def demand_pass(self, board: str, evidence: Path) -> None:
        """Raise what the judge found, unless it is a pass."""
        if self.verdict is not Verdict.PASS:
            raise FAULTS[self.verdict](f"{self.reason}\n{self.details}".strip(), board=board, evidence=evidence)

    def write(self, folder: Path) -> dict[str, Any]:
        """Write the evidence into `folder`; the fields of a `TestResult`."""
        folder.mkdir(parents=True, exist_ok=True)
        began = self.witnesses.began
        log = b"".join(chunk.data for chunk in self.witnesses.chunks)
        (folder / "console.log").write_bytes(log)
        stamps = "".join(f"{chunk.time - began:.6f} {len(chunk.data)}\n" for chunk in self.witnesses.chunks)
        (folder / "console.times").write_text(stamps, encoding="ascii")
        record = {
            "boots": [boot.model_dump() for boot in self.records],
            "transitions": [change.model_dump() for change in self.changes],
            "hazards": [hazard.model_dump() for hazard in self.hazards],
            "otadata": [
                {
                    "after_bytes": sample.position,
                    "source": sample.source,
                    "entries": [entry.hex() for entry in sample.entries],
                }
                for sample in self.witnesses.samples
            ],
            "secure_versions": [
                {"after_bytes": seen.offset, "source": seen.source, "value": seen.value}
                for seen in self.witnesses.secure_versions
            ],
            "verdict": self.verdict.value,
            "reason": self.reason,
        }
        (folder / "trace.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        (folder / "otadata.txt").write_text(_samples_text(self.witnesses), encoding="utf-8")
        files = ("console.log", "console.times", "trace.json", "otadata.txt")
        return {
            "boots": self.records,
            "transitions": self.changes,
            "hazards": self.hazards,
            "cuts": [mark.time - began for mark in self.witnesses.marks if mark.what in CUTS and mark.position],
            "evidence": {name: f"{folder.parent.name}/{folder.name}/{name}" for name in files},
        }


def conclude(witnesses: Witnesses, build: FirmwareBuild | None) -> Conclusion:
    """Build the trace and judge it against the rules that `build` claims."""
    parser = LogParser()
    events = [event for chunk in witnesses.chunks for event in parser.feed(chunk.data, chunk.time)]
    events += parser.finish()
    marks = [Mark(KINDS[mark.what], mark.position, mark.time) for mark in witnesses.marks]
    if witnesses.emulated:
        at_mutations = [mark.position for mark in witnesses.marks if mark.what == "power cut"]
        cuts = [mark for mark in marks if mark.kind is MarkKind.POWER_CUT and mark.offset in at_mutations]
        restarts = [mark.offset for mark in marks if mark.kind is MarkKind.RESTARTED]
        events = emulated.believable(events, cuts, witnesses.calls, restarts)
    samples = [Sample(sample.entries, "flash", sample.position, sample.time) for sample in witnesses.samples]
    table = build.table if build is not None else None
    built = trace.build(events, marks, samples, table, witnesses.began)
    if build is None:
        judgement = Judgement(Verdict.INCONCLUSIVE, "nothing was installed, so nothing can be judged")
    else:
        judgement = judge_trial(
            TrialEvidence(
                events,
                marks,
                samples,
                witnesses.flash,
                witnesses.calls,
                build.table,
                build.boot_config,
                app_silent=not build.speaks_protocol,
                secure_versions=witnesses.secure_versions,
            )
        )
    if _says_nothing(witnesses):
        judgement = worst([judgement, Judgement(Verdict.BENCH_FAULT, bench_signs((), ExpectedReset.ANY)[0])])
    interrupted = [call.call for call in witnesses.calls if call.error is None]
    hazards = list(judgement.hazards)
    if any(mark.what == "power cut" for mark in witnesses.marks):
        hazards += cut_hazards(built.transitions, interrupted)
    return Conclusion(
        built.boots, built.transitions, judgement.verdict, judgement.reason, judgement.details, hazards, witnesses
    )


def _says_nothing(witnesses: Witnesses) -> bool:
    """Not one byte since the bench last started the board."""
    starts = [mark for mark in witnesses.marks if mark.what in STARTS]
    return bool(starts) and starts[-1].position == witnesses.position


def _samples_text(witnesses: Witnesses) -> str:
    lines = ["otadata as the bench wrote it or the ROM loader read it; what the app reported is in console.log"]
    for sample in witnesses.samples:
        lines.append(f"after {sample.position} bytes of log, {sample.source}:")
        for number, data in enumerate(sample.entries):
            noise = data == witnesses.erased[number] != ERASED_ENTRY
            lines.append(f"  [{number}] {data.hex()}  {ERASED if noise else describe_entry(data)}")
    return "\n".join(lines) + "\n"
