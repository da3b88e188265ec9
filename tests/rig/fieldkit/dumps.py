"""Flash content made for tests of dumps: bootloader, table, select entries and apps, at their places."""

from __future__ import annotations

from collections.abc import Mapping

from rig.fieldkit.entries import entry_bytes
from rig.fieldkit.explained import NextBoot
from rig.idf.chips import chip as chip_of
from rig.idf.config import IDF_VERSIONS
from rig.idf.image_build import build_bootloader, build_image
from rig.idf.partitions import PartitionTable

CHIP = "esp32c3"
TABLE = 0x8000
FLASH = 0x80000
CSV = """
nvs,data,nvs,0x9000,0x4000
otadata,data,ota,0xd000,0x2000
phy,data,phy,0xf000,0x1000
ota_0,app,ota_0,0x10000,0x20000
ota_1,app,ota_1,0x30000,0x20000
"""
WITH_FACTORY = CSV + "factory,app,factory,0x50000,0x20000\n"
BOTH_GOOD = ("seq 1 VALID", "seq 2 VALID")
CODE = bytes(index * 7 % 251 for index in range(0x5000))


def app(
    version: str, chip: str = CHIP, secure_version: int = 0, idf_version: str = "v5.5", code: bytes = CODE
) -> bytes:
    """Six sectors and a bit."""
    segments = (("irom", code + version.encode() * 64),)
    return build_image(
        chip=chip, version=version, secure_version=secure_version, idf_version=idf_version, segments=segments
    )


def flash(
    entries: tuple[str, str] = BOTH_GOOD,
    apps: Mapping[str, bytes] | None = None,
    csv: str = CSV,
    table_offset: int = TABLE,
    chip: str = CHIP,
    size: int = FLASH,
) -> bytes:
    """Whole flash. `entries` in words; `apps`: what lies in each slot, 1.0.0 and 2.0.0 if nothing is said."""
    table = PartitionTable.from_csv(csv, table_offset=table_offset)
    content = bytearray(b"\xff" * size)
    put(content, chip_of(chip).bootloader_offset, build_bootloader(chip=chip))
    put(content, table_offset, table.to_binary())
    otadata = table.otadata_for_bootloader
    for number, words in enumerate(entries):
        if otadata is not None:
            put(content, otadata.offset + 0x1000 * number, entry_bytes(words))
    if apps is None:
        apps = {part.slot or "": app(f"{number}.0.0", chip) for number, part in enumerate(table.app_slots, 1)}
    for name, data in apps.items():
        part = table.slot(name)
        assert part is not None
        put(content, part.offset, data)
    return bytes(content)


def put(content: bytearray, offset: int, data: bytes) -> None:
    content[offset : offset + len(data)] = data


def next_slot(steps: list[NextBoot], mode: str, version: str) -> str | None:
    """The slot that is told for one configuration; exactly one record must name it."""
    found = []
    for step in steps:
        for text in step.configurations:
            name, _, versions = text.partition(" (")
            if name == mode and (version in versions or versions.startswith("every")):
                found.append(step.slot)
    assert version in IDF_VERSIONS
    assert len(found) == 1, (mode, version, [step.configurations for step in steps])
    return found[0]
