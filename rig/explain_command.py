"""`rig explain`: read, explain, print."""

from __future__ import annotations

from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from rig.fieldkit.explain import explain_evidence, open_file
from rig.fieldkit.explain_text import show
from rig.fieldkit.explained import Explanation
from rig.fieldkit.intake import Evidence
from rig.fieldkit.verdicts import FieldVerdict
from rig.screen import Screen

WORTH_A_BAR = 0x400000
"""Bytes of a file from which on its reading shows progress."""
INCONCLUSIVE = 4


def run(path: Path, base: int | None, *, as_json: bool) -> int:
    """The exit code of `rig explain`; UserError for a file that cannot be explained."""
    screen = Screen(stderr=as_json)
    explained = _explained(open_file(path), base, screen)
    if as_json:
        print(explained.model_dump_json(indent=2))
    else:
        show(explained, screen)
    return INCONCLUSIVE if explained.verdict is FieldVerdict.INCONCLUSIVE else 0


def _explained(found: Evidence, base: int | None, screen: Screen) -> Explanation:
    if found.kind != "serial log" or found.size < WORTH_A_BAR:
        return explain_evidence(found, base)
    columns = (TextColumn("reading {task.fields[name]}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True) as bar:
        # what is read may be more than lies on disk, if it is compressed
        task = bar.add_task("", total=found.size, name=Path(found.source).name)
        return explain_evidence(found, base, lambda done: bar.update(task, completed=min(done, found.size)))
