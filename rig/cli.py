"""The `rig` command: arguments in, exit codes out; the work is done elsewhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from rig import __version__
from rig.errors import RigError
from rig.idf.errors import FormatError

EXIT_CODES = """
\b
Exit codes: 0 all passed (or skipped, with the reason), 1 firmware fault, 2 wrong use or broken input,
3 bench fault, 4 inconclusive, 130 interrupted.
"""


class RigGroup(click.Group):
    """Ends every command with a message for a person instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RigError as error:
            click.echo(f"rig: {error.family}: {error}", err=True)
            ctx.exit(error.exit_code)
        except FormatError as error:
            click.echo(f"rig: user error: {error}", err=True)
            ctx.exit(2)
        except BrokenPipeError:
            # The reader of our output left, as `rig ... | head` does.
            sys.stderr.close()
            ctx.exit(0)


config_option = click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), default=Path("rig.toml"), show_default=True,
    help="The bench to use.",
)  # fmt: skip


@click.group(
    cls=RigGroup, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="rig")
def main() -> None:
    """Qualify ESP-IDF OTA rollback on boards, real or virtual.

    \b
    Start here:
      rig qualify                 run every qualification test, write a report
      rig qualify -k power_cut    only the tests whose name has "power_cut"
      rig serve --port 4000       a virtual board that esptool and any monitor can open
    """


@main.command(epilog=EXIT_CODES)
@config_option
@click.option("--board", help="The board of rig.toml to test.  [default: the first]")
@click.option("-k", "select", metavar="EXPRESSION", help="Only tests whose name fits, as pytest's -k.")
@click.option(
    "--jobs", type=click.IntRange(1, 64), help="How many copies of a virtual board work at once.  [default: two a core]"
)
@click.option("--json", "as_json", is_flag=True, help="Print results.json instead of the table.")
@click.option(
    "--open/--no-open", "open_page", default=None, help="Open the report in a browser.  [default: on a desktop]"
)
def qualify(
    config: Path, board: str | None, select: str | None, jobs: int | None, as_json: bool, open_page: bool | None
) -> None:
    """Run the qualification tests and write reports/<time>/index.html.

    Each requirement gets a verdict: pass, firmware fail, bench fault or inconclusive; what a board cannot show is
    skipped with the reason.
    """
    from rig import qualify_command

    sys.exit(qualify_command.run(config, board, select, jobs, as_json=as_json, open_page=open_page))


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--show", type=click.IntRange(0), default=5, show_default=True, help="How many differences to show.")
def conformance(files: tuple[Path, ...], show: int) -> None:
    """Check the reference bootloader against golden vectors (FILE.jsonl.gz).

    The vectors come from ESP-IDF's own C code. The last line says how many were checked and how many differ; exit
    code 1 if any does.
    """
    from rig import conformance_command

    sys.exit(conformance_command.run(files, show))


@main.command()
@config_option
@click.option("--board", help="The virtual board of rig.toml to serve.  [default: the first]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=4000,
    show_default=True,
    help="TCP port on loopback; 0 picks a free one.",
)
@click.option("--blank", is_flag=True, help="Start with erased flash instead of the rollback test app.")
def serve(config: Path, board: str | None, port: int, blank: bool) -> None:
    """Open a virtual board to other programs over RFC2217.

    \b
    In another shell:
      esptool --port rfc2217://127.0.0.1:4000 --chip auto flash-id
      python -m serial.tools.miniterm rfc2217://127.0.0.1:4000 115200
    """
    from rig import serve_command

    serve_command.run(config, board, port, blank=blank)


@main.command("list")
@config_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_boards(config: Path, as_json: bool) -> None:
    """Show the boards of the bench and what they can do."""
    from rig.boards import inventory, kinds

    boards = [kinds.describe(section) for section in inventory.load(config).board]
    if as_json:
        click.echo(json.dumps(boards, indent=2))
        return
    for board in boards:
        click.echo(f"{board['name']:<20} {board['kind']:<8} {board['chip']}")
        for capability, reason in board["missing"].items():
            click.echo(f"    cannot {capability}: {reason}")


@main.command()
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file instead of the terminal."
)
def requirements(output: Path | None) -> None:
    """Print docs/requirements.md: every requirement and the tests that check it."""
    from rig import requirements_command

    text = requirements_command.render()
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
