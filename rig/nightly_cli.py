"""`rig nightly`: arguments and help; the work is in `rig.nightly_command`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rig.options import EXIT_CODES, JobsType, config_option


@click.command(epilog=EXIT_CODES, short_help="The whole night: firmware, doctor, qualification, report, history.")
@config_option
@click.option(
    "--boards", "wanted", metavar="FILTER", default="all", show_default=True,
    help="Which boards, as chip=esp32c3,tag=nightly (keys: name, chip, kind, tag).",
)  # fmt: skip
@click.option("-k", "select", metavar="EXPRESSION", help="Only tests whose name fits, as with pytest's -k.")
@click.option("--jobs", metavar="N", type=JobsType(), help="How many of the boards.  [default: auto, all of them]")
@click.option("--variant", metavar="NAME", help="As with rig qualify: the negative control.")
@click.option(
    "--firmware", metavar="COMMAND",
    help="A command line that builds or fetches firmware first, as 'rig build' or 'cp -r artefacts/builds .'. It runs "
    "without a shell in the folder of rig.toml.",
)  # fmt: skip
@click.option(
    "--test-limit", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True), default=3600.0, show_default=True,
    help="A test that takes longer ends its worker, whatever it is stuck in.",
)  # fmt: skip
@click.option(
    "--board-limit", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True),
    help="A board that has worked for so long gets no more tests.  [default: no limit]",
)  # fmt: skip
@click.option("--strict", is_flag=True, help="A board that had to be left out makes the exit code 3 if it would be 0.")
def nightly(
    config: Path,
    wanted: str,
    select: str | None,
    jobs: int | None,
    variant: str | None,
    firmware: str | None,
    test_limit: float,
    board_limit: float | None,
    strict: bool,
) -> None:
    """Run the whole night on all boards that fit, for a CI server or a timer.

    \b
    1. the boards are leased until the night is over; one that is in use is left out
    2. firmware is built or fetched, if --firmware says how
    3. each board is proven fit (rig doctor); one that is not is left out with the reason
    4. all tests, with their sweeps of every power cut, are spread over the others (rig qualify --boards)
    5. the report, junit.xml for the CI server, and the history with its page are written
    6. what does badly is said with who is to blame for it

    Only bench faults are done again, on another board; they are counted and shown.
    """
    from rig import nightly_command

    night = nightly_command.Night(config, wanted, select, jobs, variant, firmware, test_limit, board_limit)
    done = nightly_command.run(night)
    sys.exit(done.exit_code or (3 if strict and done.left_out else 0))
