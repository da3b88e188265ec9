"""Find out what a bench lacks: for its tools and for each board, what is there, what is missing and what to do.

A check is a function that returns what it found, in words, or raises a RigError that says what is missing and what to
do about it; a `Note` is something absent that stops no run. A new check is one line in `TOOLS` or `BOARDS`.
"""

from __future__ import annotations

import contextlib
import io
import platform
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import esptool.cmds
from esptool.reset import HardReset
from esptool.util import FatalError

from rig import build, esp_idf
from rig.boards import kinds
from rig.boards.board import powered
from rig.boards.firmware import FirmwareBuild
from rig.boards.inventory import BoardSection, QemuBoardSection, SerialBoardSection
from rig.boards.quiet_ports import open_quietly
from rig.boards.serial import port_finder, read_encryption_key
from rig.boards.serial_ports import other_users
from rig.boards.shelf import BASIS
from rig.emulator.find import find_qemu
from rig.errors import BenchFault, NotApplicable, RigError, UserError
from rig.idf.chips import CHIPS
from rig.prove import prove
from rig.virtual.builds import FIRMWARE, variants

ESPTOOL = ((5, 6), (6, 0))
"""The first esptool that will do, and the first that may not (pyproject.toml)."""


class State(StrEnum):
    OK = "ok"
    MISSING = "missing"
    NOTE = "note"


class Note(NamedTuple):
    """What is absent without stopping a run, and what would change that."""

    text: str
    remedy: str | None = None


@dataclass(frozen=True)
class Finding:
    """What one check found: `text` in words; `remedy` says what to do about what is missing."""

    name: str
    state: State
    text: str
    remedy: str | None = None


@dataclass(frozen=True)
class BoardFindings:
    section: BoardSection
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Examination:
    """Of a whole bench, or of one of its boards."""

    tools: tuple[Finding, ...]
    boards: tuple[BoardFindings, ...]

    @property
    def missing(self) -> list[Finding]:
        every = [*self.tools, *(finding for board in self.boards for finding in board.findings)]
        return [finding for finding in every if finding.state is State.MISSING]


@dataclass(frozen=True)
class Subject:
    """What a check looks at. `builds` is the folder that `rig build` fills."""

    section: Any
    builds: Path
    environ: Mapping[str, str] = field(repr=False)


Check = Callable[[Subject], str | Note]


def examine(sections: Sequence[BoardSection], builds: Path, environ: Mapping[str, str]) -> Examination:
    """Check the tools and these boards. Raises nothing: what goes wrong is a finding."""
    boards = tuple(
        BoardFindings(section, tuple(_findings(BOARDS[section.kind], Subject(section, builds, environ))))
        for section in sections
    )
    return Examination(tuple(_findings(TOOLS, Subject(None, builds, environ))), boards)


def prove_all(found: Examination, proof: Callable[[BoardSection], Iterator[Finding]]) -> Examination:
    """With what `proof` shows of each board that lacks nothing; a board that lacks something is not touched."""
    boards = []
    for board in found.boards:
        lacks = [finding for finding in board.findings if finding.state is State.MISSING]
        proven = [] if lacks else list(proof(board.section))
        boards.append(BoardFindings(board.section, (*board.findings, *proven)))
    return Examination(found.tools, tuple(boards))


def proofs(section: BoardSection) -> Iterator[Finding]:
    """Use the board and say what that showed; another run that has it is a finding, too."""
    try:
        with powered(kinds.open_board(section)) as board:
            for name, shown in prove(board):
                yield _finding(name, shown)
    except RigError as error:
        yield _finding("in use" if "somebody else" in error.what else "opening", error)
    except OSError as error:
        yield Finding("opening", State.MISSING, str(error))


def _finding(name: str, shown: str | RigError) -> Finding:
    match shown:
        case str():
            return Finding(name, State.OK, shown)
        case NotApplicable():
            return Finding(name, State.NOTE, shown.what, shown.hint)
        case _:
            return Finding(name, State.MISSING, _with_evidence(shown), shown.hint)


def _findings(checks: Mapping[str, Check], subject: Subject) -> Iterator[Finding]:
    for name, check in checks.items():
        try:
            found = check(subject)
            if isinstance(found, Note):
                yield Finding(name, State.NOTE, found.text, found.remedy)
            else:
                yield Finding(name, State.OK, found)
        except RigError as error:
            yield Finding(name, State.MISSING, _with_evidence(error), error.hint)
        except OSError as error:
            yield Finding(name, State.MISSING, str(error))


def _with_evidence(error: RigError) -> str:
    evidence = "" if error.evidence is None else str(error.evidence).strip("\n")
    if "\n" in evidence:
        return f"{error.what}:\n{evidence}"
    return f"{error.what} ({evidence})" if evidence else error.what


def _python(_: Subject) -> str:
    return platform.python_version()


def _esptool(_: Subject) -> str:
    remedy = "install what requirements.lock says: make test sets up .venv"
    try:
        version = metadata.version("esptool")
    except metadata.PackageNotFoundError:
        raise UserError("esptool is not installed", hint=remedy) from None
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    low, high = ESPTOOL
    if not low <= numbers < high:
        raise UserError(f"esptool {version}; needed: {low[0]}.{low[1]} or later, before {high[0]}.0", hint=remedy)
    return version


def _idf(subject: Subject) -> str | Note:
    """Needed to build, and for nothing else; that builds are missing is for the boards to say."""
    try:
        idf = esp_idf.find(subject.environ)
    except UserError as error:
        return Note(f"{error.what}; only rig build needs it", error.hint)
    return f"{idf.version} in {idf.path}"


def _qemu(subject: Subject) -> str:
    section: QemuBoardSection = subject.section
    found = find_qemu(section.chip, section.qemu, subject.environ)
    return f"{found.version}, with the machine {section.chip} ({found.program}, from {found.source})"


def _builds(subject: Subject) -> str | Note:
    """Every build for the chip is looked at, so that a broken one is found before a run and not in its middle."""
    section = subject.section
    if section.firmware != "built":
        return "not needed: this board takes synthesised firmware"
    remedy = f"rig build --target {section.chip}"
    found: dict[str, list[str]] = {}
    for folder in sorted((subject.builds / section.chip).glob("[!.]*/[!.]*")):
        variant, version = folder.parent.name, folder.name
        _check_build(subject, folder, variant, version)
        found.setdefault(variant, []).append(version)
    if not found:
        others = [name for name in CHIPS if any((subject.builds / name).glob("[!.]*/[!.]*"))]
        but = f", only for {', '.join(others)}" if others else ""
        raise UserError(f"no firmware is built for {section.chip}{but}", evidence=subject.builds, hint=remedy)
    lacking = [version for version in build.VERSIONS if version not in found.get(BASIS, ())]
    if lacking:
        raise UserError(
            f"variant {BASIS}, which most tests use, is not built in {', '.join(lacking)}",
            evidence=subject.builds / section.chip,
            hint=f"{remedy} --variant {BASIS}",
        )
    listed = "; ".join(f"{variant} {', '.join(versions)}" for variant, versions in found.items())
    absent = [variant for variant in build.default_variants(FIRMWARE) if variant not in found]
    if absent:
        return Note(f"{listed}; not built, so tests that need them are skipped: {', '.join(absent)}", remedy)
    return listed


def _check_build(subject: Subject, folder: Path, variant: str, version: str) -> None:
    section = subject.section
    loaded = FirmwareBuild.load(folder)
    if variant in variants(FIRMWARE):
        build.check_build(build.Order(FIRMWARE, subject.builds, section.chip, variant, version, 1), loaded)
    elif loaded.chip != section.chip:
        raise UserError(f"this build is for {loaded.chip}", evidence=folder, hint="remove it")
    if isinstance(section, QemuBoardSection) and loaded.flash_size > int(section.flash_size[:-2]) * 0x100000:
        raise UserError(
            f"built for {loaded.flash_size >> 20} MB of flash, the board has {section.flash_size}",
            evidence=folder,
            hint="set flash_size of the board in rig.toml",
        )


def _port(subject: Subject) -> str:
    """Found and opened, without a reset."""
    section: SerialBoardSection = subject.section
    url = _find_port(section)
    try:
        open_quietly(url, section.baud, None if "://" in url else True).close()
    except (OSError, ValueError) as error:
        users = other_users(url)
        held = f"; it is open in {', '.join(users)}" if users else ""
        raise BenchFault(f"{url} cannot be opened: {error}{held}", hint=_free(url, users)) from error
    return url


def _find_port(section: SerialBoardSection) -> str:
    return port_finder(section).find()


def _free(url: str, users: Sequence[str]) -> str:
    if users:
        return "close the other program"
    if "://" in url:
        return "is its server running?"
    return "may this user open it? on most systems that takes the group dialout"


def _chip(subject: Subject) -> str | Note:
    """esptool asks the chip who it is, which resets it twice."""
    section: SerialBoardSection = subject.section
    try:
        url = _find_port(section)
    except RigError:
        return Note("not asked: its port is not there")
    if url.startswith("socket://"):
        return Note("not asked: a socket has no reset lines")
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            open_quietly(url, exclusive=None if "://" in url else True) as port,
        ):
            esp = esptool.cmds.detect_chip(port, connect_attempts=2)
            described = esp.get_chip_description()
            HardReset(port)()
    except (OSError, ValueError, FatalError) as error:
        raise BenchFault(
            f"no chip answers: {str(error).splitlines()[0]}",
            hint="has it power? are DTR and RTS wired to EN and the boot pin, or must the boot button be held?",
        ) from error
    name = esp.CHIP_NAME.lower().replace("-", "")
    if name != section.chip:
        raise UserError(
            f"the chip that answers is {described}, rig.toml says {section.chip}",
            hint=f'chip = "{name}", or the port of another board',
        )
    return str(described)


def _power(subject: Subject) -> str | Note:
    """That the switch can be worked; it is not."""
    section: SerialBoardSection = subject.section
    if section.power is None:
        return Note("no power switch, so tests that cut power are skipped", "docs/bench.md, `power`")
    return section.power.check(section.name, subject.environ)


def _flash_key(subject: Subject) -> str | Note:
    section: SerialBoardSection = subject.section
    if read_encryption_key(section) is None:
        return Note("no key, so tests of flash encryption are skipped", "docs/bench.md, `encryption_key`")
    return f"{section.encryption_key} is one for {section.chip}"


def _wifi(subject: Subject) -> str | Note:
    """The update server has to listen on an address that the board reaches, so that must be one of this machine's."""
    section: SerialBoardSection = subject.section
    if section.wifi is None:
        return Note("no access point, so tests over the network are skipped", "docs/network.md, `wifi`")
    try:
        with contextlib.closing(socket.create_server((section.wifi.host, 0))):
            return f"{section.wifi.host}, through {section.wifi.ssid}"
    except OSError as error:
        raise UserError(
            f"no server can listen on {section.wifi.host}: {error.strerror or error}",
            hint="`host` of wifi is this machine's address in the board's network",
        ) from error


def _nothing(_: Subject) -> str:
    return "nothing to install: it is simulated in this program"


TOOLS: Mapping[str, Check] = {"Python": _python, "esptool": _esptool, "ESP-IDF": _idf}
BOARDS: Mapping[str, Mapping[str, Check]] = {
    "virtual": {"needs": _nothing},
    "qemu": {"QEMU": _qemu, "builds": _builds},
    "serial": {
        "port": _port,
        "chip": _chip,
        "builds": _builds,
        "power": _power,
        "flash key": _flash_key,
        "Wi-Fi": _wifi,
    },
}
"""What is checked for each kind of board, in this order."""
