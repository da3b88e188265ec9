"""`rig sample`: a build directory without ESP-IDF, to try what works on build directories."""

from __future__ import annotations

from pathlib import Path

import click

from rig.errors import UserError
from rig.idf.chips import CHIPS

EXIT_CODES = """
\b
Exit codes:
  0    done
  2    wrong use; nothing was written over
"""


@click.command("sample", epilog=EXIT_CODES, short_help="Write a build directory without ESP-IDF, to try things on.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--variant", metavar="NAME", default="rollback", show_default=True, help="sdkconfig.ci.NAME to follow.")
@click.option("--chip", metavar="CHIP", type=click.Choice(list(CHIPS)), default="esp32c3", show_default=True)
@click.option("--version", metavar="VERSION", default="1.0.0", show_default=True, help="The version the app says.")
@click.option("--secure-version", metavar="N", type=click.IntRange(0), help="Instead of the variant's own.")
def sample(folder: Path, variant: str, chip: str, version: str, secure_version: int | None) -> None:
    """Write into DIR what `idf.py build` would leave of the test app, as virtual boards run it.

    The files are well-formed (esptool, rig gate and rig ota-serve take them), but the code in them is noise: no real
    chip runs it.

    \b
      rig sample old && rig sample new --version 2.0.0
      rig gate new --previous old
      rig ota-serve --fault truncate@50% new
    """
    from rig.virtual.builds import make_build

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already, and not empty", hint="name a new folder")
    try:
        make_build(folder, variant=variant, chip=chip, version=version, secure_version=secure_version)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from error
    click.echo(f"{folder}: test app {version} for {chip}, variant {variant}")
