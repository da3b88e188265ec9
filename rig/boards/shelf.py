"""Firmware builds by variant and version, read and checked like any build before anything is flashed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from rig.boards.firmware import FirmwareBuild
from rig.boards.inventory import BoardSection, FirmwareSection
from rig.boards.signing import is_signed, kept_key, sign
from rig.errors import NotApplicable, UserError
from rig.virtual.builds import make_build, variants

BASIS = "rollback"
"""The variant that most tests ask for."""


class FirmwareShelf(Protocol):
    """Where builds for one board come from."""

    def build(self, variant: str, version: str) -> FirmwareBuild:
        """The build of `firmware_under_test/sdkconfig.ci.<variant>` with that app version."""

    def app(self, variant: str, version: str) -> bytes:
        """The app image of that build."""

    def app_for_another_chip(self, version: str) -> bytes:
        """A good app image for a chip that is not this one."""


def shelf_for(
    section: BoardSection, firmware: FirmwareSection, config: Path, scratch: Path, variant: str | None = None
) -> FirmwareShelf:
    """The builds for one board of the rig.toml at `config`; `variant` takes the place of plain `rollback`."""
    shelf: FirmwareShelf
    if section.firmware == "built":
        shelf = BuiltShelf(config.resolve().parent / firmware.builds, section.chip, scratch)
    else:
        shelf = SynthesisedShelf(scratch, section.chip, firmware.idf_version)
    if section.kind == "serial" and section.efuse == "virtual":
        shelf = EmulatedEfuses(shelf)
    return InsteadOf(shelf, variant) if variant else shelf


class SynthesisedShelf:
    """Builds for one chip and one ESP-IDF version, made on demand without ESP-IDF and kept in `folder`."""

    def __init__(self, folder: Path, chip: str, idf_version: str) -> None:
        self.folder = folder
        self.chip = chip
        self.idf_version = idf_version
        self._build = lru_cache(maxsize=None)(self._make)

    def build(self, variant: str, version: str) -> FirmwareBuild:
        return self._build(self.chip, variant, version)

    def app(self, variant: str, version: str) -> bytes:
        return self.build(variant, version).app_path.read_bytes()

    def app_for_another_chip(self, version: str) -> bytes:
        other = "esp32s3" if self.chip != "esp32s3" else "esp32c3"
        return self._build(other, BASIS, version).app_path.read_bytes()

    def _make(self, chip: str, variant: str, version: str) -> FirmwareBuild:
        folder = self.folder / f"{chip}-{self.idf_version}-{variant}-{version}"
        make_build(folder, variant=variant, chip=chip, version=version, idf_version=self.idf_version)
        return signed(FirmwareBuild.load(folder), self.folder)


class BuiltShelf:
    """What `rig build` left in `builds`, as `<chip>/<variant>/<version>/`. `scratch` is for what needs no ESP-IDF.

    An app that demands signatures of its updates is signed, in a copy in `scratch`, with a key kept in `builds`.
    """

    def __init__(self, builds: Path, chip: str, scratch: Path) -> None:
        self.builds = builds
        self.chip = chip
        self._scratch = scratch
        self._foreign = SynthesisedShelf(scratch, chip, "v5.5")
        self._build = lru_cache(maxsize=None)(self._load)

    def build(self, variant: str, version: str) -> FirmwareBuild:
        """Raises NotApplicable for a variant or version that was not built, UserError for a broken build."""
        return self._build(variant, version)

    def app(self, variant: str, version: str) -> bytes:
        return self.build(variant, version).app_path.read_bytes()

    def app_for_another_chip(self, version: str) -> bytes:
        # Never meant to run: its header must be refused.
        return self._foreign.app_for_another_chip(version)

    def _load(self, variant: str, version: str) -> FirmwareBuild:
        folder = self.builds / self.chip / variant / version
        if not folder.is_dir():
            if variant not in variants():
                raise UserError(f"unknown build variant {variant!r}", hint=f"known: {', '.join(variants())}")
            raise NotApplicable(
                f"variant {variant} {version} is not built for {self.chip}",
                hint=f"rig build --target {self.chip} --variant {variant}",
            )
        build = FirmwareBuild.load(folder)
        if build.chip != self.chip:
            raise UserError(f"this build is for {build.chip}, not {self.chip}", evidence=folder, hint="rig build")
        if build.version != version:
            raise UserError(f"the app says version {build.version}, its folder {version}", evidence=folder)
        if build.boot_config.signed_updates is None or is_signed(build.app_path.read_bytes()):
            return build
        copy = self._scratch / f"{self.chip}-{variant}-{version}-signed"
        return signed(FirmwareBuild.load(shutil.copytree(folder, copy)), self.builds)


def signed(build: FirmwareBuild, keys: Path) -> FirmwareBuild:
    """The same build, its app signed with the key in `keys` if that is what it demands of its updates."""
    scheme = build.boot_config.signed_updates
    if scheme is None:
        return build
    build.app_path.write_bytes(sign(build.app_path.read_bytes(), kept_key(keys, scheme)))
    return FirmwareBuild.load(build.path)


class EmulatedEfuses:
    """A shelf for a chip whose eFuses are to stay as they are: builds with anti-rollback keep theirs in flash."""

    def __init__(self, shelf: FirmwareShelf) -> None:
        self._shelf = shelf

    def build(self, variant: str, version: str) -> FirmwareBuild:
        """NotApplicable for a build that would burn the chip's own eFuses."""
        emulated = f"{variant}_emulated"
        build = self._shelf.build(emulated if emulated in variants() else variant, version)
        if build.boot_config.anti_rollback and not build.sdkconfig.get("EFUSE_VIRTUAL_KEEP_IN_FLASH"):
            raise NotApplicable(
                f"variant {variant} would burn eFuses of the chip, and there is none of it that emulates them",
                hint='give a board that is meant to be spent efuse = "burn" (docs/anti-rollback.md)',
            )
        return build

    def app(self, variant: str, version: str) -> bytes:
        return self.build(variant, version).app_path.read_bytes()

    def app_for_another_chip(self, version: str) -> bytes:
        return self._shelf.app_for_another_chip(version)


class InsteadOf:
    """A shelf that gives one variant wherever the plain `rollback` is asked for, as `rig qualify --variant` does.

    The board is still held to rollback: a build without it must fail, not be judged by the rules it follows.
    """

    def __init__(self, shelf: FirmwareShelf, variant: str) -> None:
        self._shelf = shelf
        self._variant = variant

    def build(self, variant: str, version: str) -> FirmwareBuild:
        build = self._shelf.build(self._chosen(variant), version)
        if variant != BASIS:
            return build
        return replace(build, boot_config=replace(build.boot_config, rollback=True))

    def app(self, variant: str, version: str) -> bytes:
        return self._shelf.app(self._chosen(variant), version)

    def app_for_another_chip(self, version: str) -> bytes:
        return self._shelf.app_for_another_chip(version)

    def _chosen(self, variant: str) -> str:
        return self._variant if variant == BASIS else variant
