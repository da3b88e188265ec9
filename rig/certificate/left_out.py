"""What must not get into an archive that is passed around: passwords and keys. Pure: text in, text out."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from html import escape
from typing import Any
from urllib.parse import quote

import tomli_w

OMITTED = "(left out)"
_SECRET = re.compile(
    r"PASSW|PASSPHRASE|SECRET|TOKEN|PSK|CREDENTIAL|API_?KEY|PRIVATE_?KEY|ENCRYPTION_?KEY", re.IGNORECASE
)
_NO_SECRET = re.compile(r"SECURE_|_SIZE$|_LEN$")
_USER_OF_URL = re.compile(r"(?<=://)[^/@\s]+@")
_SETTING = re.compile(r'^(CONFIG_\w+)="(.+)"$', re.MULTILINE)
SHORTEST = 8
"""Characters: a WPA passphrase has no fewer. A shorter text is looked for nowhere, it may be any word."""


def bench_without_secrets(text: str) -> tuple[str, list[str]]:
    """rig.toml without comments, passwords, and texts of power switches; what was left out, by key."""
    omitted: list[str] = []
    data = _clean(tomllib.loads(text), "", omitted)
    return tomli_w.dumps(data), omitted


def passwords(text: str) -> list[str]:
    """All Wi-Fi passwords in a rig.toml, those that can be told from any word."""
    found = []
    for board in tomllib.loads(text).get("board", []):
        password = board.get("wifi", {}).get("password", "")
        if len(password) >= SHORTEST:
            found.append(password)
    return list(dict.fromkeys(found))


def _clean(value: Any, path: str, omitted: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _clean(inner, f"{path}.{key}" if path else key, omitted) for key, inner in value.items()}
    if isinstance(value, list):
        return [_clean(inner, f"{path}[{number}]", omitted) for number, inner in enumerate(value)]
    key = path.rpartition(".")[2]
    in_power = ".power." in path and key != "driver"
    if isinstance(value, str) and value and (_SECRET.search(key) or in_power):
        omitted.append(path)
        return OMITTED
    if isinstance(value, str) and _USER_OF_URL.search(value):
        omitted.append(f"{path} (user of the URL)")
        return _USER_OF_URL.sub("", value)
    return value


def secret_settings(settings: Mapping[str, Any]) -> list[str]:
    """Names of options in an sdkconfig.json whose text is a secret."""
    return [name for name, value in settings.items() if isinstance(value, str) and value and _is_secret(name)]


def json_without_secrets(data: bytes) -> tuple[bytes, list[str]]:
    """An sdkconfig.json with texts of secret options replaced; unchanged, byte by byte, if it has none."""
    try:
        settings = json.loads(data)
    except (ValueError, RecursionError):
        return data, []
    if not isinstance(settings, dict):
        return data, []
    names = secret_settings(settings)
    if not names:
        return data, []
    kept = {name: OMITTED if name in names else value for name, value in settings.items()}
    return (json.dumps(kept, indent=4) + "\n").encode(), names


def sdkconfig_without_secrets(data: bytes) -> tuple[bytes, list[str]]:
    """The same for a plain sdkconfig."""
    text = data.decode("utf-8", "surrogateescape")
    names: list[str] = []

    def replaced(match: re.Match[str]) -> str:
        if not _is_secret(match[1]):
            return match[0]
        names.append(match[1])
        return f'{match[1]}="{OMITTED}"'

    return _SETTING.sub(replaced, text).encode("utf-8", "surrogateescape"), names


def scrubbed(data: bytes, secrets: list[str]) -> bytes:
    """`data` with each secret starred out, as it is and as JSON, HTML or a URL would write it; its length stays."""
    for form in forms(secrets):
        data = data.replace(form, b"*" * len(form))
    return data


def forms(secrets: list[str]) -> list[bytes]:
    """How a secret may stand in a report, longest first."""
    found = {spelt.encode() for secret in secrets for spelt in _spelt(secret)}
    return sorted(found, key=len, reverse=True)


def _spelt(secret: str) -> tuple[str, ...]:
    return secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], escape(secret), quote(secret)


def _is_secret(name: str) -> bool:
    return bool(_SECRET.search(name)) and not _NO_SECRET.search(name)
