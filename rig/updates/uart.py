"""An update over the console's UART: frames with a sliding window, and the faults a test wants in it.

The contract is section 6 of firmware_under_test/PROTOCOL.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field

from rig.errors import BenchFault, UserError
from rig.protocol import Frame, FrameType, encode_frame
from rig.updates.agent import Agent
from rig.updates.agent_results import UpdateStarted

ACK_TIMEOUT = 2.0
"""Seconds without progress after which everything unacknowledged is sent again."""
MAX_REPEATS = 5

Progress = Callable[[int, int], None]
"""Called with bytes acknowledged and bytes in all."""


@dataclass(frozen=True)
class UartFaults:
    """What goes wrong on purpose. Offsets and sizes are bytes of the image, frames are counted from 0.

    `flip` XORs bytes of the image before it is framed (offset to mask): every check-sum on the way is right, only
    `esp_ota_end` or the bootloader can notice. `truncate` announces and sends only the first bytes. `stop_after` sends
    no payload past that offset and then falls silent. `damage_frames`, `drop_frames`, `duplicate_frames` and
    `pause_before` (frame to seconds) hit the first sending of a frame on the line; the protocol has to recover.
    """

    flip: Mapping[int, int] = field(default_factory=dict)
    truncate: int | None = None
    stop_after: int | None = None
    damage_frames: Set[int] = frozenset()
    drop_frames: Set[int] = frozenset()
    duplicate_frames: Set[int] = frozenset()
    pause_before: Mapping[int, float] = field(default_factory=dict)

    def apply_to(self, data: bytes) -> bytes:
        """The image as it will be sent; UserError for an offset behind its end."""
        image = bytearray(data if self.truncate is None else data[: self.truncate])
        for offset, mask in self.flip.items():
            if not 0 <= offset < len(image):
                raise UserError(f"cannot flip a byte at offset {offset:#x} of an image of {len(image):#x} bytes")
            image[offset] ^= mask
        return bytes(image)


NO_FAULTS = UartFaults()


@dataclass(frozen=True)
class Transfer:
    """How sending ended: `acked` of `size` bytes are in flash; `stopped` when a fault ended it on purpose.

    `request_id` is that of `update_begin`, for `abort_transfer`.
    """

    request_id: int
    slot: str
    size: int
    acked: int
    frames_sent: int
    frames_resent: int
    stopped: bool


def send_image(
    agent: Agent,
    data: bytes,
    slot: str = "next",
    mode: str = "unknown",
    on_progress: Progress | None = None,
    faults: UartFaults = NO_FAULTS,
    sha256: str | None = None,
) -> Transfer:
    """`esp_ota_begin`, every `esp_ota_write`, and, unless stopped by a fault, `esp_ota_end`. Boots nothing.

    Raises AgentError with the device's error name, AgentTimeout or BenchFault when it falls silent.
    """
    transfer = transfer_image(agent, data, slot, mode, on_progress, faults, sha256)
    if not transfer.stopped:
        agent.update_end()
    return transfer


def install_image(
    agent: Agent,
    data: bytes,
    slot: str = "next",
    mode: str = "unknown",
    on_progress: Progress | None = None,
    faults: UartFaults = NO_FAULTS,
    sha256: str | None = None,
) -> Transfer:
    """`send_image`, and `esp_ota_set_boot_partition` when the image was accepted: what a product's update does."""
    transfer = send_image(agent, data, slot, mode, on_progress, faults, sha256)
    if not transfer.stopped:
        agent.set_boot(transfer.slot)
    return transfer


def transfer_image(
    agent: Agent,
    data: bytes,
    slot: str = "next",
    mode: str = "unknown",
    on_progress: Progress | None = None,
    faults: UartFaults = NO_FAULTS,
    sha256: str | None = None,
) -> Transfer:
    """`esp_ota_begin` and every `esp_ota_write`; leaves the update open. For errors see `send_image`."""
    image = faults.apply_to(data)
    if not image:
        raise UserError("there is nothing to send: the image is empty")
    started = agent.update_begin(len(image), slot, mode, sha256)
    return _Sender(agent, started, image, faults, on_progress).run()


def abort_transfer(agent: Agent, request_id: int | None = None) -> None:
    """End a transfer that a fault left open, without waiting for the device's time limit.

    With the id of its `update_begin` the device's `fail` is awaited; an abort frame outside a transfer does nothing.
    """
    agent.channel.write(encode_frame(Frame(FrameType.ABORT, 0, b"")))
    if request_id is not None:
        agent.wait_progress(request_id, ACK_TIMEOUT)


class _Sender:
    def __init__(
        self, agent: Agent, started: UpdateStarted, image: bytes, faults: UartFaults, on_progress: Progress | None
    ) -> None:
        self._agent = agent
        self._started = started
        self._image = image
        self._faults = faults
        self._on_progress = on_progress
        self._limit = len(image) if faults.stop_after is None else min(faults.stop_after, len(image))
        self._acked = 0
        self._next = 0
        self._farthest = 0
        self._sent = 0
        self._resent = 0

    def run(self) -> Transfer:
        repeats = 0
        while self._acked < self._limit:
            self._fill_window()
            line = self._agent.wait_progress(self._started.request_id, ACK_TIMEOUT)
            if line is None:
                repeats += 1
                if repeats > MAX_REPEATS:
                    raise self._silence()
                self._next = self._acked
                continue
            if line.word == "fail":
                raise self._agent.failure("update_begin", line)
            if self._take(line.word, line.fields.get("offset", "")):
                repeats = 0
        return Transfer(
            request_id=self._started.request_id,
            slot=self._started.slot,
            size=len(self._image),
            acked=self._acked,
            frames_sent=self._sent,
            frames_resent=self._resent,
            stopped=self._limit < len(self._image),
        )

    def _fill_window(self) -> None:
        while self._next < self._limit and self._next - self._acked < self._started.window:
            end = min(self._next + self._started.frame, self._limit)
            self._send(self._next, self._image[self._next : end])
            self._next = end

    def _send(self, offset: int, payload: bytes) -> None:
        wire = encode_frame(Frame(FrameType.DATA, offset, payload))
        index = offset // self._started.frame
        self._sent += 1
        if offset < self._farthest:
            self._resent += 1
        else:
            self._farthest = offset + len(payload)
            if pause := self._faults.pause_before.get(index):
                time.sleep(pause)
            if index in self._faults.drop_frames:
                return
            if index in self._faults.damage_frames:
                middle = len(wire) // 2
                wire = wire[:middle] + bytes([wire[middle] ^ 0x10]) + wire[middle + 1 :]
            if index in self._faults.duplicate_frames:
                wire += wire
        self._agent.channel.write(wire)

    def _take(self, word: str, offset_text: str) -> bool:
        """Whether the device got further."""
        if not offset_text.isdigit() or int(offset_text) > self._farthest:
            return False
        offset = int(offset_text)
        further = offset > self._acked
        if further:
            self._acked = offset
            self._next = max(self._next, offset)
            if self._on_progress is not None:
                self._on_progress(offset, len(self._image))
        if word == "nak" and offset == self._acked:
            self._next = offset
        return further

    def _silence(self) -> BenchFault:
        return BenchFault(
            f"the device acknowledged {self._acked} of {len(self._image)} bytes and then nothing, "
            f"although they were sent again {MAX_REPEATS} times",
            board=self._agent.board,
            hint="see the console log: did the app restart, or is the line too fast for it?",
        )
