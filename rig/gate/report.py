"""What the gate says: a table for a person, failures first, and JSON for programs."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import Any, NamedTuple

from rich.console import Console
from rich.text import Text

from rig.gate.check import Result, Status
from rig.gate.pieces import Pieces
from rig.gate.release import Margin

FORMAT, VERSION = "rig-gate", 1
_STYLE = {
    Status.FAILED: "bold red",
    Status.NOT_DONE: "bold red",
    Status.WARNING: "yellow",
    Status.PASSED: "green",
    Status.NOT_APPLICABLE: "dim",
}
_ORDER = (Status.FAILED, Status.NOT_DONE, Status.WARNING, Status.PASSED, Status.NOT_APPLICABLE)
_WORD, _ID = 15, 26
"""Widths of the columns."""


class Report(NamedTuple):
    """`needless`: ids that were accepted and had nothing to accept."""

    build: Pieces
    previous: Pieces | None
    board: str | None
    margin: Margin
    results: tuple[Result, ...]
    needless: tuple[str, ...] = ()

    @property
    def blocked(self) -> bool:
        return any(result.blocks for result in self.results)


def plain(report: Report) -> dict[str, Any]:
    """The report as data; docs/gate.md describes it."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "passed": not report.blocked,
        "build": str(report.build.folder),
        "previous": None if report.previous is None else str(report.previous.folder),
        "board": report.board,
        "margin": str(report.margin),
        "firmware": _firmware(report.build),
        "counts": {status.value: count for status, count in _counts(report).items()},
        "accepted": sum(result.accepted is not None for result in report.results),
        "needless_accepts": list(report.needless),
        "checks": [
            {
                "id": result.check.id,
                "title": result.check.title,
                "status": result.outcome.status.value,
                "found": result.outcome.found,
                "accepted": result.accepted,
                "blocks": result.blocks,
                "reason": result.check.reason,
                "remedy": result.check.remedy,
            }
            for result in report.results
        ],
    }


def show(report: Report, screen: Console) -> None:
    """Print it: what blocks, with reason and remedy; then warnings, then one line for each of the rest."""
    facts = _firmware(report.build)
    names = [str(facts[name]) for name in ("project", "version", "chip", "idf_version") if facts[name]]
    screen.print(Text(f"{report.build.folder}: {' '.join(names) or 'unknown'}"), soft_wrap=True)
    if report.previous is not None:
        before = _firmware(report.previous)
        screen.print(Text(f"after {report.previous.folder}: {before['project']} {before['version']}"), soft_wrap=True)
    screen.print()
    for result in sorted(report.results, key=_rank):
        _line(result, screen)
    screen.print()
    for name in report.needless:
        screen.print(f"--accept {name}: there was nothing to accept", style="yellow", highlight=False)
    _summary(report, screen)


def _line(result: Result, screen: Console) -> None:
    check, (status, found) = result.check, result.outcome
    word = status.value if result.accepted is None else "accepted"
    head = Text().append(f"{word:{_WORD}}", style=_STYLE[status] if result.accepted is None else "yellow")
    head.append(f"{check.id:{_ID}} ")
    if result.accepted is not None:
        screen.print(head.append(f"{found}; accepted: {result.accepted}"), soft_wrap=True)
    elif status is Status.FAILED or status is Status.WARNING:
        screen.print(head.append(check.title, style="bold"), soft_wrap=True)
        _below(Text(found), screen)
        _below(Text(f"why: {check.reason}", style="dim"), screen)
        _below(Text(f"try: {check.remedy}"), screen)
    else:
        screen.print(head.append(found, style="" if status is Status.NOT_DONE else "dim"), soft_wrap=True)


def _below(text: Text, screen: Console) -> None:
    """Not by rich's own padding, which fills every line with blanks and breaks the names of options."""
    indent = " " * _WORD
    wrapped = textwrap.fill(
        text.plain,
        max(screen.width, _WORD + 40),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    screen.print(Text(wrapped, style=text.style), soft_wrap=True)


def _summary(report: Report, screen: Console) -> None:
    counts = _counts(report)
    accepted = sum(result.accepted is not None for result in report.results)
    parts = [f"{counts[status]} {status.value}" for status in _ORDER if counts[status]]
    if accepted:
        parts.append(f"accepted of them: {accepted}")
    text = ", ".join(parts)
    if not report.blocked:
        screen.print(f"may ship: {text}", style="green", highlight=False, soft_wrap=True)
        return
    screen.print(f"must not ship: {text}", style="bold red", highlight=False, soft_wrap=True)
    stopping = [result.outcome.status for result in report.results if result.blocks]
    if all(status is Status.NOT_DONE for status in stopping):
        screen.print("what could not be checked can be accepted: --accept-missing", highlight=False)


def _counts(report: Report) -> dict[Status, int]:
    found = Counter(result.outcome.status for result in report.results)
    return {status: found[status] for status in _ORDER}


def _rank(result: Result) -> tuple[bool, int]:
    return (not result.blocks, _ORDER.index(result.outcome.status))


def _firmware(build: Pieces) -> dict[str, Any]:
    """What the app says of itself, null where it cannot be read."""
    desc, app, targets = build.app_desc.held, build.app.held, build.targets
    return {
        "project": desc.project if desc else None,
        "version": desc.version if desc else None,
        "secure_version": desc.secure_version if desc else None,
        "idf_version": desc.idf_ver if desc else None,
        "chip": next(iter(targets.values()), None),
        "app_size": len(build.app_file.held) if build.app_file.held is not None else None,
        "app_sha256": app.sha256.hex() if app else None,
    }
