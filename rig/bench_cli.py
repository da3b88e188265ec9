"""`rig init`, `rig list` and `rig doctor`: arguments and help; the work is in the modules of their names."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rig.options import config_option


@click.command(short_help="Find attached boards and write rig.toml.")
@click.option(
    "--output", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), default=Path("rig.toml"),
    show_default=True, help="The file to write; it must not be there yet.",
)  # fmt: skip
@click.option(
    "--port", "ports", metavar="PORT", multiple=True,
    help="Ask only here, as /dev/ttyUSB0 or rfc2217://HOST:PORT; may be repeated.  [default: all USB serial ports]",
)  # fmt: skip
def init(output: Path, ports: tuple[str, ...]) -> None:
    """Find attached boards and write a rig.toml with them, and with a virtual one to start with.

    Each chip is asked who it is, which resets it; ports that another program holds are left alone. A USB bridge is
    named by its serial number if it has one, so that it is found wherever it is plugged in.
    """
    from rig import init_command

    init_command.run(output, ports)


@click.command("list", short_help="Show each board: what it can do, who has it, how it did.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def list_boards(config: Path, as_json: bool) -> None:
    """Show each board: what it can do, who uses it, how it did in its last run, and how worn it is.

    No board is touched. Wear of an attached board is how often, at most, tests have erased one sector of otadata, as
    far as the history knows; flash chips endure about 100,000 erases of a sector by their data sheets.
    """
    from rig import list_command

    list_command.run(config, as_json=as_json)


@click.command(short_help="Prove that boards are fit, or say what they lack.")
@config_option
@click.argument("board", metavar="[BOARD]", required=False)
@click.option("--look", "only_look", is_flag=True, help="Only look: use no board, switch nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def doctor(config: Path, board: str | None, only_look: bool, as_json: bool) -> None:
    """Prove each board of rig.toml fit, or one, and say what is missing and what to do about it.

    A board that lacks nothing is tried out: reset line, power switch and how fast it cuts, port, flash, and one blank
    sector near its end. What holds data is not written. A board that another run uses is left alone.

    \b
    Exit codes:
      0    nothing is missing
      2    wrong use or broken input
      3    something is missing
      130  interrupted
    """
    from rig import doctor_command

    sys.exit(doctor_command.run(config, board, only_look=only_look, as_json=as_json))
