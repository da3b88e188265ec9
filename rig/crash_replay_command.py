"""`rig crash replay`: one crash image on one board, its console, where it leads, and whether ESP-IDF leads there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rig.boards import inventory, kinds
from rig.boards.board import powered
from rig.boards.inventory import BenchConfig
from rig.crash.live import LiveBooter, demand_same_firmware
from rig.crash.outcomes import CLASSES
from rig.crash.recording import Recording
from rig.crash.replay import BootOnce, Replayed, locate, replay
from rig.crash.sweep import story_of
from rig.crash_show_command import find
from rig.errors import NotApplicable, UserError
from rig.evidence.records import Verdict
from rig.evidence.report_page.text import clean
from rig.idf.effects import Mutation
from rig.idf.memory import FlashImage
from rig.idf.watched import WatchedFlash
from rig.processes import ended_like_ctrl_c
from rig.screen import Screen


def run(config: Path, board: str | None, text: str, given: Path | None, *, install: bool, as_json: bool) -> int:
    """The exit code of `rig crash replay`; see `rig.errors` for what it may raise."""
    found, name = find(config, board, text, given)
    if not name.cuts:
        raise UserError(
            f"{text!r} names a recording, not a crash image of it", hint=f"rig crash show {text} lists them"
        )
    bench = inventory.load(config)
    section = bench.find(board) if board else bench.board[0]
    if section.chip != found.header.chip:
        raise UserError(
            f"the recording is of an {found.header.chip}, this board is an {section.chip}", board=section.name
        )
    screen = Screen(stderr=as_json)
    story = story_of(found)
    located = locate(found, story, name, _boots_as_recorded(bench, found))
    busy = screen.status(f"{section.name}: writing the crash image, booting")
    with ended_like_ctrl_c(), powered(kinds.open_board(section)) as opened, busy:
        if not install:
            demand_same_firmware(opened, found)
        booter = LiveBooter(opened, found.table)
        try:
            replayed = replay(found, story, name, located, booter)
        except NotApplicable as error:
            raise UserError(error.what, board=section.name, hint=error.hint) from error
    if as_json:
        print(json.dumps(_as_json(replayed, section.name, booter.written), indent=2))
    _print(replayed, section.name, booter.written, screen)
    return 1 if replayed.verdict is Verdict.FIRMWARE_FAIL else 0


def _boots_as_recorded(bench: BenchConfig, found: Recording) -> BootOnce:
    """A second cut counts the mutations of a boot on the board that was recorded."""

    def boot(image: FlashImage) -> Sequence[Mutation]:
        try:
            section = bench.find(found.header.board)
        except UserError as error:
            raise UserError(
                f"a second cut counts mutations of a boot on board {found.header.board}, which rig.toml does not have",
                hint=error.hint,
            ) from error
        booter = kinds.image_booter(section, found.table)
        try:
            return [mutation for boot in booter.boot(WatchedFlash.of(image)).boots for mutation in boot.mutations]
        finally:
            booter.close()

    return boot


def _print(replayed: Replayed, board: str, written: int | None, screen: Screen) -> None:
    for line in replayed.log.decode("utf-8", "replace").splitlines():
        screen.print(f"  {clean(line)}", highlight=False, markup=False, soft_wrap=True)
    meaning = CLASSES[replayed.outcome]
    screen.print(
        f"{replayed.name} on {board}: cut at {replayed.where}; {written} sectors written",
        highlight=False,
        soft_wrap=True,
    )
    screen.print(
        f"{replayed.outcome} ({meaning.severity}): {meaning.text}", style="bold", highlight=False, soft_wrap=True
    )
    screen.print(f"  board: {replayed.board_did}", highlight=False, soft_wrap=True)
    if not replayed.deviates:
        screen.print(
            f"{replayed.verdict}: the model of its ESP-IDF version does the same", highlight=False, soft_wrap=True
        )
        return
    screen.print(f"  model: {replayed.model_did}", highlight=False, soft_wrap=True)
    screen.print(
        f"{replayed.verdict}: the model of its ESP-IDF version does otherwise: {replayed.model_outcome}",
        style="bold red", highlight=False, soft_wrap=True,
    )  # fmt: skip


def _as_json(replayed: Replayed, board: str, written: int | None) -> dict[str, object]:
    return {
        "image": str(replayed.name),
        "board": board,
        "verdict": replayed.verdict.value,
        "outcome": replayed.outcome,
        "severity": CLASSES[replayed.outcome].severity.value,
        "board_did": replayed.board_did,
        "model_outcome": replayed.model_outcome,
        "model_did": replayed.model_did,
        "sectors_written": written,
        "log": replayed.log.decode("utf-8", "replace"),
    }
