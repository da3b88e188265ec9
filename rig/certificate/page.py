"""`certificate.html`: the record for a person, on screen and on A4 paper; one file that refers to nothing outside."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rig.certificate.gate_report import GateReport
from rig.certificate.records import Certificate, Note, RequirementRow
from rig.evidence.records import Verdict
from rig.evidence.report_page.summary import LETTER, MEANING, PRECEDENCE
from rig.evidence.report_page.text import clean
from rig.gate.check import Status

HERE = Path(__file__).parent
GATE_TONE = {
    Status.PASSED: "pass",
    Status.WARNING: "bench-fault",
    Status.FAILED: "firmware-fail",
    Status.NOT_DONE: "inconclusive",
    Status.NOT_APPLICABLE: "skipped",
}
ABOUT = {
    "gate": "Release gate",
    "qualification": "Qualification",
    "bootloader": "The shipped bootloader",
    "contents": "What is not in the folder",
    "tools": "Tools",
}


def render_page(certificate: Certificate, gate: GateReport, record: bytes) -> str:
    """The page. `record`: the bytes of certificate.json, whose SHA-256 ties the paper to the folder."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_presentable,
    )
    found = certificate.found
    return environment.get_template("page.html.j2").render(
        facts=certificate.facts,
        release=certificate.facts.release,
        found=found,
        parts={part.name: part for part in found.parts},
        names=list(dict.fromkeys(board for row in found.requirements for board in row.verdicts)),
        areas=_areas(found.requirements),
        notes=_notes(found.exceptions),
        checks=gate.checks,
        gate=gate,
        gate_tone=GATE_TONE,
        fingerprint=fingerprint(record),
        contents=certificate.contents_sha256,
        css=Markup(environment.get_template("page.css").render()),
        letter=LETTER,
        meaning=MEANING,
        precedence=PRECEDENCE,
        ran=[verdict for verdict in PRECEDENCE if verdict is not Verdict.SKIPPED],
        css_name=_css_name,
        grouped=_grouped,
        when=_when,
    )


def fingerprint(record: bytes) -> str:
    """SHA-256 of certificate.json, in hex: it names the hash of everything else, so it stands for the whole."""
    return hashlib.sha256(record).hexdigest()


def _areas(rows: Sequence[RequirementRow]) -> list[tuple[str, list[RequirementRow]]]:
    order = list(dict.fromkeys(row.area for row in rows))
    ordered = sorted(rows, key=lambda row: order.index(row.area))
    return [(area, list(some)) for area, some in groupby(ordered, key=lambda row: row.area)]


def _notes(notes: Sequence[Note]) -> list[tuple[str, list[str]]]:
    found = [(head, [note.text for note in notes if note.about == about]) for about, head in ABOUT.items()]
    return [(head, texts) for head, texts in found if texts]


def _grouped(digest: str) -> str:
    """A hash in groups of eight, for whoever compares it with the eye."""
    return " ".join(digest[start : start + 8] for start in range(0, len(digest), 8))


def _css_name(verdict: Verdict) -> str:
    return verdict.value.replace(" ", "-")


def _when(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S %z")


def _presentable(value: object) -> object:
    """Text from builds and boards may hold anything."""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
