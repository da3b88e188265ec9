"""The two select entries of a dump: where they are, what each means, and which one the next boot goes by. Pure."""

from __future__ import annotations

from typing import NamedTuple

from rig.fieldkit.dump_find import LONE_SIZES, entry_like, headers, written_entries
from rig.fieldkit.dump_place import Placed
from rig.fieldkit.entries import explained_entry
from rig.fieldkit.explained import ExplainedEntry
from rig.idf.effects import SECTOR_SIZE
from rig.idf.otadata import (
    ENTRY_SIZE,
    ERASED_LABEL,
    ERASED_SEQ,
    ImageState,
    SelectEntry,
    active_index,
    parse,
    slot_index,
    state_name,
)
from rig.idf.partitions import OTADATA_SIZE

STATES = frozenset(int(state) for state in ImageState)
BARRED = (ImageState.INVALID, ImageState.ABORTED)
_ERASED = b"\xff"
_BLANK = _ERASED * ENTRY_SIZE


class Entry(NamedTuple):
    """One entry that the file has. `at`: its flash offset, or file offset where the base is not known.

    `behind`: whether its sector holds anything else.
    """

    number: int
    at: int
    raw: bytes
    behind: bool = False

    @property
    def fields(self) -> SelectEntry:
        return parse(self.raw)

    @property
    def erased(self) -> bool:
        return self.raw == _BLANK

    @property
    def written(self) -> bool:
        """With a number and its CRC: may be selected unless its state bars it."""
        return self.fields.crc_ok and self.fields.seq != ERASED_SEQ

    @property
    def torn(self) -> int | None:
        """How many bytes of it were written, where the write broke off; None for any other entry.

        The state may be among them: it lies before the CRC (BOOTLOADER.md, corner 17).
        """
        kept = len(self.raw.rstrip(_ERASED))
        fits = self.fields.state in STATES or kept < ENTRY_SIZE - 4
        # the CRC goes last; the label is 0xFF, so of 28 bytes at most the sequence number and the state are seen
        broken_off = 0 < kept <= ENTRY_SIZE - 1 and not self.fields.crc_ok
        return kept if broken_off and fits and self.fields.label == ERASED_LABEL else None

    @property
    def damaged(self) -> bool:
        """With a CRC that is not its sequence number's, and not because its write broke off."""
        return self.fields.seq != ERASED_SEQ and not self.fields.crc_ok and self.torn is None

    @property
    def foreign(self) -> list[str]:
        """What in it neither the bootloader nor an OTA call of ESP-IDF writes."""
        fields = self.fields
        if self.erased or self.torn is not None:
            return ["data behind the entry in its sector"] if self.behind else []
        found = []
        if not self.raw.strip(b"\0"):
            return ["nothing but zeros"]
        if fields.seq == 0:
            found.append("sequence number 0: ESP-IDF counts from 1")
        if fields.state not in STATES:
            found.append(f"state {fields.state:#x}")
        if fields.label not in (ERASED_LABEL, bytes(len(ERASED_LABEL))):
            found.append(f"a label, {fields.label.hex()}")
        if self.behind:
            found.append("data behind the entry in its sector")
        return found


class Otadata(NamedTuple):
    """The entries that the file has, and `slots`, the number of OTA slots (0: not known).

    `numbered`: whether it is known which entry is which.
    """

    entries: tuple[Entry, ...]
    slots: int
    numbered: bool = True
    notes: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether both entries are in the file."""
        return len(self.entries) == 2

    @property
    def pair(self) -> tuple[bytes, bytes]:
        """What the model is given; an entry that is not in the file is taken to be erased."""
        known = {entry.number: entry.raw for entry in self.entries}
        return known.get(0, _BLANK), known.get(1, _BLANK)

    @property
    def active(self) -> Entry | None:
        """The one that the next boot goes by, as far as the file shows both."""
        number = active_index([parse(raw) for raw in self.pair])
        return next((entry for entry in self.entries if entry.number == number), None)

    @property
    def other(self) -> Entry | None:
        """The one beside the active entry."""
        active = self.active
        return next((entry for entry in self.entries if active and entry.number != active.number), None)

    def slot(self, entry: Entry | None) -> str | None:
        """The slot that it chooses, if that can be said."""
        if entry is None or not entry.written or not self.slots:
            return None
        return f"ota_{slot_index(entry.fields.seq, self.slots)}"

    @property
    def places(self) -> list[int]:
        return [entry.at for entry in self.entries]


def find_otadata(placed: Placed, assumed_slots: int) -> Otadata:
    """Where the table says; without a table the file is otadata alone, or it lies where entries are written."""
    table, dump = placed.table, placed.dump
    if table is not None:
        part = table.table.otadata_for_bootloader
        slots = table.table.ota_count_bootloader
        if part is None:
            return Otadata((), slots)
        places = [part.offset, part.offset + SECTOR_SIZE]
        found = [
            _entry(number, at, dump.part(at, SECTOR_SIZE))
            for number, at in enumerate(places[: part.size // SECTOR_SIZE])
        ]
        numbered = not (dump.gap and dump.gap[0] < part.end and part.offset < dump.gap[1])
        notes = () if numbered else ("the missing sector may be one of otadata",)
        return Otadata(tuple(entry for entry in found if entry), slots, numbered, notes)
    data = dump.data
    if not lone_otadata(data):
        return _searched(data, dump.base, assumed_slots)
    if len(data) == 2 * ENTRY_SIZE:
        pair = (Entry(0, dump.base, data[:ENTRY_SIZE]), Entry(1, dump.base + ENTRY_SIZE, data[ENTRY_SIZE:]))
        return Otadata(pair, assumed_slots)
    if len(data) == OTADATA_SIZE:
        pair_of = [
            _entry(number, dump.base + at, data[at : at + SECTOR_SIZE]) for number, at in ((0, 0), (1, SECTOR_SIZE))
        ]
        return Otadata(tuple(entry for entry in pair_of if entry), assumed_slots)
    one = _entry(0, dump.base, data)
    note = "one of the two entries: which of them, the file does not tell; taken for otadata[0]"
    return Otadata((one,) if one else (), assumed_slots, numbered=False, notes=(note,))


def _searched(data: bytes, base: int, slots: int) -> Otadata:
    """Sectors that hold an entry and nothing else; the other sector is erased, or another such."""
    written = written_entries(data)
    if not written:
        return Otadata((), slots)
    first = written[0]
    blank = {at for at in (first - SECTOR_SIZE, first + SECTOR_SIZE) if _blank_sector(data, at)}
    if first + SECTOR_SIZE in written:
        pair, sure = (first, first + SECTOR_SIZE), True
    elif blank == {first - SECTOR_SIZE}:
        pair, sure = (first - SECTOR_SIZE, first), True
    else:
        pair, sure = (first, first + SECTOR_SIZE), len(blank) == 1
    found = [_entry(number, base + at, data[at : at + SECTOR_SIZE]) for number, at in enumerate(pair)]
    note = f"without a partition table: otadata is taken to be where a select entry lies, {base + first:#x}"
    return Otadata(tuple(entry for entry in found if entry), slots, numbered=sure, notes=(note,))


def _blank_sector(data: bytes, at: int) -> bool:
    return 0 <= at <= len(data) - SECTOR_SIZE and not data[at : at + SECTOR_SIZE].strip(_ERASED)


def _entry(number: int, at: int, sector: bytes) -> Entry | None:
    if len(sector) < ENTRY_SIZE:
        return None
    return Entry(number, at, sector[:ENTRY_SIZE], bool(sector[ENTRY_SIZE:].strip(_ERASED)))


def lone_otadata(data: bytes) -> bool:
    """Whether a file without a table can be otadata and nothing else."""
    if len(data) not in (*LONE_SIZES, ENTRY_SIZE) or next(headers(data), None):
        return False
    step = ENTRY_SIZE if len(data) == 2 * ENTRY_SIZE else SECTOR_SIZE
    starts = [data[at : at + ENTRY_SIZE] for at in range(0, len(data), step)]
    return any(entry_like(start) for start in starts)


def explained(otadata: Otadata) -> list[ExplainedEntry]:
    """Each entry decoded, with what it means beside the other one."""
    return [_explained(entry, otadata) for entry in otadata.entries]


def _explained(entry: Entry, otadata: Otadata) -> ExplainedEntry:
    told = explained_entry(entry.number, entry.fields, otadata.slots)
    extra = list(_beside(entry, otadata))
    if entry.torn is not None:
        extra.insert(0, f"its write broke off after {entry.torn} of {ENTRY_SIZE} bytes or before its CRC")
    if entry.behind:
        extra.append("its sector holds other data behind it, which ESP-IDF never writes")
    return told.model_copy(update={"meaning": "; ".join([told.meaning, *extra])})


def _beside(entry: Entry, otadata: Otadata) -> list[str]:
    active, other = otadata.active, otadata.other
    if active is not None and entry.number == active.number:
        return ["of the two this one counts"] if otadata.whole else []
    if active is None or other is None or not entry.written:
        return []
    slot, chosen = otadata.slot(entry), otadata.slot(active)
    if slot == chosen:
        return [f"it chooses {slot} like the other entry: no entry leads to another slot"] if slot else []
    if entry.fields.state in BARRED:
        when = "newer" if entry.fields.seq > active.fields.seq else "older"
        return [f"{when} than the other entry, and barred ({state_name(entry.fields.state)})"]
    return [f"what the bootloader goes back to: {slot}"] if slot else []
