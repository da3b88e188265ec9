"""From flash content to an `Explanation`: what lies where, what the bootloader makes of it, what may be said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rig.errors import UserError
from rig.fieldkit.dump_clues import Clues, clues
from rig.fieldkit.dump_find import NOISE_BITS, Dump, Header, entropy
from rig.fieldkit.dump_images import DEFAULT_CHIP, Judged, judge_images
from rig.fieldkit.dump_next import Start, next_boots
from rig.fieldkit.dump_otadata import Otadata, explained, find_otadata
from rig.fieldkit.dump_place import Placed, place
from rig.fieldkit.dump_state import State
from rig.fieldkit.dump_verdict import findings
from rig.fieldkit.explain_log import partitions
from rig.fieldkit.explained import Explanation, Finding
from rig.fieldkit.verdicts import MEANINGS, FieldVerdict
from rig.idf.chips import chip
from rig.idf.config import BootConfig
from rig.idf.effects import SECTOR_SIZE
from rig.idf.image_build import build_image
from rig.idf.memory import FlashImage
from rig.idf.partitions import Partition, PartitionTable

LARGEST = 0x8000000
"""128 MiB: no ESP chip addresses more flash (esp_image_format.c)."""
_ERASED = b"\xff"
_MOST_EFUSES = 3
_APPS = (Partition("ota_0", 0, 0x10, 0x110000, 0x100000), Partition("ota_1", 0, 0x11, 0x210000, 0x100000))
_OTADATA = Partition("otadata", 1, 0x00, 0xD000, 0x2000)
_FACTORY = Partition("factory", 0, 0x00, 0x10000, 0x100000)
ASSUMED = {
    "two OTA slots and no factory app": PartitionTable((_OTADATA, *_APPS)),
    "two OTA slots and a factory app": PartitionTable((_OTADATA, _FACTORY, *_APPS)),
}
"""Where no table is in the file, both are tried, and said so."""
ASSUMED_SLOTS = 2


def explain_dump(data: bytes, source: str, base: int | None = None) -> Explanation:
    """Explain flash content; `base` is the flash offset of its first byte where that is known.

    Raises UserError for content that is no flash, or more than any chip has.
    """
    if len(data) > LARGEST:
        raise UserError(f"{source}: {len(data)} bytes are more than any chip's flash", hint="give one dump")
    if not data:
        raise UserError(f"{source}: the file is empty", hint="give a flash dump")
    if base is not None and base < 0:
        raise UserError(f"{base} is no flash offset", hint="give the offset that the dump was read from, as 0x8000")
    data, wrapped = _unwrapped(data)
    placed = place(data, base)
    if placed.table is None and not find_otadata(placed, ASSUMED_SLOTS).entries:
        return _without_landmarks(data, source, placed)
    return _explained(placed, source, wrapped)


def _unwrapped(data: bytes) -> tuple[bytes, list[str]]:
    """Read beyond its end, flash begins again: the copies tell nothing."""
    notes: list[str] = []
    half = len(data) // 2
    while half >= 0x10000 and half % SECTOR_SIZE == 0 and data[:half] == data[half:] and len(set(data[:half])) > 1:
        notes = [
            f"the file repeats itself from {half:#x} on: flash has no more than {half:#x} bytes from where it begins"
        ]
        data, half = data[:half], half // 2
    return data, notes


def _without_landmarks(data: bytes, source: str, placed: Placed) -> Explanation:
    """No table, no otadata: what else it may be. UserError for what is no flash."""
    sectors = [data[at : at + SECTOR_SIZE] for at in range(0, len(data), SECTOR_SIZE)]
    erased = sum(1 for sector in sectors if not sector.strip(_ERASED))
    unknown = ["flash read again, twice, and both files compared"]
    if erased == len(sectors):
        reasons = ["all of it is 0xFF: erased flash, or nothing answered when it was read"]
    elif not data.strip(b"\0"):
        reasons = ["all of it is 0x00: flash erases to 0xFF, so more likely nothing answered when it was read"]
    elif placed.headers:
        raise UserError(
            f"{source}: images, but neither a partition table nor otadata",
            hint="rig image info shows a single image; of a board give a dump with the partition table",
        )
    elif erased and entropy(b"".join(sector for sector in sectors if sector.strip(_ERASED))[:0x100000]) > NOISE_BITS:
        reasons = ["noise with erased sectors between, and no structure: so reads flash that is encrypted"]
        unknown = ["the flash encryption key, or a dump decrypted with espsecure decrypt-flash-data"]
    else:
        noise = entropy(data[:0x100000]) > NOISE_BITS
        what = "noise from end to end" if noise else "neither a partition table nor otadata nor an image is in it"
        raise UserError(
            f"{source}: no flash content that could be explained: {what}",
            hint="give a dump by esptool read-flash that holds the partition table or otadata; decrypted if encrypted",
        )
    return _assembled(source, [Finding(verdict=FieldVerdict.INCONCLUSIVE, reasons=reasons, unknown=unknown)], {})


def _explained(placed: Placed, source: str, notes: Sequence[str]) -> Explanation:
    otadata = find_otadata(placed, ASSUMED_SLOTS)
    table = placed.table.table if placed.table else None
    loader = _bootloader(placed)
    parts = list(table.app_slots) if table else []
    config, judged = judge_images(placed.dump, parts, loader.chip.name if loader else None)
    known = bool(loader or placed.headers)
    if placed.table_offset is not None:
        config = replace(config, partition_table_offset=placed.table_offset)
    starts = _starts(placed, otadata, config, judged, known)
    span = (chip(config.chip).bootloader_offset, config.partition_table_offset)
    told = clues(placed.dump, span, judged, otadata)
    steps = next_boots(starts, config, _secure_versions(judged, config), told)
    state = State(placed, otadata, judged, steps, told, _stray(placed, parts))
    explanation = _assembled(source, findings(state), _facts(placed, config, told, known))
    return explanation.model_copy(
        update={
            "otadata": explained(otadata),
            "table": partitions(table),
            "images": state.images,
            "next_boots": steps,
            "notes": [*notes, *_where(placed), *_no_table(placed), *otadata.notes, *told.reasons, *placed.notes],
        }
    )


def _bootloader(placed: Placed) -> Header | None:
    """It lies before the table; what begins like an image elsewhere may be anything."""
    limit = placed.table.at if placed.table else 0
    return next((header for header in placed.headers if not header.app and header.at < limit), None)


def _secure_versions(judged: Sequence[Judged], config: BootConfig) -> list[int]:
    """What the eFuse may hold: nothing, or what an image asks for and the field can hold; the highest of many."""
    seen = {item.desc.secure_version for item in judged if item.desc}
    return [0, *sorted(version for version in seen if 0 < version <= config.secure_version_bits)[-_MOST_EFUSES:]]


def _stray(placed: Placed, parts: Sequence[Partition]) -> list[int]:
    slots = {part.offset for part in parts}
    inside = [placed.dump.base + header.at for header in placed.headers if header.app]
    return [at for at in inside if at not in slots]


def _starts(placed: Placed, otadata: Otadata, config: BootConfig, judged: Sequence[Judged], known: bool) -> list[Start]:
    """Flash for the model, for each partition table that may be there."""
    assumes = []
    if not known:
        assumes.append(f"the chip is an {DEFAULT_CHIP}: no image tells")
    if len(otadata.entries) == 1:
        assumes.append(f"otadata[{1 - otadata.entries[0].number}] is erased: it is not in the file")
    if placed.dump.gap and not otadata.numbered:
        assumes.append("otadata is as the file shows it, although a sector of it may be missing")
    if placed.table is not None:
        table = placed.table.table
        return [_start(placed.dump, table, "", True, config, judged, otadata, assumes)]
    return [
        _start(None, table, name, False, config, (), otadata, [*assumes, f"the partition table has {name}"])
        for name, table in ASSUMED.items()
    ]


def _start(
    dump: Dump | None,
    table: PartitionTable,
    name: str,
    in_file: bool,
    config: BootConfig,
    judged: Sequence[Judged],
    otadata: Otadata,
    assumes: Sequence[str],
) -> Start:
    missing = [item.part for item in judged if item.image.content == "not in the file"] if dump else table.app_slots
    place_of = table.otadata_for_bootloader
    ends = [part.end for part in (*missing, *([place_of] if place_of else [])) if part.end <= LARGEST]
    # flash that is not there reads as erased, so no more is needed
    content = bytearray(_ERASED * max([*ends, dump.end if dump else 0]))
    if dump is not None:
        content[dump.base : dump.end] = dump.data
    memory = FlashImage(content)
    told = list(assumes)
    for part in missing:
        secure = next((item.desc.secure_version for item in judged if item.part == part and item.desc), 0)
        memory.load(part.offset, build_image(chip=config.chip, version="assumed", secure_version=secure))
    if missing:
        told.append(
            f"the images that the file does not show are good: {', '.join(part.slot or '' for part in missing)}"
        )
    if dump is None and place_of is not None:
        for number, raw in enumerate(otadata.pair):
            memory.load(place_of.offset + number * SECTOR_SIZE, raw)
    elif place_of is not None and not otadata.entries:
        told.append("otadata is erased: it is not in the file")
    return Start(memory, table, name, in_file, tuple(told))


def _where(placed: Placed) -> list[str]:
    if not placed.certain and not placed.doubts:
        return ["where in flash the file begins is not known: offsets are counted from its beginning"]
    told = f": told by {', '.join(dict.fromkeys(placed.told_by))}" if placed.told_by else ""
    return [f"the file begins at flash offset {placed.dump.base:#x}{told}"]


def _no_table(placed: Placed) -> list[str]:
    if placed.table is not None:
        return []
    return ["no partition table is in the file: two OTA slots are assumed, with and without a factory app"]


def _facts(placed: Placed, config: BootConfig, told: Clues, known: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {"size": len(placed.dump.data) - (SECTOR_SIZE if placed.dump.gap else 0)}
    if placed.certain:
        facts["base"] = f"{placed.dump.base:#x}"
    if placed.table is not None:
        table = placed.table.table
        facts["table_offset"] = f"{placed.table_offset:#x}"
        facts["table"] = {
            part.slot or ("otadata" if part.is_otadata else part.label): f"{part.offset:#x}"
            for part in table.entries
            if part.slot or part.is_otadata
        }
        facts["factory"] = table.slot("factory") is not None
    if known:
        facts["chip"] = config.chip
    for name, value in (("bootloader", told.bootloader), ("idf_family", told.family), ("rollback", told.rollback)):
        if value is not None:
            facts[name] = value
    return facts


def _assembled(source: str, found: list[Finding], facts: dict[str, Any]) -> Explanation:
    first = found[0]
    return Explanation(
        source=source,
        kind="flash dump",
        verdict=first.verdict,
        meaning=MEANINGS[first.verdict],
        reasons=first.reasons,
        evidence=first.evidence,
        unknown=first.unknown,
        findings=found,
        facts=facts,
    )
