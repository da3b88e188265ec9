"""Options that several commands share, and what their exit codes mean."""

from __future__ import annotations

from pathlib import Path

import click

EXIT_CODES = """
\b
Exit codes:
  0    all passed, or skipped with the reason
  1    firmware fault
  2    wrong use or broken input
  3    bench fault
  4    inconclusive, or nothing was tested
  130  interrupted
"""

config_option = click.option(
    "--config", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), default=Path("rig.toml"),
    show_default=True, help="The rig.toml of the bench.",
)  # fmt: skip
board_option = click.option(
    "--board", metavar="NAME", help="The board of rig.toml, or the first of that kind.  [default: the first]"
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print results as JSON; progress and tables go to stderr."
)
open_option = click.option(
    "--open/--no-open", "open_page", default=None, help="Open the report in a browser.  [default: on a desktop]"
)
