"""`rig scenario check` and `rig scenario minimise`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rig.boards import inventory
from rig.boards.inventory import BenchConfig, BoardSection, VirtualBoardSection
from rig.boards.virtual import virtual_firmware
from rig.errors import RigError, UserError
from rig.evidence.report_page.text import clean
from rig.fieldkit.at_once import at_once_subject
from rig.fieldkit.check import Checked, checked, contradictions
from rig.fieldkit.entries import entry_words
from rig.fieldkit.firmware import version_for
from rig.fieldkit.fuzz import Found, first_of, replayed, still_shows
from rig.fieldkit.minimise import Shows, Told, minimised
from rig.fieldkit.pairs import Shelves, at_once, stand_in
from rig.fieldkit.play import Played, differences, play
from rig.fieldkit.saved import save_as, step_words
from rig.fieldkit.scenario import Expect, Scenario, at_home, load
from rig.replay_command import EXIT, plain, show
from rig.replay_command import replayed as play_on
from rig.screen import Screen
from rig.virtual.firmware import VirtualFirmware


def check(files: Sequence[Path], *, as_json: bool) -> int:
    """The exit code of `rig scenario check`."""
    screen = Screen(stderr=as_json)
    told: list[dict[str, object]] = []
    worst = 0
    for path in files:
        wrong: list[str] = []
        found: list[Checked] = []
        try:
            scenario = at_home(load(path), path)
            wrong += contradictions(scenario)
            with tempfile.TemporaryDirectory() as scratch, screen.status(str(path)):
                found = [checked(scenario, version, Path(scratch) / version) for version in scenario.idf_versions]
        except UserError as error:
            wrong.append(error.what)
        wrong += [f"ESP-IDF {item.idf_version}: {item.wrong}" for item in found if item.wrong]
        told.append({"file": str(path), "wrong": wrong, "versions": [item._asdict() for item in found]})
        worst = max(worst, UserError.exit_code if wrong else 0)
        _show_check(path, wrong, found, screen)
    if as_json:
        print(json.dumps(told, indent=2))
    return worst


def _show_check(path: Path, wrong: Sequence[str], found: Sequence[Checked], screen: Screen) -> None:
    style = "bold red" if wrong else "green"
    screen.print(
        f"{path}: {'contradicts itself' if wrong else 'makes sense'}", style=style, highlight=False, soft_wrap=True
    )
    for text in wrong:
        screen.print(f"  {clean(text)}", highlight=False, markup=False, soft_wrap=True)
    for item in found:
        for text in () if item.wrong else item.otherwise:
            line = f"  right firmware of ESP-IDF {item.idf_version} does otherwise: {clean(text)}"
            screen.print(line, highlight=False, markup=False, soft_wrap=True)


def minimise(config: Path, board: str | None, path: Path, output: Path | None, *, as_json: bool) -> int:
    """The exit code of `rig scenario minimise`. UserError for a scenario in which there is nothing to keep."""
    scenario = at_home(load(path), path)
    bench = inventory.load(config)
    section = bench.find(board) if board else bench.board[0]
    screen = Screen(stderr=as_json)
    version = version_for(scenario, bench)
    begun = f"{scenario.name}: {len(scenario.steps)} steps"
    with tempfile.TemporaryDirectory() as scratch, screen.status(begun) as status:
        work = Path(scratch)

        def told(shorter: Scenario) -> None:
            status.update(f"{scenario.name}: {len(shorter.steps)} steps left")

        short, kept = _shortened(scenario, section, bench, config, work, version, told)
    name = f"{scenario.name[:56]}-min"
    short = short.model_copy(update={"name": name})
    target = save_as(short, output or path.with_name(f"{name}.toml"))
    for step in short.steps:
        screen.print(f"  {clean(step_words(step))}", highlight=False, markup=False, soft_wrap=True)
    screen.print(
        f"{len(scenario.steps)} steps made {len(short.steps)}; kept: {kept}; saved as {target}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    found = play_on(at_home(short, target), section, bench, config, screen)
    if as_json:
        print(
            json.dumps(plain(found, short) | {"steps": len(short.steps), "kept": kept, "file": str(target)}, indent=2)
        )
    show(found, short, screen)
    return EXIT[found.result]


def _shortened(
    scenario: Scenario,
    section: BoardSection,
    bench: BenchConfig,
    config: Path,
    scratch: Path,
    version: str,
    told: Told,
) -> tuple[Scenario, str]:
    """The shorter one and what it keeps, in words."""
    shelves = Shelves(section, bench, config, scratch, version)
    pair = at_once(section, shelves) if isinstance(section, VirtualBoardSection) else stand_in(section, shelves)
    first = first_of(scenario, pair, version)
    if first is not None:
        short = minimised(scenario, still_shows(first.what, pair, version), told)
        found: Found | None = replayed(short, pair, version)
        return (short if found is None else found.scenario), f"{first.what} otherwise than ESP-IDF"
    shows, kept = _ending(scenario, section, shelves, version)
    short = minimised(scenario, shows, told)
    return short.model_copy(update={"expect": (_last(_played(short, section, shelves, version), version),)}), kept


def _ending(scenario: Scenario, section: BoardSection, shelves: Shelves, version: str) -> tuple[Shows, str]:
    expect = scenario.expected(version)
    symptom = None if expect is None else _symptom(expect)
    if expect is None or symptom is None:
        raise UserError(
            f"{scenario.name}: it expects nothing of how it ends, so nothing tells which steps matter",
            hint="add booted, otadata, ends or verdict to its [[expect]]",
        )

    def shows(candidate: Scenario) -> bool:
        try:
            played = _played(candidate, section, shelves, version)
        except RigError:
            return False
        tail = played._replace(boots=played.boots[-1:], answers=())
        return bool(played.boots) and played.broke_off is None and not differences(tail, symptom)

    if not shows(scenario):
        raise UserError(
            f"{scenario.name} does not show on a virtual chip what it expects, so it cannot be made shorter there",
            hint="rig scenario check says what right firmware does",
        )
    return shows, "how it ends"


def _symptom(expect: Expect) -> Expect | None:
    """The last boot and what is left."""
    last = {name: value[-1:] for name in ("booted", "versions", "states") if (value := getattr(expect, name))}
    symptom = Expect(**last, otadata=expect.otadata, ends=expect.ends, verdict=expect.verdict)
    return None if symptom == Expect() else symptom


def _played(scenario: Scenario, section: BoardSection, shelves: Shelves, version: str) -> Played:
    firmware = virtual_firmware(section) if isinstance(section, VirtualBoardSection) else VirtualFirmware()
    subject = at_once_subject(firmware, shelves.of(scenario), section.name)
    try:
        return play(scenario, subject, version)
    finally:
        subject.close()


def _last(played: Played, version: str) -> Expect:
    first, second = map(entry_words, played.left.entries)
    return Expect(
        idf_versions=(version,),  # type: ignore[arg-type]
        booted=tuple(boot.slot or "none" for boot in played.boots),
        states=tuple(boot.state or "-" for boot in played.boots),
        answers=played.answers,
        otadata=(first, second),
        ends=played.end or "off",
    )
