"""A firmware build without ESP-IDF: the same files that `idf.py build` leaves, made from `firmware_under_test`.

The images carry what the virtual chip needs: the bootloader its `BootConfig`, the app a marker. Everything else that
reads the folder (esptool, `rig.boards.firmware`, pytest-embedded) sees an ordinary build directory.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from hashlib import shake_128
from pathlib import Path
from typing import Any

from rig.errors import UserError
from rig.idf.chips import PAGE_64K, Chip
from rig.idf.chips import chip as find_chip
from rig.idf.config import LOG_LEVELS, BootConfig
from rig.idf.errors import FormatError
from rig.idf.image import build_bootloader, build_image, parse
from rig.idf.image_desc import APP_DESC_SIZE, BOOTLOADER_DESC_SIZE
from rig.idf.partitions import OTADATA_SIZE, PartitionTable
from rig.virtual.features import Features

FIRMWARE = Path(__file__).resolve().parents[2] / "firmware_under_test"
"""Where variants and partition tables are kept in the repository."""

_CONFIG_MARKER = b"\0rig boot config\0"
_APP_MARKER = b"\0rig test app 1\0"
_LENGTH = struct.Struct("<I")
# together about what a bootloader and a small app take
_BOOTLOADER_CODE = 16 * 1024
APP_SIZE = 40 * 1024
SMALL_APP_SIZE = 4 * 1024
"""What an app needs at least: its rules, and a little of everything."""

_SETTING = re.compile(r"CONFIG_(\w+)=(.*)")
_UNSET = re.compile(r"# CONFIG_(\w+) is not set")


def make_build(
    folder: Path,
    *,
    variant: str,
    chip: str,
    version: str,
    idf_version: str = "v5.5",
    secure_version: int | None = None,
    project: str = "rig_test_app",
    firmware: Path = FIRMWARE,
    app_size: int = APP_SIZE,
) -> Path:
    """Write a build directory of `variant` (`sdkconfig.ci.<variant>` in `firmware`) into `folder` and return it.

    `secure_version` takes the place of the variant's own; `app_size`: bytes of code and data, not less than 4096.

    Raises UserError for an unknown variant, chip or version text, and for a partition table that ESP-IDF would refuse.
    """
    settings = read_variant(variant, firmware)
    if secure_version is None:
        secure_version = int(settings.get("BOOTLOADER_APP_SECURE_VERSION", 0))
    csv = firmware / str(settings.get("PARTITION_TABLE_CUSTOM_FILENAME", ""))
    try:
        target = find_chip(chip)
        sdkconfig = _complete(settings, target, version, secure_version)
        config = BootConfig.from_sdkconfig(sdkconfig, idf_version, chip)
        table = PartitionTable.from_csv(csv.read_text(encoding="utf-8"), table_offset=config.partition_table_offset)
        flash_size = int(sdkconfig["ESPTOOLPY_FLASHSIZE"].removesuffix("MB")) * 0x100000
        table.verify(flash_size, table_offset=config.partition_table_offset, idf_version=idf_version)
        if config.anti_rollback and (table.slot("factory") or table.slot("test")):
            # components/esptool_py/CMakeLists.txt, check_table_contents
            raise FormatError("with anti-rollback the partition table must have no factory or test app")
        size_name = sdkconfig["ESPTOOLPY_FLASHSIZE"]
        extras = Features.from_sdkconfig(settings).marked()
        bootloader = _bootloader(config, idf_version, size_name, extras)
        app = _app(config, version, project, secure_version, idf_version, size_name, extras, app_size)
    except FormatError as error:
        raise UserError(f"variant {variant!r}: {error}", hint="change the variant or its partition table") from error
    except OSError as error:
        raise UserError(f"variant {variant!r}: cannot read {csv}: {error.strerror}") from error
    files = {
        target.bootloader_offset: ("bootloader", "bootloader/bootloader.bin", bootloader),
        config.partition_table_offset: ("partition-table", "partition_table/partition-table.bin", table.to_binary()),
        _app_offset(table, variant): ("app", f"{project}.bin", app),
    }
    if table.otadata_for_app is not None:
        files[table.otadata_for_app.offset] = ("otadata", "ota_data_initial.bin", b"\xff" * OTADATA_SIZE)
    for _, name, data in files.values():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    _write_json(folder / "flasher_args.json", _flasher_args(files, target, sdkconfig))
    _write_json(folder / "config" / "sdkconfig.json", sdkconfig)
    _write_json(folder / "project_description.json", _description(folder, chip, project, version, idf_version))
    return folder


def variants(firmware: Path = FIRMWARE) -> tuple[str, ...]:
    """Names of the variants in `firmware`, sorted."""
    return tuple(sorted(path.name.removeprefix("sdkconfig.ci.") for path in firmware.glob("sdkconfig.ci.*")))


def read_variant(variant: str, firmware: Path = FIRMWARE) -> dict[str, Any]:
    """Settings of the variant over `sdkconfig.defaults`, keys without CONFIG_. UserError names the known variants."""
    path = firmware / f"sdkconfig.ci.{variant}"
    if variant not in variants(firmware):
        known = ", ".join(variants(firmware)) or "none"
        raise UserError(f"unknown build variant {variant!r}", hint=f"known in {firmware.name}: {known}")
    settings: dict[str, Any] = {}
    for source in (firmware / "sdkconfig.defaults", path):
        if source.is_file():
            _overlay(settings, source)
    return settings


def embedded_config(image: bytes) -> BootConfig | None:
    """The rules that a bootloader or app made here was built with; None for any other image.

    `image` may be flash content that goes on behind it. Raises FormatError for a broken image.
    """
    for segment in parse(image).segments:
        for desc_size in (BOOTLOADER_DESC_SIZE, APP_DESC_SIZE + len(_APP_MARKER)):
            if segment.data[desc_size:].startswith(_CONFIG_MARKER):
                return _read_rules(segment.data[desc_size + len(_CONFIG_MARKER) :])
    return None


def _rules(config: BootConfig) -> bytes:
    text = json.dumps(config.to_json(), sort_keys=True).encode()
    return _CONFIG_MARKER + _LENGTH.pack(len(text)) + text


def _read_rules(data: bytes) -> BootConfig:
    (length,) = _LENGTH.unpack_from(data)
    try:
        return BootConfig.from_json(json.loads(data[_LENGTH.size : _LENGTH.size + length]))
    except ValueError as error:
        raise FormatError(f"the embedded configuration is broken: {error}") from error


def is_synthesised_app(app: bytes) -> bool:
    """Whether this image is the test app made here. Raises FormatError for a broken image."""
    segments = parse(app).segments
    return bool(segments) and segments[0].data[APP_DESC_SIZE:].startswith(_APP_MARKER)


def _bootloader(config: BootConfig, idf_version: str, flash_size: str, extras: bytes) -> bytes:
    return build_bootloader(
        chip=config.chip,
        idf_version=idf_version,
        data=_rules(config) + extras,
        code=_stream(f"bootloader {config.chip} {idf_version}", _BOOTLOADER_CODE),
        flash_size=flash_size,
    )


def _app(
    config: BootConfig,
    version: str,
    project: str,
    secure_version: int,
    idf_version: str,
    flash_size: str,
    extras: bytes,
    size: int,
) -> bytes:
    content = _stream(f"{project} {version} {secure_version} {idf_version}", size)
    rodata = max(size // 5, 2048)
    dram, iram, irom = rodata, rodata + size // 40, rodata + size // 40 + size * 6 // 40
    return build_image(
        chip=config.chip,
        version=version,
        project=project,
        secure_version=secure_version,
        idf_version=idf_version,
        rodata=(_APP_MARKER + _rules(config) + extras + content)[: len(_APP_MARKER) + rodata],
        segments=[("dram", content[dram:iram]), ("iram", content[iram:irom]), ("irom", content[irom:size])],
        flash_size=flash_size,
    )


def _stream(seed: str, size: int) -> bytes:
    return shake_128(seed.encode()).digest(size)


def _app_offset(table: PartitionTable, variant: str) -> int:
    """Where `idf.py flash` puts the app: factory, else the first OTA slot (parttool.py, --partition-boot-default)."""
    slot = table.slot("factory") or table.slot("ota_0")
    if slot is None:
        raise UserError(f"variant {variant!r}: its partition table has no app partition")
    return slot.offset


def _overlay(settings: dict[str, Any], source: Path) -> None:
    for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.strip()
        unset = _UNSET.fullmatch(text)
        setting = _SETTING.fullmatch(text)
        if unset:
            settings[unset[1]] = False
        elif setting:
            key, value = setting[1], _value(setting[2])
            if value is True:
                _leave_choice(settings, key)
            settings[key] = value
        elif text and not text.startswith("#"):
            raise UserError(f"{source.name} line {number}: {text!r} is no setting", hint="expected CONFIG_NAME=value")


def _leave_choice(settings: dict[str, Any], key: str) -> None:
    """Setting one member of a choice unsets the others, as Kconfig does."""
    for prefix in ("BOOTLOADER_LOG_LEVEL_", "LOG_DEFAULT_LEVEL_", "ESPTOOLPY_FLASHSIZE_"):
        if key.startswith(prefix):
            for other in [name for name in settings if name.startswith(prefix)]:
                settings[other] = False


def _value(text: str) -> Any:
    if text in ("y", "n"):
        return text == "y"
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1]
    try:
        return int(text, 0)
    except ValueError:
        return text


def _complete(settings: Mapping[str, Any], target: Chip, version: str, secure_version: int) -> dict[str, Any]:
    """What Kconfig adds to the fragments, as far as anything here reads it."""
    sizes = [key.removeprefix("ESPTOOLPY_FLASHSIZE_") for key, on in settings.items() if on is True]
    sizes = [size for size in sizes if re.fullmatch(r"\d+MB", size)]
    levels = [name for name in LOG_LEVELS if settings.get(f"BOOTLOADER_LOG_LEVEL_{name}") is True]
    complete: dict[str, Any] = {
        "APP_PROJECT_VER": version,
        "BOOTLOADER_OFFSET_IN_FLASH": target.bootloader_offset,
        "BOOTLOADER_WDT_ENABLE": True,
        "BOOTLOADER_WDT_TIME_MS": 9000,
        "ESPTOOLPY_AFTER": "hard_reset",
        "ESPTOOLPY_BEFORE": "default_reset",
        "ESPTOOLPY_FLASHFREQ": target.flash_frequency[0],
        "ESPTOOLPY_FLASHMODE": "dio",
        "ESP_BROWNOUT_DET": True,
        "ESP_CONSOLE_UART_BAUDRATE": 115200,
        "ESP_INT_WDT": True,
        "IDF_FIRMWARE_CHIP_ID": target.chip_id,
        "MMU_PAGE_SIZE": PAGE_64K,
        "NVS_ENCRYPTION": settings.get("SECURE_FLASH_ENC_ENABLED") is True,
        "PARTITION_TABLE_FILENAME": settings.get("PARTITION_TABLE_CUSTOM_FILENAME", ""),
        "PARTITION_TABLE_MD5": True,
        "PARTITION_TABLE_OFFSET": 0x8000,
        "RIG_AGENT": True,
        **settings,
        "BOOTLOADER_LOG_LEVEL": LOG_LEVELS.index(levels[-1] if levels else "INFO"),
        "ESPTOOLPY_FLASHSIZE": sizes[-1] if sizes else "2MB",
        "IDF_TARGET": target.name,
    }
    if settings.get("BOOTLOADER_APP_ANTI_ROLLBACK"):
        complete.setdefault("BOOTLOADER_APP_SEC_VER_SIZE_EFUSE_FIELD", target.secure_version_bits)
        complete["BOOTLOADER_APP_SECURE_VERSION"] = secure_version
    return complete


def _flasher_args(files: Mapping[int, tuple[str, str, bytes]], target: Chip, config: dict[str, Any]) -> dict[str, Any]:
    """Same structure as components/esptool_py/flasher_args.json.in gives."""
    mode, size, freq = (config[f"ESPTOOLPY_FLASH{name}"] for name in ("MODE", "SIZE", "FREQ"))
    sections = {
        section: {"offset": hex(offset), "file": name, "encrypted": "false"}
        for offset, (section, name, _) in files.items()
    }
    return {
        "write_flash_args": ["--flash_mode", mode, "--flash_size", size, "--flash_freq", freq],
        "flash_settings": {"flash_mode": mode, "flash_size": size, "flash_freq": freq},
        "flash_files": {hex(offset): name for offset, (_, name, _) in files.items()},
        **sections,
        "extra_esptool_args": {
            "after": config["ESPTOOLPY_AFTER"],
            "before": config["ESPTOOLPY_BEFORE"],
            "stub": True,
            "chip": target.name,
        },
    }


def _description(folder: Path, chip: str, project: str, version: str, idf_version: str) -> dict[str, Any]:
    return {
        "version": "1.2",
        "project_name": project,
        "project_version": version,
        "build_dir": str(folder),
        "app_bin": f"{project}.bin",
        "app_elf": f"{project}.elf",
        "git_revision": idf_version,
        "target": chip,
    }


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=4) + "\n", encoding="utf-8")
