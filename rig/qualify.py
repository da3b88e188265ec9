"""Run the qualification tests on the boards of a bench and collect what they found.

pytest runs as a process of its own; its results come back as JSON lines while it runs, so progress is live and a
crash loses nothing that was finished.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rig.errors import UserError
from rig.evidence.records import Requirement, TestResult

POLL_S = 0.1
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
    """pytest is gone. `complaint` is its own last words when it did not run to the end."""

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
            sys.executable, "-m", "pytest", str(self.tests), "-q", "--color=no",
            "--rig-config", str(self.config), "--board", self.board,
            "--rig-results", str(self.results), "--rig-evidence", str(self.folder / "tests"),
        ]  # fmt: skip
        if self.jobs > 1:
            arguments += ["-n", str(self.jobs)]
        if self.select is not None:
            arguments += ["-k", self.select]
        return arguments

    @property
    def results(self) -> Path:
        return self.folder / "results.jsonl"


def find_tests(config: Path) -> Path:
    """The folder of qualification tests: beside `rig.toml`, or of this checkout."""
    for root in (config.resolve().parent, Path(__file__).resolve().parents[1]):
        if (root / "tests" / "qualification").is_dir() and (root / "conftest.py").is_file():
            return root / "tests" / "qualification"
    raise UserError("no tests/qualification folder here", hint="run rig qualify in a clone of the project")


def collect(tests: Path) -> list[tuple[str, list[Requirement]]]:
    """Every qualification test, by pytest's node id, with the requirements it checks; nothing is run."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requirements.json"
        command = [sys.executable, "-m", "pytest", str(tests), "--collect-only", "-q", "--rig-requirements", str(path)]
        done = subprocess.run(command, cwd=tests.parents[1], capture_output=True, text=True, env=_environment())
        if not path.exists():
            raise UserError(f"pytest could not collect {tests}:\n{(done.stdout + done.stderr)[-2000:]}")
        carried = json.loads(path.read_text(encoding="utf-8"))
    return [
        (test["test"], [Requirement.model_validate(requirement) for requirement in test["requirements"]])
        for test in carried
    ]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTEST_ADDOPTS": ""}


def run(plan: Plan) -> Iterator[Event]:
    """Run the plan; yields events as they happen and ends with `Ended`. The process never outlives the caller."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    log = plan.folder / "pytest.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            plan.command(), cwd=plan.tests.parents[1], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env=_environment(),
        )  # fmt: skip
        try:
            yield from _follow(plan.results, process)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    code = process.returncode
    yield Ended(code, "" if code in FINISHED else log.read_text(encoding="utf-8", errors="replace")[-2000:])


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
