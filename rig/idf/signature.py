"""How an app demands a signature of an update without secure boot (CONFIG_SECURE_SIGNED_ON_UPDATE_NO_SECURE_BOOT).

Follows `verify_secure_boot_signature` in components/bootloader_support/src/esp_image_format.c,
secure_boot_v2/secure_boot_signatures_app.c, secure_boot_rsa_signature.c and `check_signature_on_update_check` in
secure_boot.c of ESP-IDF v5.1.6 and v5.5. Only the app looks at signatures; its bootloader boots what it is given. The
app trusts the key of its own first signature, and of an update it looks at the first signature only.
"""

from __future__ import annotations

from hashlib import sha256

from rig.idf.config import BootConfig
from rig.idf.effects import SECTOR_SIZE, Log, Memory, Steps
from rig.idf.image_check import HASH_SIZE, HEADER, MAGIC, MAX_SEGMENTS, SEGMENT
from rig.idf.signature_block import MAX_BLOCKS, VERSIONS, Scheme, SignatureBlock, blocks, signature_offset

_TAG, _RSA_TAG = "secure_boot_v2", "secure_boot_v2_rsa"
_ONE_BLOCK = ("esp32", "esp32c2")
"""Chips with SECURE_BOOT_NUM_BLOCKS 1."""
_NAMES = {2: "RSA", 3: "ECDSA", 1: "ECDSA"}
_TRAILER = 0xBC
_LONGEST = 0x1000000
_MISMATCH, _BAD_PADDING, _NO_NUMBER = -0x4380, -0x4100, -0x4284
"""MBEDTLS_ERR_RSA_VERIFY_FAILED, _INVALID_PADDING, and _PUBLIC_FAILED with MBEDTLS_ERR_MPI_BAD_INPUT_DATA."""


def image_length(memory: Memory, offset: int) -> int | None:
    """Bytes of the image at flash `offset`, checksum and hash included, by its headers (esp_image_get_metadata).

    None where there is no image.
    """
    header = memory.read(offset, HEADER.size)
    if header[0] != MAGIC or header[1] > MAX_SEGMENTS:
        return None
    at = HEADER.size
    for _ in range(header[1]):
        at += SEGMENT.size + SEGMENT.unpack(memory.read(offset + at, SEGMENT.size))[1]
        if at > _LONGEST:
            return None
    return at + 16 - at % 16 + (HASH_SIZE if header[-1] else 0)


def own_signatures(memory: Memory, offset: int, scheme: Scheme, config: BootConfig) -> Steps[tuple[bytes, ...]]:
    """The key digests of the good signature blocks of the running app at flash `offset`."""
    length = image_length(memory, offset)
    if length is None:
        yield Log("E", _TAG, "Error reading metadata from running app (err=0x2002)")
    sector = b"" if length is None else memory.read(offset + signature_offset(length), SECTOR_SIZE)
    digests = []
    for block in blocks(sector)[: 1 if config.chip in _ONE_BLOCK else MAX_BLOCKS]:
        usable = yield from _usable(block, scheme, config)
        if usable and block is not None:
            digests.append(block.key_digest(scheme))
    if not digests:
        yield Log("E", _TAG, "No signatures were found for the running app")
    return tuple(digests)


def check_own_signature(memory: Memory, offset: int, config: BootConfig) -> Steps[bool]:
    """What such an app does before app_main: False when it aborts, because it could never verify an update."""
    if config.signed_updates is None:
        return True
    digests = yield from own_signatures(memory, offset, config.signed_updates, config)
    if not digests:
        text = "This app is not signed, but check signature on update is enabled in config."
        yield Log("E", "secure_boot", f"{text} It won't be possible to verify any update.")
        return False
    if len(digests) > 1:
        text = "Only the first position of signature blocks is used to verify any update"
        yield Log("W", "secure_boot", f"App has {len(digests)} signatures. {text}")
    return True


def verify_signature(memory: Memory, offset: int, running: int, scheme: Scheme, config: BootConfig) -> Steps[bool]:
    """Whether the image at flash `offset`, whose checksum is good, is signed by the key of the app at `running`."""
    yield Log("I", "esp_image", "Verifying image signature...")
    length = image_length(memory, offset)
    assert length is not None
    signed = signature_offset(length)
    digest = sha256(memory.read(offset, signed)).digest()
    first = SignatureBlock.parse(memory.read(offset + signed, SECTOR_SIZE))
    good = yield from _is_trusted(memory, first, digest, running, scheme, config)
    if good:
        return True
    yield Log("E", "esp_image", "Secure boot signature verification failed")
    yield Log("I", "esp_image", "Calculating simple hash to check for corruption...")
    if sha256(memory.read(offset, length - HASH_SIZE)).digest() == _appended_hash(memory, offset, length):
        yield Log("W", "esp_image", "image valid, signature bad")
    else:
        yield Log("E", "esp_image", "Image hash failed - image is corrupt")
        yield Log("W", "esp_image", "image corrupted on flash")
    return False


def _is_trusted(
    memory: Memory, block: SignatureBlock | None, digest: bytes, running: int, scheme: Scheme, config: BootConfig
) -> Steps[bool]:
    yield Log("I", _TAG, "Take trusted digest key(s) from running app")
    trusted = yield from own_signatures(memory, running, scheme, config)
    if not trusted:
        yield Log("E", _TAG, "Could not read secure boot digests!")
        return False
    usable = yield from _usable(block, scheme, config)
    if not usable or block is None or block.key_digest(scheme) != trusted[0]:
        return False
    yield Log("I", _TAG, "#0 app key digest == #0 trusted key digest")
    yield Log("I", _TAG, f"Verifying with {'RSA-PSS' if scheme == 'rsa' else 'ECDSA'}...")
    good = block.signs(digest, scheme)
    if scheme == "rsa":
        yield _rsa_line(block, good)
    return good


def _usable(block: SignatureBlock | None, scheme: Scheme, config: BootConfig) -> Steps[bool]:
    """validate_signature_block; the scheme is looked at from v5.4 on."""
    if block is None:
        return False
    if config.idf < (5, 5) or block.version == VERSIONS[scheme]:
        return True
    wanted, found = _NAMES[VERSIONS[scheme]], _NAMES.get(block.version, "Unknown")
    text = f"{wanted} signing scheme selected but signature block generated for {found} scheme"
    yield Log("E", _TAG, text)
    return False


def _rsa_line(block: SignatureBlock, good: bool) -> Log:
    if good:
        return Log("I", _RSA_TAG, "Signature verified successfully!")
    message = block.rsa_message()
    if message is None:
        return Log("E", _RSA_TAG, f"mbedtls_rsa_public failed, err: {_NO_NUMBER}")
    # another mask or salt would also be bad padding, but a wrong signature that ends as a good one is rare
    error = _MISMATCH if message & 0xFF == _TRAILER else _BAD_PADDING
    return Log("E", _RSA_TAG, f"Failed mbedtls_rsa_rsassa_pss_verify, err: {error}")


def _appended_hash(memory: Memory, offset: int, length: int) -> bytes:
    """The hash that the image carries; zeros without one, as esp_image_metadata_t then has."""
    appended = memory.read(offset, HEADER.size)[-1]
    return memory.read(offset + length - HASH_SIZE, HASH_SIZE) if appended else bytes(HASH_SIZE)
