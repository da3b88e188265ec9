"""The options by which `rig qualify` certifies a release."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click

from rig.errors import UserError

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)
LONGEST_NAME = 100


class ReleaseAsked(NamedTuple):
    """What is to be certified, who signs off, and what the gate is to be told; see `rig gate --help`."""

    build: Path
    signoff: str
    previous: Path | None
    margin: str
    accepts: tuple[str, ...]
    accept_missing: bool
    signing_key: Path | None


_OPTIONS = (
    click.option(
        "--release",
        "release_build",
        metavar="BUILD_DIR",
        type=_FOLDER,
        help="Certify this build: gate, whole qualification, and how they hang together (docs/certificate.md).",
    ),
    click.option("--signoff", metavar="NAME", help="With --release: who signs off; text, not a signature."),
    click.option(
        "--previous", metavar="BUILD_DIR", type=_FOLDER, help="With --release, for the gate: what devices have."
    ),
    click.option("--margin", metavar="SIZE", help="With --release, for the gate: room that must stay free."),
    click.option(
        "--accept", "accepts", metavar="ID=REASON", multiple=True, help="With --release, for the gate; may be repeated."
    ),
    click.option("--accept-missing", is_flag=True, help="With --release, for the gate."),
    click.option(
        "--signing-key", metavar="FILE", type=_FILE, help="With --release: an Ed25519 key (PEM) that signs SHA256SUMS."
    ),
)


def release_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which gets them as `release`: a ReleaseAsked, or None without --release."""

    @functools.wraps(command)
    def with_release(**given: Any) -> Any:
        names = ("signoff", "previous", "margin", "accepts", "accept_missing", "signing_key")
        asked = {name: given.pop(name) for name in names}
        return command(release=_asked(given.pop("release_build"), asked), **given)

    for option in reversed(_OPTIONS):
        option(with_release)
    return with_release


def _asked(build: Path | None, asked: dict[str, Any]) -> ReleaseAsked | None:
    if build is None:
        if given := [name for name, value in asked.items() if value]:
            option = given[0].replace("accepts", "accept").replace("_", "-")
            raise UserError(f"--{option} is for a release", hint="name the build with --release BUILD_DIR")
        return None
    name = (asked.pop("signoff") or "").strip()
    if not name:
        raise UserError("--release: somebody has to sign off", hint="--signoff NAME")
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise UserError(f"--signoff: a name has {LONGEST_NAME} printable characters at most")
    return ReleaseAsked(build, name, **{**asked, "margin": asked["margin"] or "0"})
