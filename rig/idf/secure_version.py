"""The anti-rollback eFuse field: what bootloader and app check against it, and how they advance it.

Follows esp_efuse_fields.c (`esp_efuse_read_secure_version`, `esp_efuse_check_secure_version`,
`esp_efuse_update_secure_version`): of the field only as many bits count as the build was configured for.
"""

from __future__ import annotations

from rig.idf.config import BootConfig
from rig.idf.effects import BurnSecureVersion, Log, Memory, Steps


def burnt_version(memory: Memory, config: BootConfig) -> int:
    """What firmware built so reads from the eFuses."""
    return min(memory.secure_version, config.secure_version_bits)


def accepts(memory: Memory, config: BootConfig, version: int) -> bool:
    """Whether an app with this secure version may run: equal to the eFuse's is enough."""
    return version >= burnt_version(memory, config)


def update_secure_version(memory: Memory, config: BootConfig, version: int) -> Steps[str]:
    """Raise the eFuse field to `version`; the name of the `esp_err_t` that ESP-IDF returns."""
    bits = config.secure_version_bits
    if version > bits:
        shown = _signed(version) if config.idf < (5, 0) else version
        yield Log("E", "efuse", f"Max secure version is {bits}. Given {shown} version can not be written.")
        return "ESP_ERR_INVALID_ARG"
    burnt = burnt_version(memory, config)
    if burnt < version:
        yield BurnSecureVersion(burnt, version)
        yield Log("I", "efuse", f"Anti-rollback is set. eFuse field is updated({version}).")
    elif burnt > version:
        text = f"Anti-rollback is not set. secure_version of app is lower that eFuse field({burnt})."
        yield Log("E", "efuse", text)
        return "ESP_FAIL"
    return "ESP_OK"


def _signed(value: int) -> int:
    # v4.4 prints the unsigned number with %d
    return value - (1 << 32) if value >> 31 else value
