"""What the bench does to a board in a trial: flash, power, reset. Every act leaves its mark among the witnesses."""

from __future__ import annotations

from rig.boards.board import Board, EfuseState
from rig.boards.firmware import FirmwareBuild
from rig.boards.install import regions_without
from rig.errors import UserError
from rig.evidence.encryption import as_flashed, chip_cipher
from rig.evidence.entry_words import erased_entries
from rig.evidence.witnesses import ENTRY, KnownFlash, Witnesses
from rig.idf.effects import SECTOR_SIZE
from rig.idf.partitions import Partition


class Handling:
    """Acts on `board` and notes each act in `witnesses`."""

    def __init__(self, board: Board, witnesses: Witnesses) -> None:
        self.board = board
        self.witnesses = witnesses

    def restore(self, build: FirmwareBuild, content: bytes, keep: Partition | None, efuses: EfuseState) -> None:
        """Make flash hold `content`, but for the partition to keep, and the eFuses `efuses` where the board can.

        The trial's witnesses begin anew.
        """
        cipher = chip_cipher(build.chip, efuses.encryption_key)
        raw = as_flashed(build, content, cipher)
        self.hold_in_reset()
        self.board.flash.restore(regions_without(raw, keep))
        if self.board.efuse is not None:
            self.board.efuse.prepare(efuses)
        self.witnesses.begin()
        if efuses.secure_version is not None:
            self.witnesses.fuse("installed", efuses.secure_version)
        at = build.otadata_offset
        self.witnesses.sample("installed", (content[at : at + ENTRY], content[at + SECTOR_SIZE :][:ENTRY]))
        self.witnesses.know(KnownFlash(raw, cipher=cipher))
        self.witnesses.erased = erased_entries(cipher, at)

    def read_back(self, build: FirmwareBuild) -> None:
        """Read otadata by the ROM loader, without letting anything else run before; the chip stays in the loader."""
        self.hold_in_reset()
        self.board.console.drain()
        self.witnesses.mark("flash read")
        data = self.board.flash.read(build.otadata_offset, 2 * SECTOR_SIZE)
        first, second = data[:ENTRY], data[SECTOR_SIZE : SECTOR_SIZE + ENTRY]
        read, at = self.witnesses.known.cipher.decrypt, build.otadata_offset
        self.witnesses.sample("flash", (read(at, first), read(at + SECTOR_SIZE, second)))

    def read_efuse(self) -> None:
        """Read the anti-rollback eFuse field from outside; the chip is held in reset or in its loader, and stays so."""
        if self.board.efuse is not None:
            self.witnesses.fuse("chip", self.board.efuse.secure_version())

    def learn_sent(self, size: int) -> None:
        """An interrupted update may be in its slot whole, in part or not at all: read back as much as was sent."""
        for start, end in self.witnesses.known.unknown:
            length = min(end - start, -(-size // SECTOR_SIZE) * SECTOR_SIZE)
            self.witnesses.know(self.witnesses.known.with_known(start, self.board.flash.read(start, length)))

    def start_from_flash(self) -> None:
        """By power-on where the board can, else by its reset line."""
        if self.board.power is None:
            self.reset_line()
        else:
            self.power_cycle()

    def reset_line(self) -> None:
        """Pulse EN."""
        self.board.console.skip()
        self.witnesses.mark("reset line")
        self.board.reset()

    def power_cycle(self) -> None:
        """Power off and on; what was printed before is kept apart from what comes after."""
        power = self.board.power
        if power is None:
            raise UserError("this board has no power switch", board=self.board.name)
        power.off()
        self.board.console.drain()
        self.witnesses.mark("power off")
        self.board.reset_line.release()
        self.board.console.skip()
        self.witnesses.mark("power on")
        power.on()

    def hold_in_reset(self) -> None:
        """With power on but EN low, nothing runs until esptool takes over."""
        self.board.reset_line.hold()
        if self.board.power is not None:
            self.board.power.on()
