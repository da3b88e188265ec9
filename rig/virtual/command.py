"""What a command of the text protocol is on the device: arguments in, an `ok` answer or an error out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from rig.virtual.cpu import Cpu
from rig.virtual.features import Features
from rig.virtual.nvs import Nvs
from rig.virtual.ota import OK, Ota

Fields = dict[str, str]
Args = Mapping[str, str]

_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]+")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


class CommandError(Exception):
    """Becomes an `err` answer; `error` is an ESP-IDF name. `fields` come besides."""

    def __init__(self, error: str, text: str | None = None, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(error)
        self.error = error
        self.text = text
        self.fields = dict(fields or {})


class Reply(NamedTuple):
    """An `ok` answer, and what the app does once that has left the UART."""

    fields: Fields
    then: Callable[[], None] | None = None


class Device(Protocol):
    """What a command may use of the app that was asked."""

    @property
    def cpu(self) -> Cpu: ...

    @property
    def ota(self) -> Ota: ...

    @property
    def nvs(self) -> Nvs | None:
        """What outlives resets, if there is a partition for it."""

    @property
    def features(self) -> Features:
        """What the running app was built with."""

    @property
    def session(self) -> dict[str, object]:
        """What commands keep in RAM, each under its own name, until the next reset."""

    def progress(self, offset: int) -> None:
        """Say `ack` for the request under way: `offset` bytes are written."""


Command = Callable[[Device, Args], Reply]


def check(error: str, text: str | None = None) -> None:
    """Raise what an `esp_ota_*` call returned, unless it is ESP_OK."""
    if error != OK:
        raise CommandError(error, text)


def flag(value: bool) -> str:
    return "1" if value else "0"


def number(args: Args, name: str, low: int, high: int) -> int:
    """A number in that range, decimal or with 0x; ESP_ERR_INVALID_ARG if it is none."""
    text = args.get(name, "")
    value = int(text, 16 if text[1:2] in ("x", "X") else 10) if _NUMBER.fullmatch(text) else low - 1
    if not low <= value <= high:
        raise CommandError("ESP_ERR_INVALID_ARG", f"{name}: {low} to {high}")
    return value


def digest(args: Args) -> str | None:
    """The argument `sha256` in lower case; ESP_ERR_INVALID_ARG if it is no SHA-256."""
    text = args.get("sha256")
    if text is not None and not _SHA256.fullmatch(text):
        raise CommandError("ESP_ERR_INVALID_ARG", "sha256: 64 hexadecimal digits")
    return text and text.lower()
