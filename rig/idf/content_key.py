"""The key that a pre-encrypted image is encrypted with, and how only the device can get at it.

Format and derivation of ESP-IDF's component `esp_encrypted_img` (espressif/idf-extra-components, v2.7.1:
`decipher_gcm_key`, `derive_gcm_key` and `compute_ecc_key_with_hmac` in src/esp_encrypted_img.c). The RSA form encrypts
a random key for the device's RSA-3072 key, PKCS#1 v1.5. The ECIES form makes a key pair for one image: the key is
HKDF-SHA-256 of the ECDH secret with the device's key on P-256.
"""

from __future__ import annotations

import os
from hashlib import pbkdf2_hmac
from typing import Literal, NamedTuple

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from rig.idf.errors import FormatError

Form = Literal["RSA-3072", "ECIES-P256"]
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

RSA: Form = "RSA-3072"
ECIES: Form = "ECIES-P256"
KEY_SIZE = 32
"""AES-256."""
KEY_BLOCK_SIZE = 384
"""What the header has for it: 3072 bits, or a point, a salt and zeros."""
RSA_BITS = 3072
HMAC_KEY_SIZE = 32

_POINT_SIZE, _SALT_SIZE = 64, 32
_UNCOMPRESSED = b"\x04"
_INFO = b"_esp_enc_img_ecc"
_DEVICE_SALT = bytes.fromhex("0e2160642dae76d33448e43d7720123d9f3b1eceb88e573a4e8f7fb94ff0c869")
_DEVICE_ROUNDS = 2048
_LEAST_PADDING = 8

_BAD_LENGTH, _BAD_INPUT, _BAD_PADDING, _TOO_LARGE = -0x4080, -0x4304, -0x4100, -0x4400
_BAD_POINT = -0x4C80


class ContentKeyError(FormatError):
    """The key block does not go with this device key. `status` is what mbedTLS returns, negative."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class Wrapped(NamedTuple):
    """A key for one image and the 384 bytes from which the device gets it."""

    key: bytes
    block: bytes


def form_of(key: PublicKey | PrivateKey) -> Form:
    """The form of image that goes with this kind of key."""
    return RSA if isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey) else ECIES


def block_form(block: bytes) -> Form:
    """The form a key block has: behind point and salt ECIES has zeros, which an RSA ciphertext never ends with."""
    return ECIES if not any(block[_POINT_SIZE + _SALT_SIZE :]) else RSA


def wrap(public_key: PublicKey) -> Wrapped:
    """Make the key for one image. The same key is never made twice."""
    if isinstance(public_key, rsa.RSAPublicKey):
        key = os.urandom(KEY_SIZE)
        return Wrapped(key, public_key.encrypt(key, padding.PKCS1v15()))
    once = ec.generate_private_key(ec.SECP256R1())
    salt = os.urandom(_SALT_SIZE)
    point = once.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    block = (point.removeprefix(_UNCOMPRESSED) + salt).ljust(KEY_BLOCK_SIZE, b"\0")
    return Wrapped(_derive(once.exchange(ec.ECDH(), public_key), salt), block)


def unwrap(block: bytes, private_key: PrivateKey) -> bytes:
    """The key of the image with this key block: 32 bytes, which may be wrong ones. ContentKeyError if there is none."""
    if isinstance(private_key, rsa.RSAPrivateKey):
        return _unpad(_rsa(block, private_key)).ljust(KEY_SIZE, b"\0")
    if not isinstance(private_key.curve, ec.SECP256R1):
        raise ContentKeyError(f"the device key is on {private_key.curve.name}; P-256 is needed", _BAD_POINT)
    point, salt = block[:_POINT_SIZE], block[_POINT_SIZE : _POINT_SIZE + _SALT_SIZE]
    try:
        public_key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), _UNCOMPRESSED + point)
    except ValueError as error:
        raise ContentKeyError("the public key in the header is no point of P-256", _BAD_POINT) from error
    return _derive(private_key.exchange(ec.ECDH(), public_key), salt)


def device_key(hmac_key: bytes) -> ec.EllipticCurvePrivateKey:
    """The private key of a device with these 32 bytes in an eFuse block of purpose HMAC_UP.

    Raises FormatError for another length, and for the rare key that gives no scalar of P-256.
    """
    if len(hmac_key) != HMAC_KEY_SIZE:
        raise FormatError(f"an HMAC key has {HMAC_KEY_SIZE} bytes, this one {len(hmac_key)}")
    scalar = int.from_bytes(pbkdf2_hmac("sha256", hmac_key, _DEVICE_SALT, _DEVICE_ROUNDS), "big")
    try:
        return ec.derive_private_key(scalar, ec.SECP256R1())
    except ValueError as error:
        raise FormatError("this HMAC key gives no private key of P-256; make another") from error


def _derive(secret: bytes, salt: bytes) -> bytes:
    return HKDF(hashes.SHA256(), KEY_SIZE, salt, _INFO).derive(secret)


def _rsa(block: bytes, private_key: rsa.RSAPrivateKey) -> bytes:
    """The padded message. By hand: OpenSSL hides a wrong padding (implicit rejection), mbedTLS reports it."""
    if private_key.key_size != KEY_BLOCK_SIZE * 8:
        raise ContentKeyError(f"the RSA key has {private_key.key_size} bits; {RSA_BITS} are needed", _BAD_LENGTH)
    numbers = private_key.private_numbers()
    cipher, modulus = int.from_bytes(block, "big"), numbers.public_numbers.n
    if cipher >= modulus:
        raise ContentKeyError("the encrypted key is no number below the modulus", _BAD_INPUT)
    first, second = pow(cipher, numbers.dmp1, numbers.p), pow(cipher, numbers.dmq1, numbers.q)
    message = second + numbers.q * ((first - second) * numbers.iqmp % numbers.p)
    return message.to_bytes(KEY_BLOCK_SIZE, "big")


def _unpad(padded: bytes) -> bytes:
    """What stands behind the padding (mbedtls_ct_rsaes_pkcs1_v15_unpadding with room for 32 bytes)."""
    end = padded.find(b"\0", 2)
    if padded[:2] != b"\0\x02" or end < 2 + _LEAST_PADDING:
        raise ContentKeyError("the encrypted key is not for this RSA key, or damaged", _BAD_PADDING)
    if len(padded) - end - 1 > KEY_SIZE:
        raise ContentKeyError("the encrypted key is longer than 32 bytes", _TOO_LARGE)
    return padded[end + 1 :]
