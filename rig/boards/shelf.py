"""Firmware builds by variant and version: made on demand, read back and checked like any build."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from rig.boards.firmware import FirmwareBuild
from rig.virtual.builds import make_build


class FirmwareShelf:
    """Builds for one chip and one ESP-IDF version, kept in `folder`."""

    def __init__(self, folder: Path, chip: str, idf_version: str) -> None:
        self.folder = folder
        self.chip = chip
        self.idf_version = idf_version
        self._build = lru_cache(maxsize=None)(self._make)

    def build(self, variant: str, version: str) -> FirmwareBuild:
        """The build of `firmware_under_test/sdkconfig.ci.<variant>` with that app version."""
        return self._build(self.chip, variant, version)

    def app(self, variant: str, version: str) -> bytes:
        """The app image of that build."""
        return self.build(variant, version).app_path.read_bytes()

    def app_for_another_chip(self, version: str) -> bytes:
        """A good app image for a chip that is not this one."""
        other = "esp32s3" if self.chip != "esp32s3" else "esp32c3"
        return self._build(other, "rollback", version).app_path.read_bytes()

    def _make(self, chip: str, variant: str, version: str) -> FirmwareBuild:
        folder = self.folder / f"{chip}-{self.idf_version}-{variant}-{version}"
        make_build(folder, variant=variant, chip=chip, version=version, idf_version=self.idf_version)
        return FirmwareBuild.load(folder)
