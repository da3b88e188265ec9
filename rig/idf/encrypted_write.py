"""How `esp_ota_write` cuts an update into whole blocks of 16 bytes on a chip with flash encryption.

Follows esp_ota_write and esp_ota_end in components/app_update/esp_ota_ops.c, alike in ESP-IDF v4.4.8 to v6.0.2: what is
left over after the last whole block waits in `partial_data` until the next call fills it, or the end writes it out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rig.idf.flash_cipher import BLOCK


@dataclass
class PartialBlock:
    """`partial_data` of ota_ops_entry_t: zeros from calloc, 0xFF once it was written for the first time."""

    content: bytearray = field(default_factory=lambda: bytearray(BLOCK))
    filled: int = 0

    def cut(self, data: bytes) -> list[bytes]:
        """What one call writes, in order, as one write each; the rest is kept."""
        writes = []
        if self.filled:
            taken = data[: BLOCK - self.filled]
            data = data[len(taken) :]
            self._keep(self.filled, taken)
            if self.filled < BLOCK:
                return []
            writes.append(self.flush())
            self.content = bytearray(b"\xff" * BLOCK)
        rest = len(data) % BLOCK
        if rest:
            self._keep(0, data[-rest:])
        if len(data) > rest:
            writes.append(data[: len(data) - rest])
        return writes

    def flush(self) -> bytes:
        """The block as it is, to be written."""
        self.filled = 0
        return bytes(self.content)

    def _keep(self, at: int, data: bytes) -> None:
        self.content[at : at + len(data)] = data
        self.filled = at + len(data)
