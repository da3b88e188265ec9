"""What may be said of a flash dump: a state shows what is, hardly ever how it came about. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from rig.fieldkit import dump_verdict_otadata as otadata
from rig.fieldkit.dump_images import BROKEN
from rig.fieldkit.dump_state import READ_AGAIN, Rule, State, image_words
from rig.fieldkit.explained import ExplainedImage, Finding
from rig.fieldkit.verdicts import WEIGHT, FieldVerdict

_NO_TABLE = "the partition table: how many OTA slots there are (two are assumed), and whether a factory app"


def findings(state: State) -> list[Finding]:
    """All of them, weightiest first; at least one."""
    rules = RULES if state.otadata.numbered else [rule for rule in RULES if rule not in NEED_ENTRIES]
    found = [finding for rule in rules for finding in rule(state)]
    words = {finding.verdict for finding in found}
    if words - {FieldVerdict.NO_TRANSITION}:
        found = [finding for finding in found if not (finding.verdict is FieldVerdict.CONFIRMED and _worse(words))]
    if not found:
        reasons = ["the file does not show which slot is chosen"]
        found = [Finding(verdict=FieldVerdict.INCONCLUSIVE, reasons=reasons, unknown=["both sectors of otadata"])]
    if state.placed.table is None:
        found = [finding.model_copy(update={"unknown": [*finding.unknown, _NO_TABLE]}) for finding in found]
    return sorted(found, key=lambda finding: WEIGHT[finding.verdict])


def _worse(words: set[FieldVerdict]) -> bool:
    """What takes back that an update went well."""
    return bool(words & {FieldVerdict.UPDATED_TARGET_LOST, FieldVerdict.FALLBACK_INVALID, FieldVerdict.UNBOOTABLE})


def _incomplete(state: State) -> Iterator[Finding]:
    if state.placed.doubts:
        evidence = list(state.placed.dump.gap or ())
        reasons = list(state.placed.doubts)
        yield Finding(verdict=FieldVerdict.INCONCLUSIVE, reasons=reasons, evidence=evidence, unknown=[READ_AGAIN])


def _bad_table(state: State) -> Iterator[Finding]:
    table = state.placed.table
    if table is None or table.fault is None:
        return
    yield Finding(
        verdict=FieldVerdict.UNBOOTABLE,
        reasons=[f"the bootloader refuses the partition table: {table.fault}"],
        evidence=[state.placed.table_offset or 0],
        unknown=[READ_AGAIN],
    )


def _unbootable(state: State) -> Iterator[Finding]:
    table = state.placed.table
    if not state.next_boots or state.starts or state.placed.dump.gap or (table and table.fault):
        return
    if any(image.content == "encrypted" for image in state.images):
        return
    said = [line for line in state.next_boots[0].why if line.startswith("E ")]
    if any("exceeds flash chip size" in line for line in said):
        yield Finding(
            verdict=FieldVerdict.MISCONFIGURATION,
            reasons=["the partition table is larger than the flash size in the bootloader's header", *said],
            evidence=[state.placed.table_offset or 0],
        )
        return
    yield Finding(
        verdict=FieldVerdict.UNBOOTABLE,
        reasons=[
            "the bootloader starts nothing, in any configuration",
            *(image_words(image) for image in state.images),
            *said,
        ],
        evidence=[int(image.offset, 16) for image in state.images],
    )


def _flashed_elsewhere(state: State) -> Iterator[Finding]:
    """An app where the table has none, and none where it has a slot."""
    empty = [image for image in state.images if image.content == "erased"]
    if (
        state.stray
        and empty
        and state.placed.certain
        and not state.placed.dump.gap
        and not any(_good(image) for image in state.images)
    ):
        where = ", ".join(f"{at:#x}" for at in state.stray)
        yield Finding(
            verdict=FieldVerdict.BENCH_FAULT,
            reasons=[
                f"an app lies at {where}, where the partition table has no slot",
                f"the table's slots are empty: {', '.join(f'{image.slot} at {image.offset}' for image in empty)}",
            ],
            evidence=[*state.stray, *(int(image.offset, 16) for image in empty)],
            unknown=["the flashing tool's command line"],
        )


def _good(image: ExplainedImage) -> bool:
    return image.content == "good"


def _other_chip(state: State) -> Iterator[Finding]:
    for image in state.images:
        if image.content == "foreign" and "an image for" in image.why:
            yield Finding(
                verdict=FieldVerdict.MISCONFIGURATION,
                reasons=[image_words(image)],
                evidence=[int(image.offset, 16)],
            )
        elif image.content == "damaged" and "doesn't fit in partition" in image.why:
            yield Finding(
                verdict=FieldVerdict.MISCONFIGURATION,
                reasons=[f"{image.slot}: {image.why}"],
                evidence=[int(image.offset, 16)],
            )


def _misconfigured(state: State) -> Iterator[Finding]:
    if state.placed.table is None or state.placed.table.fault:
        return
    table = state.placed.table.table
    reasons = []
    otadata = table.otadata_for_bootloader
    if table.ota_count_bootloader and otadata is None:
        reasons.append("the partition table has OTA slots and no otadata partition: no update can ever be chosen")
    if otadata is not None and otadata.size < 0x2000:
        reasons.append(
            f"the otadata partition has {otadata.size:#x} bytes; the bootloader wants 0x2000 and starts nothing"
        )
    if table.ota_count_bootloader == 1 and table.slot("factory") is None:
        reasons.append("the partition table has one app slot: an update has nowhere to go")
    if table.ota_count_bootloader != table.ota_count_app:
        reasons.append("OTA slots are not numbered ota_0, ota_1, … without a gap: bootloader and app count differently")
    if table.otadata_for_app != otadata:
        reasons.append("two otadata partitions: the app writes the first, the bootloader reads the last")
    if reasons:
        yield Finding(verdict=FieldVerdict.MISCONFIGURATION, reasons=reasons, evidence=[state.placed.table_offset or 0])


def _chosen_image(state: State) -> Iterator[Finding]:
    """The image that otadata chooses is damaged, or out of reach, and another one is started."""
    slot = state.otadata.slot(state.otadata.active)
    if slot is None or state.placed.table is None or not state.starts:
        return
    table, image = state.placed.table.table, state.image(slot)
    instead = " or ".join(sorted(state.starts))
    if table.slot(slot) is None:
        yield Finding(
            verdict=FieldVerdict.FALLBACK_UNREACHABLE,
            reasons=[f"otadata chooses {slot}, which the partition table does not have; {instead} is started"],
            evidence=state.otadata.places,
        )
    elif image and image.content in BROKEN and image.content != "encrypted":
        yield Finding(
            verdict=FieldVerdict.FALLBACK_INVALID,
            reasons=[f"otadata chooses {image_words(image)}", f"the bootloader starts {instead} instead"],
            evidence=[int(image.offset, 16), *([int(image.damage, 16)] if image.damage else [])],
        )


def _under_way(state: State) -> Iterator[Finding]:
    """An image ends half-way in a slot that otadata does not choose."""
    chosen = state.otadata.slot(state.otadata.active)
    for image in state.images:
        if image.content == "torn" and image.slot.startswith("ota_") and image.slot != chosen and state.starts:
            yield Finding(
                verdict=FieldVerdict.NO_TRANSITION,
                reasons=[
                    f"an update into {image.slot} was under way or broke off: {image.why}",
                    f"otadata does not choose it: {chosen or next(iter(sorted(state.starts)))} is started",
                ],
                evidence=[int(image.damage or image.offset, 16)],
            )


def _encrypted(state: State) -> Iterator[Finding]:
    sealed = [image for image in state.images if image.content == "encrypted"]
    if sealed:
        yield Finding(
            verdict=FieldVerdict.INCONCLUSIVE,
            reasons=[image_words(image) for image in sealed],
            evidence=[int(image.offset, 16) for image in sealed],
            unknown=["the flash encryption key, or a dump decrypted with espsecure"],
        )


RULES: tuple[Rule, ...] = (
    _incomplete,
    _bad_table,
    _flashed_elsewhere,
    _unbootable,
    _other_chip,
    _misconfigured,
    otadata.foreign,
    otadata.torn_entry,
    otadata.damaged_entry,
    otadata.nothing_chosen,
    _chosen_image,
    otadata.target,
    otadata.went_back,
    _under_way,
    otadata.state_of_active,
    _encrypted,
)

NEED_ENTRIES = (
    otadata.torn_entry,
    otadata.damaged_entry,
    otadata.nothing_chosen,
    otadata.target,
    otadata.went_back,
    otadata.state_of_active,
    _chosen_image,
    _under_way,
)
"""Rules that say nothing where it is not known which entry is which."""
