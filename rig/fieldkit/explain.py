"""`rig explain` without a terminal: a file in, an `Explanation` out."""

from __future__ import annotations

from pathlib import Path

from rig.fieldkit.dump import explain_dump
from rig.fieldkit.dump_find import looks_like_flash
from rig.fieldkit.explain_log import explain_log
from rig.fieldkit.explained import Explanation
from rig.fieldkit.intake import Evidence, Told, take_in
from rig.fieldkit.report_folder import explain_folder


def explain_file(path: Path, base: int | None = None, told: Told = lambda done: None) -> Explanation:
    """Explain a serial log, a flash dump or a report folder. `base`: flash offset at which a dump begins.

    Raises UserError for what is none of them.
    """
    return explain_evidence(open_file(path), base, told)


def open_file(path: Path) -> Evidence:
    """Recognise a file; UserError for what cannot be explained."""
    return take_in(path, looks_like_flash)


def explain_evidence(found: Evidence, base: int | None = None, told: Told = lambda done: None) -> Explanation:
    """The same for a file that is recognised already."""
    if found.kind == "report folder":
        assert found.path is not None
        return explain_folder(found.path)
    if found.kind == "flash dump":
        return explain_dump(found.content(), found.source, base)
    return explain_log(found.chunks(told), found.source)
