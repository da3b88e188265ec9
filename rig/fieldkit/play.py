"""A scenario played on a subject, and held against what is expected of it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from rig.boards.image_boots import End
from rig.fieldkit.entries import entry_bytes, entry_words
from rig.fieldkit.explain_log import explain_log
from rig.fieldkit.scenario import Expect, Scenario
from rig.fieldkit.steps import Step
from rig.fieldkit.subject import Left, NoApp, SeenBoot, Subject
from rig.updates.agent import DeviceRestarted

Told = Callable[[int, Step], None]
"""Told which step, from 1, is done next."""
NONE = "none"
UNKNOWN = "-"


class Replay(StrEnum):
    """What a replay may say; never a bool."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    BENCH_FAULT = "bench fault"


class Played(NamedTuple):
    """What a subject did. `answers`: of the steps that made a call; `end` None: without power.

    `broke_off`: why not all steps were done, the firmware not having come up for one.
    """

    boots: tuple[SeenBoot, ...]
    answers: tuple[str, ...]
    left: Left
    end: End | None
    console: bytes
    broke_off: str | None = None


def play(scenario: Scenario, subject: Subject, idf_version: str, told: Told = lambda number, step: None) -> Played:
    """Install it and do its steps one after the other. Raises what the subject raises; NoApp before the first boot."""
    subject.install(scenario, idf_version)
    boots: list[SeenBoot] = []
    answers: list[str] = []
    end: End | None = None
    broke_off: str | None = None
    for number, step in enumerate(scenario.steps, 1):
        told(number, step)
        try:
            done = subject.do(step)
        except NoApp:
            if not boots:
                raise
            broke_off = f"step {number}, {step.do}: no app ran that could do it"
            break
        except DeviceRestarted:
            broke_off = f"step {number}, {step.do}: the app started anew before it answered"
            break
        boots += done.boots
        answers += [] if done.answer is None else [done.answer]
        end = done.end
    console = subject.console()
    # otadata past the app: what the app says of it is no second witness
    subject.close()
    return Played(tuple(boots), tuple(answers), subject.left(), end, console, broke_off)


def differences(played: Played, expect: Expect) -> list[str]:
    """What is otherwise than expected, in words; empty when all that is looked at is as it must be."""
    seen: list[tuple[str, object, object]] = [
        ("booted", expect.booted, tuple(boot.slot or NONE for boot in played.boots)),
        ("versions", expect.versions, tuple(boot.version or UNKNOWN for boot in played.boots)),
        ("states", expect.states, tuple(boot.state or UNKNOWN for boot in played.boots)),
        ("answers", expect.answers, played.answers),
        ("otadata", _canonical(expect.otadata), tuple(map(entry_words, played.left.entries))),
        ("secure version", expect.secure_version, played.left.secure_version),
        ("ends", expect.ends, played.end or "off"),
    ]
    found = [] if played.broke_off is None else [played.broke_off]
    found += [f"{name}: expected {_text(want)}, seen {_text(have)}" for name, want, have in seen
             if want is not None and want != have]  # fmt: skip
    if expect.verdict is not None:
        said = explain_log(played.console, "console").verdict
        if said is not expect.verdict:
            found.append(f"rig explain: expected {expect.verdict}, seen {said}")
    return found


def _canonical(entries: tuple[str, str] | None) -> tuple[str, ...] | None:
    return None if entries is None else tuple(entry_words(entry_bytes(words)) for words in entries)


def _text(value: object) -> str:
    return ", ".join(map(str, value)) or "nothing" if isinstance(value, tuple) else str(value)
