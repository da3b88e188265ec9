"""Options that several commands share, and what their exit codes mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


class JobsType(click.IntRange):
    """A number, or `auto`, which is None."""

    name = "jobs"

    def __init__(self) -> None:
        super().__init__(1, 64)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return None if value == "auto" else super().convert(value, param, ctx)


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
