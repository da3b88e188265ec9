"""Whether a certificate's folder is what was written, and whether it says what its own contents show."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from rig.certificate import signing, sums
from rig.certificate.artefacts import differences
from rig.certificate.claims import claims
from rig.certificate.page import fingerprint
from rig.certificate.records import Certificate
from rig.certificate.sums import RECORD, SIGNATURE, SUMS
from rig.errors import UserError

SHOWN = 80
"""Characters of a message from outside."""


@dataclass(frozen=True)
class Checked:
    """`faults`: everything that is not as it was written, each in words that name the file; empty if all is.

    `signature`: what can be said of it. `certificate` is None if it cannot be read.
    """

    certificate: Certificate | None
    faults: tuple[str, ...]
    files: int = 0
    signature: str = "not signed"
    fingerprint: str = ""


def check(folder: Path, build: Path | None = None, public: str | None = None) -> Checked:
    """Look at every file. `public`: the key, in hex, that must have signed it.

    Raises UserError if there is no such folder, OSError if it cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder", hint="name a folder of certificates/")
    if build is not None and not build.is_dir():
        raise UserError(f"build directory {build} does not exist")
    faults = list(sums.strangers(folder))
    if not (folder / SUMS).is_file():
        return Checked(None, (*faults, f"{SUMS} is missing: no certificate, or not a whole one"))
    data = (folder / SUMS).read_bytes()
    found = sums.hash_folder(folder)
    try:
        listed = sums.parse(data.decode("utf-8"))
    except (UserError, UnicodeDecodeError) as error:
        return Checked(None, (*faults, error.what if isinstance(error, UserError) else f"{SUMS} is no text"))
    faults += _compared(listed, found, folder)
    if faults:
        return Checked(None, tuple(faults), len(found))
    # What follows is for a folder that agrees with its sums: then either all is well, or all was written anew.
    try:
        certificate = _read(folder)
    except UserError as error:
        return Checked(None, (error.what,), len(found))
    signature, trouble = _signature(folder, certificate, data, public)
    faults += trouble
    faults += claims(folder, certificate, found)
    if build is not None:
        artefacts = certificate.facts.release.artefacts
        faults += [f"{build} is not the build that was certified: {each}" for each in differences(artefacts, build)]
    return Checked(certificate, tuple(faults), len(found), signature, fingerprint((folder / RECORD).read_bytes()))


def _compared(listed: Mapping[str, str], found: Mapping[str, str], folder: Path) -> Iterator[str]:
    extra = {path: value for path, value in found.items() if path not in listed}
    for path in sorted(listed):
        if path in found:
            if found[path] != listed[path]:
                yield f"{path} was changed"
        elif (folder / path).is_symlink():
            continue  # named already
        elif twin := next((other for other in sorted(extra) if extra[other] == listed[path]), None):
            del extra[twin]
            yield f"{path} was renamed to {twin}"
        else:
            yield f"{path} is missing"
    for path in sorted(extra):
        yield f"{path} was added"


def _read(folder: Path) -> Certificate:
    try:
        data = json.loads((folder / RECORD).read_bytes())
        number = data.get("format") if isinstance(data, dict) else None
        if isinstance(number, int) and number > 1:
            raise UserError(f"{RECORD} has format {number}: a newer rig wrote it")
        return Certificate.model_validate(data, strict=False)
    except OSError as error:
        raise UserError(f"{RECORD}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{RECORD} is no record of a certificate: {where}: {first['msg']}"[:SHOWN]) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{RECORD} is no JSON: {error}"[:SHOWN]) from error


def _signature(folder: Path, certificate: Certificate, signed: bytes, public: str | None) -> tuple[str, list[str]]:
    """What can be said of the signature, and what is wrong with it."""
    named = certificate.facts.signing_key
    path = folder / SIGNATURE
    if not path.is_file():
        if named is not None:
            return "not signed", [f"{SIGNATURE} is missing, though {RECORD} names a key"]
        return "not signed", [] if public is None else [f"{SIGNATURE} is missing: the folder is not signed"]
    if named is None:
        return "not signed", [f"{SIGNATURE} was added"]
    if public is not None and public != named:
        return "signed by another", [f"{SIGNATURE} is of another key, {named}"]
    if not signing.good(named, path.read_bytes(), signed):
        return "signature broken", [f"{SIGNATURE} does not fit to {SUMS}"]
    if public is None:
        return f"signed with key {named}, which only the folder itself names: --public-key checks whose it is", []
    return f"signed with key {named}, as given", []
