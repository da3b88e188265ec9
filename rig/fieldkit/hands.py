"""What the steps of a scenario need of a thing that runs the test app: a board, or the virtual chip at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from rig.boards.board import Cut
from rig.boards.image_boots import BootSeen
from rig.fieldkit.beginning import Beginning
from rig.idf.partitions import Partition, PartitionTable
from rig.updates.agent import Agent


class Hands(Protocol):
    """Flash offsets and sizes in bytes. Reading and writing flash stops the chip."""

    name: str
    agent: Agent

    def install(self, begin: Beginning) -> None:
        """Make flash and eFuses hold it; the chip is left stopped. NotApplicable where this cannot be done."""

    def install_but(self, begin: Beginning, kept: Partition) -> None:
        """The same, but for one partition whose content stays."""

    def demand_harmless(self, image: bytes) -> None:
        """NotApplicable for an image that would burn eFuses which are to stay."""

    def start(self) -> None:
        """By power-on where there is a switch, else by the reset line."""

    def pulse(self) -> None:
        """The reset line."""

    def power_cycle(self) -> None: ...

    def watch(self, table: PartitionTable) -> tuple[BootSeen, ...]:
        """What comes up, boot by boot, until its app has finished or nothing more is to be expected."""

    def stop(self) -> None:
        """Nothing runs any more."""

    def read(self, offset: int, size: int) -> bytes: ...

    def write(self, regions: Mapping[int, bytes]) -> None: ...

    def secure_version(self) -> int | None:
        """Bits burnt, asked with the chip stopped; None if it cannot be."""

    def cut(self, cut: Cut, what: str) -> AbstractContextManager[object]:
        """Power is lost there by what is done inside; Inconclusive if `what` never comes."""

    def cut_at_line(self, line: re.Pattern[bytes]) -> AbstractContextManager[object]:
        """Power is lost at that line by what is done inside; Inconclusive if it never comes."""

    def wait(self, seconds: float) -> None:
        """Seconds of the chip's clock."""

    def console(self) -> bytes:
        """Everything printed since `install`."""
