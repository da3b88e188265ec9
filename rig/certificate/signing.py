"""An Ed25519 signature over SHA256SUMS, which names every other file. It proves who holds a key, not who signs off.

Raw 64 bytes (RFC 8032), as `openssl pkeyutl -sign -rawin` makes them.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from rig.errors import UserError

HOW = "make one with: openssl genpkey -algorithm ed25519 -out KEY; its public half: openssl pkey -in KEY -pubout"


def read_private(path: Path) -> Ed25519PrivateKey:
    """From a PEM file without password. UserError for anything else."""
    try:
        key = serialization.load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UserError(f"{path}: no private key in PEM without a password: {error}", hint=HOW) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError(f"{path}: not an Ed25519 key", hint=HOW)
    return key


def read_public(path: Path) -> str:
    """From a PEM file, in hex. UserError for anything else."""
    try:
        key = serialization.load_pem_public_key(_read(path))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UserError(f"{path}: no public key in PEM: {error}", hint=HOW) from error
    if not isinstance(key, Ed25519PublicKey):
        raise UserError(f"{path}: not an Ed25519 key", hint=HOW)
    return key.public_bytes_raw().hex()


def public_half(key: Ed25519PrivateKey) -> str:
    """In hex."""
    return key.public_key().public_bytes_raw().hex()


def good(public: str, signature: bytes, data: bytes) -> bool:
    """Whether the signature is that key's over that data; a key that is none signed nothing."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}", hint=HOW) from error
