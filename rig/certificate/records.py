"""What a certificate says: `certificate.json` is `Certificate` as JSON, format 1."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from rig.evidence.records import Record, Verdict


class Kept(StrEnum):
    """How an artefact lies in the folder."""

    COPY = "copy"
    HASH_ONLY = "hash only"
    WITHOUT_SECRETS = "without secrets"


class Artefact(Record):
    """One file of the build. Size in bytes; `sha256` is that of the file in the build directory, in hex."""

    name: str = Field(description="relative to the build directory")
    role: str = Field(description="bootloader, partition table, app, otadata, configuration, ...")
    offset: str | None = Field(default=None, description="flash offset, if it is flashed")
    size: int
    sha256: str
    kept: Kept


class Release(Record):
    """The build that is certified, as its own files tell."""

    project: str
    version: str
    secure_version: int
    idf_version: str
    chip: str
    synthesised: bool = Field(description="the bench made its bootloader, which holds no machine code")
    artefacts: list[Artefact]

    @property
    def bootloader_sha256(self) -> str | None:
        """Of bootloader.bin; None if the build has none."""
        return next((artefact.sha256 for artefact in self.artefacts if artefact.role == "bootloader"), None)


class SignOff(Record):
    """Who says so. The name is text: nothing proves who wrote it."""

    name: str
    at: datetime
    host: str


class Facts(Record):
    """What was noted and cannot be worked out again from the rest of the folder."""

    tool: str
    release: Release
    signoff: SignOff
    tools: dict[str, str] = Field(description="exact versions, by name")
    left_out: list[str] = Field(default_factory=list, description="secrets that did not get into the folder")
    signing_key: str | None = Field(default=None, description="Ed25519 public key, hex, if SHA256SUMS is signed")


class Part(Record):
    """One of the three things that have to be good."""

    name: Literal["gate", "qualification", "bootloader"]
    verdict: Verdict
    text: str


class BoardTests(Record):
    """Tests of one board, by the bootloader they ran on. Those that were skipped are not counted.

    Only tests of plain rollback can show the shipped bootloader: a test that asks for another build variant brings the
    bootloader of that variant.
    """

    board: str
    kind: str
    chip: str
    same: int = Field(description="plain rollback, on a bootloader with the SHA-256 of the shipped one")
    other: int = Field(description="plain rollback, on another bootloader")
    variants: int = Field(description="another build variant")
    unknown: int = Field(description="the result names no bootloader")
    verdict: Verdict
    text: str


class RequirementRow(Record):
    """One requirement; boards without a test of it are left out."""

    id: str
    area: str
    text: str
    verdicts: dict[str, Verdict] = Field(description="by board, the worst of its tests")


class SweepRow(Record):
    """The power cuts of one run on one board."""

    scenario: str
    board: str
    verdict: Verdict
    images: int
    hazards: int


class Note(Record):
    """Something that whoever signs has to know: a skip, a warning, an acceptance, a deviation."""

    about: Literal["gate", "qualification", "bootloader", "contents", "tools"]
    text: str


class Found(Record):
    """What follows from facts, gate report and results; `rig verify` works it out again."""

    verdict: Verdict
    headline: str
    parts: list[Part]
    boards: list[BoardTests]
    counts: dict[Verdict, int] = Field(description="tests and sweeps by verdict")
    requirements: list[RequirementRow]
    sweeps: list[SweepRow]
    exceptions: list[Note]


class Certificate(Record):
    """`contents_sha256`: of the lines of SHA256SUMS but for this file, the page and the sums themselves."""

    format: Literal[1] = 1
    kind: Literal["rollback-rig certificate"] = "rollback-rig certificate"
    facts: Facts
    found: Found
    contents_sha256: str
