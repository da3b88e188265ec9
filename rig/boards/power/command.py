"""Power by any command line: uhubctl, a relay's own tool, curl, labgrid-client.

Example for rig.toml::

    [[board]]
    name = "c3-devkit"
    kind = "serial"
    chip = "esp32c3"
    port = "/dev/serial/by-id/usb-Silicon_Labs_CP2102N_0001-if00-port0"
    power = { on = "uhubctl -l 1-1.2 -p 3 -a on", off = "uhubctl -l 1-1.2 -p 3 -a off -r 100" }

The commands run without a shell, so there are no pipes and no variables in them; write `sh -c '...'` for those. Each
must return when it is done: a supply that holds up for a while wants a `sleep` after it, by `sh -c`.
Uhubctl's options: https://github.com/mvp/uhubctl.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from typing import IO, Literal

from pydantic import Field

from rig.boards.power import PowerKeys
from rig.errors import BenchFault, UserError

TIMEOUT_S = 30.0
SAID_BYTES = 600


class Keys(PowerKeys):
    """The two command lines."""

    on: str = Field(min_length=1)
    off: str = Field(min_length=1)

    def open(self, board: str) -> CommandPower:
        for line in (self.on, self.off):
            command_words(line, board)
        return CommandPower(board, self.on, self.off)

    def check(self, board: str, environ: Mapping[str, str]) -> str:
        """That both programs are there."""
        for line in (self.on, self.off):
            program = command_words(line, board)[0]
            if shutil.which(program, path=environ.get("PATH")) is None:
                raise UserError(
                    f"there is no program {program}, which switches power", hint=f"power in rig.toml: {line}"
                )
        return f"on: {self.on}; off: {self.off} (not switched)"


class CommandPower:
    """Runs one command to switch on, another to switch off; each may take `timeout` seconds."""

    def __init__(self, board: str, on: str, off: str, timeout: float = TIMEOUT_S) -> None:
        self.board = board
        self.timeout = timeout
        self._commands = {"on": on, "off": off}

    def on(self) -> None:
        self._run("on")

    def off(self) -> None:
        self._run("off")

    def _run(self, which: Literal["on", "off"]) -> None:
        """UserError if there is no such program; BenchFault if it fails, or does not end in time."""
        line = self._commands[which]
        # Not a pipe: a command that leaves something running behind it would hold it open for ever.
        with tempfile.TemporaryFile() as output:
            try:
                process = subprocess.Popen(
                    command_words(line, self.board), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                    start_new_session=True,
                )  # fmt: skip
            except (OSError, ValueError) as error:
                raise UserError(
                    f"the command that switches power {which} cannot be started: {error}",
                    board=self.board,
                    hint=f"power.{which} in rig.toml is: {line}",
                ) from error
            try:
                code = process.wait(self.timeout)
            except BaseException as error:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise self._fault(which, f"did not end within {self.timeout:g} s", output) from error
                raise
            if code != 0:
                raise self._fault(which, _ending(code), output)

    def _fault(self, which: str, what: str, output: IO[bytes]) -> BenchFault:
        end = output.seek(0, os.SEEK_END)
        output.seek(max(0, end - SAID_BYTES))
        said = output.read().decode(errors="replace").strip()
        return BenchFault(
            f"the command that switches power {which} {what}",
            board=self.board,
            evidence=f"it said:\n{said}" if said else "it said nothing",
            hint=f"run it by hand: {self._commands[which]}",
        )


def command_words(line: str, board: str) -> list[str]:
    """The words of a command line as a shell would split them; UserError if quotes do not close, or there are none."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UserError(
            f"power in rig.toml is no command line: {line!r}: {error}", board=board, hint="close the quotes"
        ) from error
    if not words:
        raise UserError(
            "power in rig.toml has an empty command line", board=board, hint="write a program and arguments"
        )
    return words


def _ending(code: int) -> str:
    if code < 0:
        return f"was ended by signal {-code} ({signal.Signals(-code).name})"
    return f"failed with exit code {code}"
