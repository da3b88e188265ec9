"""`rig ota-serve`: arguments in; the work is done elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

EXIT_CODES = """
\b
Exit codes:
  0    ended by Ctrl-C
  2    wrong use or broken input, as a port in use
"""
DEFAULT_PORT = 8070
"""The port of ESP-IDF's OTA examples (examples/system/ota/README.md)."""


class WithFaults(click.Command):
    """Lists every fault behind the options."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from rig.updates.faults import FAULTS

        with formatter.section("Faults"):
            for fault in FAULTS:
                formatter.write(f"  {fault.syntax:<28}{fault.summary}\n")
        formatter.write_paragraph()
        formatter.write_text(
            "N and OFFSET are bytes (4096, 0x1000, 64k, 1m) or a part of the whole (50%), RATE is bytes per second. A "
            "fault may be limited to a path, to so many requests, and to those after so many others: "
            "stall@50%,path=/app.bin,times=1,after=2. All faults of a request are done together."
        )
        super().format_epilog(ctx, formatter)


@click.command("ota-serve", cls=WithFaults, epilog=EXIT_CODES, short_help="Serve an update over HTTP(S), with faults.")
@click.argument("build", metavar="BUILD", type=click.Path(path_type=Path, exists=True))
@click.option("--fault", "faults", metavar="FAULT", multiple=True, help="Do this wrong; may be repeated.")
@click.option(
    "--previous",
    metavar="BUILD",
    type=click.Path(path_type=Path, exists=True),
    help="An older build or image, for the fault replay.",
)
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Listen on this address.")
@click.option(
    "--port", metavar="PORT", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True,
    help="TCP port; 0 picks a free one.",
)  # fmt: skip
@click.option("--tls", is_flag=True, help="HTTPS, with a CA made for this run.")
@click.option(
    "--ca", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="With --tls: write the CA's certificate here, for the device and curl.  [default: ca.pem]",
)  # fmt: skip
@click.option(
    "--name", "names", metavar="HOST", multiple=True,
    help="With --tls: how devices call this machine, if not by its address; may be repeated.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line per request; all else goes to stderr.")
def ota_serve(
    build: Path,
    faults: tuple[str, ...],
    previous: Path | None,
    host: str,
    port: int,
    tls: bool,
    ca: Path | None,
    names: tuple[str, ...],
    as_json: bool,
) -> None:
    """Serve the images of BUILD, a build directory or an image file, until Ctrl-C, and do wrong what --fault says.

    The app is always at /app.bin. There is no access control: on another address than loopback whoever reaches the port
    gets the images.

    \b
      rig ota-serve build/                                    right answers
      rig ota-serve --fault truncate@50% build/               a file that is too short
      rig ota-serve --fault stall@64k,times=1 --tls build/    the first download stalls, over HTTPS
    """
    from rig import ota_serve_command

    if not tls and (ca is not None or names):
        raise click.UsageError("--ca and --name need --tls")
    authority = (ca or Path("ca.pem")) if tls else None
    serving = ota_serve_command.Serving(build, previous, faults, host, port, authority, names)
    ota_serve_command.run(serving, as_json=as_json)
