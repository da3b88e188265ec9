"""Is it one whole build? Files, flash layout, chip."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from rig.gate.check import Outcome, check, failed, passed, warning
from rig.gate.pieces import ARGS, Piece, Pieces
from rig.gate.release import CannotTell, Release


@check(
    "GATE-FILES",
    title="Every file of the build is there and can be read",
    reason="What the gate cannot read it cannot vouch for, and production cannot flash.",
    remedy="Run `idf.py build` again and release all of its files from one build.",
)
def files(release: Release) -> Outcome:
    build = release.build
    pieces: tuple[Piece[Any], ...] = (
        build.args,
        build.settings,
        build.bootloader_file,
        build.table_file,
        build.app_file,
        build.otadata_file,
    )
    broken = [piece.trouble for piece in (*pieces, build.description, build.bootloader_settings) if piece.broken]
    if broken:
        return failed("; ".join(broken))
    missing = [piece.trouble for piece in pieces if piece.held is None]
    if build.args.held is not None:
        lost = [name for name in build.flash_files.values() if not _is_there(build, name)]
        missing += [f"{name} is missing" for name in lost if f"{name} is missing" not in missing]
    if missing:
        raise CannotTell("; ".join(missing))
    return passed(f"{len(build.flash_files)} files to flash, sdkconfig and {ARGS}")


@check(
    "GATE-LAYOUT",
    title="What is flashed has its place and overlaps nothing",
    reason="A bootloader that reaches into the partition table, or an app beside its slot, never boots.",
    remedy="Build again in an empty build directory; move the table with CONFIG_PARTITION_TABLE_OFFSET if needed.",
)
def layout(release: Release) -> Outcome:
    build = release.build
    names = [name for name in ("bootloader", "partition-table", "app", "otadata") if not _left_out(build, name)]
    for name in names:
        section = build.section(name)
        flashed = build.flash_files.get(section.offset)
        if flashed != section.file:
            return failed(f"{ARGS}: {name} is {section.file} at {section.offset:#x}, flash_files has {flashed} there")
    ends = [(offset, offset + _size(build, name), name) for offset, name in build.flash_files.items()]
    for (_, end, name), (offset, _, following) in pairwise(ends):
        if end > offset:
            return failed(f"{name} ends at {end:#x} and overlaps {following} at {offset:#x}")
    configured = build.settings.value
    if configured.knows("PARTITION_TABLE_OFFSET") and configured.number("PARTITION_TABLE_OFFSET") != build.table_offset:
        return failed(
            f"the table goes to {build.table_offset:#x}; the bootloader was told to look at "
            f"{configured.number('PARTITION_TABLE_OFFSET'):#x} (CONFIG_PARTITION_TABLE_OFFSET)"
        )
    _, end, name = ends[-1]
    if end > build.flash_size:
        return failed(f"{name} ends at {end:#x}, behind the flash's end at {build.flash_size:#x}")
    target = build.chip
    if build.bootloader_offset != target.bootloader_offset:
        return failed(
            f"the bootloader goes to {build.bootloader_offset:#x}; the ROM of {target.title} starts it at "
            f"{target.bootloader_offset:#x}"
        )
    table = build.table.value
    app = build.section("app")
    slot = table.slot_at(app.offset)
    if slot is None:
        return failed(f"{app.file} goes to {app.offset:#x}, where no app partition starts")
    beside = [stray for start, end, name in ends if (stray := _stray(build, start, end, name))]
    if beside:
        return failed("; ".join(beside))
    otadata = table.otadata_for_app
    if otadata is not None and "otadata" in names and build.section("otadata").offset != otadata.offset:
        return failed(
            f"otadata goes to {build.section('otadata').offset:#x}, but its partition is at {otadata.offset:#x}"
        )
    others = [
        f"{name} goes into {entry.slot}"
        for start, _, name in ends
        for entry in table.app_slots
        if entry.offset <= start < entry.end and name != app.file
    ]
    if others:
        return warning(f"{'; '.join(others)}: only {app.file} is looked into here")
    room = build.table_offset - build.bootloader_offset - len(build.bootloader_file.value)
    return passed(f"the app is flashed into {slot}; {room} bytes are free behind the bootloader")


@check(
    "GATE-CHIP",
    title="Everything is for one chip",
    reason="The ROM and the bootloader refuse an image that names another chip.",
    remedy="Remove the build directory, run `idf.py set-target` and build again.",
)
def chip(release: Release) -> Outcome:
    build = release.build
    said = {source: name for source, name in build.targets.items() if name != build.chip.name}
    for name, piece in (("the app", build.app_file), ("the bootloader", build.bootloader_file)):
        data = piece.value
        # esp_image_header_t.chip_id
        number = int.from_bytes(data[12:14], "little")
        if number != build.chip.chip_id:
            said[name] = f"chip id {number}"
    if said:
        others = ", ".join(f"{source} {name}" for source, name in said.items())
        return failed(f"{build.chip.name} (id {build.chip.chip_id}) is expected; otherwise says: {others}")
    return passed(f"all for {build.chip.name}")


def _stray(build: Pieces, start: int, end: int, name: str) -> str:
    """What is wrong with where a file goes; empty for one that lies within a partition, or before the first."""
    entries = build.table.value.entries
    if start < min((entry.offset for entry in entries), default=0):
        return ""
    for entry in entries:
        if entry.offset <= start < entry.end:
            return "" if end <= entry.end else f"{name} at {start:#x} ends at {end:#x}, behind {entry.label!r}"
    return f"{name} goes to {start:#x}, where no partition is"


def _left_out(build: Pieces, name: str) -> bool:
    """Whether ESP-IDF does not flash this part: the bootloader with secure boot, otadata without its partition."""
    if name in build.args.value:
        return False
    return name == "otadata" or (name == "bootloader" and build.settings.value.on("SECURE_BOOT"))


def _is_there(build: Pieces, name: str) -> bool:
    try:
        return (build.folder / name).is_file()
    except OSError:
        return False


def _size(build: Pieces, name: str) -> int:
    try:
        return (build.folder / name).stat().st_size
    except (OSError, ValueError):
        raise CannotTell(f"{name} is missing") from None
