"""The exact versions of everything that had a part in the verdict."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

import rig
from rig.boards.inventory import BoardSection, QemuBoardSection
from rig.certificate.derive import MODIFIED
from rig.emulator.find import find_qemu
from rig.errors import UserError

PACKAGES = ("esptool", "pytest", "pytest-embedded", "pytest-embedded-serial-esp", "pytest-xdist", "pyserial")
ROOT = Path(rig.__file__).resolve().parents[1]
SOURCES = ("*.py", "*.j2", "*.css", "*.js")
GIT_TIMEOUT_S = 20.0
RIG_SOURCES = "rig sources (SHA-256)"


def versions(sections: Sequence[BoardSection], tests: Path) -> dict[str, str]:
    """By name. `tests`: the folder of tests that ran."""
    found = {
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "operating system": _system(),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "rig": rig.__version__,
        "rig commit": _commit(),
        RIG_SOURCES: sources_sha256(),
        "tests (SHA-256)": _digest(tests.rglob("*.py"), tests),
    }
    found |= {name: _version(name) for name in PACKAGES}
    for section in sections:
        if isinstance(section, QemuBoardSection):
            found[f"QEMU of {section.name}"] = _qemu(section)
    return found


@lru_cache(maxsize=1)
def sources_sha256() -> str:
    """Of all sources of rig and its fixtures: what a version number does not tell. In hex.

    Read once a process: what it runs was read once, too.
    """
    package = Path(rig.__file__).resolve().parent
    paths = [path for root in (package, ROOT / "fixtures") for kind in SOURCES for path in root.rglob(kind)]
    return _digest(paths, ROOT)


def requirements() -> str:
    """Every installed package with its version, as `pip install -r` reads it."""
    found = {(each.name or "").lower(): f"{each.name}=={each.version}" for each in distributions() if each.name}
    return "".join(f"{found[name]}\n" for name in sorted(found))


def _digest(paths: Iterable[Path], root: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(set(paths)):
        total.update(f"{path.relative_to(root).as_posix()}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform()


def _commit() -> str:
    commit = _git("rev-parse", "HEAD")
    if commit is None or _git("rev-parse", "--show-toplevel") != str(ROOT):
        return "unknown: not run from a git clone"
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return commit if changed == "" else f"{commit} {MODIFIED}"


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(ROOT), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout.strip()


def _qemu(section: QemuBoardSection) -> str:
    try:
        return find_qemu(section.chip, section.qemu).version
    except UserError as error:
        return error.what.partition("\n")[0]
