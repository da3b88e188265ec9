"""What a file is that somebody sent: a serial log, a flash dump, a report folder, or none of them. And opening it."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

from rig.errors import UserError

SAMPLE = 0x10000
CHUNK = 0x100000
LARGEST_DUMP = 0x8000000
"""128 MiB: no ESP chip addresses more flash."""

_CONTROLS = bytes(byte for byte in (*range(0x20), 0x7F) if byte not in b"\t\r\n\x1b\x08")
_LOG_WORDS = (b"rst:0x", b"boot: ", b"I (", b"E (", b"W (", b"esp_image", b"esp_ota_ops", b"ets J", b"ESP-ROM")
_OTHERS = (
    (b"\x7fELF", "an ELF file", "give the serial log or the dump; rig image info takes the .bin"),
    (b"PK\x03\x04", "a ZIP archive with several files", "unpack it and give the log or the dump"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard", "unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it first"),
    (b"%PDF", "a PDF", "give the log as text"),
    (b"\x89PNG", "a picture", "give the log as text: from a picture nothing can be read"),
    (b"\xff\xd8\xff", "a picture", "give the log as text: from a picture nothing can be read"),
    (b"\xd4\xc3\xb2\xa1", "a network capture", "give the serial log"),
)
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))

Told = Callable[[int], None]
"""Told how many bytes of the file have been read so far."""


@dataclass(frozen=True)
class Evidence:
    """A file that was recognised. `size` in bytes as it lies on disk, 0 if that is not known."""

    source: str
    kind: Literal["serial log", "flash dump", "report folder"]
    path: Path | None
    size: int
    encoding: str
    head: bytes
    stream: BinaryIO | None

    def chunks(self, told: Told = lambda done: None) -> Iterator[bytes]:
        """The content of a log, in UTF-8, piece by piece."""
        decoder = None if self.encoding == "bytes" else codecs.getincrementaldecoder(self.encoding)("replace")
        for raw in self._raw(told):
            text = raw if decoder is None else decoder.decode(raw).encode("utf-8", "replace")
            yield text.replace(b"\0", b"")

    def content(self) -> bytes:
        """All of a dump. UserError if it is more than any chip's flash."""
        found = bytearray()
        for raw in self._raw(lambda done: None):
            found += raw
            if len(found) > LARGEST_DUMP:
                raise UserError(f"{self.source}: more than 128 MiB, which no chip's flash has", hint="give one dump")
        return bytes(found)

    def _raw(self, told: Told) -> Iterator[bytes]:
        yield self.head
        done = len(self.head)
        assert self.stream is not None
        with self.stream:
            try:
                while chunk := self.stream.read(CHUNK):
                    done += len(chunk)
                    told(done)
                    yield chunk
            except (EOFError, OSError, lzma.LZMAError, zipfile.BadZipFile) as error:
                raise UserError(
                    f"{self.source}: cannot be unpacked behind byte {done}: {error}", hint="get the file again"
                ) from error


def take_in(path: Path, looks_like_flash: Callable[[bytes], bool]) -> Evidence:
    """Recognise `path`; `-` is standard input. Raises UserError for what is neither, saying what it seems to be."""
    if str(path) == "-":
        return _recognised("standard input", None, 0, sys.stdin.buffer, looks_like_flash)
    if path.is_dir():
        return Evidence(str(path), "report folder", path, 0, "bytes", b"", None)
    try:
        size = path.stat().st_size
        stream = _unpacked(path)
    except (OSError, lzma.LZMAError, zipfile.BadZipFile) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UserError(f"{path}: {text}", hint="give a serial log, a flash dump or a report folder") from error
    return _recognised(str(path), path, size, stream, looks_like_flash)


def _unpacked(path: Path) -> BinaryIO:
    """The file, through the decompressor that its first bytes ask for; a name may lie."""
    with path.open("rb") as file:
        head = file.read(6)
    if head[:2] == b"\x1f\x8b":
        return io.BufferedReader(gzip.GzipFile(path))
    if head[:3] == b"BZh":
        return io.BufferedReader(bz2.BZ2File(path))
    if head == b"\xfd7zXZ\x00":
        return io.BufferedReader(lzma.LZMAFile(path))
    if head[:4] == b"PK\x03\x04":
        archive = zipfile.ZipFile(path)
        names = [name for name in archive.namelist() if not name.endswith("/")]
        if len(names) == 1:
            return cast(BinaryIO, archive.open(names[0]))
    return path.open("rb")


def _recognised(
    source: str, path: Path | None, size: int, stream: BinaryIO, looks_like_flash: Callable[[bytes], bool]
) -> Evidence:
    try:
        head = _head(stream)
    except (EOFError, OSError, lzma.LZMAError) as error:
        raise UserError(f"{source}: cannot be unpacked: {error}", hint="get the file again") from error
    if not head:
        raise UserError(f"{source}: the file is empty", hint="give a serial log or a flash dump")
    if (known := _other_format(source, head)) is not None:
        stream.close()
        raise known
    encoding = _encoding(head)
    text = head if encoding == "bytes" else head.decode(encoding, "replace").encode()
    share = _text_share(text.replace(b"\0", b""))
    words = any(word in text for word in _LOG_WORDS)
    if share > 0.9 or (encoding != "bytes" and share > 0.7):
        return Evidence(source, "serial log", path, size, encoding, head, stream)
    if looks_like_flash(head):
        return Evidence(source, "flash dump", path, size, "bytes", head, stream)
    if share > 0.5 and words:
        return Evidence(source, "serial log", path, size, encoding, head, stream)
    stream.close()
    raise _unknown(source, head, share)


def _head(stream: BinaryIO) -> bytes:
    """Enough to tell a dump: erased flash may go on for a while."""
    head = stream.read(SAMPLE)
    if head and not head.strip(b"\xff"):
        head += stream.read(SAMPLE)
    return head


def _encoding(head: bytes) -> str:
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    # without a mark, every other byte of ASCII in UTF-16 is NUL
    even, odd = head[0:4096:2], head[1:4096:2]
    if len(odd) >= 8 and odd.count(0) * 10 > len(odd) * 8 and even.count(0) * 10 < len(even):
        return "utf-16-le"
    if len(even) >= 8 and even.count(0) * 10 > len(even) * 8 and odd.count(0) * 10 < len(odd):
        return "utf-16-be"
    return "bytes"


def _text_share(head: bytes) -> float:
    """Bytes of plain ASCII, and of whole UTF-8 sequences."""
    if not head:
        return 0.0
    text = head.decode("utf-8", "ignore").encode()
    return len(text.translate(None, _CONTROLS)) / len(head)


def _other_format(source: str, head: bytes) -> UserError | None:
    for magic, what, hint in _OTHERS:
        if head.startswith(magic):
            return UserError(f"{source}: this is {what}", hint=hint)
    return None


def _unknown(source: str, head: bytes, share: float) -> UserError:
    what = "neither a serial log nor flash content"
    if len(set(head)) > 250:
        what += ": it looks like noise, as an encrypted flash or a wrong baud rate does"
    return UserError(
        f"{source}: {what} ({share:.0%} of its beginning is text)",
        hint="give a serial log from the reset on, or a dump by esptool read-flash (decrypted)",
    )
