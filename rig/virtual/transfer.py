"""The device's side of an update over UART: binary frames in, `ack`, `nak` and `fail` lines out (PROTOCOL.md, 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from rig.protocol import MAX_PAYLOAD, Frame, FrameReader, FrameType, Line, encode_line
from rig.virtual.cpu import Cpu

FRAME = MAX_PAYLOAD
"""Largest payload taken, bytes; a flash sector."""
WINDOW = 4 * FRAME
INACTIVITY = 60
"""Seconds of device time without an intact frame after which the transfer is given up."""
NAK_INTERVAL = 0.1
QUIET = 0.1
CRLF = b"\r\n"
"""What the console driver of a device makes of a line feed."""


@dataclass
class Update:
    """One update between `update_begin` and `update_end`; sizes in bytes."""

    request_id: int
    slot: str
    size: int
    sha256: str | None
    timeout: float
    written: int = 0

    def __post_init__(self) -> None:
        self.digest = sha256()

    @property
    def complete(self) -> bool:
        return self.written == self.size

    @property
    def hash_matches(self) -> bool:
        return self.sha256 is None or self.sha256 == self.digest.hexdigest()


class Receiver:
    """Takes the frames of one update; `write` is `esp_ota_write` and returns an ESP-IDF error name."""

    def __init__(self, cpu: Cpu, update: Update, write: Callable[[bytes], str]) -> None:
        self._cpu = cpu
        self._update = update
        self._write = write
        self._frames = FrameReader()
        self._last_nak = (-1, 0.0)

    def receive(self) -> str:
        """Until all bytes are written (`ESP_OK`) or the transfer failed (the error name, already reported)."""
        update, cpu = self._update, self._cpu
        heard = cpu.now()
        while not update.complete:
            data = cpu.read(max(0.0, heard + update.timeout - cpu.now()))
            intact = False
            for found in self._frames.feed(data):
                if not isinstance(found, Frame):
                    self._nak()
                    continue
                intact = True
                error = self._take(found)
                if error != "ESP_OK":
                    return self._fail(error)
                if update.complete:
                    # The last `ack` has ended the transfer; what came with its frame is neither frame nor text.
                    return "ESP_OK"
            if intact:
                heard = cpu.now()
            elif cpu.now() - heard >= update.timeout:
                return self._fail("ESP_ERR_TIMEOUT")
        return "ESP_OK"

    def _take(self, frame: Frame) -> str:
        update = self._update
        if frame.type == FrameType.ABORT:
            return "ESP_FAIL"
        end = frame.offset + len(frame.payload)
        if end > update.size:
            return "ESP_ERR_INVALID_SIZE"
        if end <= update.written:
            self._send("ack", update.written)
        elif frame.offset != update.written:
            self._nak()
        else:
            error = self._write(frame.payload)
            if error != "ESP_OK":
                return error
            update.digest.update(frame.payload)
            update.written = end
            self._send("ack", end)
        return "ESP_OK"

    def _nak(self) -> None:
        offset, now = self._update.written, self._cpu.now()
        last_offset, last_time = self._last_nak
        if offset == last_offset and now - last_time < NAK_INTERVAL:
            return
        self._last_nak = (offset, now)
        self._send("nak", offset)

    def _fail(self, error: str) -> str:
        # What is still under way must not reach the text side; only then the host may send text.
        while self._cpu.read(QUIET):
            pass
        line = Line(self._update.request_id, "fail", {"error": error, "offset": str(self._update.written)})
        self._cpu.write(encode_line(line, CRLF))
        return error

    def _send(self, word: str, offset: int) -> None:
        self._cpu.write(encode_line(Line(self._update.request_id, word, {"offset": str(offset)}), CRLF))
