"""Where recordings are kept: `recordings/BOARD/SCENARIO.crash.gz`, beside rig.toml."""

from __future__ import annotations

from pathlib import Path

from rig.boards.inventory import BenchConfig
from rig.crash.recording import SUFFIX
from rig.errors import UserError


def root_of(config: Path, bench: BenchConfig) -> Path:
    """The folder of all recordings of the bench that the rig.toml at `config` describes."""
    return config.resolve().parent / bench.bench.recordings


def path_of(root: Path, board: str, scenario: str) -> Path:
    """Where the recording of a scenario on a board belongs."""
    return root / board / f"{scenario}{SUFFIX}"


def find(root: Path, board: str, scenario: str) -> Path:
    """A recording of that scenario: this board's own, else the newest of any board. UserError if there is none."""
    own = path_of(root, board, scenario)
    if own.is_file():
        return own
    others = sorted(root.glob(f"*/{scenario}{SUFFIX}"), key=lambda path: path.stat().st_mtime)
    if not others:
        raise UserError(
            f"no recording of {scenario!r} in {root}",
            hint=f"rig crash record {scenario}, or name one with --recording FILE",
        )
    return others[-1]
