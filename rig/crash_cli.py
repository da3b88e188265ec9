"""The commands below `rig crash`: arguments in, exit codes out; the work is done elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rig.options import EXIT_CODES, board_option, config_option, json_option, open_option

NAMES = """
\b
A crash image is what a power cut leaves in flash. Its name says where:
  update-ok/m0412                right after mutation 412 (erase or program)
  update-ok/m0412/torn-erase-3   within it: 3 bytes of the sector are erased
  update-ok/m0412/then/m0002     and again in the boot that follows
"""


@click.group(short_help="Test every power cut of an update, exactly.", epilog=NAMES)
def crash() -> None:
    """Test every power cut of an update: record its flash mutations once, then boot what each cut leaves behind.

    \b
    Start here:
      rig crash sweep                          all scenarios on the first board
      rig crash sweep update-ok --depth 2      one of them, with second cuts
      rig crash replay update-ok/m0424         boot one crash image, on any board
      rig crash show update-ok                 what it wrote, mutation by mutation
    """


@crash.command("scenarios", short_help="List the runs that can be recorded.")
def list_scenarios() -> None:
    """List the runs that can be recorded and swept."""
    from rig.crash.scenarios import SCENARIOS

    for scenario in SCENARIOS.values():
        click.echo(f"{scenario.name:<22} {scenario.summary}")


@crash.command(epilog=EXIT_CODES, short_help="Record the flash mutations of a run.")
@config_option
@board_option
@click.argument("scenario")
def record(config: Path, board: str | None, scenario: str) -> None:
    """Run SCENARIO on a board that sees its flash mutations (virtual or QEMU) and keep every one of them.

    The recording goes to recordings/BOARD/SCENARIO.crash.gz beside rig.toml; docs/crash.md describes the file.
    """
    from rig import crash_show_command

    crash_show_command.record(config, board, scenario)


@crash.command(epilog=EXIT_CODES, short_help="Boot every crash image and judge it.")
@config_option
@board_option
@click.argument("scenarios", metavar="[SCENARIO...]", nargs=-1)
@click.option("--scenario", "more", metavar="SCENARIO", multiple=True, hidden=True)
@click.option(
    "--recording",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Sweep this recording instead of making one.",
)
@click.option(
    "--depth",
    metavar="N",
    type=click.IntRange(1, 4),
    default=1,
    show_default=True,
    help="How often power is cut: with 2 also in the boot that follows the first cut, and so on.",
)
@click.option("--jobs", metavar="N", type=click.IntRange(1, 64), help="How many work at once.  [default: one a core]")
@click.option("--anew", is_flag=True, help="Do not go on with an interrupted sweep: record again, boot all again.")
@click.option(
    "--boot-all", is_flag=True, help="Boot every image, covered or not: the classes must be the same, it takes longer."
)
@json_option
@open_option
def sweep(
    config: Path,
    board: str | None,
    scenarios: tuple[str, ...],
    more: tuple[str, ...],
    recording: Path | None,
    depth: int,
    jobs: int | None,
    anew: bool,
    boot_all: bool,
    as_json: bool,
    open_page: bool | None,
) -> None:
    """Record each SCENARIO (all, if none is named), boot every crash image of it, and write a report.

    Where a cut leads is a class: old app, new app, new app silently lost, unbootable, ... Two kinds of finding are kept
    apart. A deviation is what the board did otherwise than ESP-IDF does; that is a firmware fail. A hazard is what
    ESP-IDF does there, and it hurts; it comes with what helps. An interrupted sweep goes on where it stopped.
    """
    from rig import crash_sweep_command

    sys.exit(
        crash_sweep_command.run(
            config,
            board,
            (*scenarios, *more),
            recording,
            depth=depth,
            jobs=jobs,
            resumed=not anew,
            pruned=not boot_all,
            as_json=as_json,
            open_page=open_page,
        )
    )


@crash.command(short_help="Show a recording, or one crash image of it.")
@config_option
@board_option
@click.argument("name")
@click.option(
    "--recording", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="The recording to look at."
)
def show(config: Path, board: str | None, name: str, recording: Path | None) -> None:
    """Show what a run wrote, mutation by mutation (NAME is a scenario), or what one crash image holds.

    \b
      rig crash show update-ok
      rig crash show update-ok/m0424/torn-erase-3
    """
    from rig import crash_show_command

    crash_show_command.show(config, board, name, recording)


@crash.command(epilog=EXIT_CODES, short_help="Put one crash image on a board and boot it.")
@config_option
@board_option
@click.argument("name")
@click.option(
    "--recording",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The recording it is of.  [default: the board's own, else the newest]",
)
@click.option("--install", is_flag=True, help="Also if the board holds other firmware than the recording: replace it.")
@json_option
def replay(config: Path, board: str | None, name: str, recording: Path | None, install: bool, as_json: bool) -> None:
    """Write the crash image NAME to a board, only the sectors that differ, boot it and say where it leads.

    An exact power cut, reproduced on any board, without a power switch. What the board does is held against the model
    of its ESP-IDF version: if they differ, that is a firmware fail.
    """
    from rig import crash_replay_command

    sys.exit(crash_replay_command.run(config, board, name, recording, install=install, as_json=as_json))


@crash.command(epilog=EXIT_CODES, short_help="Cut power in real time during a run.")
@config_option
@board_option
@click.argument("scenario")
@click.option("--on-line", metavar="REGEX", help="At the end of the first console line that matches.")
@click.option("--on-event", metavar="WORD", help="At an event of the serial contract, as start, shutdown or ack.")
@click.option("--at-mutation", metavar="N", type=click.IntRange(1), help="After flash mutation N of the run.")
@click.option("--after", metavar="SECONDS", type=click.FloatRange(0), help="So much later than that.  [default: 0]")
@click.option("--sweep", "window", metavar="FROM:TO:STEPS", help="So many delays from FROM to TO seconds, a cut each.")
@click.option(
    "--bisect", metavar="FROM:TO[:RESOLUTION]", help="Look for the delay at which one outcome turns into another."
)
@click.option("--variant", metavar="NAME", help="The build variant to take instead of rollback.")
@click.option(
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where cuts.json and the evidence go.  [default: a folder among the reports]",
)
@json_option
def cut(
    config: Path,
    board: str | None,
    scenario: str,
    on_line: str | None,
    on_event: str | None,
    at_mutation: int | None,
    after: float | None,
    window: str | None,
    bisect: str | None,
    variant: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Run SCENARIO and switch power off at a moment of it, or some time after: for what crash images cannot show.

    Without a moment the time counts from the start of the run. Seconds are the board's own. What was really measured,
    from the moment to the switch and to the last byte, is kept with the outcome. Needs a board with a power switch.

    \b
      rig crash cut update-ok --on-event start
      rig crash cut update-ok --on-line 'Loaded app' --after 0.02
      rig crash cut update-ok --on-event shutdown --sweep 0:0.4:9
      rig crash cut update-ok --on-event shutdown --bisect 0:0.4:0.02
    """
    from rig import crash_cut_command

    sys.exit(
        crash_cut_command.run(
            config,
            board,
            scenario,
            on_line=on_line,
            on_event=on_event,
            at_mutation=at_mutation,
            after=after,
            sweep=window,
            bisect=bisect,
            variant=variant,
            output=output,
            as_json=as_json,
        )
    )
