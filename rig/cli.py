"""The `rig` command: arguments in, exit codes out; the work is done elsewhere."""

from __future__ import annotations

import io
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import click

from rig import __version__
from rig.bench_cli import doctor, init, list_boards
from rig.certificate_options import ReleaseAsked, release_options
from rig.crash_cli import crash
from rig.errors import RigError, UserError
from rig.explain_cli import explain
from rig.fuzz_cli import fuzz
from rig.gate_cli import gate
from rig.history_cli import compare, history
from rig.idf.errors import FormatError
from rig.image_cli import image
from rig.nightly_cli import nightly
from rig.options import EXIT_CODES, JobsType, config_option
from rig.ota_serve_cli import ota_serve
from rig.replay_cli import replay
from rig.reproduce_cli import reproduce
from rig.sample_cli import sample
from rig.scenario_cli import scenario
from rig.verify_cli import verify

BENCH_FAULT, INTERRUPTED, BROKEN_PIPE = 3, 130, 141


class RigGroup(click.Group):
    """Ends every command with a message for a person and an exit code that never says more than is known."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RigError as error:
            click.echo(f"rig: {error.family}: {error}", err=True)
            ctx.exit(error.exit_code)
        except FormatError as error:
            click.echo(f"rig: user error: {error}", err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            click.echo("rig: interrupted", err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            # The reader of our output left, as `rig ... | head` does; what is still buffered must not fail at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(BROKEN_PIPE)
        except OSError as error:
            click.echo(f"rig: bench fault: {error}", err=True)
            ctx.exit(BENCH_FAULT)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception:
            # Python's own exit code 1 would read as a firmware fault.
            traceback.print_exc()
            click.echo(
                "rig: internal error: the fault is in rig, not in the firmware; please report the above", err=True
            )
            ctx.exit(BENCH_FAULT)


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
      rig qualify --board a --board b
                                  both at once, and where they differ
      rig qualify --boards tag=nightly
                                  spread over all these boards
      rig nightly                 all of it on all boards, for a CI server
      rig crash sweep             every power cut of an update, exactly
      rig gate build/             before a release: what no update can mend
      rig explain FILE            what a log or a flash dump from the field shows
      rig reproduce FILE          a scenario of it, played on a board
      rig fuzz --minutes 10       steps by chance, until board and model disagree
      rig serve --port 4000       a virtual board for esptool and any monitor
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A letter the terminal lacks must not end a command.
            stream.reconfigure(errors="backslashreplace")


@main.command(epilog=EXIT_CODES, short_help="Run the qualification tests and write a report.")
@config_option
@click.option(
    "--board",
    "boards",
    metavar="NAME",
    multiple=True,
    help="The board of rig.toml to test; give it again for more boards at once.  [default: the first]",
)
@click.option(
    "--boards",
    "spread_over",
    metavar="FILTER",
    help="Spread the tests over all boards that fit, as chip=esp32c3,tag=nightly (keys: name, chip, kind, tag), or "
    "all. Each test runs on one of them; after a bench fault on another one.",
)
@click.option("-k", "select", metavar="EXPRESSION", help="Only tests whose name fits, as with pytest's -k.")
@click.option(
    "--jobs",
    metavar="N",
    type=JobsType(),
    help="How many copies of each virtual or emulated board work at once, or auto: two a core for all virtual boards "
    "together, 8 at most. With --boards: how many of the boards, auto for all.  [default: auto]",
)
@click.option(
    "--suite",
    type=click.Choice(["qualification", "field"]),
    default="qualification",
    show_default=True,
    help="Which tests; field is the catalogue of bugs that products have met (docs/field-bugs.md).",
)
@click.option(
    "--variant",
    metavar="NAME",
    help="The build variant to take wherever a test asks for plain rollback; no_rollback is the negative control.",
)
@click.option(
    "--burn-efuses",
    metavar="NAME",
    multiple=True,
    help='Burn eFuses of this board, for good. Its section of rig.toml must have efuse = "burn" as well.',
)
@click.option(
    "--test-limit",
    "limit_s",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=3600.0,
    show_default=True,
    help="With --boards: a test that takes longer ends its worker, whatever it is stuck in.",
)
@click.option("--json", "as_json", is_flag=True, help="Print results.json; progress and table go to stderr.")
@click.option(
    "--open/--no-open", "open_page", default=None, help="Open the report in a browser.  [default: on a desktop]"
)
@release_options
def qualify(
    config: Path,
    boards: tuple[str, ...],
    spread_over: str | None,
    select: str | None,
    jobs: int | None,
    suite: str,
    variant: str | None,
    burn_efuses: tuple[str, ...],
    limit_s: float,
    as_json: bool,
    open_page: bool | None,
    release: ReleaseAsked | None,
) -> None:
    """Run the qualification tests and write a report: reports/<time>/index.html, junit.xml and results.json.

    Each requirement gets a verdict: pass, firmware fail, bench fault or inconclusive; what a board cannot show is
    skipped with the reason. Several boards are tested at the same time and compared; the worst verdict counts.
    """
    from rig import qualify_command

    request = qualify_command.Request(
        config, boards, spread_over, select, jobs,
        suite=suite, variant=variant, burn_efuses=burn_efuses, test_limit_s=limit_s,
    )  # fmt: skip
    if release is not None:
        from rig import certificate_command

        sys.exit(certificate_command.run(release, request, as_json=as_json, open_page=open_page))
    sys.exit(qualify_command.run(request, as_json=as_json, open_page=open_page))


@main.command(short_help="Check the bootloader model against golden vectors.")
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@click.option(
    "--show", metavar="N", type=click.IntRange(0), default=5, show_default=True, help="How many differences to show."
)
def conformance(files: tuple[Path, ...], show: int) -> None:
    """Check the reference bootloader against golden vectors (FILE.jsonl.gz).

    The vectors come from ESP-IDF's own C code. The last line says how many were checked and how many differ.

    \b
    Exit codes:
      0    none differs
      1    some differ; the first are shown side by side
      2    wrong use or a broken file
      130  interrupted
    """
    from rig import conformance_command

    sys.exit(conformance_command.run(files, show))


@main.command(short_help="Open a virtual board to other programs over RFC2217.")
@config_option
@click.option("--board", metavar="NAME", help="The virtual board of rig.toml to serve.  [default: the first]")
@click.option(
    "--port",
    metavar="PORT",
    type=click.IntRange(0, 65535),
    default=4000,
    show_default=True,
    help="TCP port; 0 picks a free one.",
)
@click.option(
    "--power-port",
    metavar="PORT",
    type=click.IntRange(0, 65535),
    help="Also switch its power by HTTP on this TCP port; 0 picks a free one.",
)
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="Address of this machine to serve on; whoever reaches it controls the board.",
)
@click.option("--bridge-loses-power", is_flag=True, help="The serial port goes away while the power is off.")
@click.option("--blank", is_flag=True, help="Start with erased flash instead of the rollback test app.")
def serve(
    config: Path,
    board: str | None,
    port: int,
    power_port: int | None,
    host: str,
    bridge_loses_power: bool,
    blank: bool,
) -> None:
    """Open a virtual board to other programs over RFC2217, until Ctrl-C.

    It keeps real time and starts with the rollback test app in flash. One program at a time can be connected;
    connecting does not reset the board.

    \b
    In another shell:
      esptool --port rfc2217://127.0.0.1:4000 --chip auto flash-id
      python -m serial.tools.miniterm rfc2217://127.0.0.1:4000 115200
    """
    from rig import serve_command

    how = serve_command.Serving(port, power_port, blank, bridge_loses_power, host)
    serve_command.run(config, board, how)


@main.command(short_help="Print every requirement and the tests that check it.")
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file instead of the terminal.",
)
def requirements(output: Path | None) -> None:
    """Print docs/requirements.md: every requirement, the tests that check it, and what no test checks yet."""
    from rig import requirements_command

    text = requirements_command.render().encode()
    if output is None:
        sys.stdout.buffer.write(text)
        return
    try:
        output.write_bytes(text)
    except OSError as error:
        raise UserError(f"{output}: cannot be written: {error.strerror}") from error


@main.command(short_help="Build the firmware under test with ESP-IDF.")
@config_option
@click.option(
    "--target",
    "targets",
    metavar="CHIP",
    multiple=True,
    help="Build for this chip; may be repeated.  [default: the chips of the boards whose firmware is built]",
)
@click.option(
    "--variant",
    "variants",
    metavar="NAME",
    multiple=True,
    help="Build sdkconfig.ci.NAME; may be repeated.  [default: all that differ only in how the bootloader decides]",
)
@click.option(
    "--version",
    "versions",
    metavar="VERSION",
    multiple=True,
    help="The version the app says; may be repeated.  [default: those the qualification tests use]",
)
@click.option(
    "--project",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="The ESP-IDF project to build.  [default: firmware_under_test]",
)
@click.option(
    "--builds",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where builds go.  [default: firmware.builds of rig.toml]",
)
@click.option(
    "--jobs",
    metavar="N",
    type=click.IntRange(1, 256),
    help="How many compilers may run at once.  [default: one a core and two more]",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was built as JSON; progress goes to stderr.")
def build(
    config: Path,
    targets: tuple[str, ...],
    variants: tuple[str, ...],
    versions: tuple[str, ...],
    project: Path | None,
    builds: Path | None,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Build the firmware under test with ESP-IDF, for boards whose firmware is built.

    Needs ESP-IDF v5.1 or later, active in this shell (. $IDF_PATH/export.sh). Each build is checked, then put into
    builds/CHIP/VARIANT/VERSION, whole or not at all. Virtual boards need none of this.

    \b
    Exit codes:
      0    all were built
      2    no ESP-IDF, or the firmware does not build
      3    bench fault, as a full disk
      130  interrupted
    """
    from rig import build_command

    sys.exit(
        build_command.run(config, targets, variants, versions, project, builds, jobs, as_json=as_json),
    )


main.add_command(compare)
main.add_command(crash)
main.add_command(doctor)
main.add_command(explain)
main.add_command(fuzz)
main.add_command(gate)
main.add_command(history)
main.add_command(image)
main.add_command(init)
main.add_command(list_boards)
main.add_command(nightly)
main.add_command(ota_serve)
main.add_command(replay)
main.add_command(reproduce)
main.add_command(sample)
main.add_command(scenario)
main.add_command(verify)
