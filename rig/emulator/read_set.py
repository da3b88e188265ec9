"""Which bytes of flash an emulated boot has looked at, from what QEMU tells of its two ways to flash.

Why nothing is missed, by the sources of Espressif's QEMU for esp32c3 (8.1.3 and its public forks):

- Two devices know the flash drive: hw/riscv/esp32c3.c gives it to the flash chip (esp32c3_init_spi_flash) and to the
  cache (`cache.flash_blk`), and to nobody else. No other code of the machine reads it.
- The flash chip reads all of the drive once, before the guest runs (hw/block/m25p80.c, m25p80_realize). The only place
  that gives a byte of that copy to a reader is `case STATE_READ` of m25p80_transfer8, and it traces each one
  (`m25p80_read_byte`, with its address). The controller (hw/ssi/esp32c3_spi.c) has no data but what it transfers so.
- The cache takes whole 64 KiB pages from the drive when the guest maps them (hw/misc/esp32c3_cache.c,
  esp32c3_write_mmu_value), with blk_pread and past the flash chip. A raw drive over NBD is not cached in QEMU, so each
  is a read at the NBD server, after `cont`. What the CPU and DMA see at the mapped addresses are copies of such pages,
  so all of a page counts as read.
- A program makes the chip write the page it lies in as it now is, so what a write shows to have changed depends on that
  page: it counts as read, too.

Guest time follows instructions (-icount) and random numbers have a fixed seed (-seed), so that the boot depends on
flash, eFuses and nothing else. A QEMU that were built without one of the two ways would be silent there: then all of
flash counts as read. So it does for chips whose sources were not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from rig.idf.watched import Ranges

KNOWN_CHIPS = frozenset({"esp32c3"})
"""Chips whose ways to flash were looked at."""
TRACE = "m25p80_read_byte"
"""The trace event that shows each byte that the flash chip gives out."""

_READ = re.compile(rb"m25p80_read_byte \S+ Read byte 0x([0-9a-f]+)=")


def given_out(trace: bytes) -> Ranges:
    """Ranges [start, end) of the flash bytes that the chip has given to its controller, from QEMU's trace log."""
    return _ranges(sorted({int(address, 16) for address in _READ.findall(trace)}))


def _ranges(addresses: Iterable[int]) -> Ranges:
    found: list[tuple[int, int]] = []
    start = end = -1
    for address in addresses:
        if address != end:
            if end > start:
                found.append((start, end))
            start = address
        end = address + 1
    if end > start:
        found.append((start, end))
    return tuple(found)
