"""Where Espressif's QEMU is on this computer, and whether it has the machine for a chip."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from rig.errors import UserError

PROGRAMS = {"esp32": "qemu-system-xtensa", "esp32s3": "qemu-system-xtensa", "esp32c3": "qemu-system-riscv32"}
"""The program for each chip that Espressif's QEMU emulates."""
PACKAGES = {"qemu-system-xtensa": "qemu-xtensa", "qemu-system-riscv32": "qemu-riscv32"}
"""Their names in ESP-IDF's tools/tools.json, which are also their folders under `tools/`."""

QUESTION_TIMEOUT_S = 20.0


class Place(NamedTuple):
    """Somewhere QEMU may be: the program, and who says so."""

    program: Path
    source: str


class Qemu(NamedTuple):
    """A usable QEMU: absolute path, its own words on its version, and who named it."""

    program: Path
    version: str
    source: str


def find_qemu(chip: str, named: Path | None = None, environ: Mapping[str, str] = os.environ) -> Qemu:
    """The QEMU that runs `chip`: the one `named` (rig.toml), else QEMU_PATH, PATH, ESP-IDF's tools.

    A place that is named is not passed over: if nothing usable is there, UserError says so. UserError also says where
    was looked if there is none at all.
    """
    if chip not in PROGRAMS:
        raise UserError(
            f"Espressif's QEMU has no machine for {chip}", hint=f"it emulates {', '.join(sorted(PROGRAMS))}"
        )
    looked = list(places(PROGRAMS[chip], named, environ))
    for place in looked:
        if place.program.is_file() and os.access(place.program, os.X_OK):
            return _checked(place, chip)
        if place.source in ("rig.toml", "QEMU_PATH"):
            break
    raise UserError(
        f"there is no {PROGRAMS[chip]}, which emulates {chip}; looked at\n"
        + "\n".join(f"  {place.program} ({place.source})" for place in looked),
        hint=_install_hint(chip),
    )


def places(program: str, named: Path | None, environ: Mapping[str, str]) -> Iterator[Place]:
    """Where to look, in order; the newest first among ESP-IDF's tools."""
    for text, source in ((named, "rig.toml"), (environ.get("QEMU_PATH"), "QEMU_PATH")):
        if text:
            path = Path(text).expanduser().absolute()
            yield Place(path / program if path.is_dir() else path, source)
    found = shutil.which(program, path=environ.get("PATH", ""))
    yield Place(Path(found or program).absolute() if found else Path(program), "PATH")
    root = Path(environ.get("IDF_TOOLS_PATH") or "~/.espressif").expanduser() / "tools" / PACKAGES[program]
    installed = sorted(root.glob(f"*/qemu/bin/{program}"), key=_version_key, reverse=True)
    for path in installed or [root / "*/qemu/bin" / program]:
        yield Place(path.absolute(), "ESP-IDF's tools")


def _version_key(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.parents[2].name)]


def _checked(place: Place, chip: str) -> Qemu:
    machines = _ask(place, "-machine", "help")
    if not re.search(rf"^{chip}\s", machines, re.MULTILINE):
        raise UserError(
            f"{place.program} ({place.source}) has no machine {chip}",
            evidence="\n" + machines.strip()[:600],
            hint=f"a QEMU of another maker? {_install_hint(chip)}",
        )
    return Qemu(place.program, _ask(place, "--version").partition("\n")[0].strip(), place.source)


def _ask(place: Place, *arguments: str) -> str:
    try:
        answer = subprocess.run(
            [place.program, *arguments], capture_output=True, timeout=QUESTION_TIMEOUT_S, check=False, text=True
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{place.program} ({place.source}) does not run: {error}", hint="install it anew") from error
    if answer.returncode:
        said = (answer.stderr or answer.stdout).strip()[-600:]
        raise UserError(
            f"{place.program} ({place.source}) ended with {answer.returncode} when asked for {' '.join(arguments)}",
            evidence="\n" + said,
            hint="does it lack a library? run it by hand",
        )
    return answer.stdout


def _install_hint(chip: str) -> str:
    return (
        f"python $IDF_PATH/tools/idf_tools.py install {PACKAGES[PROGRAMS[chip]]}, "
        "or set QEMU_PATH or the key `qemu` of the board to its program"
    )
