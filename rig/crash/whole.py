"""A booter whose read set counts as unknown: every crash image that differs in a byte is booted. Checks the pruning."""

from __future__ import annotations

from rig.boards.image_boots import ImageBooter, PowerUp
from rig.idf.watched import WatchedFlash


class ReadsAll:
    """Implements `ImageBooter` by another one."""

    def __init__(self, booter: ImageBooter) -> None:
        self._booter = booter

    def boot(self, flash: WatchedFlash) -> PowerUp:
        flash.note(0, len(flash))
        return self._booter.boot(flash)

    def close(self) -> None:
        self._booter.close()
