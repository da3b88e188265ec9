"""An `Explanation` on the terminal: the verdict first, then what it rests on, then everything that was found."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rig.evidence.report_page.text import clean
from rig.fieldkit.explained import ExplainedBoot, Explanation, Finding, NextBoot
from rig.fieldkit.verdicts import WEIGHT, FieldVerdict

_INDENT = "  "
_MOST_ROWS = 40
"""Rows of a table on the terminal; --json has all of them."""
_BAD = WEIGHT[FieldVerdict.UPDATED_TARGET_LOST]
_GOOD = (FieldVerdict.CONFIRMED, FieldVerdict.NO_TRANSITION)


def show(found: Explanation, screen: Console) -> None:
    """Print it."""
    screen.print(Text(f"{clean(found.source)}: {found.kind}{_size(found)}", style="dim"), soft_wrap=True)
    screen.print(Text(f"{found.verdict.value}: ", style=_style(found.verdict)).append(found.meaning), soft_wrap=True)
    _finding(found, found.findings[0] if found.findings else None, screen)
    for other in found.findings[1:]:
        screen.print()
        screen.print(Text(f"also {other.verdict.value}", style="bold"))
        _finding(found, other, screen)
    _boots(found, screen)
    _transitions(found, screen)
    _otadata(found, screen)
    _images(found, screen)
    _partitions(found, screen)
    _next(found.next_boots, screen)
    if found.notes:
        _title("notes", screen)
        _list(found.notes, screen)


def _size(found: Explanation) -> str:
    counts = found.counts
    if found.kind != "serial log":
        return ""
    damaged = f", {counts.damaged_lines} of them damaged" if counts.damaged_lines else ""
    return (
        f" of {counts.lines} lines{damaged}, {counts.bootloader_banners} starts of a bootloader, "
        f"{counts.rst_lines} reset lines"
    )


def _style(verdict: FieldVerdict) -> str:
    if verdict in _GOOD:
        return "bold green"
    return "bold red" if WEIGHT[verdict] <= _BAD else "bold yellow"


def _finding(found: Explanation, finding: Finding | None, screen: Console) -> None:
    if finding is None:
        return
    _list(finding.reasons, screen)
    if finding.evidence:
        where = "flash " if found.kind == "flash dump" else "line "
        places = [f"{place:#x}" if found.kind == "flash dump" else str(place) for place in finding.evidence]
        screen.print(Text(f"{_INDENT}see {where}{', '.join(places)}", style="dim"), soft_wrap=True)
    if finding.unknown:
        screen.print(Text(f"{_INDENT}what would settle it:"))
        _list(finding.unknown, screen, indent=_INDENT * 2)


def _title(text: str, screen: Console) -> None:
    screen.print()
    screen.print(Text(text, style="bold"))


def _list(texts: Iterable[str], screen: Console, indent: str = _INDENT) -> None:
    for text in texts:
        wrapped = textwrap.fill(
            clean(text), max(screen.width, 60), initial_indent=f"{indent}- ", subsequent_indent=f"{indent}  ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
        screen.print(Text(wrapped), soft_wrap=True)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _rows(table: Table, rows: Sequence[Sequence[str]], screen: Console) -> None:
    for row in rows[:_MOST_ROWS]:
        table.add_row(*(Text(clean(cell)) for cell in row))
    screen.print(table)
    if len(rows) > _MOST_ROWS:
        screen.print(Text(f"… and {len(rows) - _MOST_ROWS} more; --json has them", style="dim"))


def _boots(found: Explanation, screen: Console) -> None:
    if not found.boots:
        return
    left_out = f", {found.boots_left_out} in between left out" if found.boots_left_out else ""
    _title(f"boots ({len(found.boots)}{left_out})", screen)
    table = _table("boot", "lines", "reset", "started", "version", "states", "ended by", "refused")
    rows: list[list[str]] = []
    for cells, group in groupby(enumerate(found.boots), key=lambda item: _cells(item[1])):
        same = list(group)
        # people count from 1, as the reasons do
        first, last = same[0][0] + 1, same[-1][0] + 1
        number = str(first) if first == last else f"{first} to {last}"
        lines = f"{same[0][1].lines[0]}-{same[-1][1].lines[1]}"
        rows.append([number, lines, *cells])
    _rows(table, rows, screen)


def _cells(boot: ExplainedBoot) -> tuple[str, ...]:
    started = " at ".join(word for word in (boot.slot, boot.loaded_offset) if word) or "-"
    refused = ", ".join(f"{item.slot or item.offset or '?'}: {item.reason}" for item in boot.rejected)
    return (
        boot.reset or "-",
        f"{started}{' (fast boot)' if boot.fast_boot else ''}",
        boot.version or "-",
        " → ".join(boot.states) or "-",
        boot.ended_by or "-",
        refused,
    )


def _transitions(found: Explanation, screen: Console) -> None:
    if not found.transitions:
        return
    _title("image states", screen)
    table = _table("boot", "slot", "change", "by", "seen in line")
    rows = [
        [
            str(change.boot + 1),
            change.slot,
            f"{change.before} → {change.after}",
            change.by,
            "inferred" if change.inferred else ", ".join(map(str, change.lines)) or "-",
        ]
        for change in found.transitions
    ]
    _rows(table, rows, screen)


def _otadata(found: Explanation, screen: Console) -> None:
    if not found.otadata:
        return
    _title("otadata", screen)
    for entry in found.otadata:
        said = [f"[{entry.entry}]"]
        if entry.seq is not None:
            said.append(f"seq {entry.seq}")
        said += [word for word in (entry.slot, entry.state) if word]
        if entry.crc == "bad":
            said.append("bad CRC")
        screen.print(Text(f"{_INDENT}{' '.join(said)}"), soft_wrap=True)
        if entry.meaning:
            _list([entry.meaning], screen, indent=_INDENT * 2)


def _images(found: Explanation, screen: Console) -> None:
    if not found.images:
        return
    _title("images", screen)
    table = _table("slot", "offset", "content", "version", "ESP-IDF", "secure version", "ELF SHA-256", "")
    rows = [
        [
            image.slot,
            image.offset,
            image.content,
            image.version or "-",
            image.idf_version or "-",
            "-" if image.secure_version is None else str(image.secure_version),
            (image.elf_sha or "-")[:16],
            image.why,
        ]
        for image in found.images
    ]
    _rows(table, rows, screen)


def _partitions(found: Explanation, screen: Console) -> None:
    if not found.table:
        return
    _title("partition table", screen)
    table = _table("label", "type", "subtype", "offset", "size")
    _rows(table, [[part.label, part.type, part.subtype, part.offset, part.size] for part in found.table], screen)


def _next(steps: Sequence[NextBoot], screen: Console) -> None:
    if not steps:
        return
    _title("the next boot", screen)
    for step in steps:
        screen.print(Text(f"{_INDENT}{step.slot or 'nothing bootable'}", style="bold"))
        _list([f"with {', '.join(step.configurations)}", *step.why, *step.assumes], screen, indent=_INDENT * 2)
