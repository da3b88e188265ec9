"""What to do next to a board, by chance: only steps that make sense in the state that the model has come to."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rig.fieldkit import steps
from rig.fieldkit.on_model import ModelSubject
from rig.fieldkit.scenario import Entry, Firmware, Scenario, Start
from rig.fieldkit.steps import Image, Step

SEQS = (1, 2, 2, 3, 4, 5, 0)
LAST_SEQ = 0xFFFFFFFE
"""From here esp_rewrite_ota_data counts to 2^31: real firmware is reset by its watchdog meanwhile."""
VERSIONS = ("1.0.0", "2.0.0", "3.0.0")
STATES = ("NEW", "PENDING_VERIFY", "VALID", "INVALID", "ABORTED", "UNDEFINED", "0x11")
SLOW = ("hang", "delay")
"""Outcomes of diagnostics that a board's own time has to pass for."""


class Choices(NamedTuple):
    """What a walk may contain. `cuts`: power can be lost at a flash mutation; `slow`: outcomes that take seconds."""

    variants: tuple[str, ...] = ("rollback",)
    images_of: Mapping[str, tuple[str, ...]] = {}
    partitions: Mapping[str, str] = {}
    cuts: bool = True
    slow: bool = True


def some_start(chance: random.Random, choices: Choices, name: str) -> Scenario:
    """A scenario without steps: a variant, entries of every kind, images in some slots."""
    variant = chance.choice(choices.variants)
    slots = {"ota_1": Image(version=chance.choice(VERSIONS))} if chance.random() < 0.7 else {}
    otadata = (_entry(chance, choices), _entry(chance, choices)) if chance.random() < 0.6 else ("seq 1 VALID", "erased")
    return Scenario(
        name=name,
        summary="By chance.",
        firmware=Firmware(variant=variant, partitions=choices.partitions.get(variant)),
        start=Start(otadata=otadata, slots=slots),
    )


def some_step(chance: random.Random, choices: Choices, scenario: Scenario, model: ModelSubject) -> Step:
    """The next one."""
    maker = _Maker(chance, choices, scenario, model)
    return maker.step()


def _entry(chance: random.Random, choices: Choices) -> Entry:
    if chance.random() < 0.25:
        return "erased"
    seq = chance.choice((*SEQS, LAST_SEQ) if choices.slow else SEQS)
    bad = ", bad CRC" if chance.random() < 0.15 else ""
    return f"seq {seq} {chance.choice(STATES)}{bad}"


class _Maker:
    def __init__(self, chance: random.Random, choices: Choices, scenario: Scenario, model: ModelSubject) -> None:
        self._chance = chance
        self._choices = choices
        self._model = model
        self._slots = [part.slot or "" for part in model.table.app_slots]
        self._variant = scenario.firmware.variant

    def step(self) -> Step:
        kinds = _RUNNING if self._model.running is not None else _STOPPED
        (make,) = self._chance.choices([make for make, _ in kinds], [weight for _, weight in kinds])
        step = make(self)
        return step if step is not None else self.step()

    def _boot(self) -> Step:
        return steps.Boot()

    def _reset(self) -> Step:
        return steps.Reset(how=self._chance.choice(("power", "line")))

    def _restart(self) -> Step:
        return steps.Restart()

    def _confirm(self) -> Step:
        return steps.Confirm()

    def _reject(self) -> Step:
        return steps.Reject()

    def _erase_previous(self) -> Step:
        return steps.ErasePrevious()

    def _set_boot(self) -> Step:
        return steps.SetBoot(slot=self._slot())

    def _crash(self) -> Step:
        return steps.Crash(how=self._chance.choice(("panic", "watchdog", "hang")))

    def _diagnose(self) -> Step:
        outcomes: list[Any] = ["pass", "fail", "panic", "watchdog", "reboot", "manual"]
        outcome = self._chance.choice(outcomes + (list(SLOW) if self._choices.slow else []))
        return steps.Diagnose(outcome=outcome, seconds=5 if outcome == "delay" else None)

    def _update(self) -> steps.Update:
        slot = "next" if self._chance.random() < 0.7 else self._slot()
        if self._chance.random() < 0.15:
            return steps.Update(image=Image(version=self._version()), stop_after=self._chance.choice((0.1, 0.5, 0.9)))
        return steps.Update(image=self._image(), slot=slot)

    def _cut(self) -> Step | None:
        if not self._choices.cuts:
            return None
        during = self._chance.choice(_DURING_RUN if self._model.running is not None else _DURING_BOOT)(self)
        where = self._chance.choice(("otadata", "otadata[0]", "otadata[1]", self._slot()))
        kind: Any = self._chance.choice(("erase", "program", "any"))
        there = self._model.mutations(during, where, kind)
        if not there:
            return None
        nth = self._chance.randint(1, there)
        return steps.Cut(
            during=during, where=where, kind=kind, nth=nth, phase=self._chance.choice(("before", "torn", "after"))
        )

    def _corrupt(self) -> Step:
        where = self._chance.choice(("otadata[0]", "otadata[1]", self._slot()))
        return steps.Corrupt(where=where, seed=self._chance.randrange(1000), bits=self._chance.choice((1, 1, 3)))

    def _erase(self) -> Step:
        return steps.Erase(where=self._chance.choice(("otadata", "otadata[0]", "otadata[1]", self._slot())))

    def _cable(self) -> Step:
        return steps.Cable(slot=self._slot(), image=self._image())

    def _otadata(self) -> Step:
        return steps.WriteOtadata(entries=(_entry(self._chance, self._choices), _entry(self._chance, self._choices)))

    def _slot(self) -> str:
        return self._chance.choice(self._slots)

    def _version(self) -> str:
        return self._chance.choice(VERSIONS)

    def _image(self) -> Image:
        variants = self._choices.images_of.get(self._variant, ())
        variant = self._chance.choice(variants) if variants and self._chance.random() < 0.4 else None
        odd = self._chance.random()
        if odd < 0.08:
            return Image(version=self._version(), variant=variant, keep=self._chance.choice((0.3, 0.9)))
        if odd < 0.16:
            return Image(version=self._version(), variant=variant, flip=(self._chance.choice((0, 200, -40)),))
        if odd < 0.19:
            return Image(version=self._version(), chip="other")
        return Image(version=self._version(), variant=variant)


Make = Callable[[_Maker], Step | None]
_RUNNING: tuple[tuple[Make, int], ...] = (
    (_Maker._update, 26),
    (_Maker._restart, 16),
    (_Maker._diagnose, 12),
    (_Maker._cut, 12),
    (_Maker._confirm, 8),
    (_Maker._reject, 8),
    (_Maker._set_boot, 8),
    (_Maker._reset, 8),
    (_Maker._crash, 6),
    (_Maker._erase_previous, 4),
    (_Maker._corrupt, 3),
    (_Maker._erase, 2),
    (_Maker._cable, 2),
    (_Maker._otadata, 2),
)
_STOPPED: tuple[tuple[Make, int], ...] = (
    (_Maker._boot, 40),
    (_Maker._reset, 20),
    (_Maker._cut, 10),
    (_Maker._corrupt, 6),
    (_Maker._erase, 5),
    (_Maker._cable, 6),
    (_Maker._otadata, 6),
)
_DURING_RUN: tuple[Callable[[_Maker], Any], ...] = (
    _Maker._update,
    _Maker._set_boot,
    _Maker._confirm,
    _Maker._reject,
    _Maker._erase_previous,
    _Maker._restart,
    _Maker._boot,
    _Maker._reset,
)
_DURING_BOOT: tuple[Callable[[_Maker], Any], ...] = (_Maker._boot, _Maker._reset)
