"""What a decision of the bootloader or of an `esp_ota_*` call does, in the order it does it.

Decisions are generators: they yield effects and read memory only through `Memory`. Whoever runs one applies each effect
before asking for the next; stopping early is a power cut.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple, Protocol, TypeVar

SECTOR_SIZE = 0x1000


class Erase(NamedTuple):
    """One 4 KiB sector set to 0xFF; `offset` is a flash offset in bytes, a multiple of 0x1000."""

    offset: int


class Program(NamedTuple):
    """One write call: `data` programmed at flash `offset` (bits are only cleared)."""

    offset: int
    data: bytes


class BurnSecureVersion(NamedTuple):
    """The anti-rollback eFuse field goes from `before` to `after` bits set; irreversible, taken as atomic."""

    before: int
    after: int


class Log(NamedTuple):
    """One log line: level `E`, `W`, `I` or `D`, tag, and text without time stamp and colour."""

    level: str
    tag: str
    text: str


Mutation = Erase | Program | BurnSecureVersion
Effect = Mutation | Log

T = TypeVar("T")
Steps = Generator[Effect, None, T]


class Memory(Protocol):
    """Flash and the eFuse field as the code on the chip reads them."""

    @property
    def secure_version(self) -> int:
        """Bits set in the anti-rollback eFuse field."""

    def read(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes of flash at `offset`; past the end of flash reads 0xFF."""
