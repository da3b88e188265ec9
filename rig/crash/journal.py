"""What a sweep has booted so far, on disk, so that an interrupted one goes on where it stopped.

JSON lines, one for each booted image, behind a header that says of which recording and board they are. A line cut short
by the interruption is dropped with what follows it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rig import __version__
from rig.crash.chain import Boot, Chain, Record, Stage
from rig.crash.explore import Booted, Seen
from rig.crash.known import Reads
from rig.crash.recording import Recording, mutation_from, mutation_line

BROKEN = (ValueError, KeyError, TypeError, IndexError, RecursionError)
"""What a damaged line may raise when it is read."""


class Journal:
    """Kept in `path` from the first `add` to `finish`. `board` tells boards and their settings apart."""

    def __init__(self, path: Path, recording: Recording, board: str) -> None:
        self.path = path
        self._header = {"sweep": recording.fingerprint, "board": board, "rig": __version__}

    def load(self) -> list[Booted]:
        """What an interrupted sweep of the same recording on the same board had booted; empty if there is none."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return []
        found: list[Booted] = []
        try:
            if not lines or json.loads(lines[0]) != self._header:
                return []
            for line in lines[1:]:
                found.append(_booted(json.loads(line)))
        except BROKEN:
            pass
        return found

    def begin(self, known: Iterable[Booted]) -> None:
        """Start the file anew with `known`, so that nothing broken stays in it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(self._header), *(json.dumps(_line(booted)) for booted in known)]
        part = self.path.with_suffix(".part")
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
        part.replace(self.path)

    def add(self, booted: Iterable[Booted]) -> None:
        """Append what was booted now."""
        with self.path.open("a", encoding="utf-8") as file:
            for one in booted:
                file.write(json.dumps(_line(one)) + "\n")

    def finish(self) -> None:
        """The sweep is complete: the next one boots everything again, whatever was changed in between."""
        self.path.unlink(missing_ok=True)


def _line(booted: Booted) -> dict[str, Any]:
    seen, reads = booted.seen, booted.reads
    return {
        "board": _chain_line(seen.board),
        "model": _chain_line(seen.model),
        "intact": sorted(seen.intact),
        "repeats": seen.repeats,
        "mutations": [mutation_line(mutation) for mutation in seen.mutations],
        "writes": [seen.board_writes, seen.model_writes],
        "ranges": booted.ranges,
        "reads": [reads.ranges, [digest.hex() for digest in reads.digests], reads.secure_version],
    }


def _booted(line: dict[str, Any]) -> Booted:
    ranges, digests, secure_version = line["reads"]
    seen = Seen(
        _chain(line["board"]),
        _chain(line["model"]),
        frozenset(line["intact"]),
        bool(line["repeats"]),
        tuple(map(mutation_from, line["mutations"])),
        *(tuple(map(tuple, writes)) for writes in line["writes"]),
    )
    if len(ranges) != len(digests):
        raise ValueError("a digest is missing")
    reads = Reads(_spans(ranges), tuple(map(bytes.fromhex, digests)), secure_version)
    return Booted(seen, _spans(line["ranges"]), reads)


def _chain_line(chain: Chain) -> list[Any]:
    stages = [
        [[list(boot) for boot in stage.boots], [entry.hex() for entry in stage.left.entries], stage.left.secure_version]
        for stage in chain.stages
    ]
    return [stages, chain.settled]


def _chain(line: list[Any]) -> Chain:
    stages, settled = line
    return Chain(
        tuple(
            Stage(
                tuple(Boot(*boot) for boot in boots),
                Record((bytes.fromhex(entries[0]), bytes.fromhex(entries[1])), secure_version),
            )
            for boots, entries, secure_version in stages
        ),
        bool(settled),
    )


def _spans(values: list[list[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((start, end) for start, end in values)
