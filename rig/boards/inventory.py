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
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from rig.errors import UserError

BoardName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=40)]
VirtualChipName = Literal["esp32c3", "esp32", "esp32s3", "esp32c6"]
IdfVersion = Literal["v4.4", "v5.1", "v5.5", "v6.0", "v6.1"]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BenchSection(Section):
    """What holds for the whole bench."""

    name: str = "bench"
    reports: Path = Field(default=Path("reports"), description="folder for reports, relative to rig.toml")


class FirmwareSection(Section):
    """Where firmware builds come from."""

    idf_version: IdfVersion = "v5.5"


class VirtualBoardSection(Section):
    """A simulated chip in this process."""

    name: BoardName
    kind: Literal["virtual"]
    chip: VirtualChipName = "esp32c3"
    tags: tuple[str, ...] = ()
    time_scale: float = Field(default=20.0, ge=1.0, le=1000.0, description="virtual seconds per second")


BoardSection = VirtualBoardSection


class BenchConfig(Section):
    """All of `rig.toml`."""

    bench: BenchSection = BenchSection()
    firmware: FirmwareSection = FirmwareSection()
    board: tuple[BoardSection, ...] = Field(min_length=1)

    @field_validator("board")
    @classmethod
    def names_are_unique(cls, boards: tuple[BoardSection, ...]) -> tuple[BoardSection, ...]:
        twice = [name for name, count in Counter(board.name for board in boards).items() if count > 1]
        if twice:
            raise ValueError(f"board names must differ; used more than once: {', '.join(twice)}")
        return boards

    def find(self, name: str) -> BoardSection:
        """The board called `name`; UserError lists the names there are."""
        for board in self.board:
            if board.name == name:
                return board
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
        key = _key_path(item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(f"{path}: {key}: unknown key; allowed here: {', '.join(_allowed(item['loc']))}")
        elif item["type"] == "missing":
            lines.append(f"{path}: {key}: missing")
        elif item["type"] == "too_short":
            # pydantic counts only the good boards: with a bad one this says nothing new.
            if len(items) == 1:
                lines.append(f"{path}: {key}: at least one is needed")
        elif item["loc"] == ("board",) and item["type"] == "tuple_type":
            lines.append(f"{path}: board: a list of tables is needed: write [[board]] above each board")
        elif item["type"] == "string_pattern_mismatch":
            lines.append(f"{path}: {key} = {item['input']!r}: letters, digits, '.', '_' and '-' are allowed")
        else:
            lines.append(f"{path}: {key} = {item['input']!r}: {_SHAPES.get(item['type'], item['msg'])}")
    return lines


def _key_path(loc: tuple[int | str, ...]) -> str:
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "rig.toml"


def _allowed(loc: tuple[int | str, ...]) -> list[str]:
    sections: dict[str, type[Section]] = {
        "bench": BenchSection,
        "firmware": FirmwareSection,
        "board": VirtualBoardSection,
    }
    section = sections[str(loc[0])] if len(loc) > 1 else BenchConfig
    return list(section.model_fields)
