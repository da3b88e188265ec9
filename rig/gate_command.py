"""`rig gate`: loads, lets a board watch if one is named, and prints what the checks found."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rig.errors import UserError
from rig.gate import catalogue, report
from rig.gate.check import ACCEPT_MISSING, accepted_results
from rig.gate.pieces import Pieces, load_pieces
from rig.gate.release import CannotTell, Release, parse_margin
from rig.gate.watching import Sights
from rig.screen import Screen


class Asked(NamedTuple):
    """The command line."""

    build: Path
    previous: Path | None
    margin: str
    accepts: Sequence[str]
    accept_missing: bool
    board: str | None
    config: Path


def run(asked: Asked, *, as_json: bool) -> int:
    """The exit code of `rig gate`: 0 or 1; UserError for wrong use."""
    said = look(asked)
    if as_json:
        json.dump(report.plain(said), sys.stdout, indent=2)
        print()
    else:
        report.show(said, Screen())
    return 1 if said.blocked else 0


def look(asked: Asked) -> report.Report:
    """What the gate finds; UserError for wrong use."""
    reasons = read_accepts(asked.accepts)
    margin = parse_margin(asked.margin)
    build = load_pieces(asked.build)
    previous = load_pieces(asked.previous) if asked.previous else None
    looked = catalogue.run(Release(build, previous, margin, _watched(asked, build)))
    results = accepted_results(looked, reasons, missing=ACCEPT_MISSING if asked.accept_missing else None)
    needless = sorted(set(reasons) - {result.check.id for result in results if result.accepted is not None})
    return report.Report(build, previous, asked.board, margin, results, tuple(needless))


def read_accepts(texts: Sequence[str]) -> dict[str, str]:
    """Reasons by id of a check, from `ID=REASON`. UserError for an unknown id, and without one reason for each."""
    reasons = {}
    for text in texts:
        name, _, reason = text.partition("=")
        if name not in catalogue.BY_ID:
            known = ", ".join(catalogue.BY_ID)
            raise UserError(f"--accept {text!r}: there is no check {name!r}", hint=f"one of: {known}")
        if not reason.strip():
            raise UserError(f"--accept {name}: a reason is needed", hint=f'--accept {name}="why it may be so"')
        if name in reasons:
            raise UserError(f"--accept {name} is there twice", hint="give one reason")
        reasons[name] = reason.strip()
    return reasons


def _watched(asked: Asked, build: Pieces) -> Sights | CannotTell | None:
    if asked.board is None:
        return None
    # Kinds of board are slow to import, and most runs name none.
    from rig import gate_board

    return gate_board.watched(asked.config, asked.board, build)
