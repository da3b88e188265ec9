"""Partition tables that a log leaves possible, and the small one that the model is run on instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rig.evidence.boots import Boot
from rig.fieldkit.infer.sighting import Sighting
from rig.idf.partitions import PartitionTable

SLOT_SIZE = 0x10000
FIRST_APP = 0x10000
NVS_AT = 0x9000
OTADATA_AT = 0xD000
FACTORY = "factory"


class Layout(NamedTuple):
    """`slots` by name, in the order of flash; `offsets`: flash offset to name where the log shows offsets only.

    `listed`: the table as the log lists it; None: it is assumed.
    """

    slots: tuple[str, ...]
    offsets: tuple[tuple[str, str], ...]
    listed: PartitionTable | None

    @property
    def factory(self) -> bool:
        return FACTORY in self.slots

    @property
    def ota_count(self) -> int:
        return sum(1 for slot in self.slots if slot.startswith("ota_"))

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.ota_count} OTA slots, {'a' if self.factory else 'no'} factory app"

    def named(self, slot: str | None) -> str | None:
        """An offset by its slot's name."""
        return dict(self.offsets).get(slot, slot) if slot else None

    def small(self) -> PartitionTable:
        """The same slots with 64 KiB each."""
        return PartitionTable.from_csv(self.small_csv())

    def small_csv(self) -> str:
        """That table as a build takes it."""
        rows = [f"nvs, data, nvs, {NVS_AT:#x}, 0x4000", f"otadata, data, ota, {OTADATA_AT:#x}, 0x2000"]
        for index, slot in enumerate(self.slots):
            rows.append(f"{slot}, app, {slot}, {FIRST_APP + index * SLOT_SIZE:#x}, {SLOT_SIZE:#x}")
        return "\n".join(rows) + "\n"


def layouts(boots: Sequence[Boot], seen: Sequence[Sighting]) -> Iterator[Layout]:
    """The one that is listed, or those that the slots and offsets seen allow."""
    listed = next((boot.table for boot in reversed(boots) if boot.table is not None), None)
    if listed is not None:
        slots = tuple(part.slot for part in listed.app_slots if part.slot)
        if any(slot.startswith("ota_") for slot in slots):
            yield Layout(slots, (), listed)
        return
    offsets = sorted(
        {item.slot for item in seen if item.slot and item.slot.startswith("0x")}, key=lambda text: int(text, 16)
    )
    names = {item.slot for item in seen if item.slot and not item.slot.startswith("0x")}
    highest = max([int(name[4:]) for name in names if name.startswith("ota_")], default=1)
    ota = tuple(f"ota_{index}" for index in range(max(2, highest + 1)))
    if FACTORY not in names and len(offsets) <= len(ota):
        yield Layout(ota, tuple(zip(offsets, ota, strict=False)), None)
    with_factory = (FACTORY, *ota)
    if len(offsets) <= len(with_factory):
        yield Layout(with_factory, tuple(zip(offsets, with_factory, strict=False)), None)
