"""The command `rig verify`: arguments in, exit code out; the work is done elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import click

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command(short_help="Check that a certificate is whole, unaltered and true.")
@click.argument("folder", metavar="FOLDER", type=_FOLDER)
@click.option("--build", metavar="BUILD_DIR", type=_FOLDER, help="Also check that this is the build it was made for.")
@click.option(
    "--public-key",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also check that this Ed25519 key (PEM) has signed it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def verify(folder: Path, build: Path | None, public_key: Path | None, as_json: bool) -> None:
    """Check the certificate in FOLDER, as `rig qualify --release` wrote it: each file by its hash, and each claim.

    Files that were changed, renamed, added, taken away or replaced by a link are named. The verdict is worked out anew
    from the gate's report and the results in the folder.

    \b
    Exit codes:
      0    whole, and the build is qualified
      1    whole, and it says that the firmware failed
      2    broken or altered, another build, another key, or wrong use
      4    whole, and it says inconclusive
      130  interrupted
    """
    from rig import verify_command

    sys.exit(verify_command.run(folder, build, public_key, as_json=as_json))
