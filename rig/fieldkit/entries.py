"""Otadata entries in words, `seq 3 VALID`, and in the 32 bytes of flash; and what each says, for a person."""

from __future__ import annotations

import re

from rig.fieldkit.explained import ExplainedEntry
from rig.idf.errors import FormatError
from rig.idf.otadata import (
    ENTRY_SIZE,
    ERASED_LABEL,
    ERASED_SEQ,
    ImageState,
    SelectEntry,
    make_entry,
    parse,
    slot_index,
    state_name,
)

ERASED = "erased"
ERASED_BYTES = b"\xff" * ENTRY_SIZE
BAD_CRC = ", bad CRC"
_WORDS = re.compile(r"seq (0x[0-9a-fA-F]{1,8}|\d{1,10}) ([A-Z_]+|0x[0-9a-fA-F]{1,8})(, bad CRC)?")
_STATES = {state.name: int(state) for state in ImageState}
_MEANS = {
    "NEW": "an update that the bootloader has not started yet",
    "PENDING_VERIFY": "started once and not confirmed: at the next reset it becomes ABORTED",
    "VALID": "confirmed",
    "INVALID": "rejected by its own app: never selected",
    "ABORTED": "reset before it was confirmed: never selected",
    "UNDEFINED": "written by a build without app rollback: selected, never watched",
}


def entry_bytes(words: str) -> bytes:
    """The 32 bytes that `erased`, `seq 3 VALID`, `seq 0x10 0x11, bad CRC` or 64 hex digits stand for.

    Raises FormatError for other words.
    """
    if words == ERASED:
        return ERASED_BYTES
    if re.fullmatch(r"[0-9a-fA-F]{64}", words):
        return bytes.fromhex(words)
    match = _WORDS.fullmatch(words)
    if match is None:
        raise FormatError(f"{words!r} is no otadata entry; give `erased`, `seq 3 VALID` or its 32 bytes in hex")
    seq = int(match[1], 0)
    state = _STATES.get(match[2])
    if state is None:
        state = int(match[2], 16) if match[2].startswith("0x") else -1
    if state < 0 or seq > ERASED_SEQ:
        raise FormatError(f"{words!r}: states are {', '.join(_STATES)}, numbers have 32 bits")
    entry = make_entry(seq, state)
    return entry._replace(crc=entry.crc ^ 1).pack() if match[3] else entry.pack()


def entry_words(data: bytes) -> str:
    """The shortest words for 32 bytes that `entry_bytes` turns back into them."""
    if data == ERASED_BYTES:
        return ERASED
    entry = parse(data)
    text = f"seq {entry.seq} {state_name(entry.state)}"
    for words in (text, text + BAD_CRC):
        if entry_bytes(words) == data:
            return words
    return data.hex()


def explained_entry(number: int, entry: SelectEntry, slots: int) -> ExplainedEntry:
    """One entry decoded; `slots`: OTA slots of the partition table, 0 if they are not known."""
    if entry.pack() == ERASED_BYTES:
        return ExplainedEntry(entry=number, hex=entry.pack().hex(), crc="erased", meaning="erased: never written")
    slot = f"ota_{slot_index(entry.seq, slots)}" if slots and entry.crc_ok and entry.seq != ERASED_SEQ else None
    return ExplainedEntry(
        entry=number,
        hex=entry.pack().hex(),
        seq=entry.seq,
        slot=slot,
        state=state_name(entry.state),
        crc="good" if entry.crc_ok else "bad",
        meaning="; ".join(_meaning(entry, slots, slot)),
    )


def _meaning(entry: SelectEntry, slots: int, slot: str | None) -> list[str]:
    if not entry.crc_ok:
        return [f"CRC {entry.crc:#010x} does not belong to sequence number {entry.seq}: not selected"]
    if entry.seq == ERASED_SEQ:
        return ["an erased sequence number: not selected"]
    found = [f"sequence number {entry.seq} selects ({entry.seq} - 1) mod {slots} = {slot}"] if slot else []
    found.append(_MEANS.get(state_name(entry.state), f"state {entry.state:#x} is none of ESP-IDF's: selected"))
    if entry.label not in (ERASED_LABEL, bytes(20)):
        found.append(f"its label is in use ({entry.label.hex()}), which ESP-IDF never does")
    return found
