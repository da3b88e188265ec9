"""Everything found in one dump, as the rules for its verdict look at it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from rig.fieldkit.dump_clues import Clues
from rig.fieldkit.dump_images import Judged
from rig.fieldkit.dump_otadata import Entry, Otadata
from rig.fieldkit.dump_place import Placed
from rig.fieldkit.explained import ExplainedImage, Finding, NextBoot
from rig.idf.otadata import state_name

READ_AGAIN = "flash read again, twice, and both files compared"


class State(NamedTuple):
    """Everything found in one dump. `stray`: apps at flash offsets where the table has no slot."""

    placed: Placed
    otadata: Otadata
    judged: Sequence[Judged]
    next_boots: Sequence[NextBoot]
    clues: Clues
    stray: Sequence[int] = ()

    @property
    def images(self) -> list[ExplainedImage]:
        return [item.image for item in self.judged]

    def image(self, slot: str | None) -> ExplainedImage | None:
        # of two partitions of one subtype the bootloader takes the last
        return next((image for image in reversed(self.images) if image.slot == slot), None)

    @property
    def starts(self) -> set[str]:
        return {step.slot for step in self.next_boots if step.slot}

    @property
    def factory(self) -> bool:
        return self.placed.table is not None and self.placed.table.table.slot("factory") is not None


Rule = Callable[[State], Iterable[Finding]]


def image_words(image: ExplainedImage) -> str:
    """One slot and what lies in it."""
    return f"{image.slot} at {image.offset}: {image.content}{f' ({image.why})' if image.why else ''}"


def entry_words(state: State, entry: Entry) -> str:
    """One entry: its slot, state and sequence number."""
    slot = state.otadata.slot(entry)
    return f"otadata[{entry.number}]: {slot or 'a slot'} is {state_name(entry.fields.state)} (seq {entry.fields.seq})"
