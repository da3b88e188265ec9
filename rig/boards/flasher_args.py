"""flasher_args.json, in which an ESP-IDF build says what is flashed where: read, checked and explained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from rig.errors import UserError

BUILD = "run `idf.py build` again, or name another build directory"


class FlashSection(BaseModel):
    """One flashed part: flash offset in bytes and the file, relative to the build directory."""

    model_config = ConfigDict(frozen=True)

    offset: int
    file: str = Field(min_length=1)

    @field_validator("offset", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        return _offset(value)


class EsptoolArgs(BaseModel):
    model_config = ConfigDict(frozen=True)

    chip: str
    before: str = "default_reset"
    after: str = "hard_reset"
    stub: bool = True


class FlashSettings(BaseModel):
    model_config = ConfigDict(frozen=True)

    flash_mode: str
    flash_size: str
    flash_freq: str


class FlasherArgs(BaseModel):
    """flasher_args.json (ESP-IDF components/esptool_py/flasher_args.json.in); other keys are ignored."""

    model_config = ConfigDict(frozen=True)

    write_flash_args: tuple[str, ...] = ()
    flash_settings: FlashSettings
    flash_files: dict[int, str] = Field(min_length=1)
    bootloader: FlashSection
    app: FlashSection
    partition_table: FlashSection = Field(alias="partition-table")
    otadata: FlashSection | None = None
    extra_esptool_args: EsptoolArgs

    @field_validator("flash_files", mode="before")
    @classmethod
    def _numbers(cls, value: object) -> object:
        return {_offset(key): name for key, name in value.items()} if isinstance(value, dict) else value


def read_flasher_args(folder: Path) -> FlasherArgs:
    """What the build in `folder` flashes. Raises UserError saying what is missing or wrong, and for foreign files."""
    if not folder.is_dir():
        raise UserError(
            f"build directory {folder} does not exist", hint="run `idf.py build`, then name its build folder"
        )
    source = folder / "flasher_args.json"
    if not source.is_file():
        raise UserError(f"{folder} has no flasher_args.json, so it is no finished ESP-IDF build", hint=BUILD)
    data = read_json(source)
    try:
        return FlasherArgs.model_validate(data)
    except ValidationError as error:
        raise _explained(error, data, source) from error


def _explained(error: ValidationError, data: Mapping[str, Any], source: Path) -> UserError:
    missing = [".".join(map(str, item["loc"])) for item in error.errors() if item["type"] == "missing"]
    if len(missing) == len(error.errors()) and set(missing) == {"bootloader"}:
        return UserError(
            "flasher_args.json flashes no bootloader",
            evidence=source,
            hint="with secure boot ESP-IDF leaves it out, unless CONFIG_SECURE_BOOT_FLASH_BOOTLOADER_DEFAULT is set",
        )
    if len(missing) > 2:
        here = ", ".join(list(data)[:8]) or "none"
        return UserError(
            f"flasher_args.json is not ESP-IDF's: it lacks {', '.join(missing)}; its keys: {here}",
            evidence=source,
            hint=BUILD,
        )
    if missing:
        return UserError(f"flasher_args.json lacks {', '.join(missing)}", evidence=source, hint=BUILD)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return UserError(f"flasher_args.json: {where}: {first['msg']}", evidence=source, hint=BUILD)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a build. Raises UserError naming the file."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path.name} is missing", evidence=path, hint=BUILD) from error
    except OSError as error:
        raise UserError(f"{path.name} cannot be read: {error.strerror}", evidence=path) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path.name} is no JSON: {error}", evidence=path, hint=BUILD) from error
    if not isinstance(data, dict):
        raise UserError(f"{path.name} holds no object", evidence=path, hint=BUILD)
    return data


def check_sections(args: FlasherArgs, folder: Path) -> None:
    """flasher_args.json says everything twice; a file put together from two builds does not agree with itself."""
    sections = {"bootloader": args.bootloader, "partition-table": args.partition_table, "app": args.app}
    if args.otadata is not None:
        sections["otadata"] = args.otadata
    for name, section in sections.items():
        flashed = args.flash_files.get(section.offset)
        if flashed != section.file:
            raise UserError(
                f"flasher_args.json: {name} is {section.file} at {section.offset:#x}, flash_files has {flashed} there",
                evidence=folder / "flasher_args.json",
                hint=BUILD,
            )


def _offset(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return int(value, 0)
    except ValueError:
        raise ValueError(f"{value!r} is no flash offset; expected something like 0x10000") from None
