"""A small project with quick qualification tests of its own, in which `rig` commands can be run."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rig.cli import main

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0


def small_project(folder: Path, monkeypatch: pytest.MonkeyPatch, file: str, tests: str) -> Path:
    """Lay out the project in `folder` with one file of tests, make it the current folder, and return it."""
    for name in ("conftest.py", "pytest.ini", "rig.toml"):
        shutil.copy(ROOT / name, folder)
    (folder / "tests" / "qualification").mkdir(parents=True)
    (folder / "tests" / "qualification" / file).write_text(tests)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # Nothing that an outer pytest left in the environment may matter.
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    monkeypatch.chdir(folder)
    return folder


def write_tests(project: Path, text: str) -> None:
    (project / "tests" / "qualification" / "test_small.py").write_text(text)


def run(*arguments: str, jobs: int = 1) -> Result:
    """`rig qualify` in this process, in a terminal of 80 columns."""
    command = ["qualify", "--no-open", "--jobs", str(jobs), *arguments]
    return CliRunner(env={"COLUMNS": "80"}).invoke(main, command)


def refused(result: Result, code: int = 2) -> str:
    """What a refusal says; it leaves no report."""
    assert result.exit_code == code, result.output
    assert "Traceback (most" not in result.output
    assert left_in("reports") == []
    return result.stderr


def left_in(folder: str) -> list[str]:
    """Everything in a folder, hidden or not."""
    return os.listdir(folder) if os.path.exists(folder) else []


def the_report() -> Path:
    (name,) = left_in("reports")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", name)
    return Path("reports", name)


@contextlib.contextmanager
def processes(*marks: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `rig qualify` as processes of their own; nothing outlives them, nor the tests that wrote `marks`."""
    begun = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        begun.append(
            subprocess.Popen(
                [sys.executable, "-m", "rig", "qualify", "--no-open", *arguments],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            )
        )  # fmt: skip
        return begun[-1]

    try:
        yield begin
    finally:
        for process in begun:
            if process.poll() is None:
                process.kill()
            process.communicate()
        for mark in marks:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                for pid in Path(mark).read_text().split():
                    os.kill(int(pid), signal.SIGKILL)


def stuck(name: str = "stuck") -> tuple[int, int]:
    """Waits for the test that never ends; its process and the one above."""
    deadline = time.monotonic() + PATIENCE_S
    while not Path(name).exists():
        assert time.monotonic() < deadline, "the test that never ends did not start"
        time.sleep(0.02)
    pid, parent = Path(name).read_text().split()
    return int(pid), int(parent)


def gone(pid: int) -> bool:
    """Whether a process is over; one that only waits for its parent's notice is."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"
