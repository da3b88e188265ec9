"""A log as the rules of `rig explain` look at it: boots with what was refused in them, and what the apps said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from rig.evidence.boots import GAVE_UP, Boot
from rig.evidence.events import AppInfo, BootDecision, Decision, Event, Hint, HintKind, Line
from rig.evidence.records import Transition
from rig.fieldkit.explained import ExplainedBoot
from rig.fieldkit.log_boot import Refusal, explained_boot, refusals
from rig.fieldkit.log_reading import Reading

E = TypeVar("E", bound=Event)


@dataclass(frozen=True)
class Case:
    """What rules may ask of a log."""

    reading: Reading

    @property
    def boots(self) -> list[Boot]:
        return self.reading.boots

    @property
    def changes(self) -> list[Transition]:
        return self.reading.transitions

    @cached_property
    def told(self) -> list[ExplainedBoot]:
        """The record of each boot."""
        return [explained_boot(number, self.boots, self.changes) for number in range(len(self.boots))]

    @cached_property
    def refused(self) -> list[list[Refusal]]:
        """What the bootloader refused, boot by boot."""
        return [refusals(boot) for boot in self.boots]

    @cached_property
    def events(self) -> list[Event]:
        """Everything that the log says, in its order."""
        return self.reading.events

    @cached_property
    def from_apps(self) -> list[Event]:
        """What was said while an app ran: ahead of the first boot, and in each boot once its app was loaded."""
        found = list(self.reading.before)
        for number in range(len(self.boots)):
            found += self.app_events(number)
        return found

    def app_events(self, number: int) -> list[Event]:
        """What the app of that boot said; nothing where it is not seen to start."""
        boot = self.boots[number]
        for place, event in enumerate(boot.events):
            if event is boot.loaded or (boot.loaded is None and isinstance(event, AppInfo)):
                return boot.events[place + 1 :]
        return []

    def all(self, kind: type[E]) -> list[E]:
        """Every event of that kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def hints(self, *kinds: HintKind) -> Iterator[Hint]:
        """What apps say in their own words."""
        return (event for event in self.all(Hint) if event.kind in kinds)

    def decisions(self, number: int, *kinds: Decision) -> list[BootDecision]:
        """The bootloader's lines of these kinds in one boot."""
        return [event for event in self.boots[number].events if isinstance(event, BootDecision) and event.kind in kinds]

    def gave_up(self, number: int) -> BootDecision | None:
        """The line by which the bootloader of that boot said that it has nothing to start."""
        found = self.decisions(number, *GAVE_UP)
        return found[-1] if found else None

    @cached_property
    def ends_unbootable(self) -> bool:
        """Nothing could be started in the last boot that got as far as a decision."""
        decided = [number for number, told in enumerate(self.told) if told.decision_visible]
        return bool(decided) and self.gave_up(decided[-1]) is not None

    @cached_property
    def ever_loaded(self) -> bool:
        """An app was started, or talked, somewhere in the log."""
        return any(boot.loaded or self._talked(number) for number, boot in enumerate(self.boots)) or bool(
            [event for event in self.reading.before if not isinstance(event, BootDecision)]
        )

    def _talked(self, number: int) -> bool:
        return any(isinstance(event, AppInfo | Hint) for event in self.boots[number].events)


def lines(*at: Line | Event) -> list[int]:
    """Line numbers for `evidence`, in order and each once."""
    return sorted({(item if isinstance(item, Line) else item.at).number for item in at})
