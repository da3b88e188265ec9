"""`rig history` and `rig compare`: arguments and help; the work is in `rig.history_command`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rig.options import config_option

LIMIT = 30


@click.group(invoke_without_command=True, short_help="Trends, flakes and who is to blame, over all runs.")
@config_option
@click.option("--requirement", metavar="ID", help="Only this requirement, as RBK-01.")
@click.option("--board", metavar="NAME", help="Only this board.")
@click.option("--firmware", metavar="SHA", help="Only builds whose app's ELF or bootloader SHA-256 begins so.")
@click.option(
    "--limit", metavar="N", type=click.IntRange(1, 10_000), default=LIMIT, show_default=True,
    help="How many of the last runs to look at.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option(
    "--page", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="Write the trends as one HTML page instead, to be looked at in a browser.",
)  # fmt: skip
@click.pass_context
def history(
    ctx: click.Context,
    config: Path,
    requirement: str | None,
    board: str | None,
    firmware: str | None,
    limit: int,
    as_json: bool,
    page: Path | None,
) -> None:
    """Show what became of each requirement, board and build over the last runs, and who is to blame.

    A trend has one letter a run, the newest last: P pass, F firmware fail, B bench fault, ? inconclusive, - skipped.
    The flake rate is how often a test went the rarer way when test, board and build were the same, with its 95 %
    confidence interval. The file is SQLite and can be opened with any tool for that, as datasette.

    \b
    Exit codes:
      0    there is a history
      2    wrong use, or the file is no history
      130  interrupted
    """
    if ctx.invoked_subcommand is not None:
        ctx.obj = config
        return
    from rig import history_command
    from rig.evidence.history.read import Filter

    history_command.show(config, Filter(requirement, board, firmware), limit, as_json=as_json, page=page)


@history.command("export")
@click.option("--format", "form", type=click.Choice(["csv", "json"]), default="csv", show_default=True)
@click.pass_obj
def export(config: Path, form: str) -> None:
    """Print every result: run, test, board, verdict, reason, times, firmware."""
    from rig import history_command

    history_command.EXPORTS[form](config)


@history.command("import")
@click.argument("reports", metavar="REPORT...", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.pass_obj
def import_(config: Path, reports: tuple[Path, ...]) -> None:
    """Take in reports that are not in the history yet: folders of reports, or results.json files."""
    from rig import history_command

    history_command.take_in(config, reports)


@click.command(short_help="What changed between two runs.")
@config_option
@click.argument("before", metavar="RUN")
@click.argument("after", metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def compare(config: Path, before: str, after: str, as_json: bool) -> None:
    """Show what changed from one run to another: names of runs, or last, last~1 and so on.

    \b
    Exit codes:
      0    nothing got worse
      1    a test became a firmware fail
      2    wrong use, or no such run
      4    a test became a bench fault or inconclusive, or no longer ran
      130  interrupted
    """
    from rig import history_command

    sys.exit(history_command.compare(config, before, after, as_json=as_json))
