"""Key files for pre-encrypted images, and what is wrong with one."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rig.idf.content_key import HMAC_KEY_SIZE, RSA_BITS, PrivateKey, PublicKey, device_key
from rig.idf.errors import FormatError

_WANTED = f"wanted is RSA with {RSA_BITS} bits or EC on P-256 (prime256v1)"


def load_public_key(pem: bytes) -> PublicKey:
    """The public key in `pem`, or that of the private key in it.

    Raises FormatError for a key of another kind or size, one behind a password, and anything that is no key in PEM.
    """
    if b"PRIVATE KEY" in pem:
        return load_private_key(pem).public_key()
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise FormatError(f"no key in PEM that can be read; {_WANTED}") from error
    if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        _check(key)
        return key
    raise FormatError(f"a key of the wrong kind; {_WANTED}")


def load_private_key(data: bytes) -> PrivateKey:
    """The private key in a PEM file, or that of a device whose HMAC key `data` is (32 bytes).

    Raises FormatError as `load_public_key` does, and for a public key.
    """
    key = read_private_key(data)
    _check(key.public_key())
    return key


def read_private_key(data: bytes) -> PrivateKey:
    """The same without regard to the size of an RSA key or the curve of an EC key."""
    if len(data) == HMAC_KEY_SIZE:
        return device_key(data)
    try:
        # that primes are primes is not proved each time: a broken key decrypts nothing
        key = serialization.load_pem_private_key(data, password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError as error:
        raise FormatError("this private key is behind a password; take a file without one") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        if b"PUBLIC KEY" in data:
            raise FormatError("this is a public key; only the private one decrypts") from error
        raise FormatError(f"no private key in PEM that can be read; {_WANTED}") from error
    if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        return key
    raise FormatError(f"a key of the wrong kind; {_WANTED}")


def _check(key: PublicKey) -> None:
    if isinstance(key, rsa.RSAPublicKey) and key.key_size != RSA_BITS:
        raise FormatError(f"an RSA key of {key.key_size} bits; {_WANTED}")
    if isinstance(key, ec.EllipticCurvePublicKey) and not isinstance(key.curve, ec.SECP256R1):
        raise FormatError(f"an EC key on {key.curve.name}; {_WANTED}")
