"""The bench that one `rig.toml` describes: its boards and its firmware, validated.

Example::

    [bench]
    name = "desk"

    [[board]]
    name = "virtual-c3"
    kind = "virtual"
    chip = "esp32c3"
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from rig.boards.power import PowerKeys, drivers
from rig.errors import UserError
from rig.idf.chips import CHIPS
from rig.labgrid.client import Address, default_coordinator

BoardName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=40)]
Tag = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=40)]
VirtualChipName = Literal["esp32c3", "esp32", "esp32s3", "esp32c6"]
QemuChipName = Literal["esp32", "esp32s3", "esp32c3"]
WrongBootloader = Literal["confirms_new", "erases_both_entries", "needs_an_entry", "never_aborts"]
IdfVersion = Literal["v4.4", "v5.1", "v5.5", "v6.0", "v6.1"]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BenchSection(Section):
    """What holds for the whole bench."""

    name: str = "bench"
    reports: Path = Field(default=Path("reports"), description="folder for reports, relative to rig.toml")
    recordings: Path = Field(default=Path("recordings"), description="folder for recordings of flash mutations")
    history: Path = Field(default=Path("history.sqlite"), description="file that keeps every run, relative to rig.toml")


class FirmwareSection(Section):
    """Where firmware builds come from."""

    idf_version: IdfVersion = Field(default="v5.5", description="whose rules synthesised firmware follows")
    builds: Path = Field(default=Path("builds"), description="folder that rig build fills, relative to rig.toml")


class AnyBoardSection(Section):
    """What every kind of board has."""

    name: BoardName
    tags: tuple[Tag, ...] = ()


class VirtualBoardSection(AnyBoardSection):
    """A simulated chip in this process."""

    kind: Literal["virtual"]
    chip: VirtualChipName = "esp32c3"
    firmware: Literal["synthesised"] = "synthesised"
    time_scale: float = Field(default=20.0, ge=1.0, le=1000.0, description="virtual seconds per second")
    wrong_bootloader: WrongBootloader | None = Field(
        default=None, description="a bootloader that is wrong on purpose, to see that the bench finds it"
    )


class QemuBoardSection(AnyBoardSection):
    """Unmodified firmware on Espressif's QEMU."""

    kind: Literal["qemu"]
    chip: QemuChipName
    firmware: Literal["built"] = "built"
    flash_size: Literal["2MB", "4MB", "8MB", "16MB"] = "4MB"
    qemu: Path | None = Field(default=None, description="QEMU's program, or the folder it is in")
    clock: Literal["instructions", "real"] = Field(default="instructions", description="what guest time follows")


class WifiSection(Section):
    """The access point that a board shall use, and what it calls this machine."""

    ssid: str = Field(min_length=1, max_length=32)
    password: str = Field(default="", max_length=64, repr=False)
    host: str = Field(min_length=1, max_length=100, description="address of this machine in that network")


class GapLimits(Section):
    """Longest gaps between two interrupts, in microseconds."""

    iram_us: int | None = Field(default=None, ge=1, description="of an interrupt in IRAM")
    flash_us: int | None = Field(default=None, ge=1, description="of one that waits for the flash cache")


class PlaceSection(Section):
    """A place of a labgrid coordinator (docs/labgrid.md)."""

    name: str = Field(min_length=1, pattern=r"^[^/\s]+$", description="of the place")
    coordinator: str = Field(default_factory=default_coordinator, pattern=r"^\S+:\d+$", description="HOST:PORT")
    serial: str | None = Field(default=None, min_length=1, description="of its serial port, if it has several")
    program: Path | None = Field(default=None, description="path of labgrid-client")

    @property
    def address(self) -> Address:
        return Address(self.name, self.coordinator, self.program)


class SerialBoardSection(AnyBoardSection):
    """An attached board, or one behind a serial port server."""

    kind: Literal["serial"]
    chip: str
    firmware: Literal["built", "synthesised"] = "built"
    port: str | None = Field(default=None, min_length=1, description="device path, or a pyserial URL")
    serial_number: str | None = Field(default=None, min_length=1, description="of the USB bridge")
    mac: str | None = Field(default=None, pattern=r"^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$", description="of the chip")
    place: PlaceSection | None = None
    baud: int = Field(default=115200, ge=9600, le=4_000_000, description="of the console")
    flash_baud: int = Field(default=921600, ge=9600, le=4_000_000, description="while esptool flashes")
    power: PowerKeys | None = None
    wifi: WifiSection | None = None
    interrupt_gap_limits: GapLimits = GapLimits()
    cut_line: bool = Field(default=False, description="whether its supply hangs on a cut line (docs/cut-line.md)")
    encryption_key: Path | None = Field(default=None, description="file with the flash encryption key in its eFuses")
    wear_budget: int | None = Field(
        default=None, ge=1, description="otadata erases after which the board gets no more tests"
    )
    efuse: Literal["virtual", "burn"] | None = Field(default=None, description="how anti-rollback may be tested on it")

    @field_validator("chip")
    @classmethod
    def chip_is_known(cls, chip: str) -> str:
        if chip not in CHIPS:
            raise ValueError(f"known chips: {', '.join(CHIPS)}")
        return chip

    @field_validator("power", mode="before")
    @classmethod
    def power_is_as_its_driver_wants(cls, table: Any, info: ValidationInfo) -> Any:
        place = info.data.get("place")
        if isinstance(table, dict) and table.get("driver") == "labgrid" and "place" not in table and place:
            own = {"place": place.name, "coordinator": place.coordinator, "program": place.program}
            table = {**own, **table}
        return drivers.read(table) if isinstance(table, dict) else table

    @model_validator(mode="after")
    def port_is_named_once(self) -> SerialBoardSection:
        if sum(value is not None for value in (self.port, self.serial_number, self.mac, self.place)) != 1:
            raise ValueError("name the port by exactly one of: port, serial_number, mac, place")
        return self


BoardSection = VirtualBoardSection | QemuBoardSection | SerialBoardSection


class BenchConfig(Section):
    """All of `rig.toml`."""

    bench: BenchSection = BenchSection()
    firmware: FirmwareSection = FirmwareSection()
    board: tuple[Annotated[BoardSection, Field(discriminator="kind")], ...] = Field(min_length=1)

    @field_validator("board")
    @classmethod
    def names_are_unique(cls, boards: tuple[BoardSection, ...]) -> tuple[BoardSection, ...]:
        twice = [name for name, count in Counter(board.name for board in boards).items() if count > 1]
        if twice:
            raise ValueError(f"board names must differ; used more than once: {', '.join(twice)}")
        return boards

    def find(self, name: str) -> BoardSection:
        """The board called `name`, or else the first of a kind called so; UserError lists the names there are."""
        fitting = [board for board in self.board if board.name == name]
        fitting += [board for board in self.board if board.kind == name]
        if fitting:
            return fitting[0]
        names = ", ".join(board.name for board in self.board)
        raise UserError(f"no board is called {name!r}", hint=f"one of: {names}")


def load(path: Path) -> BenchConfig:
    """Read and validate a `rig.toml`; UserError names the key, its value and what is allowed."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file", hint="run rig in the folder of rig.toml, or give --config FILE"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not valid TOML: {error}", hint="mend the line it names") from error
    try:
        return BenchConfig.model_validate(data)
    except ValidationError as error:
        raise UserError("\n".join(_explain(path, data, error)), hint="docs/bench.md lists every key") from error


Location = tuple[int | str, ...]
KINDS: Mapping[str, type[Section]] = {
    "virtual": VirtualBoardSection,
    "qemu": QemuBoardSection,
    "serial": SerialBoardSection,
}
_TABLES: Mapping[str, type[Section]] = {
    "wifi": WifiSection,
    "interrupt_gap_limits": GapLimits,
    "place": PlaceSection,
}
"""Tables within a board's."""

_SHAPES = {
    "model_type": "a table is needed",
    "model_attributes_type": "a table is needed",
    "tuple_type": "a list is needed",
    "path_type": "a text is needed",
}
"""pydantic's names of errors whose messages speak of Python, and what a reader of TOML is told instead."""


def _explain(path: Path, data: object, error: ValidationError) -> list[str]:
    items = error.errors()
    lines = []
    for item in items:
        key = _key_path(_without_kind(item["loc"]))
        if item["type"] == "extra_forbidden":
            lines.append(f"{path}: {key}: unknown key; allowed here: {', '.join(_allowed(item['loc']))}")
        elif item["type"] == "missing":
            lines.append(f"{path}: {key}: missing")
        elif item["type"] == "union_tag_not_found":
            lines.append(f"{path}: {key}.kind: missing; allowed: {', '.join(KINDS)}")
        elif item["type"] == "union_tag_invalid":
            lines.append(f"{path}: {key}.kind = {item['input']['kind']!r}: allowed: {', '.join(KINDS)}")
        elif item["type"] == "value_error" and item["loc"][-1:] == ("power",):
            # A driver of another package has its own keys, and said so itself.
            lines += [f"{path}: {key}.{said}" for said in item["msg"].removeprefix("Value error, ").split("\n")]
        elif item["type"] == "value_error" and isinstance(item["input"], dict):
            lines.append(f"{path}: {key}: {item['msg'].removeprefix('Value error, ')}")
        elif item["type"] == "too_short":
            # pydantic counts only the good boards: with a bad one this says nothing new.
            if len(items) == 1:
                lines.append(f"{path}: {key}: at least one is needed")
        elif item["loc"] == ("board",) and item["type"] == "tuple_type":
            lines.append(f"{path}: board: a list of tables is needed: write [[board]] above each board")
        elif item["type"] == "string_pattern_mismatch":
            lines.append(f"{path}: {key} = {item['input']!r}: letters, digits, '.', '_' and '-' are allowed")
        else:
            secret = item["loc"][-1:] in (("password",), ("wifi",))
            value = "" if secret else f" = {item['input']!r}"
            lines.append(f"{path}: {key}{value}: {_SHAPES.get(item['type'], item['msg'])}")
    return lines


def _without_kind(loc: Location) -> Location:
    """pydantic puts the kind behind a board's number, where rig.toml has nothing of the sort."""
    return loc[:2] + loc[3:] if loc[:1] == ("board",) and len(loc) > 2 and loc[2] in KINDS else loc


def _key_path(loc: Location) -> str:
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "rig.toml"


def _allowed(loc: Location) -> list[str]:
    if len(loc) == 1:
        section: type[Section] = BenchConfig
    elif loc[0] == "board":
        within = [table for name, table in _TABLES.items() if name in loc]
        section = within[0] if within else KINDS[str(loc[2])]
    else:
        section = BenchSection if loc[0] == "bench" else FirmwareSection
    return list(section.model_fields)
