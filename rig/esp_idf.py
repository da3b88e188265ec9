"""The installed ESP-IDF: where it is, which version, and the environment its tools need."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rig.errors import UserError

OLDEST = (5, 1)
_OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "__PYVENV_LAUNCHER__")
"""What would make IDF's Python look for its packages in ours."""
_EXPORT = "get ESP-IDF v5.1 or later from Espressif, run its install.sh once, and `. $IDF_PATH/export.sh` in this shell"


@dataclass(frozen=True)
class EspIdf:
    """An ESP-IDF that was found; `version` like `5.1.6`, `environment` as its tools are to be started with."""

    path: Path
    version: str
    python: str
    environment: Mapping[str, str] = field(repr=False)

    @property
    def idf_py(self) -> Path:
        return self.path / "tools" / "idf.py"

    @property
    def targets(self) -> tuple[str, ...]:
        """The chips it can build for (it has one CMake toolchain file for each)."""
        found = (self.path / "tools" / "cmake").glob("toolchain-esp*.cmake")
        return tuple(sorted(path.stem.removeprefix("toolchain-") for path in found))


def find(environ: Mapping[str, str]) -> EspIdf:
    """The ESP-IDF of IDF_PATH, else of the idf.py on PATH. Raises UserError saying what was looked for."""
    path, how = _place(environ)
    version = _version(path, how)
    environment = clean(environ, Path(sys.prefix))
    environment["IDF_PATH"] = str(path)
    return EspIdf(path, version, _python(environment), environment)


def clean(environ: Mapping[str, str], prefix: Path) -> dict[str, str]:
    """`environ` without the virtual environment in `prefix`, so that IDF's own Python is found; pure."""
    kept = {name: value for name, value in environ.items() if name not in _OURS}
    idf_python = environ.get("IDF_PYTHON_ENV_PATH")
    if "PATH" in kept and (idf_python is None or Path(idf_python) != prefix):
        folders = kept["PATH"].split(os.pathsep)
        kept["PATH"] = os.pathsep.join(folder for folder in folders if Path(folder) != prefix / "bin")
    return kept


def _place(environ: Mapping[str, str]) -> tuple[Path, str]:
    named = environ.get("IDF_PATH")
    if named:
        path = Path(named).absolute()
        if not (path / "tools" / "idf.py").is_file():
            raise UserError(f"IDF_PATH is {named}, where there is no tools/idf.py", hint=_EXPORT)
        return path, "IDF_PATH"
    program = shutil.which("idf.py", path=environ.get("PATH", ""))
    if program is None:
        raise UserError(
            "ESP-IDF is not here: IDF_PATH is not set and there is no idf.py on PATH",
            hint=f"{_EXPORT}; virtual boards need no build",
        )
    return Path(program).resolve().parents[1], program


def _version(path: Path, how: str) -> str:
    source = path / "tools" / "cmake" / "version.cmake"
    try:
        text = source.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(
            f"{path} (from {how}) is no ESP-IDF: tools/cmake/version.cmake: {error.strerror}", hint=_EXPORT
        ) from error
    numbers = dict(re.findall(r"set\s*\(\s*IDF_VERSION_(MAJOR|MINOR|PATCH)\s+(\d+)", text))
    if len(numbers) != 3:
        raise UserError(f"{source} does not say which version of ESP-IDF it is", hint=_EXPORT)
    version = ".".join(numbers[part] for part in ("MAJOR", "MINOR", "PATCH"))
    if (int(numbers["MAJOR"]), int(numbers["MINOR"])) < OLDEST:
        raise UserError(f"ESP-IDF {version} in {path} is too old", hint=_EXPORT)
    return version


def _python(environment: Mapping[str, str]) -> str:
    """The Python of IDF's own environment, else the one on PATH, as export.sh leaves it."""
    own = environment.get("IDF_PYTHON_ENV_PATH")
    candidates = [str(Path(own) / "bin" / "python"), str(Path(own) / "Scripts" / "python.exe")] if own else []
    for program in (*candidates, "python", "python3"):
        found = shutil.which(program, path=environment.get("PATH", ""))
        if found:
            return found
    raise UserError("no Python for ESP-IDF: neither IDF_PYTHON_ENV_PATH nor PATH has one", hint=_EXPORT)
