"""A recording: the flash content a run began with, and every flash mutation it made, in order. See docs/crash.md.

One gzip file of JSON lines. The first line is the header, then one line for each mutation, the last line says how many
there were and what flash held then, so a file that was cut short is found out. The base image is kept beside it, once
for all recordings that share it, under its SHA-256.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rig.errors import UserError
from rig.idf.config import BootConfig
from rig.idf.effects import SECTOR_SIZE, BurnSecureVersion, Erase, Mutation, Program
from rig.idf.errors import FormatError
from rig.idf.memory import FlashImage
from rig.idf.partitions import MAX_LENGTH, PartitionTable

SUFFIX = ".crash.gz"
RECORD_AGAIN = "record it again: rig crash record"


class Header(BaseModel):
    """What a recording says of itself. Offsets and sizes are bytes of flash."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["rig-crash-recording"] = "rig-crash-recording"
    version: Literal[1] = 1
    scenario: str
    board: str
    kind: str
    chip: str
    variant: str
    idf_version: str = Field(description="of the bootloader")
    diagnostics: str = Field(description="outcome of the diagnostics of an app on probation")
    flash_size: int
    base_sha256: str
    secure_version: int = Field(default=0, description="eFuse field at the beginning")
    begin: int = Field(default=0, ge=0, description="mutations made before the part of the run that matters")
    boot_config: dict[str, Any] = Field(description="the bootloader's rules, rig.idf.config.BootConfig as JSON")
    app_idf_version: str = Field(description="of the app, whose esp_ota_* rules differ by version")


@dataclass(frozen=True)
class Recording:
    """A run's mutations, and the flash content (from offset 0) that they were applied to."""

    header: Header
    base: bytes
    mutations: tuple[Mutation, ...]

    @property
    def name(self) -> str:
        return self.header.scenario

    @cached_property
    def boot_config(self) -> BootConfig:
        return BootConfig.from_json(self.header.boot_config)

    @cached_property
    def table(self) -> PartitionTable:
        offset = self.boot_config.partition_table_offset
        return PartitionTable.from_binary(self.base[offset : offset + MAX_LENGTH])

    @cached_property
    def fingerprint(self) -> str:
        """Equal for equal recordings: SHA-256 over header, base and mutations."""
        digest = sha256(self.header.model_dump_json().encode())
        for mutation in self.mutations:
            digest.update(json.dumps(mutation_line(mutation)).encode())
        return digest.hexdigest()

    def start(self) -> FlashImage:
        """Flash and eFuse field before the first mutation."""
        return FlashImage(self.base, self.header.secure_version)

    def save(self, folder: Path) -> Path:
        """Write `SCENARIO.crash.gz` and the base beside it into `folder`, each whole or not at all; the path."""
        folder.mkdir(parents=True, exist_ok=True)
        base = base_path(folder, self.header.base_sha256)
        if not _holds(base, self.base):
            _write(base, gzip.compress(self.base, 6, mtime=0))
        end = self.start()
        lines = [self.header.model_dump_json()]
        for mutation in self.mutations:
            lines.append(json.dumps(mutation_line(mutation)))
            end.apply(mutation)
        lines.append(json.dumps({"mutations": len(self.mutations), "sha256": content_hash(end)}))
        path = folder / f"{self.name}{SUFFIX}"
        _write(path, gzip.compress(("\n".join(lines) + "\n").encode(), 6, mtime=0))
        return path


def load(path: Path) -> Recording:
    """Read and check a recording and its base. UserError says what is wrong with which of the two."""
    try:
        lines = gzip.decompress(path.read_bytes()).decode().removesuffix("\n").split("\n")
    except FileNotFoundError:
        raise UserError(f"there is no recording {path}", hint=RECORD_AGAIN) from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise _broken(path, f"is cut short or no gzip file: {error}") from error
    try:
        header = Header.model_validate_json(lines[0])
        values = [json.loads(line) for line in lines[1:]]
    except (ValidationError, ValueError, RecursionError) as error:
        raise _broken(path, f"cannot be understood: {str(error).splitlines()[0]}") from error
    if not values or not isinstance(values[-1], dict) or "mutations" not in values[-1]:
        raise _broken(path, "is cut short: its last line is missing")
    *body, end = values
    if end["mutations"] != len(body):
        raise _broken(path, f"has {len(body)} mutations, its last line says {end['mutations']}")
    if header.begin > len(body):
        raise _broken(path, f"has {len(body)} mutations, and is to begin after {header.begin} of them")
    try:
        mutations = tuple(_mutations(body, header.flash_size))
        recording = Recording(header, _base(path, header), mutations)
        _ = recording.boot_config
        if not recording.table.app_slots:
            raise ValueError(
                f"no app slot in the table at {recording.boot_config.partition_table_offset:#x} of its base"
            )
    except (FormatError, ValueError, TypeError, KeyError) as error:
        raise _broken(path, f"cannot be understood: {error}") from error
    flash = recording.start()
    for mutation in mutations:
        flash.apply(mutation)
    if content_hash(flash) != end.get("sha256"):
        raise _broken(path, "does not lead to the flash content that its last line names")
    return recording


def base_path(folder: Path, digest: str) -> Path:
    """Where a base image is kept."""
    return folder / f"{digest[:16]}.base.gz"


def content_hash(flash: FlashImage) -> str:
    """SHA-256 of all flash bytes and the eFuse field."""
    return sha256(flash.read(0, len(flash)) + str(flash.secure_version).encode()).hexdigest()


def _base(path: Path, header: Header) -> bytes:
    file = base_path(path.parent, header.base_sha256)
    try:
        base = gzip.decompress(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"the base image {file.name} of {path.name} is missing", evidence=path.parent,
                        hint=f"put it beside the recording, or {RECORD_AGAIN}") from None  # fmt: skip
    except (OSError, EOFError, zlib.error) as error:
        raise _broken(file, f"is cut short or no gzip file: {error}") from error
    if sha256(base).hexdigest() != header.base_sha256:
        raise _broken(file, "is not the image that the recording names")
    if len(base) > header.flash_size:
        raise _broken(file, f"has {len(base):#x} bytes, more than the flash of {header.flash_size:#x}")
    return base


def _holds(file: Path, base: bytes) -> bool:
    """Whether `file` is there, whole, and the base image; a damaged one is written anew."""
    try:
        return gzip.decompress(file.read_bytes()) == base
    except (OSError, EOFError, zlib.error):
        return False


def mutation_line(mutation: Mutation) -> dict[str, Any]:
    """A mutation as one JSON object."""
    if isinstance(mutation, Erase):
        return {"erase": mutation.offset}
    if isinstance(mutation, Program):
        return {"program": mutation.offset, "data": base64.b64encode(mutation.data).decode()}
    return {"burn": [mutation.before, mutation.after]}


def mutation_from(line: Mapping[str, Any]) -> Mutation:
    """Inverse of `mutation_line`. Raises ValueError, TypeError or KeyError for anything else."""
    if "erase" in line:
        return Erase(_number(line["erase"]))
    if "program" in line:
        return Program(_number(line["program"]), base64.b64decode(line["data"], validate=True))
    before, after = line["burn"]
    return BurnSecureVersion(_number(before), _number(after))


def _number(value: object) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is no whole number")
    return value


def _mutations(lines: list[Mapping[str, Any]], flash_size: int) -> Iterator[Mutation]:
    for number, line in enumerate(lines, 1):
        mutation = mutation_from(line)
        if not isinstance(mutation, BurnSecureVersion):
            start, size = mutation.offset, SECTOR_SIZE if isinstance(mutation, Erase) else len(mutation.data)
            if isinstance(mutation, Erase) and start % SECTOR_SIZE:
                raise ValueError(f"mutation {number} erases at {start:#x}, which is no sector's start")
            if start < 0 or start + size > flash_size:
                end = start + size
                raise ValueError(f"mutation {number} reaches {end:#x}, behind the flash's end at {flash_size:#x}")
        yield mutation


def _broken(path: Path, what: str) -> UserError:
    return UserError(f"{path.name} {what}", evidence=path, hint=RECORD_AGAIN)


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
