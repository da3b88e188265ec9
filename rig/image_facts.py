"""What a firmware file is: app, bootloader or pre-encrypted image, with its signatures. Bytes in, facts out."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from rig.idf.chips import chip_by_id
from rig.idf.content_key import ContentKeyError, Form, PrivateKey, form_of
from rig.idf.effects import SECTOR_SIZE
from rig.idf.encrypted_image import HEADER_SIZE, EncryptedHeader, decrypt, is_encrypted
from rig.idf.errors import FormatError
from rig.idf.image import parse
from rig.idf.image_check import MAGIC
from rig.idf.signature_block import Scheme, SignatureBlock, blocks, signature_offset

_LOOKS_LIKE = (
    (b"\x7fELF", "an ELF file; the image is the .bin beside it"),
    (b"\xaa\x50", "a partition table"),
    (b"-----BEGIN", "a key or certificate in PEM"),
    (b"<", "HTML or XML, as a server sends in place of a file it does not have"),
    (b"\xff\xff\xff\xff", "erased flash; an image begins later, if there is one"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "compressed with gzip"),
)


@dataclass(frozen=True)
class SignatureFacts:
    """One signature block. `key_digest` in hex; `good`: it signs these very bytes with the key it carries."""

    scheme: Scheme
    key_digest: str
    good: bool


@dataclass(frozen=True)
class AppFacts:
    """A plain image. `kind`: `app`, `bootloader`, or `image` without a description. Sizes in bytes, hashes in hex.

    `length` is that of the image with its checksum and hash; `behind` counts bytes that follow and are no signature.
    """

    kind: str
    size: int
    length: int
    chip: str
    project: str | None
    version: str | None
    secure_version: int | None
    idf_version: str | None
    built: str | None
    min_revision: str
    max_revision: str
    segments: int
    hash_appended: bool
    sha256: str
    signatures: tuple[SignatureFacts, ...]
    behind: int


@dataclass(frozen=True)
class EncryptedFacts:
    """A pre-encrypted image. `inside` is the app that the key gave; without it `note` says why."""

    form: Form
    size: int
    image_size: int
    iv: str
    tag: str
    inside: AppFacts | None
    note: str | None
    kind: str = "pre-encrypted"


def facts_of(data: bytes, key: PrivateKey | None = None) -> AppFacts | EncryptedFacts:
    """Raises FormatError for what is none of these, is damaged, or cannot be decrypted with `key`."""
    if is_encrypted(data):
        return _encrypted(data, key)
    if not data:
        raise FormatError("the file is empty")
    if data[0] != MAGIC:
        guess = next((text for start, text in _LOOKS_LIKE if data.startswith(start)), None)
        what = f"this looks like {guess}" if guess else f"it starts with {data[:4].hex(' ')}"
        raise FormatError(f"no app image and no pre-encrypted image: {what}")
    return _plain(data)


def _encrypted(data: bytes, key: PrivateKey | None) -> EncryptedFacts:
    header = EncryptedHeader.parse(data)
    found = len(data) - HEADER_SIZE
    if found != header.size:
        missing = "is cut off" if found < header.size else "goes on behind its end"
        raise FormatError(
            f"this pre-encrypted image {missing}: {found} bytes of ciphertext, its header says {header.size}"
        )
    inside, note = (None, "not looked at without the device's private key") if key is None else _inside(data, key)
    return EncryptedFacts(header.form, len(data), header.size, header.iv.hex(), header.tag.hex(), inside, note)


def _inside(data: bytes, key: PrivateKey) -> tuple[AppFacts | None, str | None]:
    try:
        content = decrypt(data, key)
    except ContentKeyError as error:
        image_form, key_form = EncryptedHeader.parse(data).form, form_of(key)
        if image_form == key_form:
            raise
        raise FormatError(f"encrypted in the form {image_form}, but the key is for {key_form}") from error
    try:
        facts = facts_of(content)
    except FormatError as error:
        return None, f"decrypted and its tag is right, but it is no app: {error}"
    if isinstance(facts, EncryptedFacts):
        return None, "decrypted and its tag is right, but it is a pre-encrypted image again; no device decrypts twice"
    return facts, None


def _plain(data: bytes) -> AppFacts:
    image = parse(data)
    signatures = _signatures(data, image.length)
    end = signature_offset(image.length) + SECTOR_SIZE if signatures else image.length
    desc, loader = image.desc, image.bootloader_desc
    header = image.header
    return AppFacts(
        kind="app" if desc else "bootloader" if loader else "image",
        size=len(data),
        length=image.length,
        chip=chip_by_id(header.chip_id).name,
        project=desc.project if desc else None,
        version=desc.version if desc else str(loader.version) if loader else None,
        secure_version=desc.secure_version if desc else loader.secure_version if loader else None,
        idf_version=desc.idf_ver if desc else loader.idf_ver if loader else None,
        built=f"{desc.date} {desc.time}" if desc else loader.date_time if loader else None,
        min_revision=_revision(header.min_revision),
        max_revision=_revision(header.max_revision),
        segments=header.segment_count,
        hash_appended=header.hash_appended,
        sha256=image.sha256.hex(),
        signatures=signatures,
        behind=max(0, len(data) - end),
    )


def _signatures(data: bytes, length: int) -> tuple[SignatureFacts, ...]:
    start = signature_offset(length)
    digest = sha256(data[:start]).digest()
    found = (_signature(block, digest) for block in blocks(data[start : start + SECTOR_SIZE]))
    return tuple(signature for signature in found if signature is not None)


def _signature(block: SignatureBlock | None, digest: bytes) -> SignatureFacts | None:
    if block is None or block.scheme is None:
        return None
    good = block.image_digest == digest and block.signs(digest, block.scheme)
    return SignatureFacts(block.scheme, block.key_digest(block.scheme).hex(), good)


def _revision(number: int) -> str:
    return f"v{number // 100}.{number % 100}"
