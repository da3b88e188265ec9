"""What a test's result says of the firmware it ran on: enough to tell later whether it was the one that shipped."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from rig.boards.firmware import FirmwareBuild
from rig.boards.shelf import BASIS

BOOTLOADER = "bootloader"
"""The key: build variant and SHA-256 of bootloader.bin; several, with commas, where a test brought several."""


def bootloader_of(variant: str, build: FirmwareBuild) -> str:
    """The variant that was asked for, and the SHA-256 of the bootloader that it stands for, in hex."""
    return f"{variant} {hashlib.sha256(build.bootloader_path.read_bytes()).hexdigest()}"


def firmware_of(build: FirmwareBuild, bootloaders: Iterable[str]) -> dict[str, str]:
    """Facts of the build on the board, and of all bootloaders that were put there."""
    said = ", ".join(dict.fromkeys(bootloaders))
    facts = {"project": build.project, "ESP-IDF": build.idf_version}
    return {**facts, BOOTLOADER: said} if said else facts


def last_bootloader(bootloaders: Sequence[str]) -> dict[str, str]:
    """The field `bootloader` of a `TestResult`, for the one that a test left on the board: 16 hex digits."""
    return {BOOTLOADER: bootloaders[-1].rpartition(" ")[2][:16]} if bootloaders else {}


def plain_rollback(said: str) -> str | None:
    """The SHA-256 in a text of `firmware_of` that names plain rollback's bootloader and no other; else None."""
    variant, _, sha256 = said.partition(" ")
    return sha256 if variant == BASIS and "," not in sha256 else None
