"""The command `rig fuzz`: arguments in, exit codes out."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rig.options import board_option, config_option, json_option

EXIT_CODES = """
\b
Exit codes:
  0    board and model agreed in every step
  1    they did not; a scenario of it is saved
  2    wrong use
  3    bench fault
  130  interrupted
"""


@click.command(epilog=EXIT_CODES, short_help="Try steps by chance until board and model disagree.")
@config_option
@board_option
@click.option("--minutes", metavar="M", type=click.FloatRange(min=0, min_open=True), help="Stop after so long.")
@click.option("--steps", metavar="N", type=click.IntRange(min=1), help="Stop after so many steps.")
@click.option(
    "--seed", metavar="N", type=click.IntRange(min=0), help="The same seed, the same walks.  [default: by chance]"
)
@click.option(
    "--variant",
    "variants",
    metavar="NAME",
    multiple=True,
    help="Build variant; may be given several times.  [default: all that fit, or rollback]",
)
@click.option(
    "--wear",
    metavar="N",
    type=click.IntRange(min=1),
    help="Stop when a flash sector has been erased so often.  [default: 1000 for attached hardware]",
)
@click.option(
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where a scenario is saved.  [default: fuzz/ in the reports of rig.toml]",
)
@json_option
def fuzz(
    config: Path,
    board: str | None,
    minutes: float | None,
    steps: int | None,
    seed: int | None,
    variants: tuple[str, ...],
    wear: int | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Update, confirm, reject, crash, cut power, corrupt and erase by chance, on a board and on the model of ESP-IDF.

    After every step both must agree: which slot came up, in which state, what the calls answered, what is in otadata.
    What does not is played again with fewer and fewer steps and saved as a scenario that rig replay reproduces.
    Without --minutes and --steps it goes on for one minute.

    \b
      rig fuzz --minutes 10
      rig fuzz --board qemu-c3 --minutes 60 --variant rollback
      rig fuzz --seed 7 --steps 2000
    """
    from rig import fuzz_command

    limits = fuzz_command.Limits(minutes, steps, wear)
    sys.exit(fuzz_command.run(config, board, limits, seed, variants, output, as_json=as_json))
