"""Waiting for an app to come up: by its first words in the serial contract, or, if it has none, by its start-up log."""

from __future__ import annotations

import re
from typing import NamedTuple

from rig.boards.board import Board
from rig.boards.firmware import FirmwareBuild
from rig.errors import Inconclusive, NotApplicable
from rig.updates.agent import Agent

_LOADED = re.compile(rb"Loaded app from partition at offset (0x[0-9a-f]+)")
_VERSION = re.compile(rb"(?:cpu_start|app_init): App version:\s+([^\s\x1b]+)")
UNKNOWN = "?"


class Start(NamedTuple):
    """An app's first words: which slot runs, which version, in which state, and why it started.

    An app without the serial contract tells only slot and version; the rest is `?`.
    """

    slot: str
    version: str
    state: str
    reset: str
    diagnostics: str


def wait_start(board: Board, agent: Agent, build: FirmwareBuild, timeout: float) -> Start:
    """The next app start. Raises AgentTimeout or Inconclusive when none comes within `timeout` seconds."""
    if build.speaks_protocol:
        event = agent.wait_event("start", timeout)
        return Start(*(event.fields.get(name, UNKNOWN) for name in ("running", "version", "state", "reset", "diag")))
    loaded = board.console.expect(_LOADED, timeout)
    version = board.console.expect(_VERSION, timeout) if loaded else None
    if loaded is None or version is None:
        raise Inconclusive(
            "no start of an app was seen in the log",
            board=board.name,
            hint="an app without the serial contract is seen by its log alone: log level INFO in bootloader and app",
        )
    slot = build.table.slot_at(int(loaded[1], 16))
    return Start(slot or UNKNOWN, version[1].decode("utf-8", "replace"), UNKNOWN, UNKNOWN, UNKNOWN)


def demand_protocol(board: Board, build: FirmwareBuild) -> None:
    """NotApplicable for an app that cannot be asked anything."""
    if not build.speaks_protocol:
        raise NotApplicable(
            f"{build.project} does not speak the serial contract, which this test needs",
            board=board.name,
            hint="add the component rig_agent to the app (docs/firmware.md)",
        )
