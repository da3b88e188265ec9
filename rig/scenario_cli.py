"""The commands `rig scenario …`: arguments in, exit codes out."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rig.options import board_option, config_option, json_option

CHECK_EXIT_CODES = """
\b
Exit codes:
  0    it makes sense
  2    it cannot be read, or contradicts itself
"""
MINIMISE_EXIT_CODES = """
\b
Exit codes:
  0    shortened, or as short as it can be; shown again on the board
  1    the shorter one does not show it on the board
  2    wrong use, or nothing in it to keep
  3    bench fault
  130  interrupted
"""
FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(short_help="Check scenarios and make them shorter.")
def scenario() -> None:
    """Work on a scenario.toml; docs/scenarios.md has every key. rig replay plays one."""


@scenario.command(epilog=CHECK_EXIT_CODES, short_help="Find what contradicts itself.")
@click.argument("files", type=FILE, nargs=-1, required=True)
@json_option
def check(files: tuple[Path, ...], as_json: bool) -> None:
    """Check FILES without a board: steps that cannot be done, expectations that never count.

    Each is played on the virtual chip for every ESP-IDF version that it is about. What right firmware does otherwise
    than the file expects is shown, and no error: a scenario of a fault is meant to be so.

    \b
      rig scenario check scenario.toml
      rig scenario check tests/scenarios/*.toml
    """
    from rig import scenario_command

    sys.exit(scenario_command.check(files, as_json=as_json))


@scenario.command(epilog=MINIMISE_EXIT_CODES, short_help="Fewest steps that still show the same.")
@config_option
@board_option
@click.argument("file", type=FILE)
@click.option("--output", metavar="FILE", type=FILE, help="Where it goes.  [default: <name>-min.toml beside FILE]")
@json_option
def minimise(config: Path, board: str | None, file: Path, output: Path | None, as_json: bool) -> None:
    """Take steps and details out of FILE as long as it still shows the same, then play it on the board.

    What is kept: the first thing that the board's firmware does otherwise than the model of ESP-IDF, if there is one;
    else how the scenario ends (last slot and state, otadata, end and verdict, as far as it expects them). Shortening is
    done on a virtual chip, whatever the board is.

    \b
      rig scenario minimise reports/.../scenario.toml --board qemu-c3
    """
    from rig import scenario_command

    sys.exit(scenario_command.minimise(config, board, file, output, as_json=as_json))
