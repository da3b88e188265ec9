"""`rig verify`: checks a certificate's folder and says what it found."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rig.certificate.check import Checked, check
from rig.certificate.signing import read_public
from rig.certificate_command import EXIT_CODES, print_certificate
from rig.errors import UserError
from rig.screen import Screen

SHOWN = 40
"""How many faults are printed."""


def run(folder: Path, build: Path | None, public_key: Path | None, *, as_json: bool) -> int:
    """The exit code of `rig verify`; UserError for a folder that is not what was written."""
    public = None if public_key is None else read_public(public_key)
    try:
        checked = check(folder, build, public)
    except OSError as error:
        raise UserError(f"{error.filename or folder}: cannot be read: {error.strerror}") from error
    if as_json:
        json.dump(_plain(checked), sys.stdout, indent=2)
        print()
    if checked.faults or checked.certificate is None:
        if as_json:
            return UserError.exit_code
        raise UserError("\n".join(_refusal(folder, checked)), hint="get the folder again from where it was archived")
    if not as_json:
        _show(folder, checked)
    return EXIT_CODES[checked.certificate.found.verdict]


def _refusal(folder: Path, checked: Checked) -> list[str]:
    lines = [f"{folder}: not a valid certificate", *checked.faults[:SHOWN]]
    more = len(checked.faults) - SHOWN
    return [*lines, f"and {more} more"] if more > 0 else lines


def _show(folder: Path, checked: Checked) -> None:
    screen = Screen()
    certificate = checked.certificate
    assert certificate is not None
    signoff = certificate.facts.signoff
    lines = (
        f"{folder}: whole and unaltered, {checked.files} files",
        f"signed off by {signoff.name} on {signoff.at:%Y-%m-%d %H:%M:%S %z}, host {signoff.host}",
        checked.signature,
        f"fingerprint: {checked.fingerprint}",
    )
    for line in lines:
        screen.print(line, markup=False, highlight=False, soft_wrap=True)
    print_certificate(certificate, screen)


def _plain(checked: Checked) -> dict[str, object]:
    found = None if checked.certificate is None else checked.certificate.found
    return {
        "valid": not checked.faults,
        "faults": list(checked.faults),
        "verdict": None if found is None else found.verdict.value,
        "headline": None if found is None else found.headline,
        "files": checked.files,
        "signature": checked.signature,
        "fingerprint": checked.fingerprint,
    }
