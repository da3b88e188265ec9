"""Leases: two runs on one host never use a board at the same time, and none is left without power.

A lease is a file lock, which the kernel takes back from a process that is gone: there are no stale ones. It is held by
a guardian (`rig.boards.guardian`), a process of its own that switches power on again when its owner was killed, and
only then lets go.
"""

from __future__ import annotations

import base64
import contextlib
import getpass
import json
import os
import pickle
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from rig.boards.power import PowerKeys
from rig.errors import BenchFault, UserError

FOLDER = "RIG_LEASES"
"""Environment variable with the folder of leases; every run on a host has to use the same."""
HELD = "RIG_HELD"
"""Environment variable with the keys of boards, as JSON, that a process holds for the processes it starts."""
WAIT_S = 5.0
"""How long a board in use is waited for: a run that has just ended is still letting go."""


class Holder(NamedTuple):
    """Who has a board, as he wrote it down himself; `since` is UTC."""

    board: str
    user: str
    pid: int
    command: str
    since: str

    def __str__(self) -> str:
        return f"{self.user}, process {self.pid}, since {self.since}: {self.command}"


class Wanted(NamedTuple):
    """What a guardian is asked to hold. `keys`: what this board may be known by, see `lock_names`."""

    board: str
    keys: tuple[str, ...]
    folder: Path
    power: PowerKeys | None

    def within(self) -> Wanted:
        """The lease that a process takes within one that was taken for it: it keeps others like it out, and no more."""
        return self._replace(keys=tuple(f"within-{key}" for key in self.keys))

    def encoded(self) -> str:
        return base64.b64encode(pickle.dumps(self)).decode()

    @classmethod
    def decoded(cls, text: str) -> Wanted:
        """Only of what our own parent process wrote."""
        wanted = pickle.loads(base64.b64decode(text))
        assert isinstance(wanted, Wanted)
        return wanted


def lease_folder() -> Path:
    """Where leases lie, for all users of this host; made if it is missing. BenchFault if it cannot be."""
    chosen = os.environ.get(FOLDER)
    shared = Path("/run/lock")
    base = shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())
    folder = Path(chosen) if chosen else base / "rollback-rig"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(PermissionError):
            folder.chmod(0o1777)  # somebody else's: he has done it
    except OSError as error:
        raise BenchFault(
            f"{folder}: leases of boards cannot be kept there: {error.strerror}",
            hint=f"set {FOLDER} to a folder that every user of the boards may write to",
        ) from error
    return folder


def lock_names(keys: Sequence[str]) -> list[str]:
    """File names of the locks for what a board is known by: a device path, the place it leads to, a URL, a number."""
    places = list(keys)
    places += [os.path.realpath(key) for key in keys if key.startswith("/") and os.path.exists(key)]
    return sorted({re.sub(r"[^A-Za-z0-9._-]+", "_", place).strip("_") + ".lock" for place in places})


def holder(keys: Sequence[str], folder: Path | None = None) -> Holder | None:
    """Who holds the board right now; None if it is free. Takes no lock away from anybody."""
    folder = folder or lease_folder()
    for name in lock_names(keys):
        if (folder / name).exists() and _is_locked(folder / name):
            return _read(folder / name) or Holder("?", "?", 0, "?", "?")
    return None


@contextmanager
def locked(wanted: Wanted, owner: Holder, wait_s: float) -> Iterator[None]:
    """Hold all locks of a board, with `owner` written beside them; BenchFault names whoever has it after `wait_s`."""
    deadline = time.monotonic() + wait_s
    with contextlib.ExitStack() as stack:
        for name in lock_names(wanted.keys):
            path = wanted.folder / name
            lock = FileLock(path, mode=0o666)
            try:
                stack.enter_context(lock.acquire(timeout=max(0.0, deadline - time.monotonic()), poll_interval=0.05))
            except Timeout:
                raise in_use(wanted.board, _read(path)) from None
            except OSError as error:
                raise BenchFault(
                    f"{path}: the lease cannot be taken: {error.strerror}",
                    board=wanted.board,
                    hint=f"may this user write there? {FOLDER} names another folder",
                ) from error
            _note(path).write_text(json.dumps(owner._asdict()), encoding="utf-8")
            stack.callback(_note(path).unlink, missing_ok=True)
        yield


def in_use(board: str, who: Holder | None) -> BenchFault:
    """The error for a board that somebody else has."""
    return BenchFault(
        "somebody else is using this board" + (f": {who}" if who else ""),
        board=board,
        hint="wait for that run to end, or end it; its lease goes with it",
    )


class Lease:
    """A board's lease; `with` takes it and gives it back. `keys` and `power` as in `Wanted`."""

    def __init__(self, board: str, keys: Sequence[str], power: PowerKeys | None, wait_s: float = WAIT_S) -> None:
        self.board = board
        self.keys = tuple(keys)
        self._power = power
        self.wait_s = wait_s

    @property
    def holder(self) -> Holder | None:
        """Who has the board now."""
        return holder(self.keys)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Hold it; BenchFault if somebody else does."""
        wanted = Wanted(self.board, self.keys, lease_folder(), self._power)
        if set(self.keys) <= _held_for_us():
            wanted = wanted.within()
        process = subprocess.Popen(
            [sys.executable, "-m", "rig.boards.guardian"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, text=True,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            request = {"wanted": wanted.encoded(), "owner": _myself(self.board)._asdict(), "wait_s": self.wait_s}
            answer = _ask(process, json.dumps(request))
            if answer.get("held") is not True:
                raise _as_error(self.board, answer)
            yield
        finally:
            # A guardian that is gone has nothing left to do.
            with contextlib.suppress(OSError):
                process.stdin.write("done\n")
            with contextlib.suppress(OSError):
                process.stdin.close()
            process.stdout.close()
            process.wait()


@contextmanager
def held_for_children(leases: Iterable[Lease]) -> Iterator[Mapping[str, str]]:
    """Hold these boards for this process and all it starts; yields those that could not be had, and why."""
    refused, keys = {}, list(_held_for_us())
    with contextlib.ExitStack() as stack:
        for lease in leases:
            try:
                stack.enter_context(lease())
                keys += lease.keys
            except BenchFault as error:
                refused[lease.board] = error.what
        before = os.environ.get(HELD)
        os.environ[HELD] = json.dumps(keys)
        try:
            yield refused
        finally:
            os.environ.pop(HELD)
            if before is not None:
                os.environ[HELD] = before


def _held_for_us() -> set[str]:
    return set(json.loads(os.environ.get(HELD, "[]")))


def _ask(process: subprocess.Popen[str], request: str) -> dict[str, object]:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(request + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except OSError:
        line = ""
    answer = json.loads(line) if line else {"broken": f"it ended with exit code {process.wait()}"}
    assert isinstance(answer, dict)
    return answer


def _as_error(board: str, answer: dict[str, object]) -> BenchFault | UserError:
    if "fault" in answer:
        return BenchFault(str(answer["fault"]), board=board, hint=str(answer.get("hint") or "") or None)
    return BenchFault(f"the guardian of the board's lease did not start: {answer.get('broken')}", board=board)


def _myself(board: str) -> Holder:
    command = " ".join([os.path.basename(sys.argv[0]), *sys.argv[1:]])
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = str(os.getuid())
    return Holder(board, f"{user}@{socket.gethostname()}", os.getpid(), command, f"{datetime.now(UTC):%F %T} UTC")


def _note(path: Path) -> Path:
    # Beside the lock and not in it: whoever tries to lock empties the file.
    return path.with_suffix(".json")


def _read(path: Path) -> Holder | None:
    try:
        return Holder(**json.loads(_note(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _is_locked(path: Path) -> bool:
    try:
        with FileLock(path, mode=0o666).acquire(timeout=0):
            return False
    except Timeout:
        return True
