"""Flash images booted one after another by the virtual chip's own firmware, at once (rig.virtual.quick)."""

from __future__ import annotations

from rig.boards.image_boots import BootSeen, End, PowerUp, is_over, seen_in
from rig.idf.partitions import PartitionTable
from rig.idf.watched import WatchedFlash
from rig.virtual.cpu import Firmware, ResetReason
from rig.virtual.quick import QuickBoot, boot_quickly


class VirtualBooter:
    """Implements `ImageBooter`; knows the read set of each boot to the byte."""

    def __init__(self, firmware: Firmware, table: PartitionTable) -> None:
        self._firmware = firmware
        self._table = table

    def boot(self, flash: WatchedFlash) -> PowerUp:
        boots: list[BootSeen] = []
        log = bytearray()
        reset = ResetReason.POWERON
        while True:
            seen = boot_quickly(self._firmware, flash, reset)
            log += seen.log
            boots.append(BootSeen(*seen_in(seen.log, self._table), _end(seen), seen.mutations))
            if is_over(boots) or seen.next_reset is None:
                return PowerUp(tuple(boots), bytes(log))
            reset = seen.next_reset

    def close(self) -> None:
        pass


def _end(seen: QuickBoot) -> End:
    if seen.next_reset is ResetReason.BOOTLOADER:
        return "nothing bootable"
    if seen.next_reset is not None:
        return "restarts"
    return "runs" if seen.waits else "hangs"
