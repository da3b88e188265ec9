"""The files of a build that are certified: found, hashed, and copied into the folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from rig.certificate.left_out import json_without_secrets, sdkconfig_without_secrets
from rig.certificate.records import Artefact, Kept, Release
from rig.errors import UserError
from rig.gate.pieces import ARGS, BOOTLOADER_CONFIG, CONFIG, DESCRIPTION, Pieces
from rig.gate.release import CannotTell
from rig.idf.errors import FormatError
from rig.virtual.builds import embedded_config

BUILD = "build"
"""The folder of a certificate that holds copies of the build's files."""
BIG = 16 * 1024 * 1024
"""Bytes: of a larger file only the hash is kept."""
SDKCONFIG = "sdkconfig"
_SETTINGS: dict[str, Callable[[bytes], tuple[bytes, list[str]]]] = {
    CONFIG: json_without_secrets,
    BOOTLOADER_CONFIG: json_without_secrets,
    SDKCONFIG: sdkconfig_without_secrets,
}
_ROLES = {"bootloader": "bootloader", "partition-table": "partition table", "app": "app", "otadata": "otadata"}


class _Named(NamedTuple):
    name: str
    role: str
    offset: int | None = None


def read_release(pieces: Pieces) -> Release:
    """The build with the hash of every artefact.

    Raises UserError for a file outside of the build directory, OSError for one that cannot be read, CannotTell where
    the build does not say what it is.
    """
    desc = pieces.app_desc.value
    return Release(
        project=desc.project,
        version=desc.version,
        secure_version=desc.secure_version,
        idf_version=desc.idf_ver,
        chip=pieces.chip.name,
        synthesised=is_synthesised(pieces),
        artefacts=[_artefact(pieces.folder, named) for named in _all(pieces)],
    )


def is_synthesised(pieces: Pieces) -> bool:
    """Whether the bench itself made the bootloader; CannotTell for a broken one."""
    try:
        return embedded_config(pieces.bootloader_file.value) is not None
    except FormatError as error:
        raise CannotTell(f"the bootloader is broken: {error}") from error


def copy_artefact(artefact: Artefact, source: Path, target: Path) -> str:
    """Put one into `target`/build as its record says; the SHA-256 of the file it was made from."""
    path = source / artefact.name
    if artefact.kept is Kept.HASH_ONLY:
        return sha256_of(path)
    data = path.read_bytes()
    into = target / BUILD / artefact.name
    into.parent.mkdir(parents=True, exist_ok=True)
    into.write_bytes(_SETTINGS[artefact.name](data)[0] if artefact.kept is Kept.WITHOUT_SECRETS else data)
    return hashlib.sha256(data).hexdigest()


def secrets_of(artefact: Artefact, source: Path) -> list[str]:
    """Names of the options that are left out of the copy of a settings file."""
    if artefact.kept is not Kept.WITHOUT_SECRETS:
        return []
    return _SETTINGS[artefact.name]((source / artefact.name).read_bytes())[1]


def differences(artefacts: Sequence[Artefact], folder: Path) -> list[str]:
    """In which artefacts another build directory is not the one that was certified; empty if it is."""
    found = []
    for artefact in artefacts:
        path = folder / artefact.name
        try:
            if not path.is_file():
                found.append(f"{artefact.name} is missing")
            elif sha256_of(path) != artefact.sha256:
                found.append(f"{artefact.name} is another one ({artefact.role})")
        except OSError as error:
            found.append(f"{artefact.name} cannot be read: {error.strerror}")
    return found


def sha256_of(path: Path) -> str:
    """In hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _all(pieces: Pieces) -> Iterator[_Named]:
    """What is flashed, by offset; then what says how it was built."""
    sections = {pieces.section(name).file: role for name, role in _ROLES.items() if name in pieces.args.value}
    flashed = dict.fromkeys(pieces.flash_files.values())
    for offset, name in pieces.flash_files.items():
        yield _Named(name, sections.get(name, "flashed"), offset)
    usual = {"bootloader/bootloader.bin": "bootloader"}  # with secure boot it is not in flash_files
    more = {ARGS: "flasher arguments", CONFIG: "configuration", SDKCONFIG: "configuration"}
    more |= {BOOTLOADER_CONFIG: "bootloader's configuration", DESCRIPTION: "description"}
    description = pieces.description.held or {}
    elves = {str(description.get("app_elf") or ""): "app, with symbols", "bootloader/bootloader.elf": "with symbols"}
    if "bootloader" not in sections.values():
        more |= usual
    for name, role in {**more, **elves}.items():
        if name and name not in flashed and (pieces.folder / name).is_file():
            yield _Named(name, role)


def _artefact(folder: Path, named: _Named) -> Artefact:
    path = PurePosixPath(named.name)
    if path.is_absolute() or ".." in path.parts or str(path) != named.name or not named.name.isprintable():
        raise UserError(
            f"{named.name!r} is not a plain path within the build directory",
            evidence=folder / ARGS,
            hint="certify a build directory that holds all of its files",
        )
    source = folder / named.name
    size = source.stat().st_size
    kept = Kept.HASH_ONLY if size > BIG or named.name.endswith(".elf") else Kept.COPY
    if named.name in _SETTINGS and kept is Kept.COPY and _SETTINGS[named.name](source.read_bytes())[1]:
        kept = Kept.WITHOUT_SECRETS
    return Artefact(
        name=named.name,
        role=named.role,
        offset=None if named.offset is None else hex(named.offset),
        size=size,
        sha256=sha256_of(source),
        kept=kept,
    )
