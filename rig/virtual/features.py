"""What synthesised firmware was built with besides the rules of its bootloader; images carry it behind a marker."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rig.idf.errors import FormatError

CUT_LINE_GPIO = 10
"""What Kconfig takes for CONFIG_RIG_CUT_LINE_GPIO."""

_MARKER = b"\0rig features\0"
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Features:
    """Parts of the test app and its bootloader that a variant may have.

    `cut_line_gpio`: the GPIO of the cut line; `network`: commands `net`, `ca` and `update_url`; `pre_encrypted`: images
    are decrypted while they are downloaded; `checks_dates`: those of certificates, CONFIG_MBEDTLS_HAVE_TIME_DATE;
    `flash_encryption`: CONFIG_SECURE_FLASH_ENC_ENABLED.
    """

    cut_line_gpio: int | None = None
    network: bool = False
    pre_encrypted: bool = False
    checks_dates: bool = False
    flash_encryption: bool = False

    @classmethod
    def from_sdkconfig(cls, settings: Mapping[str, Any]) -> Features:
        """From settings without CONFIG_."""

        def on(name: str) -> bool:
            return settings.get(name) is True

        gpio = int(settings.get("RIG_CUT_LINE_GPIO", CUT_LINE_GPIO)) if on("RIG_CUT_LINE") else None
        return cls(
            cut_line_gpio=gpio,
            network=on("RIG_NETWORK"),
            pre_encrypted=on("ESP_HTTPS_OTA_DECRYPT_CB"),
            checks_dates=on("MBEDTLS_HAVE_TIME_DATE"),
            flash_encryption=on("SECURE_FLASH_ENC_ENABLED"),
        )

    def marked(self) -> bytes:
        """What an image carries; `find` reads it back."""
        text = json.dumps(asdict(self), sort_keys=True).encode()
        return _MARKER + _LENGTH.pack(len(text)) + text

    @classmethod
    def find(cls, image: bytes) -> Features:
        """The features that an image carries; none for an image that was not synthesised. FormatError if torn."""
        at = image.find(_MARKER)
        if at < 0:
            return cls()
        start = at + len(_MARKER)
        try:
            (length,) = _LENGTH.unpack_from(image, start)
            start += _LENGTH.size
            return cls(**json.loads(image[start : start + length]))
        except (struct.error, ValueError, TypeError) as error:
            raise FormatError(f"the embedded features are broken: {error}") from error
