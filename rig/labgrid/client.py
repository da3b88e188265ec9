"""Runs `labgrid-client`, and says in a person's words what it could not do.

Facts from labgrid 26.0.1, remote/client.py: LG_HOSTNAME and LG_USERNAME name whoever acquires a place (`gethostname`,
`getuser`); `-p` also takes a part of a place's name (`_match_places`); every call ends with 1 for what labgrid
refuses, and 2 with a traceback for what a driver raised.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path
from socket import gethostname
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from rig.errors import BenchFault, UserError

COORDINATOR = "127.0.0.1:20408"
"""Where labgrid's own programs look if nothing is said."""
SCHEME = "labgrid"
PROGRAM = "labgrid-client"
OWN_VENV = Path(".venv-labgrid") / "bin" / PROGRAM
TIMEOUT_S = 30.0
"""Longest time of one call; starting the program takes about a second of it."""
PATIENCE_S = 30.0
"""How long a coordinator may be away, as while it is started again, before that is a bench fault."""
BETWEEN_S = 0.5
AWAY = (
    "coordinator is unavailable",
    "coordinator became unavailable",
    "Could not connect to coordinator",
    "is not acquired",
    "has an orphaned resource",
    "has no matching remote resource",
)
"""What labgrid says while a coordinator or exporter is away, or has come back and nobody has taken the place again."""
OF_A_SHELL = ("LG_PLACE", "LG_ENV", "LG_STATE", "LG_INITIAL_STATE", "LG_TOKEN", "PYTHONPATH", "PYTHONHOME")
"""Variables that would let the call mean another place, or the program run with another environment's packages."""


@dataclass(frozen=True)
class Address:
    """A place of a coordinator (HOST:PORT). `program`: path of labgrid-client; None: wherever it is found."""

    place: str
    coordinator: str
    program: Path | None = None

    def __str__(self) -> str:
        return f"place {self.place} of coordinator {self.coordinator}"

    @property
    def url(self) -> str:
        """The same as one text."""
        query = f"?{urlencode({'program': self.program})}" if self.program else ""
        return f"{SCHEME}://{self.coordinator}/{quote(self.place)}{query}"

    @classmethod
    def parse(cls, url: str) -> Address:
        """The inverse of `url`."""
        parts = urlsplit(url)
        program = parse_qs(parts.query).get("program")
        return cls(unquote(parts.path[1:]), parts.netloc, Path(program[0]) if program else None)


class Refused(BenchFault):
    """labgrid-client ended with an error; `said` is what it said, without a traceback."""

    said: str = ""


@dataclass(frozen=True)
class Client:
    """Calls about one place, for one board. `user`: as whom, None for whoever runs this."""

    address: Address
    board: str | None = None
    user: str | None = None
    timeout_s: float = TIMEOUT_S
    patience_s: float = PATIENCE_S

    def run(self, *arguments: str) -> str:
        """What it printed. Tries again for `patience_s` while the coordinator is away; BenchFault then, or at once for
        any other failure (`Refused`)."""
        deadline = time.monotonic() + self.patience_s
        while True:
            try:
                return self.run_once(*arguments)
            except Refused as error:
                if not any(words in error.said for words in AWAY) or time.monotonic() > deadline:
                    raise
            time.sleep(BETWEEN_S)

    def run_once(self, *arguments: str) -> str:
        """One call. UserError if there is no such program."""
        program = find_program(self.address.program)
        command = [str(program), "-x", self.address.coordinator, "-p", self.address.place, *arguments]
        process = subprocess.Popen(
            command, env=self._environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
        try:
            output, said = process.communicate(timeout=self.timeout_s)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                raise self.refused(arguments, f"did not end within {self.timeout_s:g} s", "") from error
            raise
        if process.returncode:
            raise self.refused(arguments, f"failed with exit code {process.returncode}", gist(said or output))
        return output

    def refused(self, arguments: tuple[str, ...], what: str, said: str) -> Refused:
        error = Refused(
            f"labgrid-client {' '.join(arguments)}, {self.address}: {what}",
            board=self.board,
            evidence=f"it said: {said}" if said else "it said nothing",
            hint=_hint(said, self.address),
        )
        error.said = said
        return error

    def _environment(self) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if name not in OF_A_SHELL}
        if self.user is not None:
            environment["LG_USERNAME"] = self.user
        return environment


def host_name() -> str:
    """As labgrid-client calls this host."""
    return os.environ.get("LG_HOSTNAME", gethostname())


def user_name() -> str:
    """As labgrid-client calls this user."""
    return os.environ.get("LG_USERNAME") or getuser()


def default_coordinator() -> str:
    return os.environ.get("LG_COORDINATOR", COORDINATOR)


def find_program(chosen: Path | None) -> Path:
    """labgrid-client: the chosen one, the one in PATH, or the one of `make labgrid`. UserError if there is none."""
    if chosen is not None:
        if not os.access(chosen, os.X_OK):
            raise UserError(f"{chosen}: no such program", hint="`program` in rig.toml is the path of labgrid-client")
        return chosen
    found = shutil.which(PROGRAM)
    own = [folder / OWN_VENV for folder in (Path.cwd(), Path(__file__).parents[2])]
    for path in [Path(found)] if found else own:
        if os.access(path, os.X_OK):
            return path
    raise UserError(
        "there is no labgrid-client, which reaches boards of other hosts",
        hint=f"`make labgrid` installs it in {OWN_VENV.parts[0]}; never beside the rig: it replaces pyserial",
    )


def gist(said: str) -> str:
    """The last line of a traceback, else all."""
    lines = said.strip().splitlines()
    return lines[-1] if any(line.startswith("Traceback") for line in lines) else said.strip()


def _hint(said: str, address: Address) -> str:
    if "is not acquired" in said or "not acquired by your user" in said or "not acquired on this computer" in said:
        return "a run acquires its places by itself; who has this one: labgrid-client who"
    if any(words in said for words in AWAY[:3]):
        return f"does labgrid-coordinator run at {address.coordinator}, and can this host reach it?"
    if "matches nothing" in said:
        return f"which places are there: labgrid-client -x {address.coordinator} places"
    if "orphaned" in said or "no matching remote resource" in said:
        return "is labgrid-exporter running on the board's host?"
    return f"by hand: labgrid-client -x {address.coordinator} -p {address.place} show"
