"""Signature blocks behind an app image, in the format of Secure Boot V2.

`ets_secure_boot_sig_block` in components/esp_rom/<chip>/include/<chip>/rom/secure_boot.h of ESP-IDF: the image is
filled up to a whole sector of 4096 bytes with 0xFF, and one more sector has up to three blocks of 1216 bytes. A block
carries the public key that it is checked with; whether that key is to be trusted is decided elsewhere.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal
from zlib import crc32

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from rig.idf.effects import SECTOR_SIZE

Scheme = Literal["rsa", "ecdsa"]

BLOCK_SIZE = 1216
MAX_BLOCKS = 3
MAGIC = 0xE7
VERSIONS: dict[Scheme, int] = {"rsa": 2, "ecdsa": 3}
"""Of the schemes RSA-3072-PSS and ECDSA, as a block names them."""

_BLOCK = struct.Struct("<BB2x32s1160sI16x")
_CRC_AT = 1196
_RSA = struct.Struct("<384sI388x384s")
_RSA_KEY_SIZE = 776
_ECDSA = struct.Struct("<B64s64s1031x")
_ECDSA_KEY_SIZE = 65
_P256 = 2
_COORDINATE = 32

_ANY_SALT = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)
_DIGEST = utils.Prehashed(hashes.SHA256())


@dataclass(frozen=True)
class SignatureBlock:
    """A block with good magic and check-sum. `version` is that of the scheme, `image_digest` what the signer hashed.

    `content` is key and signature, laid out as the scheme has them.
    """

    version: int
    image_digest: bytes
    content: bytes

    @classmethod
    def parse(cls, data: bytes) -> SignatureBlock | None:
        """The block at the start of `data`; None where magic or check-sum say that there is none."""
        if len(data) < BLOCK_SIZE or data[0] != MAGIC:
            return None
        _, version, digest, content, crc = _BLOCK.unpack_from(data)
        return cls(version, digest, content) if crc == crc32(data[:_CRC_AT]) else None

    @property
    def scheme(self) -> Scheme | None:
        return next((name for name, number in VERSIONS.items() if number == self.version), None)

    def key_digest(self, scheme: Scheme) -> bytes:
        """SHA-256 of the public key: what devices trust, and `espsecure digest-sbv2-public-key` prints."""
        return sha256(self.content[: _RSA_KEY_SIZE if scheme == "rsa" else _ECDSA_KEY_SIZE]).digest()

    def signs(self, digest: bytes, scheme: Scheme) -> bool:
        """Whether the signature is good for an image with this SHA-256. P-192 keys are not known here."""
        try:
            if scheme == "rsa":
                self._rsa_key().verify(self.rsa_signature, digest, _ANY_SALT, _DIGEST)
            else:
                self._verify_ecdsa(digest)
        except (InvalidSignature, ValueError):
            return False
        return True

    @property
    def rsa_signature(self) -> bytes:
        """384 bytes, the highest first; in the block the lowest is first."""
        signature: bytes = _RSA.unpack(self.content)[2]
        return signature[::-1]

    def rsa_message(self) -> int | None:
        """What the RSA signature decrypts to; None if it is no number below the modulus."""
        modulus, exponent, _ = _RSA.unpack(self.content)
        number, signature = int.from_bytes(modulus, "little"), int.from_bytes(self.rsa_signature, "big")
        return pow(signature, exponent, number) if signature < number else None

    def _rsa_key(self) -> rsa.RSAPublicKey:
        modulus, exponent, _ = _RSA.unpack(self.content)
        return rsa.RSAPublicNumbers(exponent, int.from_bytes(modulus, "little")).public_key()

    def _verify_ecdsa(self, digest: bytes) -> None:
        curve, point, signature = _ECDSA.unpack(self.content)
        if curve != _P256:
            raise ValueError("not on P-256")
        x, y = (int.from_bytes(point[at : at + _COORDINATE], "little") for at in (0, _COORDINATE))
        r, s = (int.from_bytes(signature[at : at + _COORDINATE], "little") for at in (0, _COORDINATE))
        key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        key.verify(utils.encode_dss_signature(r, s), digest, ec.ECDSA(_DIGEST))


def signature_offset(image_length: int) -> int:
    """Where the signature sector of an image of that many bytes begins."""
    return image_length + -image_length % SECTOR_SIZE


def blocks(sector: bytes) -> tuple[SignatureBlock | None, ...]:
    """The three places of a signature sector, in order."""
    return tuple(SignatureBlock.parse(sector[at * BLOCK_SIZE :]) for at in range(MAX_BLOCKS))
