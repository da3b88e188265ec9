"""What steps can be done to: a board, the virtual chip at once, or the model. And what it shows of itself."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from rig.boards.image_boots import End
from rig.errors import UserError
from rig.fieldkit.scenario import Scenario
from rig.fieldkit.steps import Step

OK = "ESP_OK"


class NoApp(UserError):
    """A step that needs a running app, and none runs: the scenario is wrong, or the firmware did not come up."""

    def __init__(self) -> None:
        super().__init__("this step needs a running app, and none runs now", hint="rig scenario check finds this")


class SeenBoot(NamedTuple):
    """One reset to the next, as far as it can be seen from outside. `slot` None: nothing bootable, or a crash."""

    slot: str | None
    version: str | None
    state: str | None


class Left(NamedTuple):
    """What the bootloader goes by: both select entries (32 bytes each) and the anti-rollback eFuse field."""

    entries: tuple[bytes, bytes]
    secure_version: int | None


class Done(NamedTuple):
    """What one step did. `answer`: name of the esp_err_t of its call, None for a step without one.

    `boots` came up in it, in order. `end`: how it is with the board now, None while it has no power.
    """

    answer: str | None
    boots: tuple[SeenBoot, ...]
    end: End | None


class Subject(Protocol):
    """One board-like thing. Steps are done one after the other; `left` is asked between them."""

    def install(self, scenario: Scenario, idf_version: str) -> None:
        """Put it into the scenario's start, without power.

        `idf_version` is one of rig.idf.config.IDF_VERSIONS. NotApplicable for what this subject cannot be given.
        """

    def do(self, step: Step) -> Done:
        """Raises NotApplicable for a step that it cannot do, UserError for one that makes no sense now."""

    def left(self) -> Left:
        """Read without disturbing what runs."""

    def console(self) -> bytes:
        """Everything printed since `install`; empty for a subject that prints nothing."""

    def close(self) -> None:
        """Nothing runs any more; `left` then reads flash itself, past the app. Safe to call twice."""
