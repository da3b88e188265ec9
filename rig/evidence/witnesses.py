"""What a trial gathers while it runs: otadata read back, what the bench did, and what flash is known to hold."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Literal, NamedTuple

from rig.boards.board import Restarts
from rig.boards.console import Chunk, Console
from rig.errors import Inconclusive
from rig.evidence.app_calls import AppCall
from rig.evidence.secure_versions import SeenVersion, Source
from rig.idf.flash_cipher import BLOCK, PLAIN, FlashCipher, read_decrypted

ENTRY = 32
ERASED_ENTRY = b"\xff" * ENTRY

Entries = tuple[bytes, bytes]
What = Literal["power off", "power on", "reset line", "power cut", "flash read", "crash asked", "restart"]
"""`restart`: the app asked for one, and the harness carried it out by a fresh emulator process."""


class Sample(NamedTuple):
    """Both select entries (32 bytes each), after `position` bytes of the console log.

    `source`: `installed` by the bench, or read from `flash` by the ROM loader. What the app reports is in the log.
    """

    position: int
    time: float
    source: Literal["installed", "flash"]
    entries: Entries


class Mark(NamedTuple):
    """Something the bench did to the board after `position` bytes of the console log, at host time `time` (seconds)."""

    position: int
    time: float
    what: What


class KnownFlash:
    """Flash (a `rig.idf.effects.Memory`) as far as the bench knows it; what it does not know is never guessed.

    `content` and what is put into it later are what lies in flash; `read` gives what the chip's cache makes of it.
    """

    def __init__(
        self,
        content: bytes,
        unknown: tuple[tuple[int, int], ...] = (),
        secure_version: int | None = None,
        cipher: FlashCipher = PLAIN,
    ) -> None:
        self.cipher = cipher
        self._content = content
        self._unknown = unknown
        self._secure_version = secure_version

    @property
    def secure_version(self) -> int:
        """Bits set in the anti-rollback eFuse field; Inconclusive where that is not known."""
        if self._secure_version is None:
            raise Inconclusive(
                "the secure version in the eFuse is not known at this point",
                hint="read it back before the boot that depends on it",
            )
        return self._secure_version

    def with_secure_version(self, version: int | None) -> KnownFlash:
        """The same with that eFuse field; None: not known."""
        return KnownFlash(self._content, self._unknown, version, self.cipher)

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes at flash `offset` as the chip reads them; Inconclusive where they are not known."""
        return read_decrypted(self.raw, self.cipher, offset, size)

    def raw(self, offset: int, size: int) -> bytes:
        """`size` bytes as they lie in flash at `offset`; Inconclusive where they are not known."""
        for start, end in self._unknown:
            if max(offset, start) < min(offset + size, end):
                raise Inconclusive(
                    f"the content of flash 0x{start:x} to 0x{end:x} is not known at this point",
                    hint="read it back before the boot that depends on it",
                )
        return self._content[offset : offset + size].ljust(size, b"\xff")

    @property
    def unknown(self) -> tuple[tuple[int, int], ...]:
        """Ranges of flash offsets, from and to, that are not known."""
        return self._unknown

    def with_unknown(self, start: int, end: int) -> KnownFlash:
        """The same, with flash [`start`, `end`) not known any more."""
        if start >= end:
            return self
        return KnownFlash(self._content, (*self._unknown, (start, end)), self._secure_version, self.cipher)

    def with_known(self, offset: int, data: bytes) -> KnownFlash:
        """The same, with `data` lying in flash at `offset`."""
        end = offset + len(data)
        left = tuple(part for span in self._unknown for part in _without(span, offset, end))
        content = self._content[:offset].ljust(offset, b"\xff") + data + self._content[end:]
        return KnownFlash(content, left, self._secure_version, self.cipher)

    def with_update(self, offset: int, image: bytes, size: int) -> KnownFlash:
        """The same after `size` bytes were erased and the chip wrote `image` there, in whole blocks if it encrypts."""
        # What fills the last block belongs to no image.
        whole = image.ljust(len(image) + -len(image) % BLOCK, b"\xff")
        return self.with_known(offset, self.cipher.encrypt(offset, whole).ljust(size, b"\xff"))


def _without(span: tuple[int, int], start: int, end: int) -> Iterator[tuple[int, int]]:
    for part in ((span[0], min(span[1], start)), (max(span[0], end), span[1])):
        if part[0] < part[1]:
            yield part


class Witnesses:
    """Everything gathered on one board since `begin`, in the order of the console log."""

    def __init__(self, console: Console, restarts: Restarts | None = None) -> None:
        self._console = console
        self._restarts = restarts
        self.began = time.monotonic()
        self._from = 0
        self.begin()

    def begin(self) -> None:
        """Forget everything so far: the board was just brought into a known state."""
        self._from = self._console.position
        self._marks: list[Mark] = []
        self.samples: list[Sample] = []
        self.flash: list[tuple[int, KnownFlash]] = []
        self.calls: list[AppCall] = []
        self.secure_versions: list[SeenVersion] = []
        self.erased: Entries = (ERASED_ENTRY, ERASED_ENTRY)
        """How the chip reads both entries while their sectors are erased."""

    def mark(self, what: What) -> None:
        """Note what the bench did."""
        self._marks.append(Mark(self.position, time.monotonic(), what))

    @property
    def emulated(self) -> bool:
        """Whether the board is an emulator, whose log needs more doubt."""
        return self._restarts is not None

    @property
    def marks(self) -> list[Mark]:
        """What was done to the board, in the order of the console log."""
        since = self._restarts.since(self._from) if self._restarts is not None else ()
        restarts = [Mark(restart.position - self._from, restart.time, "restart") for restart in since]
        return sorted([*restarts, *self._marks], key=lambda mark: (mark.position, mark.time))

    def sample(self, source: Literal["installed", "flash"], entries: Entries) -> None:
        self.samples.append(Sample(self.position, time.monotonic(), source, entries))

    def fuse(self, source: Source, version: int) -> None:
        """The anti-rollback eFuse field was set to, or read as, this."""
        self.secure_versions.append(SeenVersion(version, source, self.position))

    def know(self, flash: KnownFlash) -> None:
        """From here on flash holds this, as far as the bench knows."""
        self.flash.append((self.position, flash))

    @property
    def known(self) -> KnownFlash:
        return self.flash[-1][1]

    @property
    def position(self) -> int:
        """Bytes of console log so far."""
        return self._console.position - self._from

    @property
    def chunks(self) -> list[Chunk]:
        """The console log, as it arrived."""
        return self._console.chunks_since(self._from)
