"""What the reference model says of one boot: the third witness. Runs on a copy; the memory given is only read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from rig.errors import Inconclusive
from rig.idf.bootloader import NONE, BootResult, Pins, run
from rig.idf.config import BootConfig
from rig.idf.effects import SECTOR_SIZE, BurnSecureVersion, Effect, Erase, Log, Memory, Mutation, Program
from rig.idf.errors import FormatError
from rig.idf.flash_cipher import PLAIN, FlashCipher, cipher_of, read_decrypted
from rig.idf.otadata import ENTRY_SIZE
from rig.idf.partitions import PartitionTable

TABLE_SIZE = 0xC00

Entries = tuple[bytes, bytes]


class Overlay:
    """A `Memory` over another one: sectors that are written are kept here, the rest is read through.

    They are kept as they lie in flash, encrypted where the other memory is.
    """

    def __init__(self, base: Memory) -> None:
        self._base = base
        self.cipher = cipher_of(base)
        self._sectors: dict[int, bytearray] = {}
        self._secure_version: int | None = None

    @property
    def secure_version(self) -> int:
        return self._base.secure_version if self._secure_version is None else self._secure_version

    def read(self, offset: int, size: int) -> bytes:
        end = offset + size
        starts = range(offset - offset % SECTOR_SIZE, end, SECTOR_SIZE)
        if not any(start in self._sectors for start in starts):
            return self._base.read(offset, size)
        parts = []
        for start in starts:
            low, high = max(start, offset), min(start + SECTOR_SIZE, end)
            # The base may not know what was written over.
            kept = start in self._sectors
            parts.append(
                read_decrypted(self._raw, self.cipher, low, high - low) if kept else self._base.read(low, high - low)
            )
        return b"".join(parts)

    def apply(self, effect: Mutation) -> None:
        """Do a mutation: erase sets a sector to 0xFF, program clears bits."""
        if isinstance(effect, BurnSecureVersion):
            self._secure_version = effect.after
        elif isinstance(effect, Erase):
            self._sectors[effect.offset] = bytearray(b"\xff" * SECTOR_SIZE)
        else:
            old = self.cipher.encrypt(effect.offset, self.read(effect.offset, len(effect.data)))
            new = self.cipher.encrypt(effect.offset, effect.data)
            self._put_raw(effect.offset, bytes(a & b for a, b in zip(old, new, strict=True)))

    def put(self, offset: int, data: bytes) -> None:
        """Bytes that are known to be read at flash `offset`."""
        self._put_raw(offset, self.cipher.encrypt(offset, data))

    def _put_raw(self, offset: int, data: bytes) -> None:
        for start in range(offset - offset % SECTOR_SIZE, offset + len(data), SECTOR_SIZE):
            sector = self._sectors.setdefault(start, self._sector(start))
            low, high = max(start, offset), min(start + SECTOR_SIZE, offset + len(data))
            sector[low - start : high - start] = data[low - offset : high - offset]

    def _raw(self, offset: int, size: int) -> bytes:
        """Bytes of one sector that is kept."""
        at = offset % SECTOR_SIZE
        return bytes(self._sectors[offset - at][at : at + size])

    def _sector(self, start: int) -> bytearray:
        try:
            return bytearray(self.cipher.encrypt(start, self._base.read(start, SECTOR_SIZE)))
        except Inconclusive:
            return bytearray(b"\xff" * SECTOR_SIZE)


class Prediction(NamedTuple):
    """`states`: both otadata entries after 0, 1, 2 … of the mutations; None without an otadata partition.

    `secure_version`: the eFuse field at the end; 0 without anti-rollback, which does not look at it. `cipher`: of the
    flash; states and mutations are as the chip reads and writes them, before it encrypts.
    """

    result: BootResult
    effects: tuple[Effect, ...]
    states: tuple[Entries, ...] | None
    secure_version: int
    cipher: FlashCipher = PLAIN

    @property
    def logs(self) -> tuple[Log, ...]:
        return tuple(effect for effect in self.effects if isinstance(effect, Log))

    @property
    def mutations(self) -> tuple[Mutation, ...]:
        return tuple(effect for effect in self.effects if not isinstance(effect, Log))

    @property
    def versions(self) -> tuple[int, ...]:
        """The eFuse field after 0, 1, 2 … of the mutations."""
        burns = [mutation for mutation in self.mutations if isinstance(mutation, BurnSecureVersion)]
        found = [burns[0].before if burns else self.secure_version]
        for mutation in self.mutations:
            found.append(mutation.after if isinstance(mutation, BurnSecureVersion) else found[-1])
        return tuple(found)

    @property
    def otadata(self) -> Entries | None:
        """Both entries at the end."""
        return self.states[-1] if self.states else None


def read_table(memory: Memory, config: BootConfig) -> PartitionTable | None:
    """The partition table in flash; None if it cannot be parsed."""
    try:
        return PartitionTable.from_binary(memory.read(config.partition_table_offset, TABLE_SIZE))
    except FormatError:
        return None


def otadata_offset(table: PartitionTable | None) -> int | None:
    """Flash offset of the otadata that the bootloader uses."""
    partition = table.otadata_for_bootloader if table else None
    return partition.offset if partition else None


def predict(
    memory: Memory,
    config: BootConfig,
    table: PartitionTable | None,
    otadata: Entries | None = None,
    pins: Pins = NONE,
) -> Prediction:
    """One boot of the model from `memory`, with `otadata` in place of what `memory` holds there.

    Raises Inconclusive where the memory does not know what the bootloader would read.
    """
    copy = Overlay(memory)
    offset = otadata_offset(table)
    if offset is not None and otadata is not None:
        for number, data in enumerate(otadata):
            copy.put(offset + number * SECTOR_SIZE, data)
    steps = run(copy, config, pins)
    effects: list[Effect] = []
    states = [] if offset is None else [entries_at(copy, offset)]
    while True:
        try:
            effect = next(steps)
        except StopIteration as stop:
            burnt = copy.secure_version if config.anti_rollback else 0
            seen = tuple(states) if offset is not None else None
            return Prediction(stop.value, tuple(effects), seen, burnt, copy.cipher)
        effects.append(effect)
        if not isinstance(effect, Log):
            copy.apply(effect)
            if offset is not None:
                states.append(entries_at(copy, offset))


def entries_at(memory: Memory, offset: int) -> Entries:
    """Both select entries of the otadata partition at flash `offset`."""
    return memory.read(offset, ENTRY_SIZE), memory.read(offset + SECTOR_SIZE, ENTRY_SIZE)


Trust = Literal["whole", "torn", "no"]


def left_by_cut(prediction: Prediction, seen: Entries, offset: int, version: int | None = None) -> Trust:
    """Whether a power cut somewhere in the predicted boot could leave these entries, and this eFuse `version`.

    `whole`: after some mutation, or with one done for its first bytes only; `torn`: only with single bits left behind,
    which flash may do, but which explains much. What power was lost in is what lies in flash: ciphertext, if the flash
    is encrypted, so that a block of 16 bytes that was cut short reads as noise.
    """
    then = [at for at, burnt in enumerate(prediction.versions) if version in (None, burnt)]
    states, mutations = prediction.states or (), prediction.mutations
    steps = [(states[at], mutations[at]) for at in then if at < len(mutations) and at < len(states)]
    steps = [_as_it_lies(step, prediction.cipher, offset) for step in steps]
    if any(states[at] == seen for at in then if at < len(states)):
        return "whole"
    seen = _encrypted(seen, prediction.cipher, offset)
    if any(_cut_short(before, mutation, seen, offset) for before, mutation in steps):
        return "whole"
    return "torn" if any(_torn(before, mutation, seen, offset) for before, mutation in steps) else "no"


def _as_it_lies(step: tuple[Entries, Mutation], cipher: FlashCipher, offset: int) -> tuple[Entries, Mutation]:
    """The same step in what flash holds, as far as it concerns otadata."""
    before, mutation = step
    if isinstance(mutation, Program) and offset <= mutation.offset < offset + 2 * SECTOR_SIZE:
        mutation = Program(mutation.offset, cipher.encrypt(mutation.offset, mutation.data))
    return _encrypted(before, cipher, offset), mutation


def _encrypted(entries: Entries, cipher: FlashCipher, offset: int) -> Entries:
    return cipher.encrypt(offset, entries[0]), cipher.encrypt(offset + SECTOR_SIZE, entries[1])


def _cut_short(before: Entries, mutation: Mutation, seen: Entries, offset: int) -> bool:
    """Of the entry that `mutation` touches the first bytes are new, the rest is old."""
    if isinstance(mutation, BurnSecureVersion):
        return False
    number = (mutation.offset - offset) // SECTOR_SIZE
    if number not in (0, 1) or seen[1 - number] != before[1 - number]:
        return False
    old = before[number]
    if isinstance(mutation, Erase):
        new = b"\xff" * ENTRY_SIZE
    else:
        data = mutation.data[:ENTRY_SIZE].ljust(ENTRY_SIZE, b"\xff")
        new = bytes(a & b for a, b in zip(old, data, strict=True))
    return any(seen[number] == new[:done] + old[done:] for done in range(ENTRY_SIZE + 1))


def _torn(before: Entries, mutation: Mutation, seen: Entries, offset: int) -> bool:
    if isinstance(mutation, BurnSecureVersion):
        return False
    number = (mutation.offset - offset) // SECTOR_SIZE
    if number not in (0, 1) or seen[1 - number] != before[1 - number]:
        return False
    old, now = before[number], seen[number]
    if isinstance(mutation, Erase):
        return all(was & bits == was for was, bits in zip(old, now, strict=True))
    return _torn_program(old, now, mutation)


def _torn_program(old: bytes, now: bytes, mutation: Program) -> bool:
    """Programming only clears bits, and only those that the data has clear."""
    wanted: Sequence[int] = mutation.data[:ENTRY_SIZE].ljust(ENTRY_SIZE, b"\xff")
    return all(
        bits & was == bits and bits & (was & data) == was & data
        for was, bits, data in zip(old, now, wanted, strict=True)
    )
