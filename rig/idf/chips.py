"""The chips ESP-IDF knows, as data: what the bootloader and the image checks need to know of each.

Sources (ESP-IDF v6.1): `esp_chip_id_t` in components/bootloader_support/include/esp_app_format.h, `SOC_*` in
components/soc/<chip>/include/soc/soc.h and soc_caps.h, ESP_ROM_BOOTLOADER_OFFSET_FLASH in components/esp_rom,
BOOTLOADER_APP_SEC_VER_SIZE_EFUSE_FIELD in components/bootloader, REV_MIN/REV_MAX in components/esp_hw_support/port.
"""

from __future__ import annotations

from dataclasses import dataclass

from rig.idf.errors import FormatError

AddressRange = tuple[int, int]
"""First address, and the first one behind the range."""

PAGE_64K = 0x10000
_CONFIGURABLE_PAGES = (0x4000, 0x8000, PAGE_64K)
_C6_PAGES = (0x2000, *_CONFIGURABLE_PAGES)


@dataclass(frozen=True)
class Chip:
    """One target.

    `bootloader_offset` is a flash offset in bytes, `mmu_page_sizes` are bytes (more than one: the app says which),
    `rtc_ram`: where a segment may be copied to besides `iram` and `dram` (RTC memory; ESP32-P4: its SPM too),
    `secure_version_bits` is the anti-rollback eFuse field (components/efuse/<chip>/esp_efuse_table.csv),
    `secure_version_option` the most that Kconfig lets a build claim of it, revisions are major * 100 + minor.
    `wide_flash`: flash above 16 MiB may be mapped, so from ESP-IDF v5.5 segments are not held to 16 MiB.
    `flash_frequency`: ESP-IDF's default as esptool names it, and its code in the image header.
    """

    name: str
    title: str
    chip_id: int
    bootloader_offset: int
    drom: AddressRange
    irom: AddressRange
    iram: AddressRange
    dram: AddressRange
    rtc_ram: tuple[AddressRange, ...] = ()
    psram: AddressRange | None = None
    mmu_page_sizes: tuple[int, ...] = (PAGE_64K,)
    mmu_page_configurable: bool = False
    wide_flash: bool = False
    flash_frequency: tuple[str, int] = ("80m", 0xF)
    secure_version_bits: int = 16
    secure_version_option: int = 16
    revision: int = 100
    min_revision: int = 0
    max_revision: int = 199

    def maps(self, address: int) -> bool:
        """Whether a segment at `address` is mapped from flash, not copied (esp_image_format.c, should_map)."""
        if self.irom[0] <= address < self.irom[1] or self.drom[0] <= address < self.drom[1]:
            return True
        return self.psram is not None and self.psram[0] <= address < self.psram[1]

    def has_ram(self, address: int, size: int) -> bool:
        """Whether `size` bytes from `address` lie in one kind of RAM (esp_image_format.c, verify_load_addresses)."""
        ranges = (self.dram, self.iram, *self.rtc_ram)
        return any(low <= address and address + size <= high for low, high in ranges)


_ALL = (
    Chip(
        "esp32",
        "ESP32",
        0x0000,
        0x1000,
        drom=(0x3F400000, 0x3F800000),
        irom=(0x400D0000, 0x40400000),
        iram=(0x40080000, 0x400AA000),
        dram=(0x3FFAE000, 0x40000000),
        rtc_ram=((0x400C0000, 0x400C2000), (0x3FF80000, 0x3FF82000), (0x50000000, 0x50002000)),
        flash_frequency=("40m", 0x0),
        secure_version_bits=32,
        secure_version_option=32,
        revision=300,
        max_revision=399,
    ),
    Chip(
        "esp32s2",
        "ESP32-S2",
        0x0002,
        0x1000,
        drom=(0x3F000000, 0x3FF80000),
        irom=(0x40080000, 0x40800000),
        iram=(0x40020000, 0x40070000),
        dram=(0x3FFB0000, 0x40000000),
        rtc_ram=((0x40070000, 0x40072000), (0x3FF9E000, 0x3FFA0000), (0x50000000, 0x50002000)),
    ),
    Chip(
        "esp32c3",
        "ESP32-C3",
        0x0005,
        0x0,
        drom=(0x3C000000, 0x3C800000),
        irom=(0x42000000, 0x42800000),
        iram=(0x4037C000, 0x403E0000),
        dram=(0x3FC80000, 0x3FCE0000),
        rtc_ram=((0x50000000, 0x50002000),),
        revision=4,
        min_revision=3,
    ),
    Chip(
        "esp32s3",
        "ESP32-S3",
        0x0009,
        0x0,
        drom=(0x3C000000, 0x3E000000),
        irom=(0x42000000, 0x44000000),
        iram=(0x40370000, 0x403E0000),
        dram=(0x3FC88000, 0x3FD00000),
        rtc_ram=((0x600FE000, 0x60100000), (0x50000000, 0x50002000)),
        wide_flash=True,
        revision=2,
        max_revision=99,
    ),
    Chip(
        "esp32c2",
        "ESP32-C2",
        0x000C,
        0x0,
        drom=(0x3C000000, 0x3C400000),
        irom=(0x42000000, 0x42400000),
        iram=(0x4037C000, 0x403C0000),
        dram=(0x3FCA0000, 0x3FCE0000),
        flash_frequency=("60m", 0xF),
        mmu_page_sizes=_CONFIGURABLE_PAGES,
        mmu_page_configurable=True,
        secure_version_bits=4,
        secure_version_option=4,
        revision=200,
        min_revision=100,
        max_revision=299,
    ),
    Chip(
        "esp32c6",
        "ESP32-C6",
        0x000D,
        0x0,
        drom=(0x42000000, 0x43000000),
        irom=(0x42000000, 0x43000000),
        iram=(0x40800000, 0x40880000),
        dram=(0x40800000, 0x40880000),
        rtc_ram=((0x50000000, 0x50004000),),
        flash_frequency=("80m", 0x0),
        mmu_page_sizes=_C6_PAGES,
        mmu_page_configurable=True,
        revision=2,
        max_revision=99,
    ),
    Chip(
        "esp32h2",
        "ESP32-H2",
        0x0010,
        0x0,
        drom=(0x42000000, 0x43000000),
        irom=(0x42000000, 0x43000000),
        iram=(0x40800000, 0x40850000),
        dram=(0x40800000, 0x40850000),
        rtc_ram=((0x50000000, 0x50001000),),
        flash_frequency=("48m", 0xF),
        mmu_page_sizes=_C6_PAGES,
        mmu_page_configurable=True,
        revision=102,
    ),
    Chip(
        "esp32p4",
        "ESP32-P4",
        0x0012,
        0x2000,
        drom=(0x40000000, 0x44000000),
        irom=(0x40000000, 0x44000000),
        iram=(0x4FF00000, 0x4FFC0000),
        dram=(0x4FF00000, 0x4FFC0000),
        rtc_ram=((0x50108000, 0x50110000), (0x30100000, 0x30102000)),
        psram=(0x48000000, 0x4C000000),
        wide_flash=True,
        revision=301,
        min_revision=301,
        max_revision=399,
    ),
    Chip(
        "esp32c61",
        "ESP32-C61",
        0x0014,
        0x0,
        drom=(0x42000000, 0x44000000),
        irom=(0x42000000, 0x44000000),
        iram=(0x40800000, 0x40850000),
        dram=(0x40800000, 0x40850000),
        mmu_page_sizes=_C6_PAGES,
        mmu_page_configurable=True,
        wide_flash=True,
        revision=101,
        min_revision=100,
    ),
    Chip(
        "esp32c5",
        "ESP32-C5",
        0x0017,
        0x2000,
        drom=(0x42000000, 0x44000000),
        irom=(0x42000000, 0x44000000),
        iram=(0x40800000, 0x40860000),
        dram=(0x40800000, 0x40860000),
        rtc_ram=((0x50000000, 0x50004000),),
        wide_flash=True,
        secure_version_bits=9,
        min_revision=100,
    ),
    Chip(
        "esp32h21",
        "ESP32-H21",
        0x0019,
        0x0,
        drom=(0x42000000, 0x43000000),
        irom=(0x42000000, 0x43000000),
        iram=(0x40800000, 0x40850000),
        dram=(0x40800000, 0x40850000),
        rtc_ram=((0x50000000, 0x50001000),),
        flash_frequency=("48m", 0xF),
        mmu_page_sizes=_C6_PAGES,
        mmu_page_configurable=True,
        revision=0,
        max_revision=99,
    ),
    Chip(
        "esp32h4",
        "ESP32-H4",
        0x001C,
        0x2000,
        drom=(0x42000000, 0x44000000),
        irom=(0x42000000, 0x44000000),
        iram=(0x40810000, 0x40860000),
        dram=(0x40810000, 0x40860000),
        flash_frequency=("48m", 0xF),
        mmu_page_sizes=_C6_PAGES,
        mmu_page_configurable=True,
        wide_flash=True,
        revision=0,
        max_revision=99,
    ),
    Chip(
        "esp32s31",
        "ESP32-S31",
        0x0020,
        0x2000,
        drom=(0x40000000, 0x44000000),
        irom=(0x40000000, 0x44000000),
        iram=(0x2F000000, 0x2F080000),
        dram=(0x2F000000, 0x2F080000),
        rtc_ram=((0x2E000000, 0x2E008000),),
        psram=(0x50000000, 0x54000000),
        mmu_page_sizes=_C6_PAGES,
        mmu_page_configurable=True,
        wide_flash=True,
        revision=0,
        max_revision=99,
    ),
)

CHIPS: dict[str, Chip] = {entry.name: entry for entry in _ALL}
_BY_ID = {entry.chip_id: entry for entry in _ALL}


def chip(name: str) -> Chip:
    """The chip called `name` as ESP-IDF spells targets (`esp32c3`). Raises FormatError naming the known ones."""
    found = CHIPS.get(name)
    if found is None:
        raise FormatError(f"unknown chip {name!r}; known: {', '.join(CHIPS)}")
    return found


def chip_by_id(chip_id: int) -> Chip:
    """The chip with this `esp_chip_id_t`. Raises FormatError naming the known ids."""
    found = _BY_ID.get(chip_id)
    if found is None:
        known = ", ".join(f"{entry.chip_id} {entry.name}" for entry in _ALL)
        raise FormatError(f"unknown chip id {chip_id}; known: {known}")
    return found
