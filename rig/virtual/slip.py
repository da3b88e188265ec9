"""SLIP framing (RFC 1055) of the serial loader's packets."""

from __future__ import annotations

END = b"\xc0"
_ESCAPED = ((b"\xdb\xdc", b"\xc0"), (b"\xdb\xdd", b"\xdb"))


def encode(packet: bytes) -> bytes:
    """One frame, with both end bytes."""
    return END + packet.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + END


class Decoder:
    """Takes bytes as they come, returns the packets completed by them; bytes outside frames are dropped."""

    def __init__(self) -> None:
        self._partial: bytearray | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """Packets that `data` completes, in order; empty frames are skipped."""
        first, *rest = data.split(END)
        if self._partial is not None:
            self._partial += first
        packets = []
        for piece in rest:
            if self._partial:
                packets.append(_unescape(bytes(self._partial)))
                # This end byte closed a frame. A frame's start is optional for what follows, as in the ROM.
            self._partial = bytearray(piece)
        return packets


def _unescape(frame: bytes) -> bytes:
    if b"\xdb" not in frame:
        return frame
    # In this order: an escaped 0xDB may be followed by 0xDC as data.
    return b"\xdb".join(part.replace(*_ESCAPED[0]) for part in frame.split(_ESCAPED[1][0]))
