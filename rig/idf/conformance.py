"""Holding the model to golden vectors: does it do, row by row, what ESP-IDF's own C code did?

Result, started and tried slots, return codes, otadata, slots, eFuse, mutations and the log lines of the bootloader, of
esp_ota_ops and of the eFuse code must agree exactly. Lines of `esp_image` and `boot_comm` are counted separately. Every
step of a walk and every boot after a cut is one check; a row keyed by version is one check for each version. Where the
recorder gave up waiting (a hang of more than some seconds, which says more about its host) what it had seen until then
must be the beginning of what the model does.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from rig.idf.effects import Log
from rig.idf.replay import Bench, Got
from rig.idf.vector_images import image
from rig.idf.vectors import Out, Row, Step, boot_config, expected, read_rows

_IMAGE_TAGS = ("esp_image", "boot_comm")
_PROGRESS_ROWS = 1000


class FieldDifference(NamedTuple):
    """One field of a check; both sides as lines of text."""

    name: str
    expected: tuple[str, ...]
    got: tuple[str, ...]


class Difference(NamedTuple):
    """One check in which the model does not do what the row says. `context` is (name, text) pairs."""

    file: Path
    line: int
    what: str
    fields: tuple[FieldDifference, ...]
    context: tuple[tuple[str, str], ...]


@dataclass
class Tally:
    """Counts so far. `gave_up`: checks whose recording ended in a time-out, compared as far as it goes."""

    rows: int = 0
    checked: int = 0
    differ: int = 0
    image_lines_checked: int = 0
    image_lines_differ: int = 0
    gave_up: int = 0


def check_file(
    path: Path, tally: Tally, progress: Callable[[Tally], None] = lambda tally: None
) -> Iterator[Difference]:
    """Check every row of a file: counts go to `tally`, each difference comes out. Raises FormatError."""
    return check_rows(read_rows(path), tally, progress)


def check_rows(
    rows: Iterable[Row], tally: Tally, progress: Callable[[Tally], None] = lambda tally: None
) -> Iterator[Difference]:
    """The same for rows already read; `progress` is called now and then."""
    benches: dict[str, Bench] = {}
    for row in rows:
        bench = benches.get(row.layout)
        if bench is None:
            bench = benches[row.layout] = Bench(row.layout)
        yield from _check_row(row, bench, tally)
        tally.rows += 1
        if tally.rows % _PROGRESS_ROWS == 0:
            progress(tally)


def _check_row(row: Row, bench: Bench, tally: Tally) -> Iterator[Difference]:
    for version in row.versions:
        bench.prepare(boot_config(row.cfg, version), row.otadata, row.slots, row.efuse)
        fork = None
        for index, step in enumerate(row.steps):
            yield from _check_step(row, version, step, bench, tally)
            if index == 0 and row.branches:
                fork = bench.save()
        for branch in row.branches:
            if fork is not None:
                bench.restore(fork)
            for step in branch:
                yield from _check_step(row, version, step, bench, tally)


def _check_step(row: Row, version: str, step: Step, bench: Bench, tally: Tally) -> Iterator[Difference]:
    if step.env is not None:
        bench.change(step.env)
        return
    before = bench.otadata
    slots_before = dict(bench.slots) if step.ops != ("boot",) else bench.slots
    efuse_before = bench.flash.secure_version
    got = bench.do(step)
    out = expected(step, version)
    if out is None:
        return
    tally.checked += 1
    if out.gave_up:
        tally.gave_up += 1
        fields = _beginning(out, got)
    else:
        fields = _compare(out, got, bench, slots_before)
        fields += _compare_logs(out, got, tally)
    if not fields:
        return
    tally.differ += 1
    context = _context(row, version, step, before, slots_before, efuse_before)
    yield Difference(row.file, row.line, step.name, tuple(fields), context)


def _compare(out: Out, got: Got, bench: Bench, slots_before: dict[str, bytes]) -> list[FieldDifference]:
    fields: list[FieldDifference] = []
    if out.result != got.result:
        fields.append(_field("result", out.result, got.result))
    if out.tried is not None:
        if out.booted != got.booted:
            fields.append(_field("booted", str(out.booted), str(got.booted)))
        if out.tried != got.tried:
            fields.append(FieldDifference("tried", out.tried, got.tried or ()))
    if out.rc is not None and out.rc != got.rc:
        fields.append(FieldDifference("rc", out.rc, got.rc or ()))
    if not _same_otadata(out.otadata, bench.otadata):
        fields.append(FieldDifference("otadata", _hex(out.otadata), _hex(bench.otadata)))
    if out.efuse != bench.flash.secure_version:
        fields.append(_field("efuse", str(out.efuse), str(bench.flash.secure_version)))
    if out.slots or got.changed:
        fields += _compare_slots(out, got, slots_before)
    if len(out.mut) != len(got.mut) or not all(map(_same_mutation, out.mut, got.mut)):
        fields.append(FieldDifference("mut", _mutation_lines(out.mut), _mutation_lines(got.mut)))
    return fields


def _beginning(out: Out, got: Got) -> list[FieldDifference]:
    seen = (
        ("rc", out.rc or (), got.rc or ()),
        ("mut", _mutation_lines(out.mut), _mutation_lines(got.mut)),
        ("log", out.log, tuple(map(_text, got.log))),
    )
    return [FieldDifference(name, want, have) for name, want, have in seen if want != have[: len(want)]]


def _compare_logs(out: Out, got: Got, tally: Tally) -> list[FieldDifference]:
    lines = tuple([_text(line) for line in got.log if line.level != "I" or line.tag != "esp_image"])
    if lines == out.log:
        tally.image_lines_checked += sum(map(_is_image_line, lines))
        return []
    want, have = ([line for line in side if _is_image_line(line)] for side in (out.log, lines))
    tally.image_lines_checked += len(want)
    wrong = sum(a != b for a, b in zip(want, have, strict=False)) + abs(len(want) - len(have))
    tally.image_lines_differ += wrong
    own_want, own_have = (tuple(line for line in side if not _is_image_line(line)) for side in (out.log, lines))
    return [] if own_want == own_have else [FieldDifference("log", own_want, own_have)]


def _compare_slots(out: Out, got: Got, before: dict[str, bytes]) -> list[FieldDifference]:
    fields = []
    for name in sorted(out.slots.keys() | got.changed.keys()):
        want = image(out.slots[name]).rstrip(b"\xff") if name in out.slots else before[name]
        have = got.changed.get(name, before[name])
        if want != have:
            fields.append(_field(f"slot {name}", out.slots.get(name, "unchanged"), _content(have)))
    return fields


def _same_otadata(want: tuple[bytes, bytes], have: tuple[bytes, bytes]) -> bool:
    # a bench shows 32 bytes; a row leaves the 0xFF at the end out, or shows more than the entry
    return have == (want[0][:32].ljust(32, b"\xff"), want[1][:32].ljust(32, b"\xff"))


def _same_mutation(want: tuple[Any, ...], have: tuple[Any, ...]) -> bool:
    if want[:3] != have[:3]:
        return False
    if len(want) == 3:
        return True
    return bool(want[3] == (_crc(have[3]) if want[3].startswith("crc32:") else have[3].hex()))


def _crc(data: bytes) -> str:
    return f"crc32:{zlib.crc32(data):08x}"


def _mutation_lines(mutations: tuple[tuple[Any, ...], ...]) -> tuple[str, ...]:
    return tuple(_mutation_line(*mutation) for mutation in mutations)


def _mutation_line(kind: str, first: int, second: int, data: str | bytes | None = None) -> str:
    if kind.startswith("F"):
        return f"{kind} {first:#x} -> {second:#x}"
    shown = (data.hex() if len(data) <= 32 else _crc(data)) if isinstance(data, bytes) else data
    return f"{kind} {first:#x} {second}" + (f" {shown}" if shown is not None else "")


@lru_cache(maxsize=65536)
def _text(line: Log) -> str:
    return f"{line.level} {line.tag}: {line.text}"


@lru_cache(maxsize=65536)
def _is_image_line(line: str) -> bool:
    return line[2:].split(":", 1)[0] in _IMAGE_TAGS


def _content(content: bytes) -> str:
    return f"{len(content)} bytes, {_crc(content)}" if content else "erased"


def _hex(sectors: tuple[bytes, bytes]) -> tuple[str, ...]:
    return tuple(sector.hex() if sector.rstrip(b"\xff") else "" for sector in sectors)


def _field(name: str, want: str, have: str) -> FieldDifference:
    return FieldDifference(name, (want,), (have,))


def _context(
    row: Row, version: str, step: Step, otadata: tuple[bytes, bytes], slots: dict[str, bytes], efuse: int
) -> tuple[tuple[str, str], ...]:
    start = {name: spec for name, spec in row.slots.items() if image(spec).rstrip(b"\xff") == slots[name]}
    held = ", ".join(f"{name} {start.get(name) or _content(slots[name])}" for name in slots)
    facts = [
        ("build", f"{row.cfg} {version}"),
        ("layout", row.layout),
        ("otadata before", " / ".join(text or "erased" for text in _hex(otadata))),
        ("slots before", held),
        ("efuse before", str(efuse)),
    ]
    facts += [(name, str(value)) for name, value in step._asdict().items() if name in _SAID and value is not None]
    return tuple(facts)


_SAID = ("running", "cut_after", "torn", "gpio")
