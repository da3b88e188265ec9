"""The power-cut map of one sweep: what is drawn as a cell, what is folded, and all texts in few bytes. Pure.

Nearly all mutations of an update write the image, and a cut there leads to the same outcome hundreds of times. Such a
stretch is one folded block; a write to otadata always has cells of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from rig.evidence.records import SweepRecord, SweptMutation
from rig.evidence.report_page.text import one_line

FOLDED = 5
"""The shortest stretch that is folded."""

_HEX = re.compile(r"(.*?)0x(0|[1-9a-f][0-9a-f]{0,11})(?![0-9a-fA-F])(.*)", re.DOTALL)


@dataclass(frozen=True)
class Cell:
    """One mutation; of a folded stretch its first, with `count` of them."""

    mutation: SweptMutation
    count: int = 1

    @property
    def last(self) -> int:
        return self.mutation.number + self.count - 1


@dataclass(frozen=True)
class Stretch:
    """Cells side by side that belong to one write, with its caption; no caption: cells that belong to none."""

    caption: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Map:
    """One row. `shapes` and `runs` are JSON with the text of every mutation for the page's script, see `packed`."""

    stretches: tuple[Stretch, ...]
    shapes: str
    runs: str


def cut_map(sweep: SweepRecord, classes: Sequence[str]) -> Map:
    """The row of a sweep; `classes` are the names of all outcomes, which `runs` refers to by number."""
    cells = _cells(sweep.mutations)
    grouped = groupby(cells, key=lambda cell: caption(cell.mutation))
    shapes, runs = packed(sweep.mutations, classes)
    stretches = tuple(Stretch(text, tuple(some)) for text, some in grouped)
    return Map(stretches, _json(shapes), _json(runs))


def caption(mutation: SweptMutation) -> str:
    """The part of its text that says which write it belongs to: `app writes ota_1: none → NEW`; empty for none."""
    return one_line(mutation.text).partition(": ")[2] if in_otadata(mutation) else ""


def in_otadata(mutation: SweptMutation) -> bool:
    """Whether it writes otadata, as its text says."""
    return "otadata" in mutation.text


def packed(
    mutations: Sequence[SweptMutation], classes: Sequence[str]
) -> tuple[list[list[str]], list[tuple[int, int, int, int, int, int, int, int]]]:
    """All mutations as runs of (first number, how many, shape, first value, step, outcome, worst, images).

    A shape is a text before and after a hexadecimal number that goes up by `step`, or a text without one.
    """
    shapes: dict[tuple[str, ...], int] = {}
    runs: list[tuple[int, int, int, int, int, int, int, int]] = []
    place = {name: number for number, name in enumerate(classes)}
    for mutation in mutations:
        parts, value = _parts(one_line(mutation.text))
        shape = shapes.setdefault(parts, len(shapes))
        rest = (place[mutation.outcome], place[mutation.worst], mutation.images)
        if runs:
            first, count, last_shape, start, step, *last_rest = runs[-1]
            step = value - start if count == 1 else step
            alike = (last_shape, tuple(last_rest)) == (shape, rest) and mutation.number == first + count
            if alike and value == start + count * step:
                runs[-1] = (first, count + 1, shape, start, step, *rest)
                continue
        runs.append((mutation.number, 1, shape, value, 0, *rest))
    return [list(parts) for parts in shapes], runs


def _cells(mutations: Iterable[SweptMutation]) -> list[Cell]:
    cells: list[Cell] = []
    stretch: list[SweptMutation] = []

    def close() -> None:
        if len(stretch) >= FOLDED:
            cells.append(Cell(stretch[0], len(stretch)))
        else:
            cells.extend(map(Cell, stretch))
        stretch.clear()

    for mutation in mutations:
        if stretch and not _alike(stretch[-1], mutation):
            close()
        stretch.append(mutation)
        if in_otadata(mutation):
            close()
    close()
    return cells


def _alike(left: SweptMutation, right: SweptMutation) -> bool:
    same = (left.outcome, left.worst) == (right.outcome, right.worst) and right.number == left.number + 1
    return same and not in_otadata(left) and not in_otadata(right)


def _parts(text: str) -> tuple[tuple[str, ...], int]:
    match = _HEX.fullmatch(text)
    return ((match[1], match[3]), int(match[2], 16)) if match else ((text,), 0)


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
