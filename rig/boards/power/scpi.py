"""Power by a lab supply that speaks SCPI, over LAN, USB, a serial port or GPIB, through PyVISA.

Example for rig.toml::

    [[board]]
    name = "c3-devkit"
    kind = "serial"
    chip = "esp32c3"
    serial_number = "0001"
    power = { driver = "scpi", resource = "TCPIP::192.0.2.5::5025::SOCKET", channel = 2 }

Needs the packages `pyvisa` and `pyvisa-py` (for a resource `USB...` also `pyusb`); `pyvisa-info` shows what is there,
https://pyvisa.readthedocs.io/en/latest/introduction/names.html how a resource is written.

Commands are those of SCPI-99 (volume 2, OUTPut:STATe and INSTrument:NSELect). Other supplies have others, with
`{channel}` where the channel belongs; a Rigol DP800 (programming guide, :OUTPut[:STATe]) wants
`select = "", on = "OUTP CH{channel},ON", off = "OUTP CH{channel},OFF", ask = "OUTP? CH{channel}"`.

A supply with one output relay switches all channels at once (Agilent E3631A, user's guide, OUTPut): then it can feed
one board only. The voltage is what was set by hand. Output capacitors go on feeding the board for a while after `off`;
`rig doctor` measures how long.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from rig.boards.power import PowerKeys
from rig.boards.power._devices import optional_package
from rig.errors import BenchFault, UserError

INSTALL = "pyvisa pyvisa-py"
TIMEOUT_MS = 5000
ANSWERS: Mapping[str, Literal["on", "off"]] = {"1": "on", "ON": "on", "0": "off", "OFF": "off"}
HINT = "is the supply on and its remote interface enabled? pyvisa-shell -b py opens the resource by hand"


class Keys(PowerKeys):
    """Where the supply is, and what it wants to hear."""

    channel: int | None = Field(default=None, ge=1, description="output to select before each command")
    resource: str = Field(min_length=1, description="VISA resource name")
    select: str = Field(default="INST:NSEL {channel}", description="sent first if there is a channel; empty: nothing")
    on: str = Field(default="OUTP ON", min_length=1)
    off: str = Field(default="OUTP OFF", min_length=1)
    ask: str = Field(default="OUTP?", min_length=1, description="answered by 1, ON, 0 or OFF")
    baud: int | None = Field(default=None, ge=1, description="of a serial port, if not PyVISA's 9600")
    backend: str = Field(default="@py", min_length=1, description="PyVISA's: @py, @ivi, FILE@sim")

    @field_validator("select", "on", "off", "ask")
    @classmethod
    def only_the_channel_is_filled_in(cls, template: str, info: ValidationInfo) -> str:
        try:
            template.format(channel=1)
        except (LookupError, ValueError, AttributeError) as error:
            raise ValueError(f"{template!r}: only {{channel}} can stand in braces") from error
        names_it = template.format(channel=1) != template.format(channel=2)
        if names_it and info.field_name != "select" and info.data.get("channel", 0) is None:
            raise ValueError(f"{template!r} needs the key channel")
        return template

    def open(self, board: str) -> ScpiPower:
        return ScpiPower(board, self)

    def check(self, board: str, environ: Mapping[str, str]) -> str:
        """That the supply answers, and what it says of its output."""
        return f"{self.resource}: output {self.open(board).state()} (not switched)"


class ScpiPower:
    """One output of a supply. The session is opened for each use, so that the supply stays free for others."""

    def __init__(self, board: str, keys: Keys) -> None:
        self.board = board
        self._keys = keys

    def on(self) -> None:
        self._switch("on", self._keys.on)

    def off(self) -> None:
        self._switch("off", self._keys.off)

    def state(self) -> Literal["on", "off"]:
        """What the supply says of the output. BenchFault if it does not answer, or not by on or off."""
        return self._converse(None)

    def _switch(self, wanted: Literal["on", "off"], command: str) -> None:
        if (state := self._converse(command)) != wanted:
            raise BenchFault(
                f"the supply was told `{self._filled(command)}` and says that its output is {state}",
                board=self.board,
                evidence=f"{self._keys.resource} answered to `{self._filled(self._keys.ask)}`",
                hint="is its protection tripped, its front panel locked, or the channel another one?",
            )

    def _converse(self, command: str | None) -> Literal["on", "off"]:
        visa = optional_package(self.board, "pyvisa", INSTALL)
        try:
            with self._opened(visa) as supply:
                if self._keys.channel is not None and self._keys.select:
                    supply.write(self._filled(self._keys.select))
                if command is not None:
                    supply.write(self._filled(command))
                answer = str(supply.query(self._filled(self._keys.ask))).strip()
        except UserError:
            raise
        except Exception as error:
            # PyVISA's backends raise what they like, Exception itself included (pyvisa_py, tcpip.py).
            raise BenchFault(
                f"the supply {self._keys.resource} cannot be talked to: {error}", board=self.board, hint=HINT
            ) from error
        if answer.upper() not in ANSWERS:
            raise BenchFault(
                f"the supply answers `{self._filled(self._keys.ask)}` with {answer!r}, which is neither on nor off",
                board=self.board,
                hint="`ask`, `select` and `channel` must be what this supply's programming guide says",
            )
        return ANSWERS[answer.upper()]

    def _opened(self, visa: Any) -> Any:
        try:
            visa.rname.ResourceName.from_string(self._keys.resource)
        except visa.rname.InvalidResourceName as error:
            raise UserError(
                f"{self._keys.resource} is no VISA resource name: {error}",
                board=self.board,
                hint="as TCPIP::HOST::5025::SOCKET or ASRL/dev/ttyUSB1::INSTR",
            ) from error
        try:
            manager = visa.ResourceManager(self._keys.backend)
        except (ValueError, OSError) as error:
            raise UserError(
                f"PyVISA has no backend {self._keys.backend}",
                board=self.board,
                evidence=str(error),
                hint=f"pip install {INSTALL}",
            ) from error
        supply = manager.open_resource(self._keys.resource)
        supply.timeout = TIMEOUT_MS
        supply.read_termination = supply.write_termination = "\n"
        if self._keys.baud is not None:
            supply.baud_rate = self._keys.baud
        return supply

    def _filled(self, template: str) -> str:
        return template.format(channel=self._keys.channel)
