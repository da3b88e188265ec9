"""Where in flash a dump begins, and whether a sector of it is missing: weighed from what lies where in the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rig.fieldkit.dump_find import Dump, FoundTable, Header, headers, tables, written_entries
from rig.idf.effects import SECTOR_SIZE
from rig.idf.errors import FormatError
from rig.idf.image import parse
from rig.idf.image_check import MAGIC
from rig.idf.partitions import OTADATA_SIZE

USUAL_TABLE = 0x8000
"""CONFIG_PARTITION_TABLE_OFFSET unless somebody changed it."""
_TABLE_WEIGHT = 0.6
_ENTRY_WEIGHT = 0.3
_GAP_COST = 0.8
_OVERLAP_COST = 2.0
_MOST_ANCHORS = 40
"""More are hardly needed, and a hostile file may have thousands."""
_WHOLE = 0x100000
"""Flash chips have whole mebibytes."""


class Anchor(NamedTuple):
    """Something in the file that has its place in flash: `places` are the flash offsets where it may lie."""

    at: int
    places: frozenset[int]
    weight: float
    what: str


class Placing(NamedTuple):
    """One way to lay the file into flash. From file offset `split` on everything lies one sector later."""

    base: int
    split: int | None
    weight: float


class Placed(NamedTuple):
    """A dump at its place. `table` at flash offset `table_offset`; both None where no table is in the file.

    `headers` keep their offsets in the file. `certain`: the base is told by the file or by the user, so offsets are
    flash offsets; else they are file offsets. `told_by`: what lies where it should. `doubts`: what speaks against the
    file, a missing sector or another base that fits as well.
    """

    dump: Dump
    table: FoundTable | None
    table_offset: int | None
    headers: tuple[Header, ...]
    certain: bool
    told_by: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def place(data: bytes, base: int | None = None) -> Placed:
    """Lay a dump into flash; `base`: where it begins, if that is known."""
    found = tuple(headers(data))
    all_tables = list(tables(data))
    table = next((item for item in all_tables if item.fault is None), all_tables[0] if all_tables else None)
    notes = tuple(f"another partition table at {other.at:#x} of the file" for other in all_tables if other is not table)
    anchors = _anchors(data, table, found)
    placings = _placings(anchors, table, base)
    if not placings:
        at = 0 if base is None else base
        offset = None if table is None else at + table.at
        return Placed(Dump(data, at), table, offset, found, base is not None, (), notes)
    best = placings[0]
    alike = [item for item in placings[1:] if (item.base, item.weight) == (best.base, best.weight)]
    dump, missing = _with_gap(data, best, alike, anchors)
    offset = None if table is None else best.base + table.at + _shift(best, table.at)
    rivals = sorted({item.base for item in placings if item.weight == best.weight} - {best.base})
    doubts = [*missing, *_doubts(data, best, rivals)]
    if base is not None:
        doubts += _against(base, best, _placings(anchors, table, None))
    told_by = tuple(anchor.what for anchor in anchors if _fits(anchor, best.base, best.split))
    return Placed(dump, table, offset, found, not rivals, told_by, notes, tuple(doubts))


def _doubts(data: bytes, best: Placing, rivals: Sequence[int]) -> Iterator[str]:
    if rivals:
        others = ", ".join(hex(item) for item in rivals)
        yield f"the file may begin at flash offset {best.base:#x} as well as at {others}: give --base"
    if best.split is None and best.base == 0 and len(data) % _WHOLE == _WHOLE - SECTOR_SIZE:
        yield f"the file is one sector short of {(len(data) + SECTOR_SIZE) // _WHOLE} MiB: a sector may be missing"


def _against(base: int, given: Placing, free: Sequence[Placing]) -> Iterator[str]:
    if free and free[0].base != base and free[0].weight >= given.weight + 1:
        yield f"what lies in the file fits a beginning at flash offset {free[0].base:#x}, not at {base:#x}"


def _anchors(data: bytes, table: FoundTable | None, found: Sequence[Header]) -> list[Anchor]:
    anchors = []
    apps = frozenset(part.offset for part in table.table.app_slots) if table else frozenset[int]()
    for header in found:
        if header.app and apps:
            anchors.append(Anchor(header.at, apps, 1.0, "an app"))
        elif not header.app and (table is None or header.at < table.at):
            place = frozenset((header.chip.bootloader_offset,))
            anchors.append(Anchor(header.at, place, 1.0, f"a bootloader for {header.chip.name}"))
    if table is not None:
        anchors += _table_anchors(table)
        otadata = table.table.otadata_for_bootloader
        if otadata is not None:
            sectors = frozenset(range(otadata.offset, otadata.offset + OTADATA_SIZE, SECTOR_SIZE))
            anchors += [Anchor(at, sectors, _ENTRY_WEIGHT, "a select entry") for at in written_entries(data)]
    return sorted(anchors, key=lambda anchor: anchor.at)[:_MOST_ANCHORS]


def _table_anchors(table: FoundTable) -> list[Anchor]:
    """Usually the table lies at 0x8000, and usually right before its first partition; where these differ, who knows."""
    before_first = min(part.offset for part in table.table.entries) - SECTOR_SIZE
    usual = Anchor(table.at, frozenset((USUAL_TABLE,)), _TABLE_WEIGHT, "the partition table, usually at 0x8000")
    if before_first == USUAL_TABLE or before_first < 0:
        return [usual]
    what = "the partition table, usually right before its first partition"
    half = _TABLE_WEIGHT / 2
    return [usual._replace(weight=half), Anchor(table.at, frozenset((before_first,)), half, what)]


def _placings(anchors: Sequence[Anchor], table: FoundTable | None, base: int | None) -> list[Placing]:
    """Heaviest first; only those that put something at its place."""
    bases = {place - anchor.at for anchor in anchors for place in anchor.places if place >= anchor.at}
    bases |= {other - SECTOR_SIZE for other in bases if other >= SECTOR_SIZE}
    wanted = bases if base is None else {base}
    found = []
    for each in wanted:
        for split in (None, *(anchor.at for anchor in anchors[1:])):
            weight = sum(anchor.weight for anchor in anchors if _fits(anchor, each, split))
            if weight and split is not None:
                weight -= _GAP_COST
            if table is not None and _overlaps(table, each, split):
                weight -= _OVERLAP_COST
            if weight > 0 or base is not None:
                found.append(Placing(each, split, round(weight, 3)))
    # of equals the one without a gap, and the lowest base
    return sorted(found, key=lambda item: (-item.weight, item.split is not None, item.base))


def _fits(anchor: Anchor, base: int, split: int | None) -> bool:
    return anchor.at + base + (SECTOR_SIZE if split is not None and anchor.at >= split else 0) in anchor.places


def _overlaps(table: FoundTable, base: int, split: int | None) -> bool:
    """Whether the table would lie in one of its own partitions."""
    at = table.at + base + (SECTOR_SIZE if split is not None and table.at >= split else 0)
    return any(part.offset <= at < part.end for part in table.table.entries if part.type in (0, 1))


def _shift(placing: Placing, at: int) -> int:
    return SECTOR_SIZE if placing.split is not None and at >= placing.split else 0


def _with_gap(
    data: bytes, best: Placing, alike: Sequence[Placing], anchors: Sequence[Anchor]
) -> tuple[Dump, list[str]]:
    """`alike`: other splits that fit as well; the sector may be missing at any of them."""
    if best.split is None:
        return Dump(data, best.base), []
    splits = [item.split for item in (best, *alike) if item.split is not None]
    spans = [_span(data, best.base, split, anchors) for split in splits]
    low, high = min(span[0] for span in spans), max(span[1] for span in spans)
    at = max(splits)
    filled = data[:at] + b"\xff" * SECTOR_SIZE + data[at:]
    doubt = f"one sector is missing from the file between flash offset {low:#x} and {high:#x}"
    return Dump(filled, best.base, (low, high)), [doubt]


def _span(data: bytes, base: int, split: int, anchors: Sequence[Anchor]) -> tuple[int, int]:
    """Flash [start, end) in which the sector is missing if everything from `split` on is shifted."""
    before = [anchor for anchor in anchors if anchor.at < split and _fits(anchor, base, None)]
    low = base + (_end_of(data, before[-1], split) if before else 0)
    high = base + split + SECTOR_SIZE
    return min(low, high - SECTOR_SIZE), high


def _end_of(data: bytes, anchor: Anchor, limit: int) -> int:
    """File offset of the first sector behind what begins there: behind an image if its hash is right."""
    if data[anchor.at] != MAGIC:
        return anchor.at + SECTOR_SIZE
    try:
        return anchor.at + -(-parse(data[anchor.at : limit]).length // SECTOR_SIZE) * SECTOR_SIZE
    except FormatError:
        return anchor.at + SECTOR_SIZE
