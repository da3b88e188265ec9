"""The command `rig replay`: arguments in, exit codes out."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rig.options import board_option, config_option, json_option

EXIT_CODES = """
\b
Exit codes:
  0    reproduced
  1    not reproduced
  2    wrong use, a broken scenario, or one that does not fit this board
  3    bench fault
  130  interrupted
"""


@click.command(epilog=EXIT_CODES, short_help="Play a scenario on a board and compare.")
@config_option
@board_option
@click.argument("scenario", type=click.Path(path_type=Path, dir_okay=False))
@json_option
def replay(config: Path, board: str | None, scenario: Path, as_json: bool) -> None:
    """Play SCENARIO (a scenario.toml) on a board of any kind, and say whether what it expects comes about.

    The board is put into the scenario's start, its steps are done one after the other, and boots, answers and otadata
    are compared with what the file expects for the ESP-IDF version of the board's firmware. docs/scenarios.md has
    every key.

    \b
      rig replay scenario.toml
      rig replay scenario.toml --board qemu-c3
    """
    from rig import replay_command

    sys.exit(replay_command.run(config, board, scenario, as_json=as_json))
