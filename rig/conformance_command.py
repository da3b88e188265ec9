"""`rig conformance`: the reference model against golden vectors, with the first differences side by side."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from rig.idf.conformance import Difference, Tally, check_file


def run(files: Iterable[Path], show: int) -> int:
    """Check the files; exit code 0 when nothing differs, 1 otherwise. Raises FormatError for a broken file."""
    out, screen = Console(), Console(stderr=True)
    tally, shown = Tally(), 0
    columns = (TextColumn("{task.description}"), TextColumn("{task.fields[counts]}"), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        for path in files:
            task = progress.add_task(path.name, total=None, counts="")
            before = Tally(**vars(tally))
            for difference in check_file(path, tally, partial(_update, progress, task)):
                if shown < show:
                    shown += 1
                    _show(out, difference)
            progress.remove_task(task)
            out.print(
                f"{path.name}: {tally.checked - before.checked} checked, {tally.differ - before.differ} differ",
                highlight=False, soft_wrap=True,
            )  # fmt: skip
    if tally.gave_up:
        out.print(
            f"{tally.gave_up} recordings ended in a time-out and were compared as far as they go", highlight=False
        )
    out.print(
        f"image lines (esp_image, boot_comm): {tally.image_lines_checked} checked, {tally.image_lines_differ} differ",
        highlight=False,
    )
    out.print(f"{tally.checked} checked, {tally.differ} differ", highlight=False)
    return 1 if tally.differ else 0


def _update(progress: Progress, task: TaskID, tally: Tally) -> None:
    progress.update(task, counts=f"{tally.checked:,} checked")


def _show(out: Console, difference: Difference) -> None:
    out.rule(Text(f"{difference.file.name}, line {difference.line}, {difference.what}"), align="left")
    for name, text in difference.context:
        out.print(Text(f"  {name}: {text}"), soft_wrap=True)
    table = Table("", "ESP-IDF", "model", expand=True)
    for field in difference.fields:
        table.add_row(Text(field.name), Text("\n".join(field.expected)), Text("\n".join(field.got)))
    out.print(table)
