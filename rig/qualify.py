"""Run the qualification tests on the boards of a bench and collect what they found.

pytest runs as a process of its own; its results come back as JSON lines while it runs, so progress is live and a
crash loses nothing that was finished. It and its workers form a process group of their own, which never outlives us.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rig.errors import UserError
from rig.evidence.records import Requirement, TestResult

POLL_S = 0.1
GRACE_S = 5.0
"""How long an interrupted pytest may take to let go of its board."""
COMPLAINT_LINES = 40
PYTEST = (sys.executable, "-m", "pytest", "-q", "--color=no", "-p", "no:pytest_embedded")
"""pytest-embedded is used as a library. Its plugin forks a process in every worker, which keeps the pipe to xdist open
when the worker dies: xdist would wait for it for ever."""
NOTHING_SELECTED = 5
FINISHED = (0, 1, NOTHING_SELECTED)
"""pytest's exit codes for having run to the end: all passed, some failed, none fitted."""


@dataclass(frozen=True)
class Collected:
    count: int


@dataclass(frozen=True)
class Started:
    test: str


@dataclass(frozen=True)
class Finished:
    result: TestResult


@dataclass(frozen=True)
class Ended:
    """pytest is gone. `complaint` is its own last words."""

    exit_code: int
    complaint: str


Event = Collected | Started | Finished | Ended


@dataclass(frozen=True)
class Plan:
    """What to run: `tests` is the folder of qualification tests, `folder` receives evidence and pytest's output."""

    config: Path
    tests: Path
    folder: Path
    board: str
    jobs: int
    select: str | None = None

    def command(self) -> list[str]:
        arguments = [
            *PYTEST, str(self.tests),
            "--rig-config", str(self.config), "--board", self.board,
            "--rig-results", str(self.results), "--rig-evidence", str(self.folder / "tests"),
        ]  # fmt: skip
        if self.jobs > 1:
            arguments += ["-n", str(self.jobs)]
        return arguments + _selection(self.select)

    @property
    def results(self) -> Path:
        return self.folder / "results.jsonl"


def find_tests(config: Path) -> Path:
    """The folder of qualification tests: beside `rig.toml`, or of this checkout."""
    for root in (config.resolve().parent, Path(__file__).resolve().parents[1]):
        if (root / "tests" / "qualification").is_dir() and (root / "conftest.py").is_file():
            return root / "tests" / "qualification"
    raise UserError("no tests/qualification folder here", hint="run rig qualify in a clone of the project")


def collect(tests: Path, select: str | None = None) -> dict[str, list[Requirement]]:
    """The qualification tests that `select` fits, by pytest's node id, with the requirements they check; none is run.

    Raises UserError if pytest cannot read the tests or the expression, if a test carries no requirement, or if two
    sentences go by one id.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requirements.json"
        command = [*PYTEST, str(tests), "--collect-only", "--tb=short", *_selection(select)]
        command += ["--rig-requirements", str(path)]
        done = subprocess.run(command, cwd=tests.parents[1], capture_output=True, text=True, env=_environment())
        if done.returncode not in (0, NOTHING_SELECTED):
            raise UserError(f"pytest cannot collect {tests}:\n{_end_of(done.stdout + done.stderr)}")
        carried = {
            test["test"]: [Requirement.model_validate(requirement) for requirement in test["requirements"]]
            for test in json.loads(path.read_text(encoding="utf-8"))
        }
    _check(carried)
    return carried


def _check(carried: dict[str, list[Requirement]]) -> None:
    if loose := [test for test, requirements in carried.items() if not requirements]:
        raise UserError(
            f"tests without a requirement get no verdict: {', '.join(loose)}",
            hint='mark each with @pytest.mark.requirement("ID-01", "One sentence.")',
        )
    sentences: dict[str, str] = {}
    for requirement in (requirement for requirements in carried.values() for requirement in requirements):
        if sentences.setdefault(requirement.id, requirement.text) != requirement.text:
            raise UserError(
                f"requirement {requirement.id} has two sentences: {sentences[requirement.id]!r} and "
                f"{requirement.text!r}",
                hint="give each requirement an id of its own",
            )


def _selection(select: str | None) -> list[str]:
    # In one piece, so that an expression that begins with a dash is not taken for an option.
    return [f"-k{select}"] if select else []


def _environment() -> dict[str, str]:
    """Ours, without what an outer pytest left in it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}


def _end_of(output: str) -> str:
    return "\n".join(output.strip().splitlines()[-COMPLAINT_LINES:])


def run(plan: Plan) -> Generator[Event, None, None]:
    """Run the plan; yields events as they happen and ends with `Ended`. Close it to end pytest early.

    Raises UserError if the folder cannot be written.
    """
    log = plan.folder / "pytest.log"
    try:
        plan.folder.mkdir(parents=True)
        output = log.open("wb")
    except (OSError, ValueError) as error:
        # ValueError: a path with a NUL in it
        raise UserError(
            f"{str(plan.folder.parent)!r}: no report can be written there: {error}",
            hint="bench.reports in rig.toml names another folder",
        ) from error
    with output:
        process = subprocess.Popen(
            plan.command(), cwd=plan.tests.parents[1], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env=_environment(), start_new_session=True,
        )  # fmt: skip
        try:
            yield from _follow(plan.results, process)
        finally:
            if process.returncode not in FINISHED:
                _end(process)
    yield Ended(process.returncode, _end_of(log.read_text(encoding="utf-8", errors="replace")))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Give pytest time to let go of its board, then leave nothing of it; a second Ctrl-C cuts that time short."""
    try:
        _signal_group(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
    finally:
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + GRACE_S
        while _signal_group(process.pid, 0) and time.monotonic() < deadline:
            time.sleep(POLL_S / 10)


def _signal_group(group: int, number: int) -> bool:
    """Whether there was a process left to get the signal."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _follow(path: Path, process: subprocess.Popen[bytes]) -> Iterator[Event]:
    position = 0
    while True:
        over = process.poll() is not None
        if path.exists():
            with path.open("rb") as stream:
                stream.seek(position)
                for line in stream:
                    if not line.endswith(b"\n"):
                        break
                    position += len(line)
                    yield from _event(json.loads(line))
        if over:
            return
        time.sleep(POLL_S)


def _event(line: dict[str, Any]) -> Iterator[Event]:
    if "collected" in line:
        yield Collected(line["collected"])
    elif "started" in line:
        yield Started(line["started"])
    elif "result" in line:
        yield Finished(TestResult.model_validate(line["result"]))


def now() -> datetime:
    return datetime.now(UTC)
