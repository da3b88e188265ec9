"""Pre-encrypted images: the file format of ESP-IDF's component `esp_encrypted_img`, header and AES-256-GCM.

`pre_enc_bin_header` in private_include/esp_encrypted_img_priv.h of espressif/idf-extra-components, v2.7.1: 512 bytes,
then as many bytes of ciphertext as the image has. GCM's tag covers the ciphertext only: the reserved bytes of the
header are protected by nothing, its other fields because a changed one gives another key, IV, length or tag.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rig.idf.content_key import KEY_BLOCK_SIZE, Form, PrivateKey, PublicKey, block_form, unwrap, wrap
from rig.idf.errors import FormatError

MAGIC = 0x0788B6CF
"""The first four bytes of the SHA-256 of `esp_encrypted_img`; in the file the last of them comes first."""
IV_SIZE = TAG_SIZE = 16
RESERVED_SIZE = 88
HEADER = struct.Struct(f"<I{KEY_BLOCK_SIZE}s{IV_SIZE}sI{TAG_SIZE}s{RESERVED_SIZE}s")
HEADER_SIZE = HEADER.size
"""512 bytes."""
_LONGEST = 0xFFFFFFFF


@dataclass(frozen=True)
class EncryptedHeader:
    """The 512 bytes before the ciphertext; `size` is that of the image, in bytes."""

    key_block: bytes
    iv: bytes
    size: int
    tag: bytes
    reserved: bytes = bytes(RESERVED_SIZE)

    @property
    def form(self) -> Form:
        return block_form(self.key_block)

    @classmethod
    def parse(cls, data: bytes) -> EncryptedHeader:
        """The header at the start of `data`. Raises FormatError without its magic and when it is cut short."""
        if not is_encrypted(data):
            raise FormatError(f"no pre-encrypted image: it would start with {MAGIC.to_bytes(4, 'little').hex(' ')}")
        if len(data) < HEADER_SIZE:
            raise FormatError(f"the header of a pre-encrypted image has {HEADER_SIZE} bytes; here are {len(data)}")
        _, key_block, iv, size, tag, reserved = HEADER.unpack_from(data)
        return cls(key_block, iv, size, tag, reserved)

    def pack(self) -> bytes:
        return HEADER.pack(MAGIC, self.key_block, self.iv, self.size, self.tag, self.reserved)


def is_encrypted(data: bytes) -> bool:
    """Whether `data` starts as a pre-encrypted image does."""
    return data[:4] == MAGIC.to_bytes(4, "little")


def encrypt(image: bytes, public_key: PublicKey) -> bytes:
    """`image` for the device that has the private key; two calls never give the same bytes.

    Raises FormatError for an empty image and for one that is encrypted already.
    """
    if not image:
        raise FormatError("there is nothing to encrypt: 0 bytes")
    if len(image) > _LONGEST:
        raise FormatError(f"{len(image)} bytes are more than the header's length field holds")
    if is_encrypted(image):
        raise FormatError("this image is pre-encrypted already; a device decrypts it only once")
    key, key_block = wrap(public_key)
    iv = os.urandom(IV_SIZE)
    sealed = memoryview(AESGCM(key).encrypt(iv, image, None))
    header = EncryptedHeader(key_block, iv, len(image), bytes(sealed[-TAG_SIZE:]))
    return b"".join((header.pack(), sealed[:-TAG_SIZE]))


def decrypt(data: bytes, private_key: PrivateKey) -> bytes:
    """The image in a whole pre-encrypted file.

    Raises FormatError for a file that is cut off or goes on too long, a key of the other form or of another device, and
    any byte that was changed, except the reserved ones of the header.
    """
    header = EncryptedHeader.parse(data)
    found = len(data) - HEADER_SIZE
    if found != header.size:
        raise FormatError(f"the header says {header.size} bytes of ciphertext, here are {found}")
    key = unwrap(header.key_block, private_key)
    try:
        return AESGCM(key).decrypt(header.iv, data[HEADER_SIZE:] + header.tag, None)
    except InvalidTag as error:
        raise FormatError("the tag does not match: another device's key, or a byte was changed") from error
