"""What the second-stage bootloader and the app's start-up print before anything is decided or `app_main` runs.

Sources: bootloader_init.c and bootloader_flash_config_*.c of components/bootloader_support; cpu_start.c, startup.c and
startup_funcs.c of components/esp_system, esp_app_desc.c, esp_efuse_startup.c, app_startup.c (tags by version),
esp_flash_encryption_init_checks in components/bootloader_support/src/flash_encrypt.c.
"""

from __future__ import annotations

from typing import NamedTuple

from rig.idf.chips import chip
from rig.idf.config import BootConfig
from rig.virtual.console_log import ConsoleLog, release
from rig.virtual.crash_output import DUAL_CORE, XTENSA

_SPEEDS = {0x0: "40MHz", 0x1: "26.7MHz", 0x2: "20MHz", 0xF: "80MHz"}
"""Codes in the image header of esp32 and its kin; each chip's own default comes before them."""
_MODES = {0: "QIO", 1: "QOUT", 2: "DIO", 3: "DOUT", 4: "FAST READ", 5: "SLOW READ"}
_HEAPS = {
    "esp32": ("At 3FFAE6E0 len 00001920 (6 KiB): DRAM", "At 3FFB2A10 len 0002D5F0 (181 KiB): DRAM"),
    "esp32s3": ("At 3FC94DF8 len 00054918 (338 KiB): RAM",),
    "esp32c3": ("At 3FC8E3B0 len 00031C50 (199 KiB): DRAM",),
    "esp32c6": ("At 4080D8A0 len 0006ED70 (443 KiB): RAM",),
}
_NEW_TAGS = (5, 3)
"""From this release the app's description has tags of its own and shows nine digits of the ELF's hash."""


class AppFacts(NamedTuple):
    """What the app's descriptor says of it; `elf_sha256` in hex.

    `checks_encryption`: it was built with CONFIG_SECURE_FLASH_ENC_ENABLED (in development mode).
    """

    project: str
    version: str
    secure_version: int
    idf_version: str
    date: str
    time: str
    elf_sha256: str
    checks_encryption: bool = False


class BuildStamp(NamedTuple):
    """Which ESP-IDF built the bootloader (`v5.5.5`), and when."""

    idf_version: str
    date: str = "Jan  1 2025"
    time: str = "12:00:00"


def flash_settings(header: bytes, chip_name: str) -> tuple[str, str, str]:
    """SPI speed, mode and size from bytes 2 and 3 of a bootloader image's header, as the log names them."""
    mode, speed, size = header[2], header[3] & 0xF, header[3] >> 4
    name, code = chip(chip_name).flash_frequency
    shown = f"{name.rstrip('m')}MHz" if speed == code else _SPEEDS.get(speed, "20MHz")
    return shown, _MODES.get(mode, "SLOW READ"), f"{1 << size}MB" if size < 8 else "2MB"


def print_bootloader_banner(log: ConsoleLog, config: BootConfig, header: bytes, stamp: BuildStamp) -> None:
    """From the banner to the entropy source; `header` is the start of the bootloader image."""
    version = stamp.idf_version
    log.info("boot", f"ESP-IDF {version} 2nd stage bootloader")
    # v4.4 prints only the time
    log.info(
        "boot", f"compile time {stamp.time}" if release(version) < (5, 0) else f"compile time {stamp.date} {stamp.time}"
    )
    if config.chip in DUAL_CORE:
        log.info("boot", "Multicore bootloader")
    log.info("boot", f"chip revision: v{config.chip_revision // 100}.{config.chip_revision % 100}")
    if release(version) >= (5, 1) and config.chip != "esp32":
        block = config.efuse_block_revision
        log.info("boot", f"efuse block revision: v{block // 100}.{block % 100}")
    speed, mode, size = flash_settings(header, config.chip)
    tag = f"boot.{config.chip}"
    log.info(tag, f"SPI Speed      : {speed}")
    log.info(tag, f"SPI Mode       : {mode}")
    log.info(tag, f"SPI Flash Size : {size}")
    log.info("boot", "Enabling RNG early entropy source...")


def print_app_start(log: ConsoleLog, config: BootConfig, facts: AppFacts) -> None:
    """From `cpu_start` until flash and eFuses are known; `config` is the app's own."""
    version = release(facts.idf_version)
    new = version >= _NEW_TAGS
    app, efuse = ("app_init", "efuse_init") if new else ("cpu_start", "cpu_start")
    dual = config.chip in DUAL_CORE
    log.info("cpu_start", "Multicore app" if dual else "Unicore app")
    if not new:
        log.info("cpu_start", "Pro cpu up.")
    log.info("cpu_start", "Pro cpu start user code")
    log.info("cpu_start", "cpu freq: 160000000" + ("" if version < (5, 0) else " Hz"))
    log.info(app, "Application information:")
    log.info(app, f"Project name:     {facts.project}")
    log.info(app, f"App version:      {facts.version}")
    if config.anti_rollback:
        log.info(app, f"Secure version:   {facts.secure_version}")
    log.info(app, f"Compile time:     {facts.date} {facts.time}")
    log.info(app, f"ELF file SHA256:  {facts.elf_sha256[: 9 if new else 16]}...")
    log.info(app, f"ESP-IDF:          {facts.idf_version}")
    target = chip(config.chip)
    low, high, own = target.min_revision, target.max_revision, config.chip_revision
    log.info(efuse, f"Min chip rev:     v{low // 100}.{low % 100}")
    log.info(efuse, f"Max chip rev:     v{high // 100}.{high % 100} ")
    log.info(efuse, f"Chip rev:         v{own // 100}.{own % 100}")
    log.info("heap_init", "Initializing. RAM available for dynamic allocation:")
    for line in _HEAPS.get(config.chip, ("At 3FC8E3B0 len 00031C50 (199 KiB): DRAM",)):
        log.info("heap_init", line)
    log.info("spi_flash", "detected chip: generic")
    log.info("spi_flash", "flash io: dio")
    if facts.checks_encryption:
        log.line("W", "flash_encrypt", "Flash encryption mode is DEVELOPMENT (not secure)")


def print_main_task(log: ConsoleLog, config: BootConfig, facts: AppFacts) -> None:
    """From there to `Calling app_main()`."""
    version = release(facts.idf_version)
    if version < (5, 0):
        scheduler = "Starting scheduler on PRO CPU." if config.chip in XTENSA else "Starting scheduler."
        log.info("cpu_start", scheduler)
        return
    if version < _NEW_TAGS:
        log.info("app_start", "Starting scheduler on CPU0")
    log.info("main_task", "Started on CPU0")
    log.info("main_task", "Calling app_main()")
