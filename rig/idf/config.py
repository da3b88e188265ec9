"""What a bootloader was built with, as far as it changes its decisions, its writes or its log."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from rig.idf.chips import PAGE_64K, chip
from rig.idf.errors import FormatError
from rig.idf.signature_block import Scheme

IDF_VERSIONS = ("v4.4", "v5.1", "v5.5", "v6.0", "v6.1")
"""One name for each stretch of releases that behave alike; `idf_family` maps a release onto it."""

LOG_LEVELS = ("NONE", "ERROR", "WARN", "INFO", "DEBUG", "VERBOSE")

_FAMILY_STARTS = (((4, 0), "v4.4"), ((5, 0), "v5.1"), ((5, 5), "v5.5"), ((6, 0), "v6.0"), ((6, 1), "v6.1"))
_ONLY_ECDSA = ("esp32c2",)
"""Chips without SOC_SECURE_BOOT_V2_RSA."""
_NUMBERS = {"v4.4": (4, 4), "v5.1": (5, 1), "v5.5": (5, 5), "v6.0": (6, 0), "v6.1": (6, 1)}


@dataclass(frozen=True)
class FactoryReset:
    """CONFIG_BOOTLOADER_FACTORY_RESET: what a long hold of the pin erases."""

    labels: tuple[str, ...] = ()
    erase_otadata: bool = True


@dataclass(frozen=True)
class BootConfig:
    """One bootloader's rules.

    `chip_revision` and `efuse_block_revision` are the chip's own (major * 100 + minor); `secure_version_bits` is
    CONFIG_BOOTLOADER_APP_SEC_VER_SIZE_EFUSE_FIELD, or the chip's field if that is narrower; `partition_table_offset`
    and `mmu_page_size` are bytes. `signed_updates`: the scheme of CONFIG_SECURE_SIGNED_ON_UPDATE_NO_SECURE_BOOT; the
    app checks, the bootloader only wants room for the signature. Scheme V1 and secure boot itself are not modelled.
    """

    idf_version: str = "v5.5"
    chip: str = "esp32"
    chip_revision: int = 300
    rollback: bool = False
    anti_rollback: bool = False
    secure_version_bits: int = 32
    factory_reset: FactoryReset | None = None
    test_app_pin: bool = False
    log_level: str = "INFO"
    partition_table_offset: int = 0x8000
    mmu_page_size: int = PAGE_64K
    efuse_block_revision: int = 0
    signed_updates: Scheme | None = None

    @property
    def idf(self) -> tuple[int, int]:
        """The family as numbers, to compare: `config.idf >= (5, 5)`."""
        return _NUMBERS[self.idf_version]

    @classmethod
    def from_sdkconfig(cls, sdkconfig: Mapping[str, Any], idf_version: str, chip_name: str) -> BootConfig:
        """From `build/config/sdkconfig.json` (keys without CONFIG_). Raises FormatError for a value of the wrong kind.

        `idf_version` is any release (`v5.1.7`); keys that are absent mean off, as in Kconfig.
        """
        target = chip(chip_name)
        anti_rollback = _flag(sdkconfig, "BOOTLOADER_APP_ANTI_ROLLBACK")
        reset = None
        if _flag(sdkconfig, "BOOTLOADER_FACTORY_RESET"):
            names = _text(sdkconfig, "BOOTLOADER_DATA_FACTORY_RESET", "nvs")
            labels = tuple(name for name in re.split(r"[ ,]+", names) if name)
            reset = FactoryReset(labels, _flag(sdkconfig, "BOOTLOADER_OTA_DATA_ERASE"))
        level = _number(sdkconfig, "BOOTLOADER_LOG_LEVEL", 3)
        if not 0 <= level < len(LOG_LEVELS):
            raise FormatError(f"BOOTLOADER_LOG_LEVEL is {level}; allowed: 0 (NONE) to 5 (VERBOSE)")
        bits = _number(sdkconfig, "BOOTLOADER_APP_SEC_VER_SIZE_EFUSE_FIELD", target.secure_version_bits)
        if not 1 <= bits <= target.secure_version_option:
            raise FormatError(
                f"BOOTLOADER_APP_SEC_VER_SIZE_EFUSE_FIELD is {bits}; "
                f"allowed on {target.name}: 1 to {target.secure_version_option}"
            )
        page = _number(sdkconfig, "MMU_PAGE_SIZE", PAGE_64K)
        if page not in target.mmu_page_sizes:
            sizes = ", ".join(hex(size) for size in target.mmu_page_sizes)
            raise FormatError(f"MMU_PAGE_SIZE is {page:#x}; allowed on {target.name}: {sizes}")
        return cls(
            idf_version=idf_family(idf_version),
            chip=target.name,
            chip_revision=target.revision,
            # anti-rollback selects rollback in Kconfig; older sdkconfigs carry the name without the prefix
            rollback=anti_rollback
            or _flag(sdkconfig, "BOOTLOADER_APP_ROLLBACK_ENABLE")
            or _flag(sdkconfig, "APP_ROLLBACK_ENABLE"),
            anti_rollback=anti_rollback,
            secure_version_bits=min(bits, target.secure_version_bits),
            factory_reset=reset,
            test_app_pin=_flag(sdkconfig, "BOOTLOADER_APP_TEST"),
            log_level=LOG_LEVELS[level],
            partition_table_offset=_number(sdkconfig, "PARTITION_TABLE_OFFSET", 0x8000),
            mmu_page_size=page,
            signed_updates=_signed_updates(sdkconfig, target.name),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> BootConfig:
        """Inverse of `to_json`. Raises FormatError when `data` is not one."""
        if not isinstance(data, dict):
            raise FormatError("a bootloader configuration must be an object")
        unknown = set(data) - {field.name for field in fields(cls)}
        if unknown:
            raise FormatError(f"unknown keys in a bootloader configuration: {', '.join(sorted(map(str, unknown)))}")
        values = dict(data)
        try:
            if values.get("factory_reset") is not None:
                reset = values["factory_reset"]
                values["factory_reset"] = FactoryReset(tuple(reset["labels"]), bool(reset["erase_otadata"]))
            config = cls(**values)
        except (TypeError, KeyError) as error:
            raise FormatError(f"broken bootloader configuration: {error}") from error
        chip(config.chip)
        if config.idf_version not in IDF_VERSIONS or config.log_level not in LOG_LEVELS:
            raise FormatError(f"broken bootloader configuration: {config.idf_version!r}, {config.log_level!r}")
        return config


def idf_family(version: str) -> str:
    """Map a release (`v5.1.7`, `5.4`, `v6.1-beta1`, `v5.5-dev-12-gabc`) onto one of IDF_VERSIONS.

    Raises FormatError for text that is no version and for releases before v4.0.
    """
    match = re.match(r"v?(\d+)\.(\d+)", version)
    if match is None:
        raise FormatError(f"{version!r} is no ESP-IDF version; expected something like v5.5.1")
    number = (int(match[1]), int(match[2]))
    family = None
    for start, name in _FAMILY_STARTS:
        if number >= start:
            family = name
    if family is None:
        raise FormatError(f"ESP-IDF {version} has no app rollback as modelled here; v4.4 and later are known")
    return family


def _signed_updates(sdkconfig: Mapping[str, Any], chip_name: str) -> Scheme | None:
    required = _flag(sdkconfig, "SECURE_SIGNED_APPS_NO_SECURE_BOOT")
    on_update = "SECURE_SIGNED_ON_UPDATE_NO_SECURE_BOOT"
    # the second is on by default where the first is
    if not required or not _flag({on_update: True} | dict(sdkconfig), on_update):
        return None
    if _flag(sdkconfig, "SECURE_SIGNED_APPS_ECDSA_SCHEME"):
        return None
    ecdsa = chip_name in _ONLY_ECDSA or _flag(sdkconfig, "SECURE_SIGNED_APPS_ECDSA_V2_SCHEME")
    return "ecdsa" if ecdsa else "rsa"


def _flag(sdkconfig: Mapping[str, Any], key: str) -> bool:
    value = sdkconfig.get(key, False)
    if value in (True, "y"):
        return True
    if value in (False, None, "n", ""):
        return False
    raise FormatError(f"{key} is {value!r}; allowed: true, false")


def _number(sdkconfig: Mapping[str, Any], key: str, default: int) -> int:
    value = sdkconfig.get(key)
    if value is None:
        return default
    try:
        return int(value, 0) if isinstance(value, str) else int(value)
    except (TypeError, ValueError) as error:
        raise FormatError(f"{key} is {value!r}; a number is needed") from error


def _text(sdkconfig: Mapping[str, Any], key: str, default: str) -> str:
    value = sdkconfig.get(key, default)
    if not isinstance(value, str):
        raise FormatError(f"{key} is {value!r}; text is needed")
    return value
