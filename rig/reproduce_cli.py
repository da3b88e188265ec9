"""The command `rig reproduce`: arguments in, exit codes out."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rig.explain_cli import flash_offset
from rig.options import board_option, config_option, json_option

EXIT_CODES = """
\b
Exit codes:
  0    reproduced
  1    not reproduced
  2    wrong use, or a file that cannot be used
  3    bench fault
  4    inconclusive: nothing explains the log
  130  interrupted
"""


@click.command(epilog=EXIT_CODES, short_help="From a log or a dump to a scenario that a board plays.")
@config_option
@board_option
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--base", metavar="OFFSET", callback=flash_offset, help="Flash offset at which a dump begins, as 0x9000.")
@click.option(
    "--saw",
    metavar="SLOT",
    multiple=True,
    help="With a dump: slot that came up in the field, or none; once for each boot.",
)
@click.option(
    "--log",
    "log",
    metavar="LOG",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With a dump: the log of the boots that came after it.",
)
@click.option("--times", metavar="N", type=click.IntRange(1, 50), default=3, show_default=True, help="Boots of a dump.")
@click.option(
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where scenarios are saved.  [default: reproduced/ in the reports of rig.toml]",
)
@json_option
def reproduce(
    config: Path,
    board: str | None,
    file: Path,
    base: int | None,
    saw: tuple[str, ...],
    log: Path | None,
    times: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Turn FILE (a serial log, or a flash dump) into a scenario, and play it on a board.

    A dump is put on the board and booted; what comes up is compared with what the field saw (--saw, --log), or else
    with what ESP-IDF's bootloader does by the model. Of a log, every otadata, configuration and ESP-IDF version that
    explains its boots is searched for; all are told, the likeliest first, and that one is played.

    \b
      rig reproduce crash.log
      rig reproduce dump.bin --saw ota_0 --saw ota_0 --board qemu-c3
      rig reproduce otadata.bin --base 0xd000
    """
    from rig import reproduce_command

    wanted = reproduce_command.Wanted(file, base, saw, log, times, output)
    sys.exit(reproduce_command.run(config, board, wanted, as_json=as_json))
