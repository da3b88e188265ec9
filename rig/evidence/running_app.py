"""The app on a board, as far as the bench has seen it: whether one runs and takes requests, and its first words."""

from __future__ import annotations

from collections.abc import Callable

from rig.boards.board import Board
from rig.boards.channel import ConsoleChannel
from rig.boards.firmware import FirmwareBuild
from rig.evidence.starting import UNKNOWN, Start, demand_protocol, wait_start
from rig.updates.agent import Agent

DEAF = ("hang", "panic", "watchdog", "reboot", "fail")
"""Diagnostics outcomes after which an app on probation takes no requests."""


class RunningApp:
    """Talks to the agent of whatever app runs. `power_lost` says whether nobody will answer any more.

    `runs`: whether an app has come up and nothing is known to have ended it; `first_words`: those of the last one.
    """

    def __init__(self, board: Board, power_lost: Callable[[], bool]) -> None:
        self.board = board
        self.first_words: Start | None = None
        self.runs = False
        self._ready = False
        self._agent = Agent(
            ConsoleChannel(board.console, power_lost), board=board.name, clock_rate=board.clock_rate
        )  # fmt: skip

    @property
    def slot(self) -> str:
        """The slot that the last app said it runs from."""
        return UNKNOWN if self.first_words is None else self.first_words.slot

    @property
    def deaf(self) -> bool:
        """Whether the last app is on probation and takes no requests, by what its diagnostics are set to."""
        words = self.first_words
        return words is not None and words.state == "PENDING_VERIFY" and words.diagnostics in DEAF

    def gone(self) -> None:
        """Something has ended it, or is about to."""
        self.runs = self._ready = False

    def wait_start(self, build: FirmwareBuild, timeout: float) -> Start:
        """Wait for the next start, whoever caused it; `timeout` in seconds. Raises as `starting.wait_start` does."""
        self.gone()
        self.first_words = wait_start(self.board, self._agent, build, timeout)
        self.runs = True
        return self.first_words

    def wait_shutdown(self, timeout: float) -> None:
        """Wait for the last words of an app that was told to restart itself. AgentTimeout if they do not come."""
        self.gone()
        self._agent.wait_event("shutdown", timeout)

    def agent(self, build: FirmwareBuild, timeout: float) -> Agent:
        """Its agent, ready for requests; NotApplicable if it has none, AgentTimeout if it is not ready in time."""
        demand_protocol(self.board, build)
        if not self._ready:
            self._agent.wait_ready(timeout)
            self._ready = True
        return self._agent
