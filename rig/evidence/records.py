"""The records a run leaves: boots, transitions, test results. `results.json` is `RunRecord` as JSON."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Verdict(StrEnum):
    """What may be said of one test on one board; never a bool."""

    PASS = "pass"
    FIRMWARE_FAIL = "firmware fail"
    BENCH_FAULT = "bench fault"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"


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
    """The board did what ESP-IDF does, and that is what hurts."""

    what: str
    remedy: str
    source: str = Field(description="where it is explained, e.g. ESP-IDF file and function")


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
    details: str = Field(default="", description="expected against seen, with log lines, for a person")
    firmware: dict[str, str] = Field(
        default_factory=dict, description="the build on the board, as known: build, version, ESP-IDF, ELF SHA-256, ..."
    )


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
