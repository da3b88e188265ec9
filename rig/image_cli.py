"""The commands below `rig image`: arguments in, exit codes out; the work is done elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

EXIT_CODES = """
\b
Exit codes:
  0    done
  2    wrong use or broken input; nothing was written
"""
KEYS = """
\b
The device's key, made once and kept with the device; only its public half is needed to encrypt:
  RSA form    openssl genrsa -out device.pem 3072
              openssl rsa -in device.pem -pubout -out device_public.pem
  ECIES form  openssl ecparam -name prime256v1 -genkey -noout -out device.pem
              openssl ec -in device.pem -pubout -out device_public.pem
              (chips with the HMAC peripheral keep 32 bytes in an eFuse block and derive the key from them)
"""

_file = click.Path(path_type=Path, dir_okay=False)
_existing = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.group(short_help="Look into firmware images, pre-encrypt them.", epilog=KEYS)
def image() -> None:
    """Look into firmware images, and pre-encrypt them for updates over the network.

    \b
    Start here:
      rig image inspect build/app.bin
      rig image encrypt device_public.pem build/app.bin app.enc
      rig image inspect app.enc --key device.pem
    """


@image.command(epilog=EXIT_CODES + KEYS, short_help="Encrypt an app so that only one device can read it.")
@click.argument("key", metavar="KEY.pem", type=_existing)
@click.argument("source", metavar="IN", type=_existing)
@click.argument("target", metavar="OUT", type=_file)
@click.option("--any-file", is_flag=True, help="Encrypt IN even if it is no app image.")
@click.option("--force", is_flag=True, help="Write over OUT if it is there already.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def encrypt(key: Path, source: Path, target: Path, any_file: bool, force: bool, as_json: bool) -> None:
    """Pre-encrypt the app image IN for the device whose key is in KEY.pem and write it to OUT.

    OUT has the format of ESP-IDF's component esp_encrypted_img: the device decrypts it while it downloads. KEY.pem is
    an RSA key of 3072 bits or an EC key on P-256 (ECIES); which of the two decides the form. A public key is enough.
    Sign first, then encrypt.
    """
    from rig import image_command

    image_command.encrypt(key, source, target, any_file=any_file, force=force, as_json=as_json)


@image.command(epilog=EXIT_CODES, short_help="Say what a firmware file is.")
@click.argument("source", metavar="FILE", type=_existing)
@click.option(
    "--key",
    metavar="FILE",
    type=_existing,
    help="The device's private key: PEM, or the 32 bytes of its HMAC key. Decrypts and looks inside.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def inspect(source: Path, key: Path | None, as_json: bool) -> None:
    """Say what FILE is: an app (chip, project, version, hash, signatures), a bootloader, or a pre-encrypted image.

    Checksum and hash are checked, and whether each signature signs these bytes. Whether its key is to be trusted only
    the device knows: compare the key digest. Any other file is refused, saying what it looks like.
    """
    from rig import image_command

    image_command.inspect(source, key, as_json=as_json)
