"""The command `rig explain`: arguments in, exit codes out."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rig.options import json_option

EXIT_CODES = """
\b
Exit codes:
  0    explained; the verdict is in the output, whatever it is
  2    no file that can be explained, or broken input
  4    inconclusive: the output says what would settle it
  130  interrupted
"""


def flash_offset(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """A number as people write flash offsets."""
    if value is None:
        return None
    try:
        return int(value, 0)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no number; 0x8000 for example") from error


@click.command(epilog=EXIT_CODES, short_help="Say what happened, from a serial log or a flash dump.")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--base", metavar="OFFSET", callback=flash_offset, help="Flash offset at which a dump begins, if it is known."
)
@json_option
def explain(file: Path, base: int | None, as_json: bool) -> None:
    """Say what FILE shows of boots, image states and otadata, and what it cannot show.

    FILE is a serial log of any terminal, a flash dump (whole, or with the partition table, or otadata alone), or a
    report folder of rig qualify; compressed or not; - is standard input. The verdict is one word; it never says more
    than the lines it names.

    \b
      rig explain monitor.log
      esptool read-flash 0x8000 0x8000 part.bin && rig explain part.bin
      rig explain --json field.log.gz | jq .verdict
    """
    from rig import explain_command

    sys.exit(explain_command.run(file, base, as_json=as_json))
