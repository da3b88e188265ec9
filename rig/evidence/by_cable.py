"""Flash past the chip's encryption, by the ROM loader: what really lies there, and putting something else there."""

from __future__ import annotations

import os
from collections.abc import Callable

from rig.errors import UserError
from rig.evidence.encryption import KEY_SIZE
from rig.evidence.handling import Handling
from rig.evidence.running_app import RunningApp
from rig.evidence.taken import Taken, noting
from rig.evidence.witnesses import ENTRY
from rig.idf.effects import SECTOR_SIZE
from rig.idf.flash_cipher import BLOCK, FlashCipher, cipher_for
from rig.idf.partitions import Partition


@noting("write")
class ByCable:
    """A trial's flash as a serial cable reaches it; `where` is a slot or a partition's label.

    Reading and writing stop the app, once `ask` has let it report; the chip stays in its loader until it is started.
    """

    def __init__(
        self,
        handling: Handling,
        partition: Callable[[str], Partition],
        app: RunningApp,
        ask: Callable[[], None],
        taken: Taken,
    ) -> None:
        self.taken = taken
        self._handling = handling
        self._partition = partition
        self._app = app
        self._ask = ask

    def read(self, where: str, size: int) -> bytes:
        """The first `size` bytes as they lie in flash."""
        part = self._partition(where)
        self._stop()
        return self._handling.board.flash.read(part.offset, size)

    def write(self, where: str, data: bytes) -> None:
        """Put `data` there as it is, and erase what is left of its last sector.

        UserError for otadata once the board has been started: the judge could not tell who wrote it.
        """
        part = self._partition(where)
        data = data.ljust(len(data) + -len(data) % SECTOR_SIZE, b"\xff")
        if len(data) > part.size:
            raise UserError(f"{len(data)} bytes do not fit into {where} of {part.size} bytes")
        if part.is_otadata and not self._is_fresh():
            raise UserError("otadata is written by cable only right after trial.install(...)")
        self._stop()
        self._handling.board.flash.restore({part.offset: data})
        witnesses = self._handling.witnesses
        witnesses.know(witnesses.known.with_known(part.offset, data))
        if part.is_otadata:
            witnesses.samples.pop()
            both = witnesses.known.read(part.offset, ENTRY), witnesses.known.read(part.offset + SECTOR_SIZE, ENTRY)
            witnesses.sample("installed", both)

    def read_as_chip(self, where: str, size: int) -> bytes:
        """The first `size` bytes as the chip reads them."""
        part = self._partition(where)
        data = self.read(where, size + -size % BLOCK)
        return self._cipher.decrypt(part.offset, data)[:size]

    def encrypted_for(self, where: str, data: bytes) -> bytes:
        """What must lie in flash for the chip to read `data` there."""
        return self._cipher.encrypt(self._partition(where).offset, data.ljust(len(data) + -len(data) % BLOCK, b"\xff"))

    def encrypted_by_another_key(self, where: str, data: bytes) -> bytes:
        """The same for a chip that has another key than this one."""
        other = cipher_for(self._handling.board.chip, os.urandom(KEY_SIZE))
        return other.encrypt(self._partition(where).offset, data.ljust(len(data) + -len(data) % BLOCK, b"\xff"))

    @property
    def _cipher(self) -> FlashCipher:
        return self._handling.witnesses.known.cipher

    def _is_fresh(self) -> bool:
        samples = self._handling.witnesses.samples
        return len(samples) == 1 and samples[0].source == "installed" and not self._handling.witnesses.marks

    def _stop(self) -> None:
        self._ask()
        self._handling.hold_in_reset()
        self._app.gone()
