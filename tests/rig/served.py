"""Virtual boards behind `rig serve`: processes of their own that a bench takes for attached boards."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rig.boards.inventory import SerialBoardSection
from rig.boards.power.command import Keys
from tests.rig.project import ROOT

POST = "import sys, urllib.request as web; web.urlopen(web.Request(sys.argv[1], method='POST'), timeout=30)"


class Served(NamedTuple):
    """Where a served board and its power switch are."""

    process: subprocess.Popen[str]
    url: str
    power: str

    def command(self, which: str) -> str:
        return shlex.join([sys.executable, "-c", POST, f"{self.power}/{which}"])

    def section(self) -> SerialBoardSection:
        power = Keys(on=self.command("on"), off=self.command("off"))
        return SerialBoardSection(
            name="served-c3", kind="serial", chip="esp32c3", firmware="synthesised", port=self.url, power=power
        )

    def toml(self) -> str:
        """The same as a part of rig.toml."""
        section = self.section()
        lines = ["[[board]]"]
        for key in ("name", "kind", "chip", "firmware", "port"):
            lines.append(f"{key} = {json.dumps(getattr(section, key))}")
        power = {"on": self.command("on"), "off": self.command("off")}
        lines.append(f"power = {{ on = {json.dumps(power['on'])}, off = {json.dumps(power['off'])} }}\n")
        return "\n".join(lines)


@contextlib.contextmanager
def serving() -> Iterator[Callable[..., Served]]:
    """Starts `rig serve` with a power port; what is left running at the end is ended."""
    processes = []

    def start(*arguments: str) -> Served:
        process = subprocess.Popen(
            [sys.executable, "-m", "rig", "serve", "--port", "0", "--power-port", "0", *arguments],
            cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        processes.append(process)
        found = []
        for pattern in (r"is at (rfc2217://\S+)", r"Its power is at (http://\S+)"):
            assert process.stdout is not None
            while (match := re.search(pattern, line := process.stdout.readline())) is None:
                assert line, "rig serve ended early"
            found.append(match[1])
        return Served(process, *found)

    try:
        yield start
    finally:
        for process in processes:
            process.terminate()
            process.communicate()
