"""One scenario on two subjects at the same time, compared after every step: what is under test, and the model."""

from __future__ import annotations

from typing import NamedTuple

from rig.errors import FirmwareFault, Inconclusive, NotApplicable, UserError
from rig.fieldkit.entries import entry_words
from rig.fieldkit.play import NONE, UNKNOWN, Played
from rig.fieldkit.scenario import Expect, Scenario
from rig.fieldkit.steps import Step
from rig.fieldkit.subject import Done, Left, SeenBoot, Subject

ANSWER, BOOTED, VERSIONS, STATES, ENDS = "answer", "booted", "versions", "states", "ends"
OTADATA, SECURE_VERSION, BROKE = "otadata", "secure version", "broke off"


class Disagreement(NamedTuple):
    """Step `number` (from 1) ended otherwise than the model says; `what` names it, `seen` and `model` are words."""

    number: int
    what: str
    seen: str
    model: str

    def __str__(self) -> str:
        return f"step {self.number}, {self.what}: ESP-IDF has {self.model}, seen {self.seen}"


class Walk:
    """A scenario that grows step by step on both subjects; it ends with the first disagreement."""

    def __init__(self, scenario: Scenario, idf_version: str, subject: Subject, model: Subject) -> None:
        self.scenario = scenario
        self.idf_version = idf_version
        self.done: list[Step] = []
        self._subject = subject
        self._model = model
        self._boots: list[SeenBoot] = []
        self._answers: list[str] = []
        self._last: tuple[Done, Left] | None = None

    def begin(self) -> None:
        """Install the start. Raises what the subjects raise."""
        self._model.install(self.scenario, self.idf_version)
        self._subject.install(self.scenario, self.idf_version)

    def step(self, step: Step) -> Disagreement | None:
        """Do it on both. UserError and Inconclusive of the model say that the step makes no sense now."""
        wanted = self._model.do(step)
        self.done.append(step)
        number = len(self.done)
        try:
            seen = self._subject.do(step)
            left = self._subject.left()
        except (FirmwareFault, Inconclusive) as error:
            return Disagreement(number, BROKE, error.what, "goes on")
        self._boots += seen.boots
        self._answers += [] if seen.answer is None else [seen.answer]
        self._last = (seen, left)
        return _compared(number, seen, wanted, left, self._model.left())

    @property
    def played(self) -> Played:
        """What the subject did. UserError before the first step."""
        if self._last is None:
            raise UserError("nothing was played yet")
        done, left = self._last
        return Played(tuple(self._boots), tuple(self._answers), left, done.end, self._subject.console())

    def told(self, name: str, summary: str) -> Scenario:
        """What was done as a scenario that expects what was seen, so that it is reproduced where it happened."""
        expect = () if self._last is None else (self._expect(*self._last),)
        return self.scenario.model_copy(
            update={
                "name": name,
                "summary": summary[:200],
                "steps": tuple(self.done),
                "expect": expect,
                "firmware": self.scenario.firmware.model_copy(update={"idf_versions": (self.idf_version,)}),
            }
        )

    def _expect(self, last: Done, left: Left) -> Expect:
        return Expect(
            booted=tuple(boot.slot or NONE for boot in self._boots),
            states=tuple(boot.state or UNKNOWN for boot in self._boots),
            answers=tuple(self._answers),
            otadata=(entry_words(left.entries[0]), entry_words(left.entries[1])),
            ends=last.end or "off",
        )


def walk_of(scenario: Scenario, idf_version: str, subject: Subject, model: Subject) -> tuple[Walk, Disagreement | None]:
    """All steps of a scenario, or up to the first disagreement."""
    walk = Walk(scenario, idf_version, subject, model)
    walk.begin()
    for step in scenario.steps:
        if (found := walk.step(step)) is not None:
            return walk, found
    return walk, None


def disagreement(scenario: Scenario, idf_version: str, subject: Subject, model: Subject) -> Disagreement | None:
    """The first, if there is one; none for a scenario that cannot be played."""
    try:
        return walk_of(scenario, idf_version, subject, model)[1]
    except (UserError, NotApplicable, Inconclusive):
        return None


def _compared(number: int, seen: Done, wanted: Done, left: Left, model: Left) -> Disagreement | None:
    pairs: list[tuple[str, object, object]] = [
        (ANSWER, seen.answer, wanted.answer),
        (BOOTED, [boot.slot or NONE for boot in seen.boots], [boot.slot or NONE for boot in wanted.boots]),
        (VERSIONS, [boot.version for boot in seen.boots], [boot.version for boot in wanted.boots]),
        (STATES, [boot.state for boot in seen.boots], [boot.state for boot in wanted.boots]),
        (ENDS, seen.end or "off", wanted.end or "off"),
        (OTADATA, left.entries, model.entries),
    ]
    if left.secure_version is not None and model.secure_version is not None:
        pairs.append((SECURE_VERSION, left.secure_version, model.secure_version))
    for what, have, want in pairs:
        if have != want:
            return Disagreement(number, what, _text(have), _text(want))
    return None


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(item or UNKNOWN) for item in value) or "nothing"
    if isinstance(value, tuple):
        return "; ".join(entry_words(entry) for entry in value)
    return str(value)
