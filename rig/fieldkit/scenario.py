"""`scenario.toml`: a saved, replayable story of one board, and what is expected of it. Read, checked, written."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import Field, ValidationError

from rig.errors import UserError
from rig.fieldkit.steps import Diagnosis, Image, SlotName, Step, Table
from rig.fieldkit.verdicts import FieldVerdict
from rig.idf.config import IDF_VERSIONS

FORMAT = 1
IdfVersion = Literal["v4.4", "v5.1", "v5.5", "v6.0", "v6.1"]
Entry = Annotated[
    str,
    Field(
        pattern=r"^(erased|seq (0x[0-9a-fA-F]{1,8}|\d{1,10}) (NEW|PENDING_VERIFY|VALID|INVALID|ABORTED|UNDEFINED"
        r"|0x[0-9a-fA-F]{1,8})(, bad CRC)?|[0-9a-fA-F]{64})$",
        description="`erased`, `seq 3 VALID`, `seq 2 NEW, bad CRC`, or the 32 bytes in hex",
    ),
]


class Firmware(Table):
    """What runs: a build variant of firmware_under_test, and what of it is otherwise.

    Where a key is absent the variant decides. Boards with built firmware need a build that fits; boards with
    synthesised firmware are given one.
    """

    variant: str = "rollback"
    chip: str | None = Field(default=None, description="only on this chip")
    idf_versions: tuple[IdfVersion, ...] = Field(default=(), description="those it is about; none: every one")
    bootloader: str | None = Field(default=None, description="variant whose bootloader is in flash instead")
    rollback: bool | None = None
    anti_rollback: bool | None = None
    log_level: Literal["NONE", "ERROR", "WARN", "INFO", "DEBUG"] | None = Field(
        default=None, description="of the bootloader"
    )
    partitions: str | None = Field(default=None, description="the partition table as CSV")


class Start(Table):
    """Flash when it begins. What is not named is erased; the app that flashing puts in has `version`.

    `diagnostics`: how the first ones end, set beforehand. `dump`: flash content from offset 0, in a file beside the
    scenario (.gz or plain), instead of version, otadata and slots.
    """

    version: str = "1.0.0"
    otadata: tuple[Entry, Entry] = ("erased", "erased")
    slots: Mapping[SlotName, Image] = Field(default_factory=dict)
    secure_version: int = Field(default=0, ge=0, le=32)
    diagnostics: Diagnosis | None = None
    dump: str | None = None
    dump_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")


class Expect(Table):
    """What is expected of it all, for these ESP-IDF versions (none: every one). What is absent is not looked at.

    `booted`: the slot of each boot in order, `none` where nothing came up. `answers`: of each step that makes a call.
    `otadata`: both entries at the end. `ends`: how it is with the board at the end.
    """

    idf_versions: tuple[IdfVersion, ...] = ()
    booted: tuple[SlotName | Literal["none"], ...] | None = None
    versions: tuple[str, ...] | None = None
    states: tuple[str, ...] | None = Field(default=None, description="of the app that came up, boot by boot; - unknown")
    answers: tuple[str, ...] | None = None
    otadata: tuple[Entry, Entry] | None = None
    secure_version: int | None = None
    ends: Literal["runs", "restarts", "nothing bootable", "hangs", "off"] | None = None
    verdict: FieldVerdict | None = Field(default=None, description="what rig explain says of the console")


class Scenario(Table):
    """The whole file. `issue` names the public report; `text` says for people what happens and why it matters."""

    format: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,60}$")]
    summary: str = Field(min_length=1, max_length=200)
    issue: str | None = None
    text: str = ""
    needs: tuple[str, ...] = Field(default=(), description="capabilities a board must have, as power_cut")
    test: str | None = Field(default=None, description="the test that wrote it")
    left_out: tuple[str, ...] = Field(default=(), description="what the test did that a scenario cannot hold")
    firmware: Firmware = Firmware()
    start: Start = Start()
    steps: tuple[Step, ...] = ()
    expect: tuple[Expect, ...] = ()

    def expected(self, idf_version: str) -> Expect | None:
        """The first expectation for that ESP-IDF version; None if there is none."""
        return next((item for item in self.expect if not item.idf_versions or idf_version in item.idf_versions), None)

    @property
    def idf_versions(self) -> tuple[str, ...]:
        """Those it is about."""
        return self.firmware.idf_versions or IDF_VERSIONS


def load(path: Path) -> Scenario:
    """Read and check a scenario file. Raises UserError with path, key and what is wrong there."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", hint="give the path of a scenario.toml") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: no TOML file: {error}", hint="docs/scenarios.md shows one") from error
    try:
        return Scenario.model_validate(data)
    except ValidationError as error:
        lines = [f"{_where(item['loc'])}: {item['msg']}" for item in error.errors()]
        raise UserError(
            "\n".join([f"{path}: not a scenario", *lines]), hint="docs/scenarios.md has every key"
        ) from error


def at_home(scenario: Scenario, path: Path) -> Scenario:
    """With the path of its dump, if it begins from one, made whole: that of a file beside the scenario at `path`."""
    if scenario.start.dump is None:
        return scenario
    dump = str(path.resolve().parent / scenario.start.dump)
    return scenario.model_copy(update={"start": scenario.start.model_copy(update={"dump": dump})})


def dumps(scenario: Scenario) -> str:
    """The file's text: keys in a fixed order, defaults left out, one step on one line, so that two can be compared."""
    data = {"format": FORMAT, **plain_table(scenario)}
    steps = "".join(f"    {inline(step)},\n" for step in data.pop("steps", []))
    tables: dict[str, Any] = {key: data.pop(key) for key in ("firmware", "start", "expect") if key in data}
    parts = [tomli_w.dumps(data, multiline_strings=True) + (f"steps = [\n{steps}]\n" if steps else "")]
    return "\n".join([*parts, tomli_w.dumps(tables, multiline_strings=True)]) if tables else parts[0]


def inline(value: Any) -> str:
    """A TOML value on one line; tomli-w breaks long ones."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {inline(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return tomli_w.dumps({"x": value}).partition(" = ")[2].strip()


def plain_table(table: Table) -> dict[str, Any]:
    """What the file says of it: only what is not the default, but always which step it is."""
    written: dict[str, Any] = {}
    for name, field in type(table).model_fields.items():
        value = getattr(table, name)
        if name == "do" or (value is not None and value != field.get_default(call_default_factory=True)):
            written[name] = _value(value)
    return written


def _value(value: Any) -> Any:
    if isinstance(value, Table):
        return plain_table(value)
    if isinstance(value, Mapping):
        return {key: _value(item) for key, item in value.items()}
    return [_value(item) for item in value] if isinstance(value, tuple) else value


def _where(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)
