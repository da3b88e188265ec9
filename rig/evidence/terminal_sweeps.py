"""What a person sees in the terminal of a power-cut sweep: classes, risky windows, findings and one line of sums."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rig.evidence.records import CutFinding, RiskyWindow, Severity, SweepRecord
from rig.evidence.report_page import sweeps
from rig.evidence.report_page.text import seconds
from rig.evidence.terminal import STYLE
from rig.evidence.terminal_text import indented, plain, styled, unicode

SEVERITY_STYLE = {Severity.GOOD: "green", Severity.HAZARD: "yellow", Severity.BROKEN: "bold red"}
_WORD = {Severity.GOOD: "good", Severity.HAZARD: "hazard", Severity.BROKEN: "BROKEN"}
_WIDEST = 120


def print_sweep(sweep: SweepRecord, console: Console) -> None:
    """Print one sweep, deviations before hazards; a missing colour costs nothing, and it fits 80 columns.

    The names of crash images stay in one piece, to be copied.
    """
    head = f"{sweep.scenario} on {sweep.board}, ESP-IDF {sweep.idf_version}"
    console.print(styled(f"{head}: {sweep.summary}" if sweep.summary else head, "bold", console))
    if sweep.outcomes:
        console.print(_outcomes(sweep, console))
        _print_windows(sweep, console)
    for finding in sweeps.deviations(sweep):
        _print_deviation(finding, console)
    for hazard in sweeps.hazards(sweep):
        _print_hazard(hazard, sweep, console)
    if why := sweeps.reason(sweep):
        console.print(styled(why, STYLE[sweep.verdict], console))
    console.print(styled(_sums(sweep), STYLE[sweep.verdict], console))


def _print_windows(sweep: SweepRecord, console: Console) -> None:
    if by_bytes := sweeps.by_bytes(sweep.windows):
        console.print(_windows("Risky window", by_bytes, console))
    else:
        console.print(styled("no risky window", "", console))
    if by_bits := sweeps.by_bits(sweep.windows):
        console.print(_windows(sweeps.BITS_ONLY, by_bits, console))
    if sweep.windows:
        console.print(indented(sweeps.TIMES, console))


def _outcomes(sweep: SweepRecord, console: Console) -> Table:
    table = _table(console)
    table.add_column("Severity", no_wrap=True)
    table.add_column("Outcome", ratio=2, overflow="fold")
    table.add_column("Board", justify="right", no_wrap=True)
    table.add_column("Model", justify="right", no_wrap=True)
    table.add_column("Meaning", ratio=3, overflow="fold")
    for outcome in sweep.outcomes:
        style = SEVERITY_STYLE[outcome.severity]
        unlike = outcome.images != outcome.model_images
        table.add_row(
            Text(_WORD[outcome.severity], style=style),
            Text(plain(outcome.name, console), style=style),
            f"{outcome.images:,}",
            Text(f"{'! ' if unlike else ''}{outcome.model_images:,}", style="bold red" if unlike else ""),
            Text(plain(outcome.meaning, console)),
        )
    return table


def _windows(title: str, windows: Iterable[RiskyWindow], console: Console) -> Table:
    table = _table(console)
    table.add_column(title, ratio=3, overflow="fold")
    table.add_column("Leads to", ratio=2, overflow="fold")
    table.add_column("Mutations", justify="right", no_wrap=True)
    table.add_column("Typical", justify="right", no_wrap=True)
    table.add_column("Longest", justify="right", no_wrap=True)
    for window in windows:
        table.add_row(
            Text(plain(f"{window.change}, by the {window.writer}, {_entry(window)}", console)),
            Text(plain(", ".join(window.outcomes), console)),
            str(window.mutations or "<1"),
            f"{window.typical_ms:g} ms",
            f"{window.longest_ms:g} ms",
        )
    return table


def _entry(window: RiskyWindow) -> str:
    return "both entries" if window.sector == "both" else f"{window.sector} entry"


def _table(console: Console) -> Table:
    style = box.SIMPLE_HEAD if unicode(console) else box.ASCII2
    return Table(box=style, width=min(console.width, _WIDEST), pad_edge=False, padding=(0, 1, 0, 0))


def _print_deviation(finding: CutFinding, console: Console) -> None:
    images = sweeps.number(finding.images, "image")
    console.print(styled(f"DEVIATION ({images}): {finding.what}", "bold red", console))
    console.print(indented(f"board: {finding.board_did}", console))
    console.print(indented(f"model: {finding.model_did}", console))
    _print_command(finding, console)


def _print_hazard(hazard: sweeps.SharedHazard, sweep: SweepRecord, console: Console) -> None:
    for finding in hazard.findings:
        images = sweeps.number(finding.images, "image")
        console.print(styled(f"hazard ({images}): {sweeps.told(finding, sweep)}", "yellow", console))
        _print_command(finding, console)
    if hazard.remedy:
        console.print(indented(f"to do: {hazard.remedy}", console))


def _print_command(finding: CutFinding, console: Console) -> None:
    console.print(Text(f"  {plain(sweeps.replay(finding.image), console)}"), soft_wrap=True)


def _sums(sweep: SweepRecord) -> str:
    """`pass: 2,342 crash images and 2,165 of a second cut, 876 booted, 3,631 covered by these, 12.3 s`."""
    if sweep.reason:
        return sweep.verdict.value
    nested = f" and {sweep.nested_images:,} of a second cut" if sweep.nested_images else ""
    return (
        f"{sweep.verdict.value}: {sweeps.number(sweep.images, 'crash image')}{nested}, {sweep.booted:,} booted, "
        f"{sweeps.covered(sweep):,} covered by these, {seconds(sweep.duration_s)}"
    )
