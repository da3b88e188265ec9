"""The records a run leaves: boots, transitions, test results. `results.json` is `RunRecord` as JSON."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rig.evidence.verdicts import Verdict as Verdict


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Transition(Record):
    """One change of a slot's image state. `before`/`after` are state names, or `none` for no entry."""

    slot: str
    before: str
    after: str
    by: Literal["bootloader", "app", "harness"]
    boot: int = Field(description="index of the boot in which it happened")
    witness: list[str] = Field(default_factory=list, description="log lines and otadata bytes that show it")

    def __str__(self) -> str:
        return f"{self.slot}: {self.before} → {self.after}  (by {self.by}, boot {self.boot})"


class BootRecord(Record):
    """Everything from one reset to the next. Times are seconds of the host's monotonic clock since the test began."""

    index: int
    started_s: float
    ended_s: float | None = None
    reset: str | None = Field(default=None, description="as the ROM printed it, e.g. 0x1 (POWERON)")
    slot: str | None = None
    offset: str | None = Field(default=None, description="flash offset the bootloader says it loaded, e.g. 0x110000")
    version: str | None = None
    elf_sha: str | None = None
    state_on_entry: str | None = Field(default=None, description="as the app saw it at start-up")
    state_on_exit: str | None = None
    ended_by: str | None = Field(default=None, description="restart, panic, watchdog, power cut, reset line, ...")
    log_lines: tuple[int, int] | None = Field(default=None, description="first and last line number in console.log")
    notes: list[str] = Field(default_factory=list)
    fresh_process: bool = Field(
        default=False,
        description="the guest asked for a restart and the bench started its emulator afresh: the reset is the bench's",
    )


class Hazard(Record):
    """The board did what ESP-IDF does, and that is what hurts. One that `bricks` may leave nothing to boot."""

    what: str
    remedy: str
    source: str = Field(description="where it is explained, e.g. ESP-IDF file and function")
    severity: Literal["hurts", "bricks"] = "hurts"


class Retry(Record):
    """An earlier try of a test that ended as bench fault, and was done again on that account alone."""

    board: str
    reason: str
    evidence: dict[str, str] = Field(default_factory=dict, description="name to path relative to the report folder")


class TestResult(Record):
    """One test on one board."""

    __test__ = False

    test: str
    requirements: list[str]
    board: str
    kind: str
    chip: str
    verdict: Verdict
    reason: str = ""
    started: datetime
    duration_s: float
    boots: list[BootRecord] = Field(default_factory=list)
    transitions: list[Transition] = Field(default_factory=list)
    hazards: list[Hazard] = Field(default_factory=list)
    cuts: list[float] = Field(default_factory=list, description="when power was cut, seconds since the test began")
    evidence: dict[str, str] = Field(default_factory=dict, description="name to path relative to the report folder")
    burnt: tuple[int, int] | None = Field(
        default=None, description="secure version in the chip's eFuses before and after, if they were burnt for good"
    )
    details: str = Field(default="", description="expected against seen, with log lines, for a person")
    firmware: dict[str, str] = Field(
        default_factory=dict, description="the build on the board, as known: build, version, ESP-IDF, ELF SHA-256, ..."
    )
    app_elf: str | None = Field(default=None, description="SHA-256 of the installed app's ELF file, 16 hex digits")
    bootloader: str | None = Field(default=None, description="SHA-256 of the installed bootloader, 16 hex digits")
    retries: list[Retry] = Field(default_factory=list, description="tries before this one, all of them bench faults")


class Severity(StrEnum):
    """How bad an outcome of a power cut is."""

    GOOD = "good"
    HAZARD = "hazard"
    BROKEN = "broken"


class Outcome(Record):
    """One class of what a power cut led to."""

    name: str = Field(description="`old app`, `new app silently lost`, `unbootable`, ...")
    severity: Severity
    meaning: str
    images: int = Field(description="crash images that ended so on the board")
    model_images: int = Field(description="crash images that the model says end so")


class SweptMutation(Record):
    """One mutation of the recorded run, and what a cut within it or right after it leads to."""

    number: int = Field(description="from 1; 0 is before the first")
    text: str = Field(description="what was written, for a person")
    outcome: str = Field(description="name of the outcome of a cut right after it")
    worst: str = Field(description="name of the worst outcome among that one and the torn forms")
    images: int


class RiskyWindow(Record):
    """Consecutive crash images whose outcome is neither that of a cut before the write nor that of one after it."""

    writer: Literal["bootloader", "app"]
    change: str = Field(description="the write that is interrupted, e.g. `ota_1: NEW → PENDING_VERIFY`")
    sector: Literal["active", "inactive", "both"] = Field(description="which otadata entry it goes to")
    outcomes: list[str]
    first: str = Field(description="name of the first crash image of the window")
    last: str
    mutations: int = Field(description="cut points between whole mutations that lie in the window")
    images: int
    typical_ms: float = Field(description="estimated from the flash's data sheet")
    longest_ms: float
    single_bits: bool = Field(description="only if single bits of the write are left behind")


class CutFinding(Record):
    """A deviation: the board did not do what the model of its ESP-IDF does. A hazard: it did, and that hurts."""

    kind: Literal["deviation", "hazard"]
    image: str = Field(description="name of the crash image, for `rig crash replay`")
    images: int = Field(description="crash images that show the same")
    what: str
    board_did: str
    model_did: str
    remedy: str = ""
    source: str = ""


class SweepRecord(Record):
    """Every power cut of one recorded run on one board."""

    scenario: str
    summary: str
    board: str
    kind: str
    chip: str
    idf_version: str
    variant: str
    verdict: Verdict
    images: int
    nested_images: int = Field(default=0, description="those of a second cut in the boot that follows the first")
    booted: int = Field(description="how many were really booted; the others agree with one of them in all it read")
    duration_s: float
    mutations: list[SweptMutation]
    outcomes: list[Outcome]
    windows: list[RiskyWindow]
    findings: list[CutFinding]
    reason: str = Field(default="", description="why there is nothing of the above: skipped, bench fault, ...")
    evidence: dict[str, str] = Field(default_factory=dict, description="name to path relative to the report folder")


class Requirement(Record):
    """One sentence that a board must satisfy."""

    id: str
    area: str
    text: str


class RunRecord(Record):
    """One run of the qualification, the content of results.json."""

    format: Literal[1] = 1
    tool: str
    started: datetime
    finished: datetime
    command: str
    variant: str | None = Field(default=None, description="build variant that took the place of `rollback`")
    boards: list[dict[str, str]] = Field(default_factory=list, description="name, kind, chip, how it is flashed, ...")
    firmware: list[dict[str, str]] = Field(default_factory=list, description="board, source, build, version, ...")
    requirements: list[Requirement]
    results: list[TestResult]
    sweeps: list[SweepRecord] = Field(default_factory=list)
    spread: bool = Field(default=False, description="each test ran on one of the boards, not on all of them")
    quarantined: dict[str, str] = Field(default_factory=dict, description="board to why it got no more tests")
