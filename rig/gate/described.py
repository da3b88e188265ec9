"""Is the app the one that the build's own files describe? A file taken from another build has other rules in it."""

from __future__ import annotations

import hashlib

from rig.gate.check import Outcome, check, failed, passed, warning
from rig.gate.pieces import CONFIG, DESCRIPTION, Pieces
from rig.gate.release import Release
from rig.gate.settings import ANTI_ROLLBACK

SECURE_VERSION = "BOOTLOADER_APP_SECURE_VERSION"


@check(
    "GATE-APP-CONFIG",
    title="The app is the one that sdkconfig and project_description.json describe",
    reason="An app kept from another build has other rules than the sdkconfig that all other checks ask.",
    remedy="Build again in an empty build directory, and release all files of that one build, the .elf among them.",
)
def app_config(release: Release) -> Outcome:
    """By version, project, secure version, and the .elf it was made of, as far as they are there."""
    build = release.build
    desc = build.app_desc.value
    differing, seen = [], []
    described = build.description.held or {}
    for name, key in ((desc.version, "project_version"), (desc.project, "project_name")):
        said = described.get(key)
        if said is not None and said != name:
            differing.append(f"{key} is {said} in {DESCRIPTION}, the app says {name}")
    if build.description.held is not None:
        seen.append(f"{DESCRIPTION} names it")
    settings = build.settings.value
    wanted = settings.number(SECURE_VERSION) if settings.on(ANTI_ROLLBACK) and settings.knows(SECURE_VERSION) else 0
    if desc.secure_version != wanted:
        differing.append(f"its secure version is {desc.secure_version}, {CONFIG} says {wanted}")
    made_of = _elf_sha(build)
    if made_of is not None:
        seen.append("it was made of the .elf beside it")
        if made_of != desc.elf_sha:
            differing.append("it was made of another .elf than the one beside it")
    if differing:
        return failed("; ".join(differing))
    if made_of is None:
        return warning("; ".join([*seen, "without its .elf nothing shows that this sdkconfig made it"]))
    return passed("; ".join(seen))


def _elf_sha(build: Pieces) -> bytes | None:
    """SHA-256 of the app's .elf, which its descriptor repeats (esptool elf2image --elf-sha256-offset)."""
    name = str((build.description.held or {}).get("app_elf") or "")
    path = build.folder / name
    try:
        return hashlib.sha256(path.read_bytes()).digest() if name and path.is_file() else None
    except OSError:
        return None
