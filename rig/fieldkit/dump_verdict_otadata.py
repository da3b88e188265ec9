"""What the two select entries of a dump show: how far an update came, what is left to go back to. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rig.fieldkit.dump_images import BROKEN
from rig.fieldkit.dump_otadata import BARRED, Entry, Otadata
from rig.fieldkit.dump_state import State, entry_words, image_words
from rig.fieldkit.explained import Finding
from rig.fieldkit.verdicts import FieldVerdict
from rig.idf.otadata import ImageState, state_name


def foreign(state: State) -> Iterator[Finding]:
    for entry in state.otadata.entries:
        if odd := entry.foreign:
            yield Finding(
                verdict=FieldVerdict.OTADATA_FOREIGN,
                reasons=[f"otadata[{entry.number}] has {', '.join(odd)}"],
                evidence=[entry.at],
                unknown=["which firmware or tool wrote it; whether flash reads the same twice"],
            )


def torn_entry(state: State) -> Iterator[Finding]:
    """Power was lost while an entry was written."""
    for entry in state.otadata.entries:
        if entry.torn is None or entry.foreign:
            continue
        active = state.otadata.active
        seq = f" of sequence number {entry.fields.seq}" if entry.torn >= 4 else ""
        reasons = [f"the write of otadata[{entry.number}]{seq} broke off after {entry.torn} bytes"]
        if active is not None:
            reasons.append(f"{state.otadata.slot(active)} of the other entry is chosen")
            yield Finding(
                verdict=FieldVerdict.INCONCLUSIVE,
                reasons=reasons,
                evidence=[entry.at],
                unknown=["which write it was: the choice of an update, or a new state of the app chosen before"],
            )
        elif state.otadata.whole:
            yield _degraded(state, [*reasons, "no entry can be chosen"])


def damaged_entry(state: State) -> Iterator[Finding]:
    """A wrong CRC alone; what else is odd in an entry makes it a foreign one."""
    active = state.otadata.active
    for entry in state.otadata.entries:
        if entry.damaged and not entry.foreign and active is not None:
            fields = entry.fields
            yield Finding(
                verdict=FieldVerdict.RECOVERED_DEGRADED,
                reasons=[
                    f"otadata[{entry.number}]: CRC {fields.crc:#010x} does not belong to sequence number {fields.seq}, "
                    "so it is passed over",
                    f"{state.otadata.slot(active)} of the other entry is chosen",
                ],
                evidence=[entry.at],
                unknown=["whether flash reads the same twice; what wrote the entry"],
            )


def nothing_chosen(state: State) -> Iterator[Finding]:
    otadata = state.otadata
    if not otadata.whole or otadata.active is not None or not state.starts:
        return
    if all(entry.erased for entry in otadata.entries):
        yield Finding(
            verdict=FieldVerdict.NO_TRANSITION,
            reasons=["otadata is erased: nothing is chosen, so the bootloader starts the factory app or ota_0"],
            evidence=otadata.places,
        )
        return
    barred = [entry for entry in otadata.entries if entry.written and entry.fields.state in BARRED]
    if not barred:
        if not any(entry.torn is not None and not entry.foreign for entry in otadata.entries):
            yield _degraded(state, ["no entry can be chosen"])
        return
    yield from _all_failed(state, barred)


def _all_failed(state: State, barred: Sequence[Entry]) -> Iterator[Finding]:
    what = [entry_words(state, entry) for entry in barred]
    slots = {state.otadata.slot(entry) for entry in barred}
    fell_back_to = state.next_boots[0].slot
    if state.placed.table is None and len(state.starts) > 1:
        yield Finding(
            verdict=FieldVerdict.INCONCLUSIVE,
            reasons=[
                *what,
                f"no entry is left to choose: by the partition table {' or '.join(sorted(state.starts))} starts",
            ],
            evidence=[entry.at for entry in barred],
        )
    elif fell_back_to in slots:
        yield Finding(
            verdict=FieldVerdict.ROLLBACK_TARGET_LOST,
            reasons=[*what, f"no entry is left to choose, so {fell_back_to} is started, which failed before"],
            evidence=[entry.at for entry in barred],
            unknown=["the console of the boot that failed, and how the other slot's record was lost"],
        )
    elif fell_back_to == "factory" and len(barred) == 1:
        yield Finding(
            verdict=FieldVerdict.ROLLBACK_CAUSE_UNKNOWN,
            reasons=[*what, "no other entry is left, so the factory app is started"],
            evidence=[entry.at for entry in barred],
            unknown=["the console of the boot that failed"],
        )
    else:
        yield _degraded(state, [*what, "no entry can be chosen"])


def _degraded(state: State, reasons: list[str]) -> Finding:
    started = state.next_boots[0].slot or "nothing"
    return Finding(
        verdict=FieldVerdict.RECOVERED_DEGRADED,
        reasons=[*reasons, f"the bootloader starts {started} without being told so"],
        evidence=state.otadata.places,
        unknown=["the console of the boots before: what made the entries so"],
    )


def target(state: State) -> Iterator[Finding]:
    """Whether there is something to go back to, where that matters: both entries name one slot, or the image is bad."""
    otadata = state.otadata
    active, other = otadata.active, otadata.other
    if active is None or other is None or otadata.slots < 2:
        return
    slot, at = otadata.slot(active), [active.at, other.at]
    on_probation = active.fields.state in (ImageState.NEW, ImageState.PENDING_VERIFY)
    if other.written and otadata.slot(other) == slot:
        lost = on_probation or active.fields.state == ImageState.UNDEFINED
        yield Finding(
            verdict=FieldVerdict.ROLLBACK_TARGET_LOST if lost else FieldVerdict.UPDATED_TARGET_LOST,
            reasons=[
                f"both entries choose {slot} (seq {active.fields.seq} and {other.fields.seq}): "
                "the record of the other slot was overwritten",
            ],
            evidence=at,
            unknown=["which calls came before: two updates without a restart do it up to ESP-IDF v5.5"],
        )
    elif on_probation and not state.factory and (bad := _bad_target(state, other)):
        yield Finding(verdict=FieldVerdict.ROLLBACK_TARGET_LOST, reasons=[f"{slot} is on probation", bad], evidence=at)
    elif active.fields.state == ImageState.VALID and other.erased and _had_other(active, otadata):
        yield from _record_gone(state, active, other)


def _bad_target(state: State, other: Entry) -> str | None:
    image = state.image(state.otadata.slot(other))
    if other.erased:
        return "the other entry is erased: nothing is recorded to go back to"
    if other.written and image and image.content in BROKEN and image.content != "encrypted":
        return f"what it would go back to is no good app: {image_words(image)}"
    return None


def _had_other(active: Entry, otadata: Otadata) -> bool:
    """Whether another entry was there before: the first entry ever written is otadata[0] with the slot's own number."""
    slot = otadata.slot(active)
    return slot is not None and (active.number == 1 or active.fields.seq != int(slot[4:]) + 1)


def _record_gone(state: State, active: Entry, other: Entry) -> Iterator[Finding]:
    slot, seq = state.otadata.slot(active), active.fields.seq
    others = [image for image in state.images if image.slot.startswith("ota_") and image.slot != slot]
    if any(image.content in ("torn", "erased") for image in others):
        # esp_ota_begin of v5.5 and later erases the record first; esp_ota_erase_last_boot_app_partition erases both
        return
    yield Finding(
        verdict=FieldVerdict.UPDATED_TARGET_LOST,
        reasons=[
            f"{slot} is VALID (seq {seq}), and otadata[{other.number}], the entry of the app before it, is erased"
        ],
        evidence=[active.at, other.at],
        unknown=["what erased it: power lost between erase and write, or esp_ota_begin of ESP-IDF v5.5 and later"],
    )


def went_back(state: State) -> Iterator[Finding]:
    active, other = state.otadata.active, state.otadata.other
    if active is None or other is None or not other.written or other.fields.state not in BARRED:
        return
    if other.fields.seq > active.fields.seq:
        who = (
            "was reset before it was confirmed"
            if other.fields.state == ImageState.ABORTED
            else "was rejected by an app"
        )
        yield Finding(
            verdict=FieldVerdict.ROLLBACK_CAUSE_UNKNOWN,
            reasons=[
                f"{entry_words(state, other)}: it {who}",
                f"{state.otadata.slot(active)} (seq {active.fields.seq}) is chosen again",
            ],
            evidence=[other.at, active.at],
            unknown=["the console of the boot that failed"],
        )


def state_of_active(state: State) -> Iterator[Finding]:
    active = state.otadata.active
    if active is None or not state.otadata.whole or not state.otadata.numbered:
        return
    what, name = entry_words(state, active), state_name(active.fields.state)
    other = state.otadata.other
    if name == "VALID" and other and other.erased and not _had_other(active, state.otadata) and not state.factory:
        # with a factory app the first boot writes no entry (set_actual_ota_seq)
        known = state.placed.table is not None
        reasons = [
            what,
            "the only entry, with the slot's own number: so the first boot without a factory app writes it",
        ]
        if not known:
            reasons.append("with a factory app it would be a confirmed update")
        verdict = FieldVerdict.NO_TRANSITION if known else FieldVerdict.INCONCLUSIVE
        yield Finding(verdict=verdict, reasons=reasons, evidence=[active.at])
    elif name == "VALID":
        yield Finding(verdict=FieldVerdict.CONFIRMED, reasons=[what], evidence=[active.at])
    elif name == "NEW":
        reasons = [what, "a bootloader with app rollback has not started it yet; one without leaves it so"]
        unknown = ["the console of the next boot; whether the bootloader has app rollback"]
        yield Finding(verdict=FieldVerdict.INCONCLUSIVE, reasons=reasons, evidence=[active.at], unknown=unknown)
    elif name == "PENDING_VERIFY":
        reasons = [what, "it runs on probation, or was reset in it: the next boot makes it ABORTED"]
        yield Finding(
            verdict=FieldVerdict.INCONCLUSIVE,
            reasons=reasons,
            evidence=[active.at],
            unknown=["the console up to the moment of the dump"],
        )
    else:
        reasons = [what, "it is selected and never watched"]
        yield Finding(verdict=FieldVerdict.NO_TRANSITION, reasons=reasons, evidence=[active.at])
