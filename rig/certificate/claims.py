"""What a certificate says, held against the rest of its folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from rig.certificate import sums
from rig.certificate.artefacts import BUILD, is_synthesised
from rig.certificate.derive import derive
from rig.certificate.folder import BENCH, GATE, PACKAGES, RESULTS
from rig.certificate.gate_report import GateReport
from rig.certificate.page import fingerprint, render_page
from rig.certificate.records import Certificate, Found, Kept
from rig.certificate.sums import PAGE, RECORD
from rig.certificate.tools import RIG_SOURCES, sources_sha256
from rig.errors import UserError
from rig.evidence.records import RunRecord, Verdict
from rig.gate.pieces import load_pieces
from rig.gate.release import CannotTell

ALWAYS = (RECORD, PAGE, GATE, BENCH, PACKAGES, RESULTS)


def claims(folder: Path, certificate: Certificate, found: Mapping[str, str]) -> list[str]:
    """What is claimed and not so, in words that name the file. `found`: hashes of what is there, by path."""
    missing = [f"{name} is missing" for name in ALWAYS if name not in found]
    if missing:
        return missing
    return [
        *_contents(certificate, found),
        *_artefacts(certificate, found),
        *_release(folder, certificate),
        *_verdicts(folder, certificate),
    ]


def _contents(certificate: Certificate, found: Mapping[str, str]) -> Iterator[str]:
    if sums.contents_sha256(found) != certificate.contents_sha256:
        yield f"{RECORD} was written for other contents of this folder"


def _artefacts(certificate: Certificate, found: Mapping[str, str]) -> Iterator[str]:
    """Every copy is the artefact that the record names, and no other file stands beside them."""
    expected = set()
    for artefact in certificate.facts.release.artefacts:
        path = f"{BUILD}/{artefact.name}"
        if artefact.kept is Kept.HASH_ONLY:
            continue
        expected.add(path)
        if path not in found:
            yield f"{path} is missing"
        elif artefact.kept is Kept.COPY and found[path] != artefact.sha256:
            yield f"{path} is not the artefact that {RECORD} names"
    for path in sorted(found):
        if path.startswith(f"{BUILD}/") and path not in expected:
            yield f"{path} is no artefact that {RECORD} names"


def _release(folder: Path, certificate: Certificate) -> Iterator[str]:
    """What the record says of the build, as the copies tell it themselves; one of which only a hash is kept cannot."""
    release = certificate.facts.release
    try:
        pieces = load_pieces(folder / BUILD)
        desc = pieces.app_desc.value
        said = (desc.project, desc.version, desc.secure_version, desc.idf_ver, pieces.chip.name)
        synthesised = is_synthesised(pieces)
    except UserError as error:
        yield f"{BUILD}: {error.what}"
    except CannotTell as error:
        if all(artefact.kept is not Kept.HASH_ONLY or not artefact.offset for artefact in release.artefacts):
            yield f"{BUILD}: {error}"
    else:
        if said != (release.project, release.version, release.secure_version, release.idf_version, release.chip):
            yield f"{RECORD} names another app than the one in {BUILD}"
        if synthesised != release.synthesised:
            yield f"{RECORD} is wrong about who made {BUILD}/bootloader/bootloader.bin"


def _verdicts(folder: Path, certificate: Certificate) -> Iterator[str]:
    try:
        gate = GateReport.model_validate_json((folder / GATE).read_bytes())
    except ValidationError as error:
        yield f"{GATE} is no report of the gate: {error.errors()[0]['msg']}"
        return
    try:
        run = RunRecord.model_validate_json((folder / RESULTS).read_bytes())
    except ValidationError as error:
        yield f"{RESULTS} holds no results of a run: {error.errors()[0]['msg']}"
        return
    again = derive(certificate.facts, gate, run)
    same_sources = certificate.facts.tools.get(RIG_SOURCES) == sources_sha256()
    if _substance(again) != _substance(certificate.found):
        yield from _told_apart(again, certificate.found)
    elif same_sources and again != certificate.found:
        yield f"{RECORD}: exceptions or texts are not those that {GATE} and {RESULTS} give"
    if again.verdict is Verdict.BENCH_FAULT:
        yield f"{RESULTS} ended with a bench fault, of which no certificate is written"
    record = (folder / RECORD).read_bytes()
    page = (folder / PAGE).read_text(encoding="utf-8", errors="replace")
    # Another version of rig may write the page in other words; the fingerprint of the record stands on each.
    if fingerprint(record) not in page.replace(" ", ""):
        yield f"{PAGE} is not of this {RECORD}: it shows another fingerprint"
    elif same_sources and page != render_page(certificate, gate, record):
        yield f"{PAGE} does not say what {RECORD} says"


def _substance(found: Found) -> tuple[object, ...]:
    """Without texts, which another version of rig may word otherwise."""
    return tuple(value for _, value in _parts(found))


def _parts(found: Found) -> Iterator[tuple[str, object]]:
    yield "the verdict", found.verdict
    yield "the verdicts of its parts", [(part.name, part.verdict) for part in found.parts]
    yield "the counts of verdicts", found.counts
    yield "the matrix of requirements", found.requirements
    yield "the sweeps", found.sweeps
    yield "the boards", [board.model_copy(update={"text": ""}) for board in found.boards]


def _told_apart(again: Found, said: Found) -> Iterator[str]:
    for (name, good), (_, claimed) in zip(_parts(again), _parts(said), strict=True):
        if good != claimed:
            yield f"{RECORD}: {GATE} and {RESULTS} do not give {name} that it claims"
