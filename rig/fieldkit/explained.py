"""What `rig explain` found: one record for people and machines; `rig explain --json` prints it as it is."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from rig.evidence.records import Record
from rig.fieldkit.verdicts import FieldVerdict


class Finding(Record):
    """One thing that the evidence shows. `evidence`: line numbers of a log, or flash offsets of a dump in bytes.

    `reasons` say what is claimed and nothing of what is not: no denial of what nobody asked.
    """

    verdict: FieldVerdict
    reasons: list[str]
    evidence: list[int] = Field(default_factory=list)
    unknown: list[str] = Field(default_factory=list, description="what would settle it")


class Counts(Record):
    """How often each was printed in the log. Two reset lines can belong to one boot: boots are counted by banners."""

    rst_lines: int = 0
    bootloader_banners: int = 0
    lines: int = 0
    damaged_lines: int = 0


class Rejected(Record):
    """An image that was looked at and refused. `reason` as rig.evidence names it: magic, checksum, hash, ..."""

    slot: str | None = None
    offset: str | None = None
    reason: str
    line: int | None = None


class ExplainedBoot(Record):
    """One boot of a log. Offsets are flash offsets in hex; `reset` is as the ROM printed it, `0x1 (POWERON)`."""

    lines: tuple[int, int]
    reset: str | None = None
    resets: list[str] = Field(default_factory=list, description="every reset line before this bootloader ran")
    bootloader: str | None = Field(default=None, description="ESP-IDF version in its banner")
    banner: bool = False
    loaded_offset: str | None = None
    slot: str | None = None
    version: str | None = None
    elf_sha: str | None = None
    states: list[str] = Field(default_factory=list, description="image states the running slot was seen in, in order")
    sequence_numbers: list[str] = Field(default_factory=list, description="of entry 0 and 1, as printed at DEBUG")
    decision_visible: bool = False
    fast_boot: bool = False
    rejected: list[Rejected] = Field(default_factory=list)
    ended_by: str | None = None
    notes: list[str] = Field(default_factory=list)


class ExplainedTransition(Record):
    """One change of a slot's image state; `inferred`: no line shows it, ESP-IDF knows no other way."""

    slot: str
    before: str
    after: str
    by: str
    boot: int
    lines: list[int] = Field(default_factory=list)
    inferred: bool = False


class ExplainedEntry(Record):
    """One otadata entry; fields are None where only some of it is known, as from a log."""

    entry: int
    hex: str | None = None
    seq: int | None = None
    slot: str | None = None
    state: str | None = None
    crc: Literal["good", "bad", "erased"] | None = None
    meaning: str = ""


class ExplainedPartition(Record):
    """One row of the partition table."""

    label: str
    type: str
    subtype: str
    offset: str
    size: str


class ExplainedImage(Record):
    """What lies in one slot. `damage` says where, as a flash offset."""

    slot: str
    offset: str
    content: Literal["good", "bad hash", "torn", "damaged", "erased", "encrypted", "foreign", "not in the file"]
    version: str | None = None
    project: str | None = None
    idf_version: str | None = None
    elf_sha: str | None = None
    secure_version: int | None = None
    length: int | None = None
    damage: str | None = None
    why: str = ""


class NextBoot(Record):
    """What the bootloader does next, under configurations that all lead there."""

    configurations: list[str]
    slot: str | None = Field(description="None: nothing bootable")
    why: list[str] = Field(default_factory=list, description="the bootloader's own lines, and what it writes")
    assumes: list[str] = Field(default_factory=list, description="what of flash the file does not show")


class Explanation(Record):
    """Everything found in one file or folder; the verdict is that of the weightiest finding."""

    format: Literal[1] = 1
    source: str
    kind: Literal["serial log", "flash dump", "report folder"]
    verdict: FieldVerdict
    meaning: str
    reasons: list[str]
    evidence: list[int] = Field(default_factory=list)
    unknown: list[str] = Field(default_factory=list)
    findings: list[Finding] = Field(default_factory=list, description="all of them, weightiest first")
    counts: Counts = Field(default_factory=Counts)
    boots: list[ExplainedBoot] = Field(default_factory=list)
    boots_left_out: int = 0
    transitions: list[ExplainedTransition] = Field(default_factory=list)
    otadata: list[ExplainedEntry] = Field(default_factory=list)
    table: list[ExplainedPartition] = Field(default_factory=list)
    images: list[ExplainedImage] = Field(default_factory=list)
    next_boots: list[NextBoot] = Field(default_factory=list)
    facts: dict[str, Any] = Field(default_factory=dict, description="single facts by the names docs/explain.md lists")
    notes: list[str] = Field(default_factory=list)
