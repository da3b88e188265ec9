"""`rig list`: the boards of the bench, what each can do, who has it, how it did last and how worn it is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from rich.text import Text

from rig.boards import inventory, kinds
from rig.boards.board import Capability
from rig.boards.inventory import BoardSection, SerialBoardSection
from rig.boards.serial import lease_of
from rig.errors import RigError
from rig.evidence.history.read import Reader, Standing
from rig.evidence.history.store import open_history
from rig.evidence.verdicts import Verdict
from rig.screen import Screen

STYLE = {Verdict.PASS: "green", Verdict.FIRMWARE_FAIL: "bold red", Verdict.BENCH_FAULT: "bold yellow"}


def run(config: Path, *, as_json: bool) -> None:
    """Print the bench. Touches no board; an attached one that is absent or in use is said to be."""
    bench = inventory.load(config)
    path = config.resolve().parent / bench.bench.history
    standing: dict[str, Standing] = {}
    if path.exists():
        with open_history(path) as history:
            standing = Reader(history.connection).standing()
    boards = [_facts(section, standing.get(section.name)) for section in bench.board]
    if as_json:
        print(json.dumps(boards, indent=2))
        return
    screen = Screen()
    for board in boards:
        _print(screen, board)


def _facts(section: BoardSection, stands: Standing | None) -> dict[str, Any]:
    state, lease = _state(section)
    return {
        **kinds.describe(section),
        "state": state,
        "lease": lease,
        "last": None if stands is None else {"verdict": stands.verdict, "run": stands.run, "started": stands.started},
        "otadata_erases": 0 if stands is None else stands.erases,
        "wear_budget": getattr(section, "wear_budget", None),
    }


def _state(section: BoardSection) -> tuple[str, dict[str, Any] | None]:
    """In words, and who holds it."""
    if not isinstance(section, SerialBoardSection):
        return "free: each run has its own", None
    try:
        holder = lease_of(section).holder
    except RigError as error:
        return f"not known: {error.what}", None
    if holder is not None:
        return f"in use by {holder}", holder._asdict()
    port = section.port
    if port is not None and "://" not in port and not os.path.exists(port):
        return f"absent: there is no {port}", None
    return "free", None


def _print(screen: Screen, board: dict[str, Any]) -> None:
    head = Text(f"{board['name']:<20} {board['kind']:<8} {board['chip']:<9} ", style="bold")
    head.append(board["state"], style="" if board["state"].startswith("free") else "bold yellow")
    screen.print(head, soft_wrap=True)
    if (last := board["last"]) is not None:
        line = Text("    last: ")
        line.append(last["verdict"], style=STYLE.get(last["verdict"], ""))
        screen.print(line.append(f" in {last['run']}{_wear(board)}"), soft_wrap=True)
    can = ", ".join(can for can in Capability if can not in board["missing"])
    screen.print(f"    can {can}", highlight=False, soft_wrap=True)
    for capability, reason in board["missing"].items():
        screen.print(f"    cannot {capability}: {reason}", highlight=False, soft_wrap=True)


def _wear(board: dict[str, Any]) -> str:
    if board["kind"] != "serial":
        return ""
    of = "" if board["wear_budget"] is None else f" of {board['wear_budget']:,}"
    return f"; {board['otadata_erases']:,}{of} otadata erases"
