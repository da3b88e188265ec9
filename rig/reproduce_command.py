"""`rig reproduce`: scenarios made of a log or a dump, saved, and the likeliest played on a board."""

from __future__ import annotations

import json
import re
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rig.boards import inventory
from rig.boards.inventory import BenchConfig, BoardSection
from rig.errors import Inconclusive, RigError, UserError
from rig.evidence.report_page.text import clean
from rig.fieldkit.at_once import at_once_subject
from rig.fieldkit.entries import entry_words
from rig.fieldkit.explain import open_file
from rig.fieldkit.firmware import MadeToMeasure, firmware_for, version_for
from rig.fieldkit.from_dump import scenario_from_dump
from rig.fieldkit.infer.explanations import CHIP, Inferred, infer
from rig.fieldkit.intake import Evidence
from rig.fieldkit.log_case import Case
from rig.fieldkit.log_reading import read_log
from rig.fieldkit.on_model import ModelSubject
from rig.fieldkit.play import NONE, Played, play
from rig.fieldkit.saved import save, step_words
from rig.fieldkit.scenario import Expect, Scenario, at_home
from rig.replay_command import EXIT, Replayed, plain, replayed, show
from rig.screen import Screen
from rig.virtual.firmware import VirtualFirmware

SLOT = re.compile(r"factory|test|ota_(\d|1[0-5])|none")


class Wanted(NamedTuple):
    """What was asked for; `saw`: slots or none, boot by boot; `base`: flash offset of a dump's first byte."""

    file: Path
    base: int | None
    saw: tuple[str, ...]
    log: Path | None
    times: int
    output: Path | None


def run(config: Path, board: str | None, wanted: Wanted, *, as_json: bool) -> int:
    """The exit code of `rig reproduce`. UserError for a file or an option that cannot be used."""
    for slot in wanted.saw:
        if not SLOT.fullmatch(slot):
            raise UserError(f"--saw {slot}: no slot", hint="factory, test, ota_0 to ota_15, or none")
    bench = inventory.load(config)
    section = bench.find(board) if board else bench.board[0]
    screen = Screen(stderr=as_json)
    folder = wanted.output or config.resolve().parent / bench.bench.reports / "reproduced"
    evidence = open_file(wanted.file)
    name = _name(wanted.file)
    if evidence.kind == "report folder":
        raise UserError(
            f"{wanted.file} is a report of this project: its failing tests have scenarios already",
            hint="rig replay FOLDER/tests/<board>/<test>/scenario.toml",
        )
    if evidence.kind == "flash dump":
        scenario, source = _of_dump(evidence, wanted, section, bench, config, name, folder)
        paths, inferred = [save(scenario, folder)], None
    else:
        inferred = _of_log(evidence, wanted, name)
        paths = [save(item.scenario, folder) for item in inferred.explanations]
        source = "the log"
    if inferred is not None:
        _tell(inferred, paths, screen)
        if not inferred.explanations:
            if as_json:
                print(json.dumps(_json(None, inferred, paths, None), indent=2))
            raise Inconclusive(
                f"{wanted.file}: {inferred.why_none}", hint=f"rig explain {shlex.quote(str(wanted.file))}"
            )
        scenario = inferred.explanations[0].scenario
    found = replayed(at_home(scenario, paths[0]), section, bench, config, screen)
    if as_json:
        print(json.dumps(_json(found, inferred, paths, scenario), indent=2))
    show(found, scenario, screen)
    screen.print(f"compared with {source}; saved as {paths[0]}", highlight=False, soft_wrap=True)
    return EXIT[found.result]


def _name(file: Path) -> str:
    words = re.findall(r"[a-z0-9]+", file.name.split(".")[0].lower())
    return "-".join(words)[:50].strip("-") or "field"


# --- a dump -----------------------------------------------------------------------------------------------


def _of_dump(
    evidence: Evidence,
    wanted: Wanted,
    section: BoardSection,
    bench: BenchConfig,
    config: Path,
    name: str,
    folder: Path,
) -> tuple[Scenario, str]:
    """And what its expectation rests on."""
    saw = wanted.saw or (_slots_of(wanted.log) if wanted.log is not None else ())
    times = len(saw) or wanted.times
    scenario = scenario_from_dump(evidence.content(), evidence.source, wanted.base, name, folder, times)
    if saw:
        return scenario.model_copy(update={"expect": (Expect(booted=saw),)}), "what the field saw"
    with tempfile.TemporaryDirectory() as scratch:
        version = version_for(scenario, bench)
        at = at_home(scenario, folder / "scenario.toml")
        shelf = firmware_for(at, section, bench, config, Path(scratch), version)
        said = play(at, ModelSubject(shelf), version)
    return scenario.model_copy(update={"expect": (_expect(said),)}), "ESP-IDF's bootloader, by the model"


def _expect(said: Played) -> Expect:
    first, second = map(entry_words, said.left.entries)
    return Expect(booted=tuple(boot.slot or NONE for boot in said.boots), otadata=(first, second))


def _slots_of(log: Path) -> tuple[str, ...]:
    """Slots that came up in a log, boot by boot."""
    case = Case(read_log(open_file(log).chunks()))
    slots = tuple(boot.slot or (NONE if case.gave_up(number) else "") for number, boot in enumerate(case.told))
    if not all(slots) or not slots:
        raise UserError(
            f"{log}: it does not say of every boot which slot came up", hint="give them one by one with --saw"
        )
    return slots


# --- a log ------------------------------------------------------------------------------------------------


def _of_log(evidence: Evidence, wanted: Wanted, name: str) -> Inferred:
    if wanted.saw or wanted.log or wanted.base is not None:
        raise UserError("--saw, --log and --base belong to a flash dump", hint=f"{wanted.file} is a serial log")
    case = Case(read_log(evidence.chunks()))
    with tempfile.TemporaryDirectory() as scratch:
        players = _Players(Path(scratch))
        return infer(case, name, players.play)


class _Players:
    """The virtual chip at once, for the firmware of each explanation."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._count = 0

    def play(self, scenario: Scenario, idf_version: str) -> Played | None:
        self._count += 1
        shelf = MadeToMeasure(scenario.firmware, CHIP, idf_version, self._scratch / str(self._count))
        subject = at_once_subject(VirtualFirmware(), shelf)
        try:
            return play(scenario, subject, idf_version)
        except RigError:
            return None
        finally:
            subject.close()


def _tell(inferred: Inferred, paths: Sequence[Path], screen: Screen) -> None:
    total, told = inferred.found, len(inferred.explanations)
    screen.print(
        f"{inferred.boots} boots; {total} beginnings explain them" + (f", the likeliest {told}:" if total else ""),
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    for number, (item, path) in enumerate(zip(inferred.explanations, paths, strict=True), 1):
        versions = ", ".join(item.idf_versions)
        start = "; ".join(item.scenario.start.otadata)
        line = f"  {number}  oddness {item.cost:.1f}  {item.rollback}, {item.layout}, ESP-IDF like {versions}"
        screen.print(clean(line), highlight=False, markup=False, soft_wrap=True)
        screen.print(clean(f"     otadata {start}"), highlight=False, markup=False, soft_wrap=True)
        for step in item.scenario.steps if number == 1 else ():
            screen.print(clean(f"       {step_words(step)}"), highlight=False, markup=False, soft_wrap=True)
        screen.print(f"     {path}", highlight=False, markup=False, soft_wrap=True)


def _json(
    found: Replayed | None, inferred: Inferred | None, paths: Sequence[Path], scenario: Scenario | None
) -> dict[str, object]:
    said: dict[str, object] = {"scenarios": [str(path) for path in paths]}
    if inferred is not None:
        said |= {
            "boots_in_log": inferred.boots,
            "beginnings": inferred.found,
            "why_none": inferred.why_none,
            "explanations": [
                {
                    "oddness": round(item.cost, 2),
                    "configuration": item.rollback,
                    "layout": item.layout,
                    "idf_versions": list(item.idf_versions),
                    "otadata": list(item.scenario.start.otadata),
                    "steps": [step.model_dump(exclude_none=True) for step in item.scenario.steps],
                    "scenario": str(path),
                }
                for item, path in zip(inferred.explanations, paths, strict=True)
            ],
        }
    return said if found is None or scenario is None else said | plain(found, scenario)
