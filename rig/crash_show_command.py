"""`rig crash record` and `rig crash show`: make a recording; look at it and at its crash images."""

from __future__ import annotations

from pathlib import Path

from rig import crash_job
from rig.boards import inventory
from rig.crash import names, recording, scenarios, store
from rig.crash.chain import otadata_offset
from rig.crash.chain import record as record_of
from rig.crash.images import CrashImages
from rig.crash.recording import Recording
from rig.crash.story import state_of, understand
from rig.errors import NotApplicable, UserError
from rig.idf.effects import SECTOR_SIZE
from rig.idf.memory import FlashImage
from rig.idf.otadata import ENTRY_SIZE, parse
from rig.processes import ended_like_ctrl_c
from rig.screen import Screen


def record(config: Path, board: str | None, name: str) -> None:
    """Make a recording and say where it is. NotApplicable is raised as what it is here: a wrong board."""
    bench = inventory.load(config)
    section = bench.find(board) if board else bench.board[0]
    scenario = scenarios.find(name)
    root = store.root_of(config, bench)
    screen = Screen()
    try:
        with ended_like_ctrl_c(), screen.status(f"{section.name}: {scenario.summary}"):
            made = crash_job.make_recording(config, bench, section, name, root / section.name / f"{name}.run")
    except NotApplicable as error:
        raise UserError(error.what, hint=error.hint) from error
    path = store.path_of(root, section.name, name)
    screen.print(f"{len(made.mutations)} mutations: {path}", highlight=False, soft_wrap=True)


def show(config: Path, board: str | None, text: str, given: Path | None) -> None:
    """Print the mutations of a recording, or what a crash image holds."""
    found, name = find(config, board, text, given)
    screen = Screen()
    if not name.cuts:
        _print_mutations(found, screen)
        return
    if len(name.cuts) > 1:
        raise UserError("what a second cut leaves is known when the first one has been booted", hint="rig crash replay")
    images = CrashImages.of(found)
    point = images.point(name.cuts[0])
    story = understand(found, "")
    screen.print(f"{name}: {story.texts[point.cut.number]}", highlight=False, soft_wrap=True)
    _print_entries(images.build(point), found, screen)
    if point.patch is not None:
        before = images.before(point).read(point.patch.offset, len(point.patch.data))
        _print_torn(point.patch.offset, before, point.patch.data, screen)


def find(config: Path, board: str | None, text: str, given: Path | None) -> tuple[Recording, names.Name]:
    """The recording that `text` (a scenario or a crash image) is about, and what it names."""
    name = names.parse(text) if "/" in text else names.Name(text, ())
    bench = inventory.load(config)
    section = bench.find(board) if board else bench.board[0]
    path = given or store.find(store.root_of(config, bench), section.name, name.scenario)
    found = recording.load(path)
    if found.name != name.scenario:
        raise UserError(f"{path.name} is a recording of {found.name}, not of {name.scenario}", evidence=path)
    return found, name


def _print_mutations(found: Recording, screen: Screen) -> None:
    header = found.header
    screen.print(
        f"{header.scenario} on {header.board} ({header.chip}, ESP-IDF {header.idf_version}, {header.variant}): "
        f"{len(found.mutations)} mutations, {len(CrashImages.of(found)):,} crash images",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    images = CrashImages.of(found)
    for number, text in enumerate(understand(found, "").texts):
        forms = len(images.forms(found.mutations[number - 1])) if number else 0
        torn = f"  ({forms} torn forms)" if forms else ""
        screen.print(f"m{number:04d}  {text}{torn}", highlight=False, soft_wrap=True, markup=False)


def _print_entries(image: FlashImage, found: Recording, screen: Screen) -> None:
    offset = otadata_offset(found.table)
    if offset is None:
        screen.print("  no otadata")
        return
    for number, data in enumerate(record_of(image, offset).entries):
        entry = parse(data)
        screen.print(
            f"  otadata[{number}] at {offset + number * SECTOR_SIZE:#x}: seq {entry.seq:#x}, {state_of(entry)}, "
            f"CRC {'good' if entry.crc_ok else 'bad'}\n    {data.hex(' ', 4)}",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
    if image.secure_version:
        screen.print(f"  eFuse secure version {image.secure_version}", highlight=False, soft_wrap=True)


def _print_torn(offset: int, before: bytes, after: bytes, screen: Screen) -> None:
    changed = [number for number, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    screen.print(f"  {len(changed)} of {len(after)} bytes at {offset:#x} are not as before", highlight=False)
    if changed:
        start = changed[0] - changed[0] % 16
        size = min(len(after) - start, ENTRY_SIZE)
        for label, data in (("before", before), ("after ", after)):
            screen.print(
                f"    {label} {offset + start:#x}: {data[start : start + size].hex(' ', 4)}",
                highlight=False,
                soft_wrap=True,
            )
