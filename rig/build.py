"""Build the firmware under test with ESP-IDF, one target, variant and version at a time.

idf.py runs as a process of its own and writes to a log file, which is followed for its progress. A result is checked,
copied beside its final place and renamed: a build folder that can be seen is whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from rig.boards.firmware import FirmwareBuild
from rig.errors import BenchFault, UserError
from rig.esp_idf import EspIdf
from rig.processes import end_group
from rig.virtual.builds import read_variant, variants

POLL_S = 0.1
COMPLAINT_LINES = 14
VERSIONS = ("1.0.0", "2.0.0", "3.0.0", "4.0.0", "5.0.0", "9.0.0")
"""What the qualification tests update to and from."""
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,30}")
"""A version that fits esp_app_desc_t (31 bytes and a NUL) and names a folder."""
DECIDING = ("BOOTLOADER_", "PARTITION_TABLE_")
"""Beginnings of the options that say how a bootloader decides."""
ASKING = ("BOOTLOADER_APP_ANTI_ROLLBACK", "BOOTLOADER_FACTORY_RESET", "BOOTLOADER_APP_TEST")
"""Those among them that burn eFuses or want a pin held."""
PROMISED = (*DECIDING, "SECURE_")
"""Beginnings of the options that a build must have as its variant says."""

_NINJA = re.compile(r"\[(\d+)/(\d+)\] (.+)")
_CMAKE = re.compile(r"-- (.+)")
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_FAILURE = re.compile(
    r"\berror:|CMake Error|undefined reference|multiple definition|overflowed by|^Error[: ]|ninja: error"
    r"|cannot find -l|No space left on device|ModuleNotFoundError|is too small"
)
_NOISE = re.compile(r"FAILED: |ninja failed with exit code|ninja: build stopped|\[\d+/\d+\] ")
LONGEST_LINE = 400
"""Longer ones are command lines; the linker's has tens of thousands of characters."""
_NO_ENVIRONMENT = re.compile(r"ESP-IDF shell environment|Python requirements are not satisfied|No module named")


@dataclass(frozen=True)
class Order:
    """One build: `project` is the ESP-IDF project, `builds` the folder of finished builds, both absolute.

    `jobs`: how many compilers and linkers may run at once.
    """

    project: Path
    builds: Path
    target: str
    variant: str
    version: str
    jobs: int

    def __str__(self) -> str:
        return f"{self.target} {self.variant} {self.version}"

    @property
    def final(self) -> Path:
        return self.builds / self.target / self.variant / self.version

    @property
    def work(self) -> Path:
        """Shared by all versions of a variant: further ones compile little."""
        return self.builds / ".work" / f"{self.target}-{self.variant}"

    @property
    def log(self) -> Path:
        return self.work / f"build-{self.version}.log"

    def command(self, idf: EspIdf) -> list[str]:
        # sdkconfig.defaults.<target> is laid over by ESP-IDF itself (tools/cmake/kconfig.cmake).
        defaults = [self.project / "sdkconfig.defaults", self.project / f"sdkconfig.ci.{self.variant}"]
        cache = {
            "SDKCONFIG": self.work / "sdkconfig",
            "SDKCONFIG_DEFAULTS": ";".join(str(path) for path in defaults if path.is_file()),
            "IDF_TARGET": self.target,
            "PROJECT_VER": self.version,
            # idf.py has no option for it, and ninja no variable
            "CMAKE_JOB_POOLS": f"rig={self.jobs}",
            "CMAKE_JOB_POOL_COMPILE": "rig",
            "CMAKE_JOB_POOL_LINK": "rig",
        }
        definitions = [f"-D{name}={value}" for name, value in cache.items()]
        return [
            idf.python, str(idf.idf_py), "-C", str(self.project), "-B", str(self.work / "build"), *definitions,
            "reconfigure", "build",
        ]  # fmt: skip

    def environment(self, idf: EspIdf) -> dict[str, str]:
        return {
            **idf.environment,
            "IDF_TARGET": self.target,
            "PYTHONUNBUFFERED": "1",
            # for the bootloader, which is a CMake project of its own
            "CMAKE_BUILD_PARALLEL_LEVEL": str(self.jobs),
        }


@dataclass(frozen=True)
class Step:
    """What idf.py is doing; `position` of `total` steps where ninja says them."""

    text: str
    position: int | None = None
    total: int | None = None


@dataclass(frozen=True)
class Built:
    """A finished build in its final place."""

    order: Order
    build: FirmwareBuild
    seconds: float


def default_variants(project: Path) -> tuple[str, ...]:
    """The variants that differ in nothing but how a bootloader decides, and ask for no eFuse, key or pin.

    An app with a network or a probe takes longer to build, or is for some chips only: those are built when named.
    """
    return tuple(name for name in variants(project) if _only_decides(name, project))


def _only_decides(variant: str, project: Path) -> bool:
    settings = read_variant(variant, project)
    text = (project / f"sdkconfig.ci.{variant}").read_text(encoding="utf-8")
    names = re.findall(r"^(?:# )?CONFIG_(\w+)[= ]", text, re.MULTILINE)
    return all(name.startswith(DECIDING) and not (name in ASKING and settings[name] is True) for name in names)


def check(order: Order, idf: EspIdf) -> None:
    """Raises UserError for what no build can be made of, before anything is started."""
    if not (order.project / "CMakeLists.txt").is_file():
        raise UserError(f"{order.project} is no ESP-IDF project: it has no CMakeLists.txt")
    if VERSION.fullmatch(order.version) is None:
        raise UserError(
            f"{order.version!r} cannot be a version: 1 to 31 letters, digits, '.', '_', '+' and '-' are allowed"
        )
    if order.target not in idf.targets:
        raise UserError(
            f"ESP-IDF {idf.version} cannot build for {order.target!r}",
            evidence=idf.path,
            hint=f"one of: {', '.join(idf.targets)}",
        )
    read_variant(order.variant, order.project)


def run(order: Order, idf: EspIdf) -> Generator[Step | Built, None, None]:
    """Build; yields steps as they happen and ends with `Built`. Close it to end idf.py early.

    Raises UserError if the firmware does not build or is not what the variant asks for, BenchFault if the tools broke
    or the disk is full.
    """
    check(order, idf)
    started = time.monotonic()
    try:
        order.work.mkdir(parents=True, exist_ok=True)
        with FileLock(order.work / "lock", timeout=0):
            _prepare(order, idf)
            yield from _idf_py(order, idf)
            yield Step("checking and copying")
            build = _store(order)
    except Timeout:
        raise UserError(f"another rig build works on {order.target} {order.variant}", evidence=order.work) from None
    except OSError as error:
        raise BenchFault(f"{order}: {error.filename or order.builds}: {error.strerror}", evidence=order.work) from error
    yield Built(order, build, time.monotonic() - started)


def _prepare(order: Order, idf: EspIdf) -> None:
    """Drop what an earlier run left that would not be looked at again."""
    # An sdkconfig would win over defaults that have changed since it was made.
    (order.work / "sdkconfig").unlink(missing_ok=True)
    made_with = json.dumps({"idf": str(idf.path), "version": idf.version, "python": idf.python})
    stamp = order.work / "made-with.json"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != made_with:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(order.work / "build")
        stamp.write_text(made_with, encoding="utf-8")


def _idf_py(order: Order, idf: EspIdf) -> Iterator[Step]:
    with order.log.open("wb") as output:
        process = subprocess.Popen(
            order.command(idf), cwd=order.project, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env=order.environment(idf), start_new_session=True,
        )  # fmt: skip
        try:
            yield from _follow(order.log, process)
        finally:
            if process.returncode != 0:
                end_group(process)
    if process.returncode:
        raise _failure(order, idf, process.returncode)


def _follow(log: Path, process: subprocess.Popen[bytes]) -> Iterator[Step]:
    with log.open("rb") as stream:
        rest = b""
        while True:
            over = process.poll() is not None
            *lines, rest = (rest + stream.read()).replace(b"\r", b"\n").split(b"\n")
            steps = [step for line in lines if (step := read_step(line.decode("utf-8", "replace")))]
            # Only the last matters to a reader.
            yield from steps[-1:]
            if over:
                return
            time.sleep(POLL_S)


def read_step(line: str) -> Step | None:
    """What a line of idf.py's output says of its progress; None if nothing."""
    text = _ANSI.sub("", line).strip()
    if ninja := _NINJA.fullmatch(text):
        # Folders say little and take all the room.
        return Step(re.sub(r"\S*/(?=[^/\s])", "", ninja[3]), int(ninja[1]), int(ninja[2]))
    if cmake := _CMAKE.fullmatch(text):
        return Step(f"configuring: {cmake[1]}")
    return None


def _failure(order: Order, idf: EspIdf, code: int) -> UserError | BenchFault:
    output = order.log.read_text(encoding="utf-8", errors="replace")
    what = f"{order} was not built: idf.py ended with exit code {code}"
    if code < 0:
        return BenchFault(f"{order} was not built: idf.py was ended by signal {-code}", evidence=order.log)
    said = "\n".join(f"  {line}" for line in complaint(output))
    if "No space left on device" in output:
        return BenchFault(f"{what}\n{said}", evidence=order.log, hint="make room on the disk of the builds folder")
    hint = "mend what the first error names, then build again; remove the .work folder to start anew"
    if _NO_ENVIRONMENT.search(output):
        hint = f"`. {idf.path}/export.sh` in this shell first; if that fails, {idf.path}/install.sh once"
    return UserError(f"{what}\n{said}" if said else what, evidence=order.log, hint=hint)


def complaint(output: str) -> list[str]:
    """The lines of idf.py's output that say why it failed: from the first error on, and its hints."""
    every = _ANSI.sub("", output).replace("\r", "\n").splitlines()
    lines = [line.rstrip() for line in every if line.strip() and len(line) <= LONGEST_LINE and not _NOISE.match(line)]
    first = next((index for index, line in enumerate(lines) if _FAILURE.search(line)), None)
    if first is None:
        return lines[-COMPLAINT_LINES:]
    # The compiler and the linker say in which function before they say what.
    first -= first > 0 and "in function" in lines[first - 1].lower()
    shown = lines[first : first + COMPLAINT_LINES]
    return shown + [line for line in lines[first + COMPLAINT_LINES :] if line.startswith("HINT:")]


def _store(order: Order) -> FirmwareBuild:
    """Check the build where it was made, then put a copy of what matters in its place, whole or not at all."""
    made = FirmwareBuild.load(order.work / "build")
    check_build(order, made)
    final = order.final
    final.parent.mkdir(parents=True, exist_ok=True)
    for left in final.parent.glob(f".{order.version}.*"):
        shutil.rmtree(left)
    partial = final.with_name(f".{order.version}.new")
    try:
        copy_build(made, order.work / "sdkconfig", partial, final)
        _check_copy(order, partial)
        if final.exists():
            # A folder is not renamed onto another; for this moment there is none.
            final.rename(final.with_name(f".{order.version}.old"))
        partial.rename(final)
    finally:
        for left in final.parent.glob(f".{order.version}.*"):
            shutil.rmtree(left, ignore_errors=True)
    return FirmwareBuild.load(final)


def _check_copy(order: Order, folder: Path) -> None:
    try:
        FirmwareBuild.load(folder)
    except UserError as error:
        raise BenchFault(
            f"{order} was built, but its copy is broken: {error.what}",
            evidence=order.final.parent,
            hint="is that disk full or failing?",
        ) from error


def check_build(order: Order, build: FirmwareBuild) -> None:
    """Raises UserError if a build is not for the target, not the version or not the variant that was ordered."""
    if build.chip != order.target:
        raise UserError(f"{order}: the build is for {build.chip}", evidence=build.path, hint="remove the .work folder")
    if build.version != order.version:
        raise UserError(
            f"{order}: the app says version {build.version!r}",
            evidence=build.app_path,
            hint="leave the version to rig: no set(PROJECT_VER ...) in CMakeLists.txt, no "
            "CONFIG_APP_PROJECT_VER_FROM_CONFIG, no CONFIG_APP_EXCLUDE_PROJECT_VER_VAR",
        )
    asked = read_variant(order.variant, order.project)
    for name, value in asked.items():
        has = build.sdkconfig.get(name, False)
        if name.startswith(PROMISED) and has != value:
            raise UserError(
                f"{order}: the variant asks for {_setting(name, value)}, the build has {_setting(name, has)}",
                evidence=build.path / "config" / "sdkconfig.json",
                hint=f"this ESP-IDF or this target does not allow it: change sdkconfig.ci.{order.variant}",
            )


def _setting(name: str, value: object) -> str:
    return f"CONFIG_{name}={'y' if value is True else 'n' if value is False else value}"


def copy_build(build: FirmwareBuild, sdkconfig: Path, folder: Path, final: Path) -> None:
    """Copy what flashing, decoding a panic and checking need into `folder`, which will be called `final`."""
    source = build.path
    wanted = [Path("flasher_args.json"), Path("config", "sdkconfig.json"), Path("bootloader", "bootloader.elf")]
    wanted += [Path("bootloader", "config", "sdkconfig.json")]
    wanted += [Path(os.path.relpath(path, source)) for path in build.flash_files.values()]
    wanted += [Path(f"{build.app_path.stem}.elf")]
    if outside := [path for path in wanted if path.parts[0] == ".."]:
        raise UserError(
            f"flasher_args.json names a file outside the build folder: {outside[0]}",
            evidence=source / "flasher_args.json",
            hint="let the build copy it into its own folder before it is flashed",
        )
    for path in dict.fromkeys(wanted):
        if (source / path).is_file():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / path, folder / path)
    # Its head says which ESP-IDF wrote it.
    shutil.copy2(sdkconfig, folder / "sdkconfig")
    description = json.loads((source / "project_description.json").read_text(encoding="utf-8"))
    description["build_dir"] = str(final.absolute())
    (folder / "project_description.json").write_text(json.dumps(description, indent=4) + "\n", encoding="utf-8")
