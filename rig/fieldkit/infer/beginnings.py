"""Otadata as it may have been before the first boot of a log, and how odd that would be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rig.fieldkit.entries import ERASED_BYTES, entry_bytes
from rig.fieldkit.infer.sighting import Sighting
from rig.fieldkit.infer.world import Pair
from rig.idf.otadata import ERASED_SEQ, ImageState, parse, slot_index

STATES = ("NEW", "PENDING_VERIFY", "VALID", "INVALID", "ABORTED", "UNDEFINED")
USUAL_SEQS = (1, 2, 3)
_MOST_SEQS = 6
_STATE_COST = {"VALID": 0.0, "NEW": 0.6, "PENDING_VERIFY": 0.8, "ABORTED": 1.0, "INVALID": 1.2, "UNDEFINED": 0.6}
_FOREIGN, _BAD_CRC, _SAME_SLOT, _FAR = 5.0, 4.0, 3.0, 0.5


def beginnings(seen: Sequence[Sighting], ota_count: int, rollback: bool) -> Iterator[tuple[Pair, float]]:
    """Every pair of entries with the sequence numbers that the log shows, or small ones; and what it costs."""
    numbers = _numbers(seen)
    entries = [(ERASED_BYTES, 0.0)]
    entries += [
        (entry_bytes(f"seq {seq} {state}"), _STATE_COST[state] + _mode_cost(state, rollback))
        for seq in numbers
        for state in STATES
    ]
    entries += [(entry_bytes(f"seq {seq} VALID, bad CRC"), _BAD_CRC) for seq in numbers[:2]]
    entries += [(entry, _FOREIGN) for entry in _foreign(seen)]
    for first, cost in entries:
        for second, other in entries:
            pair = (first, second)
            yield pair, cost + other + _odd(pair, ota_count)


def _mode_cost(state: str, rollback: bool) -> float:
    """A build with rollback writes NEW where one without writes UNDEFINED (esp_rewrite_ota_data)."""
    return 0.0 if state == "VALID" or (state == "UNDEFINED") != rollback else 1.5


def _numbers(seen: Sequence[Sighting]) -> list[int]:
    shown = {entry.seq for item in seen for entry in item.entries if entry is not None}
    shown |= {seq for item in seen if item.seqs for seq in item.seqs}
    shown -= {ERASED_SEQ}
    around = {seq - step for seq in shown for step in (0, 1, 2) if seq - step > 0} | ({0} & shown)
    return sorted(around)[-_MOST_SEQS:] if around else list(USUAL_SEQS)


def _foreign(seen: Sequence[Sighting]) -> list[bytes]:
    """Entries that the log shows and ESP-IDF does not write."""
    known = {int(state) for state in ImageState}
    shown = [entry for item in seen[:1] for entry in item.entries if entry is not None]
    odd = [entry for entry in shown if entry.state not in known or (not entry.crc_ok and entry.seq != ERASED_SEQ)]
    return [entry.pack() for entry in odd]


def _odd(pair: Pair, ota_count: int) -> float:
    first, second = map(parse, pair)
    if ERASED_BYTES in pair:
        return 0.0 if second.seq == ERASED_SEQ else 1.5
    cost = _SAME_SLOT if slot_index(first.seq, ota_count) == slot_index(second.seq, ota_count) else 0.0
    return cost + _FAR * max(0, abs(first.seq - second.seq) - 1)
