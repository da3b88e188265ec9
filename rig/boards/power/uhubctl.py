"""Power by a USB hub that switches its ports one by one, through the program uhubctl.

Example for rig.toml::

    [[board]]
    name = "c3-devkit"
    kind = "serial"
    chip = "esp32c3"
    serial_number = "0001"
    power = { driver = "uhubctl", location = "1-1.2", port = 3 }

`uhubctl` without arguments lists the hubs that it can switch, with their locations. Hubs may say that they switch and
not do it: after each switching the hub is asked, and `rig doctor` looks whether the chip really loses its supply, since
a hub that cuts only the data lines answers like one that cuts the supply. A board behind a hub gets its supply and its
console by one cable, so the port goes away with the power (docs/bench.md, `When power is cut`).

Options, what is printed, and which hubs work: https://github.com/mvp/uhubctl (README; uhubctl.c, print_port_status).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import Field

from rig.boards.power import PowerKeys
from rig.errors import BenchFault, UserError

TIMEOUT_S = 30.0
HUB = re.compile(r"^(?:Current|New) status for hub (\S+) \[(.*)\]$")
PORT = re.compile(r"^ +Port (\d+): [0-9a-f]{4}([^\[]*)")
NOT_SINGLE = ("ganged", "nops")
"""How a hub's description ends if it switches all ports together, or none (uhubctl.c, get_device_description)."""
LIST_HUBS = "uhubctl, without arguments, lists the hubs that can be switched; it may need root or a udev rule"
BY_HAND = "does the board's lamp go out? rig doctor tells; a hub from uhubctl's list, or a relay, switches"


class Keys(PowerKeys):
    """Which port of which hub."""

    location: str = Field(pattern=r"^\d+(-\d+(\.\d+)*)?$", description="of the hub, as uhubctl lists it")
    port: int = Field(ge=1, le=14, description="of the hub, counted from 1")
    program: str = Field(default="uhubctl", min_length=1, description="uhubctl, or the path of it")
    repeat: int = Field(
        default=10, ge=1, le=1000, description="how often it asks for no power, every 20 ms; for kernels before 6.0"
    )

    def open(self, board: str) -> UhubctlPower:
        return UhubctlPower(board, self)

    def check(self, board: str, environ: Mapping[str, str]) -> str:
        """That the program is there and the hub has this port."""
        if shutil.which(self.program, path=environ.get("PATH")) is None:
            raise UserError(
                f"there is no program {self.program}, which switches power",
                hint='install uhubctl, or give its path: program = "/usr/sbin/uhubctl"',
            )
        states = self.open(board).states()
        return f"port {self.port} of hub {self.location}: {'; '.join(state.words for state in states)} (not switched)"


class PortState(NamedTuple):
    """A port as its hub tells of it; a USB 3 hub is two hubs, and so tells twice."""

    hub: str
    description: str
    words: str

    @property
    def powered(self) -> bool:
        return "power" in self.words.split()


def port_states(output: str, port: int) -> list[PortState]:
    """What uhubctl printed of one port, by every hub that it named."""
    states, hub, description = [], "", ""
    for line in output.splitlines():
        if found := HUB.match(line):
            hub, description = found.groups()
        elif (found := PORT.match(line)) and int(found[1]) == port:
            states.append(PortState(hub, description, found[2].strip()))
    return states


class UhubctlPower:
    """One port of one hub."""

    def __init__(self, board: str, keys: Keys, timeout: float = TIMEOUT_S) -> None:
        self.board = board
        self._keys = keys
        self._timeout = timeout

    def on(self) -> None:
        self._switch("on")

    def off(self) -> None:
        self._switch("off")

    def states(self) -> list[PortState]:
        """The port now. BenchFault if there is no such hub or port, or the hub does not switch ports one by one."""
        said = self._run([])
        states = port_states(said, self._keys.port)
        if not states:
            raise BenchFault(
                f"hub {self._keys.location} has no port {self._keys.port}",
                board=self.board,
                evidence=f"uhubctl said:\n{said.strip()}",
                hint=LIST_HUBS,
            )
        for state in states:
            *_, ports, kind = ["", *state.description.split(", ")]
            if kind in NOT_SINGLE and ports != "1 ports":
                raise BenchFault(
                    f"hub {state.hub} does not switch its ports one by one",
                    board=self.board,
                    evidence=state.description,
                    hint="a hub that uhubctl calls `ppps` is needed, or a relay",
                )
        return states

    def _switch(self, wanted: Literal["on", "off"]) -> None:
        said = self._run(["-a", wanted, "-r", str(self._keys.repeat)])
        wrong = [state for state in self.states() if state.powered != (wanted == "on")]
        if wrong:
            raise BenchFault(
                f"port {self._keys.port} of hub {wrong[0].hub} was switched {wanted} and says `{wrong[0].words}`: "
                "the hub claims to switch and does not, or the system switched back",
                board=self.board,
                evidence=f"uhubctl said:\n{said.strip()}",
                hint=BY_HAND if wanted == "off" else "is the hub's own supply there?",
            )

    def _run(self, action: Sequence[str]) -> str:
        """What uhubctl prints. UserError if it cannot be started, BenchFault if it fails or does not end."""
        words = [self._keys.program, "-l", self._keys.location, "-p", str(self._keys.port), *action]
        try:
            # A session of its own: Ctrl-C must not end it between off and on.
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, capture_output=True, timeout=self._timeout, start_new_session=True
            )
        except subprocess.TimeoutExpired as error:
            raise BenchFault(
                f"uhubctl did not end within {self._timeout:g} s", board=self.board, hint=f"by hand: {' '.join(words)}"
            ) from error
        except OSError as error:
            raise UserError(
                f"uhubctl cannot be started: {error}",
                board=self.board,
                hint='install uhubctl, or give its path: program = "/usr/sbin/uhubctl"',
            ) from error
        printed, complained = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
        if done.returncode != 0:
            raise BenchFault(
                f"uhubctl cannot switch port {self._keys.port} of hub {self._keys.location}",
                board=self.board,
                evidence=f"it said:\n{(printed + complained).strip()}",
                hint=LIST_HUBS,
            )
        return printed + complained
