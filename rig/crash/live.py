"""Crash images on a board of the bench: written by its loader or placed, only sectors that differ, and booted."""

from __future__ import annotations

from rig.boards.board import Board
from rig.boards.image_boots import PowerUp
from rig.boards.install import end_of
from rig.crash.recording import Recording
from rig.errors import UserError
from rig.evidence.handling import Handling
from rig.evidence.power_up import watch
from rig.evidence.witnesses import Witnesses
from rig.idf.chips import chip
from rig.idf.partitions import MAX_LENGTH, PartitionTable
from rig.idf.watched import WatchedFlash

PATIENCE_S = 30.0
"""From a reset until the app must have finished; the host's seconds."""


class LiveBooter:
    """Implements `ImageBooter` on a board that is open and powered. Sees no mutations; all of flash counts as read.

    `written`: how many sectors the first image needed.
    """

    def __init__(self, board: Board, table: PartitionTable) -> None:
        self.written: int | None = None
        self._board = board
        self._table = table
        self._handling = Handling(board, Witnesses(board.console, board.restarts))

    def boot(self, flash: WatchedFlash) -> PowerUp:
        """Raises BenchFault if the board cannot be flashed, says nothing, or does not lose its power."""
        board, end = self._board, end_of(self._table)
        flash.note(0, len(flash))
        self._handling.hold_in_reset()
        written = board.flash.restore({0: flash.read(0, end)})
        self.written = written if self.written is None else self.written
        self._handling.start_from_flash()
        position = board.console.position
        boots = watch(board, self._table, PATIENCE_S)
        log = b"".join(chunk.data for chunk in board.console.chunks_since(position))
        self._handling.hold_in_reset()
        for part in self._table.entries:
            # Slots are written by an update only, and nobody asks for one.
            if part.slot is None:
                flash.load(part.offset, board.flash.read(part.offset, part.size))
        return PowerUp(boots, log, watched=False)

    def close(self) -> None:
        pass


def demand_same_firmware(board: Board, recording: Recording) -> None:
    """UserError if the board holds another bootloader or partition table than the recording; an erased chip is fine."""
    start = chip(recording.header.chip).bootloader_offset
    end = recording.boot_config.partition_table_offset + MAX_LENGTH
    board.reset_line.hold()
    if board.power is not None:
        board.power.on()
    found = board.flash.read(start, end - start)
    if found != recording.base[start:end] and found.count(0xFF) != len(found):
        raise UserError(
            f"this board holds other firmware than the recording of {recording.name}: bootloader or partition table "
            f"differ between {start:#x} and {end:#x}",
            board=board.name,
            hint="record on a board with this firmware, or give --install to replace what is on this one",
        )
