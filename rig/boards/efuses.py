"""The eFuses of a chip through its serial loader, by espefuse's public API: read, burnt for good, or kept in flash.

ESP-IDF's emulated eFuses (CONFIG_EFUSE_VIRTUAL_KEEP_IN_FLASH) are a copy of all read registers, 8 words a block, at the
start of the partition of subtype `efuse`; firmware reads and changes that copy instead of the chip, and takes the
chip's own where the partition is erased (components/efuse/src/esp_efuse_utility.c).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import esptool.cmds
from esptool.loader import ESPLoader

from rig.boards.board import EfuseState
from rig.boards.loader import LoaderFlash
from rig.boards.sparing import EMULATED
from rig.errors import BenchFault, NotApplicable, UserError
from rig.idf.errors import FormatError
from rig.idf.partitions import MAX_LENGTH, Partition, PartitionTable

NAME = "SECURE_VERSION"
BLOCK_WORDS = 8
TABLE_OFFSETS = range(0x8000, 0x11000, 0x1000)
"""CONFIG_PARTITION_TABLE_OFFSET: 0x8000 by default; further up for bootloaders that need more room."""


class Field(NamedTuple):
    """The anti-rollback field: `width` bits from `bit` of 32-bit word `word` of `block`, which is read at `address`."""

    block: int
    word: int
    bit: int
    width: int
    address: int

    def count(self, word: int) -> int:
        """Bits that are set of it in the value of its word."""
        return (word >> self.bit & ((1 << self.width) - 1)).bit_count()

    def put(self, word: int, version: int) -> int:
        """Its word with the lowest `version` bits of the field set and no others."""
        return word & ~(((1 << self.width) - 1) << self.bit) | ((1 << version) - 1) << self.bit


class Block(NamedTuple):
    """An eFuse block: the address of its first read register, and how many there are."""

    address: int
    words: int


class Layout(NamedTuple):
    """Of one chip: its anti-rollback field, and every block by number."""

    field: Field
    blocks: tuple[Block, ...]


@cache
def layout(chip: str) -> Layout:
    """Where `chip` (`esp32c3`) has its eFuses, as espefuse knows it; no chip is asked. UserError if it does not."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            known = _espefuse(chip=chip, virt=True).efuses
    except (esptool.FatalError, KeyError) as error:
        raise UserError(f"espefuse does not know the eFuses of {chip}: {error}") from error
    blocks = tuple(Block(block.rd_addr, block.len) for block in known.blocks)
    found = known[NAME]
    return Layout(
        Field(found.block, found.word, found.pos, found.bit_len, blocks[found.block].address + 4 * found.word), blocks
    )


def _espefuse(**how: Any) -> Any:
    # Imported when it is needed: it takes 0.1 s, and every `rig` command would wait for it.
    import espefuse

    return espefuse.init_commands(**how)


class LoaderEfuse:
    """The anti-rollback field as the loader reads it."""

    spent: Sequence[int] = ()

    def __init__(self, flash: LoaderFlash) -> None:
        self.flash = flash

    @property
    def board(self) -> str:
        return self.flash.console.board

    def secure_version(self) -> int:
        """Bits set in the chip's own field; BenchFault if the loader cannot be reached."""
        return self.flash.in_loader(self.read)

    def read(self, esp: ESPLoader) -> int:
        """Bits set in the chip's own field."""
        field = self.field
        return field.count(int(esp.read_reg(field.address)))

    @property
    def field(self) -> Field:
        """Of this chip, as espefuse knows it."""
        return layout(self.flash.chip).field

    def demand_fits(self, version: int) -> None:
        """NotApplicable if the chip's field is too narrow for `version`."""
        # None set fits any field; its width is known by espefuse, which every process would have to load for that.
        if version and version > self.field.width:
            raise NotApplicable(
                f"secure version {version} does not fit into the {self.field.width} eFuse bits of {self.flash.chip}"
            )


class BurntEfuse(LoaderEfuse):
    """eFuses of a board that is meant to be spent: what a test needs is burnt for good, and counted."""

    def __init__(self, flash: LoaderFlash) -> None:
        super().__init__(flash)
        self.spent: list[int] = []

    def secure_version(self) -> int:
        """As `LoaderEfuse.secure_version`; kept among what was read."""
        self.spent.append(super().secure_version())
        return self.spent[-1]

    def prepare(self, wanted: EfuseState) -> None:
        """Burn the field up to `wanted`. NotApplicable where this chip has burnt more, which nothing can undo."""
        version = wanted.secure_version
        if version is None:
            return
        self.demand_fits(version)

        def burn(esp: ESPLoader) -> None:
            before = self.read(esp)
            self.spent.append(before)
            if before > version:
                raise NotApplicable(
                    f"the eFuse of board {self.board} is at secure version {before} already, this test needs {version}"
                )
            if before < version:
                # The API takes numbers in decimal only.
                _espefuse(esp=esp, do_not_confirm=True).burn_efuse({NAME: str((1 << version) - 1)})
                if (now := self.read(esp)) != version:
                    self.spent.append(now)
                    raise BenchFault(f"the eFuse holds {now} after it was burnt to {version}", board=self.board)
                self.spent.append(version)

        self.flash.in_loader(burn)


class EmulatedEfuse(LoaderEfuse):
    """ESP-IDF's emulated eFuses, in a partition of the build that is on the board. The chip's own are only read."""

    def prepare(self, wanted: EfuseState) -> None:
        """Write the partition as if the chip had `wanted`. UserError for a build without such a partition."""
        version = wanted.secure_version
        if version is None:
            return
        self.demand_fits(version)

        def write(esp: ESPLoader) -> None:
            part = self._partition(esp)
            words = [self._block(esp, block) for block in layout(self.flash.chip).blocks]
            field = self.field
            words[field.block][field.word] = field.put(words[field.block][field.word], version)
            content = b"".join(word.to_bytes(4, "little") for block in words for word in block)
            esptool.cmds.erase_region(esp, part.offset, part.size)
            esptool.cmds.write_flash(esp, [(part.offset, content)], no_progress=True)

        self.flash.in_loader(write)

    def secure_version(self) -> int:
        """Of the partition, or of the chip where the partition is erased, as firmware has it."""

        def read(esp: ESPLoader) -> int:
            field, part = self.field, self._partition(esp)
            size = len(layout(self.flash.chip).blocks) * BLOCK_WORDS * 4
            content = _read(esp, part.offset, size)
            if content.count(0xFF) == size:
                return self.read(esp)
            at = 4 * (field.block * BLOCK_WORDS + field.word)
            return field.count(int.from_bytes(content[at : at + 4], "little"))

        return self.flash.in_loader(read)

    def _block(self, esp: ESPLoader, block: Block) -> list[int]:
        words = [int(esp.read_reg(block.address + 4 * number)) for number in range(block.words)]
        return words + [0] * (BLOCK_WORDS - len(words))

    def _partition(self, esp: ESPLoader) -> Partition:
        for entry in self._table(esp).entries:
            if (entry.type, entry.subtype) == EMULATED:
                return entry
        raise UserError(
            "this build has no partition for emulated eFuses: it would burn those of the chip",
            board=self.board,
            hint="build the variants with _emulated at the end of their name",
        )

    def _table(self, esp: ESPLoader) -> PartitionTable:
        """Where it begins is set by CONFIG_PARTITION_TABLE_OFFSET; the bootloader in flash does not tell it."""
        for offset in TABLE_OFFSETS:
            try:
                table = PartitionTable.from_binary(_read(esp, offset, MAX_LENGTH))
            except FormatError:
                continue
            if table.entries:
                return table
        raise UserError("no partition table in flash can be read", board=self.board, hint="flash the board again")


def _read(esp: ESPLoader, offset: int, size: int) -> bytes:
    return bytes(esptool.cmds.read_flash(esp, offset, size, no_progress=True))
