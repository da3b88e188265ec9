"""Said before hours are spent: why a certificate of this build on these boards can at best be inconclusive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rig.boards.inventory import BoardSection
from rig.boards.shelf import BASIS
from rig.certificate.artefacts import sha256_of
from rig.certificate.records import Release

BOOTLOADER = "bootloader/bootloader.bin"


def cannot_pass(release: Release, sections: Sequence[BoardSection], builds: Path) -> str | None:
    """The reason; None if nothing is known to stand against it. `builds`: what `rig build` fills."""
    if release.synthesised:
        return "the bench made its bootloader, which holds no machine code"
    real = [section for section in sections if section.kind != "virtual" and section.chip == release.chip]
    if not real:
        return f"none of the boards runs firmware of an {release.chip}: virtual boards only model the bootloader"
    if any(section.firmware == "built" for section in real):
        found = sorted(builds.glob(f"{release.chip}/{BASIS}/*/{BOOTLOADER}"))
        if all(sha256_of(path) == release.bootloader_sha256 for path in found):
            return None
        where = builds / release.chip / BASIS
        return f"the bootloaders in {where} are not the one of this build (docs/certificate.md says how they become it)"
    return "the boards run firmware that the bench makes itself"
