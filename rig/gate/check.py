"""What a check is and what may come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from rig.gate.release import CannotTell, Malformed, NotAsked, Release


class Status(StrEnum):
    """`NOT_DONE`: what the check needs is missing. `NOT_APPLICABLE`: there is nothing to check here."""

    PASSED = "passed"
    WARNING = "warning"
    FAILED = "failed"
    NOT_DONE = "not done"
    NOT_APPLICABLE = "not applicable"


class Outcome(NamedTuple):
    """`found`: what was seen, or what is missing, in one sentence or a few."""

    status: Status
    found: str


def passed(found: str) -> Outcome:
    """As it should be."""
    return Outcome(Status.PASSED, found)


def warning(found: str) -> Outcome:
    """A person should know it; it does not stop the release."""
    return Outcome(Status.WARNING, found)


def failed(found: str) -> Outcome:
    """Stops the release."""
    return Outcome(Status.FAILED, found)


def not_applicable(found: str) -> Outcome:
    """This release has nothing of the kind."""
    return Outcome(Status.NOT_APPLICABLE, found)


@dataclass(frozen=True)
class Check:
    """`reason`: why it matters in the field; `remedy`: what to do; `look` says what it found on a release."""

    id: str
    title: str
    reason: str
    remedy: str
    look: Callable[[Release], Outcome]

    def run(self, release: Release) -> Outcome:
        """Never raises for what a build may hold or lack."""
        try:
            return self.look(release)
        except Malformed as trouble:
            return failed(str(trouble))
        except CannotTell as missing:
            return Outcome(Status.NOT_DONE, str(missing))
        except NotAsked as why:
            return not_applicable(str(why))


def check(name: str, *, title: str, reason: str, remedy: str) -> Callable[[Callable[[Release], Outcome]], Check]:
    """Makes a check of a function."""

    def made(look: Callable[[Release], Outcome]) -> Check:
        return Check(name, title, reason, remedy, look)

    return made


class Result(NamedTuple):
    """What came of one check. `accepted`: the reason why it may be as it is, given by who releases."""

    check: Check
    outcome: Outcome
    accepted: str | None = None

    @property
    def blocks(self) -> bool:
        """Whether the release must not go out."""
        return self.accepted is None and self.outcome.status in (Status.FAILED, Status.NOT_DONE)


ACCEPT_MISSING = "--accept-missing"
"""The reason that stands at a check which could not be done when that was accepted as a whole."""


def accepted_results(
    looked: Sequence[tuple[Check, Outcome]], reasons: Mapping[str, str], *, missing: str | None = None
) -> tuple[Result, ...]:
    """`reasons` by id of a check; `missing` is the reason for all that could not be done, if there is one."""
    results = []
    for each, outcome in looked:
        why = reasons.get(each.id)
        if why is None and outcome.status is Status.NOT_DONE:
            why = missing
        blocking = outcome.status in (Status.FAILED, Status.NOT_DONE)
        results.append(Result(each, outcome, why if blocking else None))
    return tuple(results)
