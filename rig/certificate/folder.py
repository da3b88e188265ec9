"""Writes the folder of a certificate: under a hidden name first, so that one without a dot is always whole."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from rig.certificate import signing, sums
from rig.certificate.artefacts import copy_artefact, secrets_of
from rig.certificate.derive import derive
from rig.certificate.gate_report import GateReport
from rig.certificate.left_out import bench_without_secrets, passwords, scrubbed
from rig.certificate.page import render_page
from rig.certificate.records import Certificate, Facts
from rig.certificate.sums import PAGE, RECORD, SIGNATURE, SUMS
from rig.errors import BenchFault, Inconclusive, UserError
from rig.evidence.records import RunRecord

CERTIFICATES = "certificates"
"""The folder beside rig.toml."""
QUALIFICATION, GATE, BENCH, PACKAGES = "qualification", "gate.json", "rig.toml", "requirements.txt"
RESULTS = f"{QUALIFICATION}/results.json"
LONGEST_NAME = 60


@dataclass(frozen=True)
class Material:
    """What a certificate is made of. `gate`: the report as data; `report`: the folder that `rig qualify` left."""

    facts: Facts
    gate: Mapping[str, Any]
    report: Path
    build: Path
    bench: str
    packages: str
    signing_key: Ed25519PrivateKey | None = None


def folder_name(project: str, version: str, at: datetime) -> str:
    """`<app name>-<version>-<time>`, of what a path may hold anywhere; never hidden."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", f"{project}-{version}").lstrip(".-_")[:LONGEST_NAME] or "build"
    return f"{plain}-{at.strftime('%Y-%m-%d_%H-%M-%S')}"


def write_certificate(material: Material, parent: Path) -> tuple[Path, Certificate]:
    """Write the folder into `parent`; its path and what it says. Whatever is raised, nothing is left there.

    Raises UserError if `parent` cannot be made, Inconclusive if the build is no longer the one of the facts, BenchFault
    if the disk does not take it or the report is not whole.
    """
    release = material.facts.release
    final = parent / folder_name(release.project, release.version, material.facts.signoff.at)
    partial = parent / f".{final.name}.{os.getpid()}"
    with _removed_on_error(partial):
        try:
            partial.mkdir(parents=True)
        except OSError as error:
            raise UserError(f"{parent}: no certificate can be written there: {error.strerror}") from error
        try:
            certificate = _fill(partial, material)
            return _named(partial, final), certificate
        except OSError as error:
            raise BenchFault(
                f"{parent}: the certificate cannot be written there: {error.strerror or error}",
                evidence=material.report,
                hint="make room and run again; the report of the qualification is kept",
            ) from error


@contextlib.contextmanager
def _removed_on_error(partial: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _fill(folder: Path, material: Material) -> Certificate:
    left_out = _copy_report(folder, material)
    left_out += _copy_build(folder, material)
    bench, omitted = bench_without_secrets(material.bench)
    left_out += [f"{BENCH}: {key}: left out" for key in omitted]
    _write(folder / BENCH, bench)
    _write(folder / GATE, json.dumps(material.gate, indent=2) + "\n")
    _write(folder / PACKAGES, material.packages)
    public = None if material.signing_key is None else signing.public_half(material.signing_key)
    facts = material.facts.model_copy(update={"left_out": left_out, "signing_key": public})
    gate = GateReport.model_validate(material.gate)
    certificate = Certificate(
        facts=facts,
        found=derive(facts, gate, _results(folder)),
        contents_sha256=sums.contents_sha256(sums.hash_folder(folder)),
    )
    _write(folder / RECORD, certificate.model_dump_json(indent=2) + "\n")
    _write(folder / PAGE, render_page(certificate, gate, (folder / RECORD).read_bytes()))
    text = sums.render(sums.hash_folder(folder))
    _write(folder / SUMS, text)
    if material.signing_key is not None:
        (folder / SIGNATURE).write_bytes(material.signing_key.sign(text.encode()))
    return certificate


def _copy_report(folder: Path, material: Material) -> list[str]:
    """Every file of the report, without passwords; what was left out, in words."""
    secrets = passwords(material.bench)
    starred = 0
    for name in sums.files_below(material.report):
        data = (material.report / name).read_bytes()
        clean = scrubbed(data, secrets)
        starred += clean != data
        target = folder / QUALIFICATION / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(clean)
    said = [f"{QUALIFICATION}: a Wi-Fi password is starred out in {starred} files"] if starred else []
    return said + [f"{QUALIFICATION}: {odd}: not copied" for odd in sums.strangers(material.report)]


def _copy_build(folder: Path, material: Material) -> list[str]:
    said = []
    for artefact in material.facts.release.artefacts:
        names = secrets_of(artefact, material.build)
        if names:
            said.append(f"{artefact.name}: left out {', '.join(names)}")
        if copy_artefact(artefact, material.build, folder) != artefact.sha256:
            raise Inconclusive(
                f"{artefact.name} changed while it was qualified: what the gate saw is not what is there now",
                evidence=material.build,
                hint="certify a build that nobody works on, as a copy of its build directory",
            )
    return said


def _results(folder: Path) -> RunRecord:
    try:
        return RunRecord.model_validate_json((folder / RESULTS).read_bytes())
    except ValidationError as error:
        raise BenchFault(f"the report of the qualification is not whole: {error.errors()[0]['msg']}") from error


def _named(partial: Path, final: Path) -> Path:
    """Never in the place of another: not even of one that appears meanwhile."""
    number, target = 2, final
    while True:
        if not target.exists():
            try:
                return partial.rename(target)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        target = final.with_name(f"{final.name}-{number}")
        number += 1


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
