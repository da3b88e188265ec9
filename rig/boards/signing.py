"""Signing app images as a release process does, with espsecure; and the key of a bench, made when first needed."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rig.errors import UserError
from rig.idf.effects import SECTOR_SIZE
from rig.idf.signature_block import Scheme, SignatureBlock

_RSA_BITS = 3072


def new_key(scheme: Scheme) -> bytes:
    """A private key for that scheme, PEM: RSA-3072 or EC P-256."""
    key = rsa.generate_private_key(65537, _RSA_BITS) if scheme == "rsa" else ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def sign(image: bytes, *keys: bytes) -> bytes:
    """`image` filled up to a sector, and a sector with one signature block (Secure Boot V2) for each key, in order.

    Raises UserError for a key that espsecure refuses.
    """
    import espsecure
    from esptool.util import FatalError

    with tempfile.TemporaryDirectory() as folder:
        signed = Path(folder, "signed.bin")
        files = [io.BytesIO(key) for key in keys]
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said):
                source = io.BytesIO(image)
                source.name = "image"
                espsecure.sign_data("2", files, str(signed), False, False, None, [], [], source)
        except FatalError as error:
            raise UserError(
                f"the image cannot be signed: {error}", hint="a key for Secure Boot V2 is needed"
            ) from error
        return signed.read_bytes()


def is_signed(image: bytes) -> bool:
    """Whether a signature sector ends this file."""
    return len(image) % SECTOR_SIZE == 0 and SignatureBlock.parse(image[-SECTOR_SIZE:]) is not None


def kept_key(folder: Path, scheme: Scheme) -> bytes:
    """The key of that scheme in `folder`, made and kept there (readable by its owner alone) if there is none yet."""
    path = folder / f"signing-key-{scheme}.pem"
    try:
        if not path.is_file():
            _keep(path, new_key(scheme))
        key = path.read_bytes()
        serialization.load_pem_private_key(key, None, unsafe_skip_rsa_key_validation=True)
        return key
    except (ValueError, TypeError) as error:
        raise UserError(f"{path.name} is no private key", evidence=path, hint="remove it; a new one is made") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", hint="the bench keeps its signing key there") from error


def _keep(path: Path, key: bytes) -> None:
    """Whole or not at all; where two benches come at once the first one's key stays."""
    handle, name = tempfile.mkstemp(dir=path.parent)  # only its owner may read it
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(key)
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        os.unlink(name)
