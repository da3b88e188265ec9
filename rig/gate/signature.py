"""Signature blocks of an image, checked by esptool's espsecure with the public keys that they carry themselves.

Version 2 (RSA-3072, ECDSA P-192, P-256 and P-384): up to three blocks of 1216 bytes at the start of the last 4 KiB
(docs of ESP-IDF, Secure Boot v2). Version 1: the last 68 bytes, which carry no key.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from hashlib import sha256
from typing import Literal, NamedTuple

from rig.idf.memory import FlashImage
from rig.idf.signature import image_length
from rig.idf.signature_block import signature_offset

Scheme = Literal["rsa", "ecdsa", "v1"]
SECTOR, BLOCK, BLOCKS = 0x1000, 1216, 3
_V1_SIZE, _V1_VERSION = 68, bytes(4)
_P384 = 3


class Found(NamedTuple):
    """`trouble` is empty for a good signature; `keys`: SHA-256 of the public keys in hex, as eFuses keep them."""

    keys: tuple[str, ...] = ()
    trouble: str = ""


def examine(image: bytes, scheme: Scheme) -> Found:
    """Look for signatures of that scheme at the end of `image`."""
    if scheme == "v1":
        tail = image[-_V1_SIZE:]
        good = len(image) > _V1_SIZE and tail.startswith(_V1_VERSION) and tail[4:].strip(b"\xff\0")
        return Found() if good else Found(trouble="no signature of version 1 in its last 68 bytes")
    if len(image) <= SECTOR or len(image) % SECTOR:
        return Found(trouble="it is not signed: its length is no multiple of 4096, so it has no signature sector")
    place, last = _place(image), len(image) - SECTOR
    if place is not None and place != last:
        return Found(trouble=f"devices look for its signature at {place:#x}, it is signed at {last:#x}")
    blocks = [image[-SECTOR + number * BLOCK :][:BLOCK] for number in range(BLOCKS)]
    blocks = [block for block in blocks if block.startswith(b"\xe7")]
    if not blocks:
        return Found(trouble="it is not signed: its last 4 KiB hold no signature block")
    wanted = {"rsa": 2, "ecdsa": 3}[scheme]
    if any(block[1] != wanted for block in blocks):
        return Found(trouble=f"a signature block is of version {blocks[0][1]}; {scheme} has {wanted}")
    return _verified(image, blocks, scheme)


def _place(image: bytes) -> int | None:
    """Where the image's own length puts the signature sector (secure_boot_signatures_app.c); None if it is broken."""
    length = image_length(FlashImage(image), 0)
    return None if length is None else signature_offset(length)


def _verified(image: bytes, blocks: Sequence[bytes], scheme: Scheme) -> Found:
    # slow to import, and needed for signed images only
    import espsecure
    from esptool.util import FatalError

    keys = []
    for block in blocks:
        try:
            pem = _public_key(block, scheme)
            with contextlib.redirect_stdout(io.StringIO()):
                espsecure.verify_signature_v2(False, None, io.BytesIO(pem), io.BytesIO(image))
        except (FatalError, ValueError, AssertionError) as error:
            return Found(trouble=f"its signature is wrong: {error}")
        keys.append(sha256(_stored_key(block, scheme)).hexdigest())
    return Found(tuple(keys))


def _public_key(block: bytes, scheme: Scheme) -> bytes:
    """PEM of the key that a block carries, whose numbers are little-endian. ValueError if it is none."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    if scheme == "rsa":
        modulus = int.from_bytes(block[36:420], "little")
        key = rsa.RSAPublicNumbers(int.from_bytes(block[420:424], "little"), modulus).public_key()
    else:
        at = 52 if block[2] else 36
        size = {1: 24, 2: 32, _P384: 48}.get(block[at], 0)
        curves: dict[int, ec.EllipticCurve] = {1: ec.SECP192R1(), 2: ec.SECP256R1(), _P384: ec.SECP384R1()}
        curve = curves.get(block[at])
        if curve is None:
            raise ValueError(f"curve {block[at]} is not known")
        x, y = (block[at + 1 + number * size :][:size] for number in (0, 1))
        numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "little"), int.from_bytes(y, "little"), curve)
        key = numbers.public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _stored_key(block: bytes, scheme: Scheme) -> bytes:
    """The bytes whose SHA-256 the eFuses keep (espsecure signature-info-v2)."""
    if scheme == "rsa":
        return block[36:812]
    return block[52:149] if block[2] else block[36:101]
