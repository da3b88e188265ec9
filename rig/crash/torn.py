"""What an interrupted flash operation leaves: the torn forms of one erase or program, by stable names. Pure.

No data sheet promises an order in which cells change, or anything of an operation that lost its power. So there are
forms by bytes, as if it went from one end to the other, and forms by bits, in which any cell may be done, untouched or
(of an erase) undefined.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

from rig.idf.effects import SECTOR_SIZE, BurnSecureVersion, Erase, Mutation, Program
from rig.idf.otadata import ENTRY_SIZE

Kind = Literal["bytes", "bits"]

WORD = 4
LOOSE = 4
UNDEFINED = 16
"""Bytes without a defined value between the erased and the old part."""


def forms(mutation: Mutation, fine: bool) -> tuple[str, ...]:
    """Names of the forms in which `mutation` is torn; `fine` for select entries, whose every byte boundary counts.

    An eFuse burn has none: it is taken as atomic.
    """
    if isinstance(mutation, BurnSecureVersion):
        return ()
    if isinstance(mutation, Erase):
        return _ERASE_FINE if fine else _ERASE_COARSE
    return tuple(_program_forms(mutation, fine))


def kind_of(form: str) -> Kind:
    """Whether the form follows byte boundaries or leaves single bits behind."""
    return "bits" if any(word in form for word in ("loose", "bits", "word")) else "bytes"


def tear(mutation: Erase | Program, form: str, old: bytes, seed: str) -> bytes:
    """What flash holds from `mutation.offset` on; `old` is what it held there, as many bytes as the result.

    `seed` draws undefined bytes and single bits. ValueError for a form that this mutation does not have.
    """
    name, _, number_text = form.rpartition("-")
    number = int(number_text) if number_text.isdecimal() else -1
    source = random.Random(f"{seed} {form}")
    if isinstance(mutation, Erase):
        if name == "torn-erase" and 0 < number < SECTOR_SIZE:
            return b"\xff" * number + old[number:]
        if name == "torn-erase-tail" and 0 < number < SECTOR_SIZE:
            return old[: SECTOR_SIZE - number] + b"\xff" * number
        if name == "torn-erase-loose" and number > 0:
            return _loose(old, number, source)
    else:
        data = mutation.data
        done = bytes(a & b for a, b in zip(old, data, strict=True))
        if name == "torn-program" and 0 < number < len(data):
            return done[:number] + old[number:]
        if name == "torn-program-bits" and number > 0:
            return _some_bits(old, done, source)
        if name == "torn-program-word" and 0 <= number < len(data) // WORD:
            start, end = number * WORD, (number + 1) * WORD
            return done[:start] + _some_bits(old[start:end], done[start:end], source) + done[end:]
    raise ValueError(f"{form} is no form of this mutation")


_ERASE_COARSE = ("torn-erase-1", "torn-erase-2048", "torn-erase-tail-2048", "torn-erase-loose-1")
_ERASE_FINE = (
    *(f"torn-erase-{done}" for done in (*range(1, ENTRY_SIZE + 1), SECTOR_SIZE // 2)),
    *(f"torn-erase-tail-{SECTOR_SIZE - left}" for left in (31, 28, 24, 16, 8, 4)),
    "torn-erase-tail-2048",
    *(f"torn-erase-loose-{number}" for number in range(1, LOOSE + 1)),
)


def _program_forms(mutation: Program, fine: bool) -> Iterator[str]:
    size = len(mutation.data)
    if not fine:
        yield from (f"torn-program-{done}" for done in sorted({1, size // 2, size - 1}) if 0 < done < size)
        yield "torn-program-bits-1"
        return
    last = min(size, ENTRY_SIZE)
    yield from (f"torn-program-{done}" for done in range(1, last))
    yield from (f"torn-program-bits-{number}" for number in (1, 2))
    for word in range(last // WORD):
        if mutation.data[word * WORD : (word + 1) * WORD] != b"\xff" * WORD:
            yield f"torn-program-word-{word}"


def _loose(old: bytes, number: int, source: random.Random) -> bytes:
    """Odd numbers: erased, undefined, old, one after the other; even ones: each cell either erased or old."""
    if number % 2:
        done = source.randrange(ENTRY_SIZE)
        return b"\xff" * done + source.randbytes(UNDEFINED) + old[done + UNDEFINED :]
    erased = int.from_bytes(old, "little") | source.getrandbits(8 * len(old))
    return erased.to_bytes(len(old), "little")


def _some_bits(old: bytes, done: bytes, source: random.Random) -> bytes:
    """Of the bits that were to be cleared some still are set."""
    was, end = int.from_bytes(old, "little"), int.from_bytes(done, "little")
    left = was & ~end & source.getrandbits(8 * max(1, len(old)))
    return (end | left).to_bytes(len(old), "little")
