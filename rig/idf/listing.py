"""The partition table as the second-stage bootloader reads it at every boot: verified, then listed line by line.

Follows `bootloader_utility_load_partition_table` in bootloader_utility.c; the flash size is the one in the bootloader's
own image header (`update_flash_config` in bootloader_esp32.c and its siblings).
"""

from __future__ import annotations

from rig.idf.chips import chip
from rig.idf.config import BootConfig
from rig.idf.effects import Log, Memory, Steps
from rig.idf.partitions import MAX_LENGTH, ROW_SIZE, Partition, PartitionTable, check_table

_MIB = 0x100000
_LARGEST_FLASH = 128 * _MIB
_IMAGE_MAGIC = 0xE9
_APPS = {0x00: "factory app", 0x20: "test app"}
_DATA = {0x00: "OTA data", 0x01: "RF data", 0x02: "WiFi data", 0x04: "NVS keys", 0x05: "efuse"}
_BOOTLOADERS = {0: "primary bootloader", 1: "ota bootloader", 2: "recovery bootloader"}
_TABLES = {0: "primary partition_table", 1: "ota partition_table"}


def load_table(memory: Memory, config: BootConfig) -> Steps[PartitionTable | None]:
    """Verify and list the table at `config.partition_table_offset`; None when the bootloader refuses it.

    Lines of level D are left out unless `config.log_level` is DEBUG or VERBOSE.
    """
    debug = config.log_level in ("DEBUG", "VERBOSE")
    mapped = mapped_at(config)
    if debug:
        yield mapped_line("boot", config)
    found = check_table(memory.read(config.partition_table_offset, MAX_LENGTH), flash_size(memory, config), config)
    for line in found.logs:
        if debug or line.level != "D":
            yield line
    if found.table is None:
        yield Log("E", "boot", "Failed to verify partition table")
        return None
    yield Log("I", "boot", "Partition Table:")
    yield Log("I", "boot", "## Label            Usage          Type ST Offset   Length")
    for index, part in enumerate(found.table.entries):
        if debug:
            yield Log("D", "boot", f"load partition table entry 0x{mapped + index * ROW_SIZE:x}")
            yield Log("D", "boot", f"type={part.type:x} subtype={part.subtype:x}")
        numbers = f"{part.type:02x} {part.subtype:02x} {part.offset:08x} {part.size:08x}"
        yield Log("I", "boot", f"{index:2d} {part.label:<16s} {usage(part, config):<16s} {numbers}")
    yield Log("I", "boot", "End of partition table")
    return found.table


def usage(part: Partition, config: BootConfig) -> str:
    """The word for a partition's use in the listing."""
    if part.type == 0:
        ota = part.subtype & ~0x0F == 0x10
        return _APPS.get(part.subtype) or ("OTA app" if ota else "Unknown app")
    if part.type == 1:
        return _DATA.get(part.subtype, "Unknown data")
    if config.idf >= (5, 5) and part.type == 2:
        return _BOOTLOADERS.get(part.subtype, "unknown")
    if config.idf >= (5, 5) and part.type == 3:
        return _TABLES.get(part.subtype, "unknown")
    return "unknown"


def mapped_at(config: BootConfig) -> int:
    """The address at which the bootloader sees the table: the first mapped page, and the offset inside it."""
    return chip(config.chip).drom[0] + config.partition_table_offset % config.mmu_page_size


def mapped_line(tag: str, config: BootConfig) -> Log:
    """The debug line before the table is verified."""
    return Log("D", tag, f"mapped partition table 0x{config.partition_table_offset:x} at 0x{mapped_at(config):x}")


def flash_size(memory: Memory, config: BootConfig) -> int:
    """Bytes of flash by the bootloader's image header; without such a header no limit that matters (128 MiB)."""
    header = memory.read(chip(config.chip).bootloader_offset, 4)
    if header[0] != _IMAGE_MAGIC:
        return _LARGEST_FLASH
    code = header[3] >> 4
    # a code that ESP-IDF does not know counts as 2 MB
    return _MIB << code if code <= 7 else 2 * _MIB
