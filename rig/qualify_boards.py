"""Which boards `rig qualify` tests, how many copies of each work at once, and what the report says of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rig.boards import kinds
from rig.boards.inventory import BenchConfig, BoardSection
from rig.errors import UserError
from rig.evidence.firmware_facts import BOOTLOADER
from rig.evidence.records import TestResult

PROGRAMS = ("virtual", "qemu")
"""Kinds whose boards are programs, of which several copies can work at once."""
HARDWARE = ("port", "serial_number", "mac")
"""Keys of rig.toml by which a board is found; two boards with the same value are one."""
FACTS = ("name", "kind", "chip", "how")


def choose(bench: BenchConfig, names: Sequence[str]) -> list[BoardSection]:
    """The boards called `names`, in that order; the first of the bench without names.

    Raises UserError for an unknown board, and for one that is given twice, under one name or under two.
    """
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"board given twice: {', '.join(twice)}", hint="name each board once")
    sections = [bench.find(name) for name in names] or [bench.board[0]]
    owners: dict[tuple[str, str], str] = {}
    for section in sections:
        for place in _places(section):
            other = owners.setdefault(place, section.name)
            if other != section.name:
                raise UserError(
                    f"boards {other} and {section.name} have the same {place[0]} {place[1]}: they are one board",
                    hint="run them one after the other",
                )
    return sections


FILTER_KEYS = ("name", "chip", "kind", "tag")


def fitting(bench: BenchConfig, wanted: str) -> list[BoardSection]:
    """The boards that `wanted` describes, in the order of rig.toml: `chip=esp32c3,tag=nightly`, or `all`.

    Every part has to fit; `chip=esp32|esp32s3` fits either. UserError for an unknown key, and if no board fits.
    """
    parts = [] if wanted == "all" else [part.strip() for part in wanted.split(",")]
    rules = [_rule(part) for part in parts]
    found = [section for section in bench.board if all(values & _values(section, key) for key, values in rules)]
    if not found:
        there = "; ".join(f"{section.name} ({section.chip}, {section.kind})" for section in bench.board)
        raise UserError(f"--boards {wanted}: no board of rig.toml fits", hint=f"there are: {there}")
    return choose(bench, [section.name for section in found])


def _rule(part: str) -> tuple[str, set[str]]:
    key, equals, value = part.partition("=")
    if not equals or key.strip() not in FILTER_KEYS or not value.strip():
        raise UserError(
            f"--boards: {part!r} is no condition",
            hint=f"KEY=VALUE, with one of these keys: {', '.join(FILTER_KEYS)}; or all",
        )
    return key.strip(), {word.strip() for word in value.split("|")}


def _values(section: BoardSection, key: str) -> set[str]:
    return set(section.tags) if key == "tag" else {str(getattr(section, key))}


def _places(section: BoardSection) -> list[tuple[str, str]]:
    found: dict[str, Any] = {key: getattr(section, key, None) for key in HARDWARE}
    if (place := getattr(section, "place", None)) is not None:
        return [("place", f"{place.name} of {place.coordinator}")]
    # Two paths may lead to one device; a URL is no path.
    return [
        (key, os.path.realpath(value) if str(value).startswith("/") else str(value).lower())
        for key, value in found.items()
        if value is not None
    ]


def copies(sections: Sequence[BoardSection], jobs: int | None) -> dict[str, int]:
    """How many copies of each board work at once, by name: `jobs` of a board that is a program, one of any other.

    Raises UserError if `jobs` asks for copies and none of the boards is a program.
    """
    if jobs is not None and jobs > 1 and not any(section.kind in PROGRAMS for section in sections):
        raise UserError(
            f"--jobs {jobs}: there is only one {' and one '.join(section.name for section in sections)}",
            hint="leave --jobs out; only boards that are programs can be copied",
        )
    programs = sum(section.kind in PROGRAMS for section in sections)
    return {
        section.name: (jobs or _default(section, programs)) if section.kind in PROGRAMS else 1 for section in sections
    }


def _default(section: BoardSection, programs: int) -> int:
    # A virtual board mostly waits, as esptool does for its reset sequence: two a core. An emulator fills a core.
    return max(min(2 * (os.cpu_count() or 1), 8) // programs, 1) if section.kind == "virtual" else 1


def check_spent(sections: Sequence[BoardSection], names: Sequence[str]) -> None:
    """UserError if a board whose eFuses are to be burnt is not tested, or rig.toml does not give it up for that."""
    for name in names:
        section = next((section for section in sections if section.name == name), None)
        if section is None:
            raise UserError(f"--burn-efuses {name}: this board is not tested", hint=f"add --board {name}")
        if getattr(section, "efuse", None) != "burn":
            raise UserError(
                f"--burn-efuses {name}: rig.toml does not give this board up for that",
                hint='a board that is meant to be spent has efuse = "burn" (docs/anti-rollback.md)',
            )


def board_facts(section: BoardSection) -> dict[str, str]:
    """What the report says of a board: name, kind, chip, and how firmware gets into its flash (`how`), if known."""
    return {key: str(value) for key, value in kinds.describe(section).items() if key in FACTS}


def firmware_facts(
    bench: BenchConfig, sections: Sequence[BoardSection], results: Sequence[TestResult]
) -> list[dict[str, str]]:
    """What firmware ran: for each board where it came from, and each build its tests name, once."""
    return [fact for section in sections for fact in _firmware_of(bench, section, results)]


def _firmware_of(bench: BenchConfig, section: BoardSection, results: Sequence[TestResult]) -> list[dict[str, str]]:
    if section.firmware == "synthesised":
        base = {"board": section.name, "source": "synthesised test app", "ESP-IDF": bench.firmware.idf_version}
    else:
        base = {"board": section.name, "source": f"builds in {bench.firmware.builds}"}
    named: Mapping[tuple[tuple[str, str], ...], None] = dict.fromkeys(
        tuple((key, value) for key, value in result.firmware.items() if key != BOOTLOADER)
        for result in results
        if result.board == section.name and result.firmware
    )
    return [{**base, **dict(facts)} for facts in sorted(named)] or [base]
