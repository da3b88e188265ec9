"""A board's flash through the chip's ROM loader, by esptool's public API on the console's own port."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import esptool.cmds
import serial
from esptool.loader import ESPLoader
from esptool.reset import HardReset
from esptool.util import FatalError

from rig.boards.console import Console
from rig.errors import BenchFault, UserError
from rig.idf.effects import SECTOR_SIZE

FLASH_BAUD = 921600

T = TypeVar("T")


class LoaderFlash:
    """Flash of a board that esptool can bring into download mode by DTR and RTS."""

    def __init__(self, console: Console, chip: str, baud: int = FLASH_BAUD) -> None:
        self.console = console
        self.chip = chip
        self.baud = baud
        self.transcript: list[str] = []

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes of flash at `offset`; the chip stays in the loader."""

        def read(esp: ESPLoader) -> bytes:
            return bytes(esptool.cmds.read_flash(esp, offset, size, no_progress=True))

        return self.in_loader(read)

    def restore(self, regions: Mapping[int, bytes]) -> int:
        """Write only the sectors that differ, found by comparing MD5 sums; how many were written."""

        def restore(esp: ESPLoader) -> int:
            written = 0
            for offset, want in sorted(regions.items()):
                for start, end in _differing(esp, offset, want):
                    data = want[start - offset : end - offset]
                    if data.count(0xFF) == len(data):
                        # esptool erases nothing of a chip with flash encryption otherwise.
                        esptool.cmds.erase_region(esp, start, end - start, force=True)
                    else:
                        esptool.cmds.write_flash(esp, [(start, data)], no_progress=True)
                    written += (end - start) // SECTOR_SIZE
            return written

        return self.in_loader(restore)

    def in_loader(self, work: Callable[[ESPLoader], T]) -> T:
        """What `work` makes of the chip in its loader, where it stays; errors of esptool are BenchFault."""
        output = io.StringIO()
        try:
            with self.console.lent() as port, contextlib.redirect_stdout(output), self._stub(port) as esp:
                return work(esp)
        except FatalError as error:
            raise BenchFault(
                f"esptool failed: {error}",
                board=self.console.board,
                evidence="\n" + output.getvalue().strip()[-600:],
                hint="check cable, boot strap wiring and that nothing else holds the port",
            ) from error
        except (OSError, serial.SerialException) as error:
            raise BenchFault(f"the port failed under esptool: {error}", board=self.console.board) from error
        finally:
            self.transcript.append(output.getvalue())

    @contextmanager
    def _stub(self, port: serial.SerialBase) -> Iterator[ESPLoader]:
        esp = esptool.cmds.detect_chip(port, connect_attempts=4)
        name = esp.CHIP_NAME.lower().replace("-", "")
        if name != self.chip:
            raise UserError(
                f"this board is an {name}, rig.toml says {self.chip}",
                board=self.console.board,
                hint="mend `chip` in rig.toml",
            )
        esp = esptool.cmds.run_stub(esp)
        esp.change_baud(self.baud)
        esptool.cmds.attach_flash(esp)
        yield esp


class RtsResetLine:
    """EN wired to RTS, as on every development board; the reader goes on, so that the first boot byte is kept."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def hold(self) -> None:
        self._console.port.rts = True

    def release(self) -> None:
        self._console.port.rts = False

    def pulse(self) -> None:
        HardReset(self._console.port)()


def _differing(esp: ESPLoader, offset: int, want: bytes) -> Iterator[tuple[int, int]]:
    """Ranges of whole sectors that differ from `want`, neighbours joined, in ascending order."""
    if len(want) % SECTOR_SIZE or offset % SECTOR_SIZE:
        raise ValueError(f"region at 0x{offset:x} of {len(want)} bytes is not made of whole sectors")
    start = end = None
    for sector in _differing_sectors(esp, offset, want):
        if end != sector:
            if start is not None and end is not None:
                yield start, end
            start = sector
        end = sector + SECTOR_SIZE
    if start is not None and end is not None:
        yield start, end


def _differing_sectors(esp: ESPLoader, offset: int, want: bytes) -> Iterator[int]:
    if esp.flash_md5sum(offset, len(want)).lower() == hashlib.md5(want, usedforsecurity=False).hexdigest():
        return
    if len(want) == SECTOR_SIZE:
        yield offset
        return
    half = len(want) // SECTOR_SIZE // 2 * SECTOR_SIZE
    yield from _differing_sectors(esp, offset, want[:half])
    yield from _differing_sectors(esp, offset + half, want[half:])
