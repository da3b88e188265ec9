"""Keys for tests, made once in a process: RSA takes a while. Nothing here is ever written to the repository."""

from functools import cache

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa


@cache
def rsa_key(number=0, bits=3072):
    return rsa.generate_private_key(65537, bits)


@cache
def ec_key(number=0, curve=ec.SECP256R1):
    return ec.generate_private_key(curve())


def private_pem(key, password=None):
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


def public_pem(key):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)
