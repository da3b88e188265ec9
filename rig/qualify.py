"""Run the qualification tests on the boards of a bench and collect what they found.

pytest runs as a process of its own for each board, all at the same time; results come back as JSON lines while it runs,
so progress is live and a crash loses nothing that was finished. It and its workers form a process group of their own,
which never outlives us.
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
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rig.errors import UserError
from rig.evidence.records import Requirement, Retry, SweepRecord, TestResult

POLL_S = 0.1
GRACE_S = 5.0
"""How long an interrupted pytest may take to let go of its board."""
COMPLAINT_LINES = 40
LOG = "pytest.log"
"""What pytest itself printed, in the folder of its board."""
NO_PLUGINS = ("-p", "no:pytest_embedded", "-p", "no:hypothesispytest", "-p", "no:cacheprovider")
PYTEST = (sys.executable, "-m", "pytest", "-q", "--color=no", *NO_PLUGINS)
"""pytest-embedded is used as a library. Its plugin forks a process in every worker, which keeps the pipe to xdist open
when the worker dies: xdist would wait for it for ever. Hypothesis' plugin takes longer to load than all the rest.
pytest's cache would be written by all boards at once."""
LIFELINE = "RIG_LIFELINE"
"""Environment variable with the number of a file that ends when we do (fixtures/lifeline.py)."""
NOTHING_SELECTED = 5
FINISHED = (0, 1, NOTHING_SELECTED)
"""pytest's exit codes for having run to the end: all passed, some failed, none fitted."""


@dataclass(frozen=True)
class Collected:
    board: str
    count: int


@dataclass(frozen=True)
class Started:
    board: str
    test: str


@dataclass(frozen=True)
class Finished:
    board: str
    result: TestResult


@dataclass(frozen=True)
class Swept:
    """A test has swept the power cuts of a run."""

    board: str
    sweep: SweepRecord


@dataclass(frozen=True)
class Retried:
    """A try of a test was a bench fault of `retry.board`; `again` says whether it will be done again."""

    board: str
    test: str
    retry: Retry
    again: bool


@dataclass(frozen=True)
class Quarantined:
    """One of the boards that the tests are spread over gets no more of them."""

    board: str
    name: str
    reason: str


@dataclass(frozen=True)
class Ended:
    """pytest is gone. `complaint` is its own last words."""

    board: str
    exit_code: int
    complaint: str


Event = Collected | Started | Finished | Swept | Retried | Quarantined | Ended


@dataclass(frozen=True)
class Carried:
    """A test that was collected: the requirements it checks, and what it needs of a board."""

    requirements: list[Requirement]
    needs: list[str]


@dataclass(frozen=True)
class SpreadOver:
    """Tests are spread over these boards: what each lacks (capabilities), and seconds that tests took before.

    `test_limit_s`: a test that takes longer ends its worker; `board_limit_s`: a board that has worked for longer gets
    no more tests. Both in seconds.
    """

    lacks: Mapping[str, Sequence[str]]
    seconds: Mapping[str, float]
    test_limit_s: float
    board_limit_s: float | None = None


@dataclass(frozen=True)
class Plan:
    """What to run on one board, or spread over several.

    `tests` is the folder of qualification tests. `folder`, of this board alone, receives evidence and pytest's output;
    results name their evidence relative to the folder above it. `variant` takes the place of the build variant
    `rollback`. `burn_efuses`: the board is meant to be spent. With `spread`, `board` is a name for all of them, `jobs`
    how many there are, and evidence goes into folders of their names beside `folder`.
    """

    config: Path
    tests: Path
    folder: Path
    board: str
    jobs: int
    select: str | None = None
    variant: str | None = None
    burn_efuses: bool = False
    spread: SpreadOver | None = None

    def command(self) -> list[str]:
        arguments = [*PYTEST, str(self.tests), "--rig-config", str(self.config), "--rig-results", str(self.results)]
        if self.spread is None:
            arguments += ["--board", self.board, "--rig-evidence", str(self.folder)]
        else:
            arguments += ["--rig-spread", str(self.spread_file), "--rig-evidence", str(self.folder.parent)]
            arguments += ["--rig-test-limit", str(self.spread.test_limit_s)]
            if self.spread.board_limit_s is not None:
                arguments += ["--rig-board-limit", str(self.spread.board_limit_s)]
        if self.variant is not None:
            arguments += ["--variant", self.variant]
        if self.burn_efuses:
            arguments += ["--burn-efuses", self.board]
        if self.jobs > 1 or self.spread is not None:
            arguments += ["-n", str(self.jobs)]
        return arguments + _selection(self.select)

    @property
    def spread_file(self) -> Path:
        return self.folder / "spread.json"

    @property
    def results(self) -> Path:
        return self.folder / "results.jsonl"

    @property
    def log(self) -> Path:
        return self.folder / LOG


SUITES = {"qualification": "qualification", "field": "scenarios"}
"""Suites by name, and the folder of each in `tests`."""


def find_tests(config: Path, suite: str = "qualification") -> Path:
    """The folder of a suite's tests: beside `rig.toml`, or of this checkout."""
    for root in (config.resolve().parent, Path(__file__).resolve().parents[1]):
        folder = root / "tests" / SUITES[suite]
        if folder.is_dir() and (root / "conftest.py").is_file():
            return folder
    raise UserError(f"no tests/{SUITES[suite]} folder here", hint="run rig qualify in a clone of the project")


def collect(tests: Path, select: str | None = None) -> dict[str, Carried]:
    """The qualification tests that `select` fits, by pytest's node id, with what they check and need; none is run.

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
            test["test"]: Carried([Requirement.model_validate(known) for known in test["requirements"]], test["needs"])
            for test in json.loads(path.read_text(encoding="utf-8"))
        }
    _check(carried)
    return carried


def _check(carried: dict[str, Carried]) -> None:
    if loose := [name for name, test in carried.items() if not test.requirements]:
        raise UserError(
            f"tests without a requirement get no verdict: {', '.join(loose)}",
            hint='mark each with @pytest.mark.requirement("ID-01", "One sentence.")',
        )
    sentences: dict[str, str] = {}
    for requirement in (requirement for test in carried.values() for requirement in test.requirements):
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


def run(*plans: Plan) -> Generator[Event, None, None]:
    """Run the plans at the same time, each in a pytest of its own; yields events as they happen, one `Ended` for each.

    A pytest that crashes does not touch the others. Close it to end all of them early. Raises OSError if a folder
    cannot be written.
    """
    sessions: list[_Session] = []
    with contextlib.ExitStack() as outputs:
        lifeline = outputs.enter_context(_lifeline())
        try:
            for plan in plans:
                plan.folder.mkdir(parents=True, exist_ok=True)
                output = outputs.enter_context(plan.log.open("wb"))
                process = subprocess.Popen(
                    plan.command(), cwd=plan.tests.parents[1], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                    env={**_environment(), LIFELINE: str(lifeline)}, pass_fds=[lifeline], start_new_session=True,
                )  # fmt: skip
                sessions.append(_Session(plan, process))
            while sessions:
                time.sleep(POLL_S)
                for session in list(sessions):
                    over = session.process.poll() is not None
                    yield from session.news()
                    if over:
                        _end_leftovers([session])
                        sessions.remove(session)
                        yield session.ended()
        finally:
            _end_leftovers(sessions)


@contextlib.contextmanager
def _lifeline() -> Iterator[int]:
    """The end of a pipe whose other end nobody but us has open, so that it ends with us, however we end."""
    theirs, ours = os.pipe()
    try:
        yield theirs
    finally:
        os.close(theirs)
        os.close(ours)


def write_spread(plan: Plan, carried: Mapping[str, Carried]) -> None:
    """What `--rig-spread` reads (fixtures/spread.py)."""
    assert plan.spread is not None
    tests = [{"test": name, "needs": test.needs} for name, test in carried.items()]
    content = {"tests": tests, "lacks": dict(plan.spread.lacks), "seconds": dict(plan.spread.seconds)}
    plan.folder.mkdir(parents=True, exist_ok=True)
    plan.spread_file.write_text(json.dumps(content), encoding="utf-8")


class _Session:
    """pytest at work on one board, and how much of its results has been read."""

    def __init__(self, plan: Plan, process: subprocess.Popen[bytes]) -> None:
        self.plan = plan
        self.process = process
        self._position = 0

    def news(self) -> Iterator[Event]:
        """What happened since the last call; a line that is not yet whole waits for the next one."""
        if not self.plan.results.exists():
            return
        with self.plan.results.open("rb") as stream:
            stream.seek(self._position)
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                self._position += len(line)
                yield from _event(self.plan.board, json.loads(line))

    def ended(self) -> Ended:
        said = self.plan.log.read_text(encoding="utf-8", errors="replace")
        return Ended(self.plan.board, self.process.returncode, _end_of(said))


def _end_leftovers(sessions: Sequence[_Session]) -> None:
    """Leave nothing of those that did not run to their end; all get time to let go of their boards.

    A second Ctrl-C cuts that time short.
    """
    processes = [session.process for session in sessions if session.process.returncode not in FINISHED]
    try:
        for process in processes:
            _signal_group(process.pid, signal.SIGINT)
        deadline = time.monotonic() + GRACE_S
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 0.0))
    finally:
        for process in processes:
            _signal_group(process.pid, signal.SIGKILL)
        deadline = time.monotonic() + GRACE_S
        for process in processes:
            process.wait()
            while _signal_group(process.pid, 0) and time.monotonic() < deadline:
                time.sleep(POLL_S / 10)


def _signal_group(group: int, number: int) -> bool:
    """Whether there was a process left to get the signal."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _event(board: str, line: dict[str, Any]) -> Iterator[Event]:
    if "collected" in line:
        yield Collected(board, line["collected"])
    elif "started" in line:
        yield Started(board, line["started"])
    elif "result" in line:
        yield Finished(board, TestResult.model_validate(line["result"]))
    elif "retried" in line:
        told = line["retried"]
        yield Retried(board, told["test"], Retry.model_validate(told["retry"]), told["again"])
    elif "quarantined" in line:
        yield Quarantined(board, line["quarantined"]["board"], line["quarantined"]["reason"])
    elif "sweep" in line:
        yield Swept(board, SweepRecord.model_validate(line["sweep"]))
