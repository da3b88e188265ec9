"""network_side.c: the pure C of `rig_network` and `rig_pre_encrypted`."""

from __future__ import annotations

import struct
from typing import NamedTuple

from rig.protocol import Line, encode_line
from tests.rig.firmware.c_side import Piped, Reader

TEXT_SIZE = 32
"""Of a project name or version in esp_app_desc_t, in bytes."""


class Request(NamedTuple):
    """`update_url` as the device understands it; `request_size` 0 for all in one request."""

    url: str
    common_name: str
    timeout: int
    request_size: int
    check_header: bool
    resume: bool
    keep_power_save: bool


class Words(NamedTuple):
    """What an app says of itself; texts of at most `TEXT_SIZE` bytes."""

    project: bytes
    version: bytes
    secure_version: int

    def raw(self) -> bytes:
        return _padded(self.project) + _padded(self.version) + struct.pack("<I", self.secure_version)


class NetworkSide(Piped):
    """Every method is one operation."""

    def update_request(self, fields: dict[str, str]) -> Request | str:
        """The request, or what is wrong with it."""
        answer = Reader(self.ask("U", encode_line(Line(1, "update_url", fields))))
        wrong, url, common_name = (answer.text().decode() for _ in range(3))
        request = Request(
            url, common_name, answer.number(4), answer.number(4), *(bool(answer.number(1)) for _ in range(3))
        )
        return wrong or request

    def is_https(self, url: bytes) -> bool:
        return self.ask("S", struct.pack("<H", len(url)) + url) == b"\x01"

    def header_check(self, offered: Words, running: Words, failed: bytes | None, lowest: int) -> int:
        """Place of the verdict in rig_header_verdict_t."""
        last = b"" if failed is None else _padded(failed)
        return self.ask("H", offered.raw() + running.raw() + struct.pack("<I", lowest) + last)[0]

    def key_kind(self, pem: bytes) -> int:
        """0 other, 1 RSA, 2 EC."""
        return self.ask("K", struct.pack("<I", len(pem)) + pem)[0]


def _padded(text: bytes) -> bytes:
    assert len(text) <= TEXT_SIZE
    return text.ljust(TEXT_SIZE, b"\0")
