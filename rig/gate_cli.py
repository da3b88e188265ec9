"""The command `rig gate`: arguments in, exit code out; the work is done elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rig.options import config_option

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command(short_help="Check a build about to ship for what no update can mend.")
@config_option
@click.argument("build", metavar="BUILD_DIR", type=_FOLDER)
@click.option(
    "--previous",
    metavar="BUILD_DIR",
    type=_FOLDER,
    help="The release that devices in the field have: table, bootloader, versions and keys are compared with it.",
)
@click.option(
    "--board",
    metavar="NAME",
    help="The board of rig.toml, or the first of that kind, to watch the build on: qemu for what ESP-IDF built.",
)
@click.option(
    "--margin",
    metavar="SIZE",
    default="0",
    show_default=True,
    help="Room that must stay free in every slot: 10%, 65536, 64K.",
)
@click.option(
    "--accept",
    "accepts",
    metavar="ID=REASON",
    multiple=True,
    help="Let this check fail, for a reason that the report shows; may be repeated.",
)
@click.option("--accept-missing", is_flag=True, help="Let pass what could not be checked because pieces are missing.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON (docs/gate.md describes it).")
def gate(
    config: Path,
    build: Path,
    previous: Path | None,
    board: str | None,
    margin: str,
    accepts: tuple[str, ...],
    accept_missing: bool,
    as_json: bool,
) -> None:
    """Check the build in BUILD_DIR, as `idf.py build` leaves it, for everything that can never be mended in the field.

    Bootloader, partition table and eFuses stay as they ship; so does every device that an update bricks. Each check has
    an id, a reason and a remedy; docs/gate.md lists them.

    \b
      rig gate build
      rig gate build --previous release-1.4 --margin 10% --board qemu
      rig gate build --accept GATE-LOG-LEVEL="console is not brought out on this product"

    \b
    Exit codes:
      0    all passed; warnings are allowed
      1    a check failed, or could not be done
      2    wrong use or broken input
      130  interrupted
    """
    from rig import gate_command

    asked = gate_command.Asked(build, previous, margin, accepts, accept_missing, board, config)
    sys.exit(gate_command.run(asked, as_json=as_json))
