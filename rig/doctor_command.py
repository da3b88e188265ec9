"""`rig doctor`: what the bench lacks, as a list for a person or as JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from rich.text import Text

from rig import doctor
from rig.boards import inventory
from rig.doctor import Examination, Finding, State
from rig.errors import BenchFault
from rig.processes import ended_like_ctrl_c
from rig.screen import Screen

STYLE = {State.OK: "green", State.MISSING: "bold red", State.NOTE: "dim"}
_STATE, _NAME = 7, 9
"""Widths of the columns in front of the text."""


def run(config: Path, board: str | None, *, only_look: bool, as_json: bool) -> int:
    """The exit code of `rig doctor`: 0, or that of a bench fault if something is missing."""
    bench = inventory.load(config)
    sections = [bench.find(board)] if board else list(bench.board)
    builds = config.absolute().parent / bench.firmware.builds
    found = doctor.examine(sections, builds, os.environ)
    if not only_look:
        with ended_like_ctrl_c(), Screen(stderr=True).status("trying the boards out"):
            found = doctor.prove_all(found, doctor.proofs)
    if as_json:
        json.dump(_plain(found), sys.stdout, indent=2)
        print()
    else:
        _show(found)
    return BenchFault.exit_code if found.missing else 0


def _plain(found: Examination) -> dict[str, object]:
    return {
        "tools": [asdict(finding) for finding in found.tools],
        "boards": [
            {
                "name": board.section.name,
                "kind": board.section.kind,
                "chip": board.section.chip,
                "findings": [asdict(finding) for finding in board.findings],
            }
            for board in found.boards
        ],
        "missing": len(found.missing),
    }


def _show(found: Examination) -> None:
    screen = Screen()
    _section(screen, "tools", found.tools)
    for board in found.boards:
        _section(screen, f"{board.section.name} ({board.section.kind}, {board.section.chip})", board.findings)
    number = len(found.missing)
    screen.print("nothing is missing" if not number else f"{number} missing", style="bold red" if number else "green")


def _section(screen: Screen, title: str, findings: Iterable[Finding]) -> None:
    screen.print(Text(title, style="bold"))
    for finding in findings:
        lines = finding.text.split("\n")
        if finding.remedy:
            lines.append(f"try: {finding.remedy}")
        head = Text(f"  {finding.state:{_STATE}} ", style=STYLE[finding.state])
        head.append(f"{finding.name:{_NAME}} {lines[0]}", style="default")
        # Paths and commands stay in one piece to be copied.
        screen.print(head, soft_wrap=True)
        for line in lines[1:]:
            screen.print(Text(" " * (_STATE + _NAME + 4) + line), soft_wrap=True)
