"""What the silicon of each chip has, as data: registers, eFuse layout, ROM texts and reset reasons.

What belongs to image formats (bootloader offset, chip id, address ranges) is in `rig.idf.chips`, except what the ROM
itself acts on. Sources: ESP-IDF v5.5 soc/*_reg.h, esp_efuse_table.csv and esp_rom/*/rom/rtc.h, esptool targets/*.py,
and boot logs of real boards for the ROM's texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from rig.virtual.cpu import ResetReason


class EfuseField(NamedTuple):
    """A field of an eFuse block: `bit` counts from the start of the block."""

    block: int
    bit: int
    width: int


class EfuseBlock(NamedTuple):
    """Where a block is read, and its length in 32-bit words."""

    read_address: int
    words: int


@dataclass(frozen=True)
class EfuseController:
    """Registers through which eFuses are burnt.

    `write_addresses` holds the address of the write window of each block: newer chips have one window for all of them,
    and name the block in bits 5:2 of the command.
    """

    conf: int
    command: int
    write_addresses: tuple[int, ...]


@dataclass(frozen=True)
class SpiController:
    """The SPI controller esptool drives for single flash commands; offsets from `base`."""

    base: int
    usr2: int
    w0: int
    miso_dlen: int
    address: int = 0x04
    address_msb_first: bool = False


@dataclass(frozen=True)
class Watchdog:
    """The RTC watchdog that esptool uses for a reset."""

    config0: int
    protect: int
    key: int = 0x50D83AA1


class RomReset(NamedTuple):
    """A reset reason as the ROM prints it: `rst:0x<number> (<name>)`."""

    number: int
    name: str


@dataclass(frozen=True)
class ChipSpec:
    """One chip model."""

    name: str
    chip_id: int
    default_mac: str
    flash_id: int
    bootloader_offset: int
    magic: int
    """Word at 0x40001000 by which tools recognise the chip."""
    has_security_info: bool
    api_version: int
    key_purposes: tuple[int, ...]
    efuse_blocks: tuple[EfuseBlock, ...]
    efuse_fields: Mapping[str, EfuseField]
    efuse_factory: Mapping[str, int]
    """Fields burnt when the chip was made, besides the MAC."""
    efuse_controller: EfuseController
    spi: SpiController
    uart_clkdiv: int
    registers: Mapping[int, int]
    """Further registers with their fixed value."""
    rom_banner: tuple[str, ...]
    boot_flash: str
    boot_download: str
    rom_preload: tuple[str, ...]
    """Lines between reset reason and `mode:`."""
    spi_clock_div: Mapping[int, int]
    """Image header's flash frequency code to the divider that the ROM prints."""
    load_length_hex: bool
    load_notes: Mapping[int, str]
    """Line printed after the segment with that load address."""
    invalid_image_lines: tuple[str, ...]
    """What the ROM says when the bootloader's checksum is wrong; `{got}` and `{want}` are filled in."""
    resets: Mapping[ResetReason, RomReset]
    watchdog: Watchdog | None = None
    xtal_hz: int = 40_000_000


_FLASH_ID_4MB = 0x1640EF
"""Winbond W25Q32; the third byte is log2 of the size and follows the flash that is fitted."""

_RISCV_RESETS = {
    ResetReason.POWERON: RomReset(0x1, "POWERON"),
    ResetReason.EN_PIN: RomReset(0x1, "POWERON"),
    ResetReason.SOFTWARE: RomReset(0xC, "RTC_SW_CPU_RST"),
    ResetReason.BOOTLOADER: RomReset(0x3, "RTC_SW_SYS_RST"),
    ResetReason.WATCHDOG: RomReset(0x7, "TG0WDT_SYS_RST"),
    ResetReason.BROWNOUT: RomReset(0xF, "RTCWDT_BROWN_OUT_RST"),
}


def _new_blocks(base: int) -> tuple[EfuseBlock, ...]:
    """Layout shared by every chip since esp32s2: 11 blocks, all but two of 8 words."""
    blocks = [EfuseBlock(base + 0x2C, 6), EfuseBlock(base + 0x44, 6)]
    return (*blocks, *(EfuseBlock(base + 0x5C + 0x20 * n, 8) for n in range(9)))


def _new_controller(base: int) -> EfuseController:
    return EfuseController(conf=base + 0x1CC, command=base + 0x1D4, write_addresses=(base,) * 11)


def _new_spi(base: int) -> SpiController:
    return SpiController(base=base, usr2=0x20, w0=0x58, miso_dlen=0x28)


_KEY_FIELDS = {
    "RD_DIS": EfuseField(0, 32, 7),
    "SPI_BOOT_CRYPT_CNT": EfuseField(0, 82, 3),
    **{f"KEY_PURPOSE_{number}": EfuseField(0, 88 + 4 * number, 4) for number in range(6)},
}
"""The same on every chip since esp32s2; the key of KEY_PURPOSE_n is block 4 + n."""

_NEW_FIELDS = {
    **_KEY_FIELDS,
    "SECURE_VERSION": EfuseField(0, 142, 16),
    "MAC": EfuseField(1, 0, 48),
    "WAFER_VERSION_MINOR_LO": EfuseField(1, 114, 3),
    "PKG_VERSION": EfuseField(1, 117, 3),
    "BLK_VERSION_MINOR": EfuseField(1, 120, 3),
    "FLASH_CAP": EfuseField(1, 123, 3),
    "FLASH_VENDOR": EfuseField(1, 128, 3),
    "WAFER_VERSION_MINOR_HI": EfuseField(1, 183, 1),
    "WAFER_VERSION_MAJOR": EfuseField(1, 184, 2),
}
_NEW_CHECK_LINES = ("Checksum failure. Calculated {got:#x} stored {want:#x}", "ets_main.c 333 ")

_ESP32C3 = ChipSpec(
    name="esp32c3",
    chip_id=5,
    default_mac="60:55:f9:f7:2c:a2",
    flash_id=_FLASH_ID_4MB,
    bootloader_offset=0x0,
    magic=0x1B31506F,
    has_security_info=True,
    api_version=1,
    key_purposes=(0, 0, 0, 0, 0, 0, 12),
    efuse_blocks=_new_blocks(0x60008800),
    efuse_fields=_NEW_FIELDS,
    efuse_factory={"WAFER_VERSION_MINOR_LO": 4},
    efuse_controller=_new_controller(0x60008800),
    spi=_new_spi(0x60002000),
    uart_clkdiv=0x60000014,
    registers={},
    rom_banner=("ESP-ROM:esp32c3-api1-20210207", "Build:Feb  7 2021"),
    boot_flash="boot:0xc (SPI_FAST_FLASH_BOOT)",
    boot_download="boot:0x4 (DOWNLOAD(USB/UART0/1))",
    rom_preload=("SPIWP:0xee",),
    spi_clock_div={0xF: 1, 0x0: 2, 0x1: 3, 0x2: 4},
    load_length_hex=True,
    load_notes={},
    invalid_image_lines=_NEW_CHECK_LINES,
    resets=_RISCV_RESETS,
    watchdog=Watchdog(config0=0x60008090, protect=0x600080A8),
)

_ESP32S3 = ChipSpec(
    name="esp32s3",
    chip_id=9,
    default_mac="f4:12:fa:41:3e:7c",
    flash_id=_FLASH_ID_4MB,
    bootloader_offset=0x0,
    magic=0x9,
    has_security_info=True,
    api_version=0,
    key_purposes=(0, 0, 0, 0, 0, 0, 12),
    efuse_blocks=_new_blocks(0x60007000),
    efuse_fields=_NEW_FIELDS,
    efuse_factory={"WAFER_VERSION_MINOR_LO": 2, "BLK_VERSION_MINOR": 2},
    efuse_controller=_new_controller(0x60007000),
    spi=_new_spi(0x60002000),
    uart_clkdiv=0x60000014,
    registers={0x60004038: 0x8},
    rom_banner=("ESP-ROM:esp32s3-20210327", "Build:Mar 27 2021"),
    boot_flash="boot:0x8 (SPI_FAST_FLASH_BOOT)",
    boot_download="boot:0x0 (DOWNLOAD(USB/UART0))",
    rom_preload=("SPIWP:0xee",),
    spi_clock_div={0xF: 1, 0x0: 2, 0x1: 3, 0x2: 4},
    load_length_hex=True,
    load_notes={},
    invalid_image_lines=_NEW_CHECK_LINES,
    resets=_RISCV_RESETS,
    watchdog=Watchdog(config0=0x60008098, protect=0x600080B0),
)

_ESP32C6 = ChipSpec(
    name="esp32c6",
    chip_id=13,
    default_mac="40:4c:ca:41:d6:f8",
    flash_id=_FLASH_ID_4MB,
    bootloader_offset=0x0,
    magic=0x2CE0806F,
    has_security_info=True,
    api_version=0,
    key_purposes=(0, 0, 0, 0, 0, 0, 12),
    efuse_blocks=_new_blocks(0x600B0800),
    efuse_fields={
        **_KEY_FIELDS,
        "SECURE_VERSION": EfuseField(0, 142, 16),
        "MAC": EfuseField(1, 0, 48),
        "MAC_EXT": EfuseField(1, 48, 16),
        "WAFER_VERSION_MINOR": EfuseField(1, 114, 4),
        "WAFER_VERSION_MAJOR": EfuseField(1, 118, 2),
        "PKG_VERSION": EfuseField(1, 120, 3),
        "BLK_VERSION_MINOR": EfuseField(1, 123, 3),
        "FLASH_CAP": EfuseField(1, 128, 3),
    },
    efuse_factory={"MAC_EXT": 0xFFFE, "WAFER_VERSION_MINOR": 2, "PKG_VERSION": 1, "FLASH_CAP": 1},
    efuse_controller=_new_controller(0x600B0800),
    spi=_new_spi(0x60003000),
    uart_clkdiv=0x60000014,
    registers={},
    rom_banner=("ESP-ROM:esp32c6-20220919", "Build:Sep 19 2022"),
    boot_flash="boot:0xc (SPI_FAST_FLASH_BOOT)",
    boot_download="boot:0x4 (DOWNLOAD(USB/UART0/SDIO_FEI_FEO))",
    rom_preload=("SPIWP:0xee",),
    spi_clock_div={0x0: 2, 0x2: 4},
    load_length_hex=True,
    load_notes={},
    invalid_image_lines=_NEW_CHECK_LINES,
    resets={
        ResetReason.POWERON: RomReset(0x1, "POWERON"),
        ResetReason.EN_PIN: RomReset(0x1, "POWERON"),
        ResetReason.SOFTWARE: RomReset(0xC, "SW_CPU"),
        ResetReason.BOOTLOADER: RomReset(0x3, "LP_SW_HPSYS"),
        ResetReason.WATCHDOG: RomReset(0x7, "TG0_WDT_HPSYS"),
        ResetReason.BROWNOUT: RomReset(0xF, "BROWN_OUT"),
    },
    watchdog=Watchdog(config0=0x600B1C00, protect=0x600B1C18),
)

_ESP32_EFUSE = 0x3FF5A000
_ESP32_CK8M = 50
_ESP32 = ChipSpec(
    name="esp32",
    chip_id=0,
    default_mac="24:0a:c4:12:45:56",
    flash_id=_FLASH_ID_4MB,
    bootloader_offset=0x1000,
    magic=0x00F01D83,
    has_security_info=False,
    api_version=0,
    key_purposes=(),
    efuse_blocks=(
        EfuseBlock(_ESP32_EFUSE, 7),
        EfuseBlock(_ESP32_EFUSE + 0x38, 8),
        EfuseBlock(_ESP32_EFUSE + 0x58, 8),
        EfuseBlock(_ESP32_EFUSE + 0x78, 8),
    ),
    efuse_fields={
        "RD_DIS": EfuseField(0, 16, 4),
        "FLASH_CRYPT_CNT": EfuseField(0, 20, 7),
        "FLASH_CRYPT_CONFIG": EfuseField(0, 188, 4),
        "MAC": EfuseField(0, 32, 48),
        "MAC_CRC": EfuseField(0, 80, 8),
        "CHIP_PACKAGE": EfuseField(0, 105, 3),
        "CHIP_CPU_FREQ_RATED": EfuseField(0, 109, 1),
        "CHIP_VER_REV1": EfuseField(0, 111, 1),
        "CK8M_FREQ": EfuseField(0, 128, 8),
        "CHIP_VER_REV2": EfuseField(0, 180, 1),
        "WAFER_VERSION_MINOR": EfuseField(0, 184, 2),
        "SECURE_VERSION": EfuseField(3, 128, 32),
    },
    efuse_factory={
        "CHIP_PACKAGE": 1,
        "CHIP_CPU_FREQ_RATED": 1,
        "CHIP_VER_REV1": 1,
        "CHIP_VER_REV2": 1,
        "CK8M_FREQ": _ESP32_CK8M,
    },
    efuse_controller=EfuseController(
        conf=_ESP32_EFUSE + 0xFC,
        command=_ESP32_EFUSE + 0x104,
        write_addresses=tuple(_ESP32_EFUSE + offset for offset in (0x1C, 0x98, 0xB8, 0xD8)),
    ),
    spi=SpiController(base=0x3FF42000, usr2=0x24, w0=0x80, miso_dlen=0x2C, address_msb_first=True),
    uart_clkdiv=0x3FF40014,
    registers={
        0x3FF6607C: 1 << 31,  # APB_CTL_DATE: third revision bit, so with the two eFuse bits this is v3
        # RTCCALICFG1: CK8M_FREQ times this makes the 40 MHz crystal of esptool's get_rom_cal_crystal_freq()
        0x3FF5F06C: (40_000_000 * 40 // 15625 // _ESP32_CK8M) << 7,
    },
    rom_banner=("ets Jul 29 2019 12:21:46", ""),
    boot_flash="boot:0x13 (SPI_FAST_FLASH_BOOT)",
    boot_download="boot:0x3 (DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2))",
    rom_preload=(
        "configsip: 0, SPIWP:0xee",
        "clk_drv:0x00,q_drv:0x00,d_drv:0x00,cs0_drv:0x00,hd_drv:0x00,wp_drv:0x00",
    ),
    spi_clock_div={0xF: 1, 0x0: 2, 0x1: 3, 0x2: 4},
    load_length_hex=False,
    load_notes={0x40078000: "ho 0 tail 12 room 4"},
    invalid_image_lines=("csum err:{got:#x}!={want:#x}", "ets_main.c 371 "),
    resets={
        ResetReason.POWERON: RomReset(0x1, "POWERON_RESET"),
        ResetReason.EN_PIN: RomReset(0x1, "POWERON_RESET"),
        ResetReason.SOFTWARE: RomReset(0xC, "SW_CPU_RESET"),
        ResetReason.BOOTLOADER: RomReset(0x3, "SW_RESET"),
        ResetReason.WATCHDOG: RomReset(0x10, "RTCWDT_RTC_RESET"),
        ResetReason.BROWNOUT: RomReset(0xF, "RTCWDT_BROWN_OUT_RESET"),
    },
)

SPECS: Mapping[str, ChipSpec] = {spec.name: spec for spec in (_ESP32C3, _ESP32, _ESP32S3, _ESP32C6)}


def chip_spec(name: str) -> ChipSpec:
    """The chip called `name`; ValueError names those that can be simulated."""
    try:
        return SPECS[name]
    except KeyError:
        raise ValueError(f"chip {name!r} cannot be simulated; known: {', '.join(SPECS)}") from None
