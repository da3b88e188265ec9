"""Signature, encryption and TLS as configured: what ships unprotected stays so."""

from __future__ import annotations

from rig.gate import signature
from rig.gate.check import Outcome, check, failed, not_applicable, passed, warning
from rig.gate.release import Release
from rig.gate.settings import Settings

_SIGNED = ("SECURE_BOOT", "SECURE_SIGNED_APPS_NO_SECURE_BOOT")
_DOORS = (
    "SECURE_BOOT_INSECURE",
    "SECURE_BOOT_ALLOW_ROM_BASIC",
    "SECURE_BOOT_ALLOW_JTAG",
    "SECURE_BOOT_ALLOW_UNUSED_DIGEST_SLOTS",
    "SECURE_FLASH_UART_BOOTLOADER_ALLOW_DEC",
    "SECURE_FLASH_UART_BOOTLOADER_ALLOW_CACHE",
)
_DATA, _NVS_KEYS = 0x01, 0x04


def demands_signature(settings: Settings) -> bool:
    """Whether devices of this build refuse an unsigned app."""
    return settings.on(*_SIGNED)


def scheme(settings: Settings) -> signature.Scheme:
    """The one that sdkconfig chooses (components/bootloader/Kconfig.projbuild)."""
    if settings.on("SECURE_BOOT_V1_ENABLED", "SECURE_SIGNED_APPS_ECDSA_SCHEME"):
        return "v1"
    return "ecdsa" if settings.on("SECURE_SIGNED_APPS_ECDSA_V2_SCHEME") else "rsa"


@check(
    "GATE-SIGNATURE",
    title="The app is signed where the configuration demands it",
    reason="A device that checks signatures refuses an unsigned or wrongly signed update, all of them.",
    remedy="Sign the image (espsecure sign-data) with the key whose public half is on the devices.",
)
def signed(release: Release) -> Outcome:
    build = release.build
    settings = build.settings.value
    if not demands_signature(settings):
        return not_applicable("neither secure boot nor signed apps are configured")
    found = signature.examine(build.app_file.value, scheme(settings))
    if found.trouble:
        return failed(f"the app: {found.trouble}")
    if settings.on("SECURE_BOOT_V2_ENABLED"):
        bootloader = signature.examine(build.bootloader_file.value, scheme(settings))
        if bootloader.trouble:
            return failed(f"the bootloader: {bootloader.trouble}")
        strangers = set(found.keys) - set(bootloader.keys)
        if strangers == set(found.keys):
            return failed("the app is signed with none of the keys that the bootloader is signed with")
    if not found.keys:
        return warning("there is a signature; only the key, which the build does not carry, could prove it")
    return passed(f"{scheme(settings)}, key {', '.join(key[:16] + '…' for key in found.keys)}")


@check(
    "GATE-FLASH-ENCRYPTION",
    title="Flash encryption is in release mode",
    reason="In development mode whoever has a cable may flash an app of their own, which the device encrypts and runs.",
    remedy="Set CONFIG_SECURE_FLASH_ENCRYPTION_MODE_RELEASE=y for what ships.",
)
def flash_encryption(release: Release) -> Outcome:
    settings = release.build.settings.value
    if not settings.on("SECURE_FLASH_ENC_ENABLED"):
        return not_applicable("flash encryption is not configured")
    if settings.on("SECURE_FLASH_ENCRYPTION_MODE_RELEASE"):
        return passed("release mode")
    return failed("it is in development mode")


@check(
    "GATE-NVS-KEYS",
    title="NVS is encrypted where flash is, with a partition for its keys",
    reason="NVS is left out of flash encryption: Wi-Fi passwords would lie in plain text beside an encrypted app.",
    remedy="Set CONFIG_NVS_ENCRYPTION=y and add `nvs_key, data, nvs_keys, , 0x1000, encrypted`.",
)
def nvs_keys(release: Release) -> Outcome:
    build = release.build
    settings = build.settings.value
    if not settings.on("SECURE_FLASH_ENC_ENABLED"):
        return not_applicable("flash encryption is not configured")
    if not settings.on("NVS_ENCRYPTION"):
        return warning("CONFIG_NVS_ENCRYPTION is off: NVS stays in plain text")
    if settings.on("NVS_SEC_KEY_PROTECT_USING_HMAC"):
        return passed("its keys are derived by HMAC")
    keys = [entry for entry in build.table.value.entries if (entry.type, entry.subtype) == (_DATA, _NVS_KEYS)]
    if not keys:
        return failed("the table has no partition of subtype nvs_keys")
    if not keys[0].encrypted:
        return failed(f"the partition {keys[0].label!r} lacks the flag `encrypted`: the keys lie in plain text")
    return passed(f"keys in {keys[0].label!r}")


@check(
    "GATE-DEBUG-DOORS",
    title="No debug door is left open beside secure boot or flash encryption",
    reason="JTAG, ROM BASIC or a UART that decrypts undo what the eFuses were burnt for.",
    remedy="Switch off CONFIG_SECURE_BOOT_INSECURE and what it allows; enable the secure ROM download mode.",
)
def debug_doors(release: Release) -> Outcome:
    settings = release.build.settings.value
    if not settings.on("SECURE_BOOT", "SECURE_FLASH_ENC_ENABLED"):
        return not_applicable("neither secure boot nor flash encryption is configured")
    found = settings.named_on(*_DOORS)
    if found:
        return failed(f"{' and '.join(found)} is on")
    if settings.on("SECURE_INSECURE_ALLOW_DL_MODE"):
        return warning("CONFIG_SECURE_INSECURE_ALLOW_DL_MODE leaves the whole ROM download mode open")
    return passed("none is open")


@check(
    "GATE-TLS",
    title="The server's certificate is checked",
    reason="Otherwise whoever is on the line decides which firmware a device gets.",
    remedy="Switch off CONFIG_ESP_TLS_SKIP_SERVER_CERT_VERIFY and CONFIG_ESP_TLS_INSECURE; give the client a CA.",
)
def tls(release: Release) -> Outcome:
    settings = release.build.settings.value
    if settings.on("ESP_TLS_SKIP_SERVER_CERT_VERIFY"):
        return failed("CONFIG_ESP_TLS_SKIP_SERVER_CERT_VERIFY is on")
    if settings.on("ESP_TLS_INSECURE"):
        return warning("CONFIG_ESP_TLS_INSECURE is on, though nothing that it allows")
    return passed("esp-tls is not told to skip it; what the app's own code sets, artefacts do not show")


@check(
    "GATE-HTTP",
    title="Updates by plain HTTP are not allowed",
    reason="Plain HTTP lets anybody on the line replace the image.",
    remedy="Switch off CONFIG_ESP_HTTPS_OTA_ALLOW_HTTP (v4.4: CONFIG_OTA_ALLOW_HTTP).",
)
def http(release: Release) -> Outcome:
    found = release.build.settings.value.named_on("ESP_HTTPS_OTA_ALLOW_HTTP", "OTA_ALLOW_HTTP")
    return failed(f"{found[0]} is on") if found else passed("esp_https_ota refuses http://")
