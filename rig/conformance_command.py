"""`rig conformance`: the reference model against golden vectors, with the first differences side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from functools import partial
from itertools import zip_longest
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from rig.idf.conformance import Difference, FieldDifference, Tally, check_file
from rig.screen import Screen


def run(files: Iterable[Path], show: int) -> int:
    """Check the files; exit code 0 when nothing differs, 1 otherwise. Raises FormatError for a broken file."""
    out = Screen(highlight=False)
    # Only its own console can keep a live line and the text around it apart.
    screen = out if out.is_terminal else Screen(stderr=True)
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
                markup=False, soft_wrap=True,
            )  # fmt: skip
    if tally.gave_up:
        out.print(f"recordings that ended in a time-out, compared as far as they go: {tally.gave_up}")
    out.print(
        f"image lines (esp_image, boot_comm): {tally.image_lines_checked} checked, {tally.image_lines_differ} differ"
    )
    out.print(f"{tally.checked} checked, {tally.differ} differ")
    return 1 if tally.differ else 0


def _update(progress: Progress, task: TaskID, tally: Tally) -> None:
    progress.update(task, counts=f"{tally.checked:,} checked")


def _show(out: Console, difference: Difference) -> None:
    out.rule(Text(f"{difference.file.name}, line {difference.line}, {difference.what}"), align="left")
    for name, text in difference.context:
        out.print(Text(f"  {name}: {text}"), soft_wrap=True)
    table = Table("", Column("ESP-IDF", overflow="fold", ratio=1), "", Column("model", overflow="fold", ratio=1))
    table.expand = True
    for field in difference.fields:
        table.add_section()
        for number, (want, have) in enumerate(_side_by_side(field)):
            mark, style = ("", "") if want == have else ("!=", "bold")
            table.add_row(Text("" if number else field.name), Text(want or ""), mark, Text(have or ""), style=style)
    out.print(table)


def _side_by_side(field: FieldDifference) -> Iterator[tuple[str | None, str | None]]:
    """Pairs of lines, those that are the same beside each other; None where a side has no such line."""
    want, have = (
        tuple(text or "erased" for text in side) if field.name == "otadata" else side
        for side in (field.expected, field.got)
    )
    for _, start, end, other_start, other_end in SequenceMatcher(None, want, have, autojunk=False).get_opcodes():
        yield from zip_longest(want[start:end], have[other_start:other_end])
