"""Faults in what is served: the answer is well-formed, the file is wrong."""

from __future__ import annotations

import re
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, Self

from rig.idf.errors import FormatError
from rig.updates import wrong_images
from rig.updates.answers import HTML, File
from rig.updates.fault_base import CannotApply, Fault, Place, Spec, place_in

_PAGE = b"""<!DOCTYPE html>
<html><head><title>Sign in</title></head>
<body><h1>Welcome to the guest network</h1><p>Please accept the terms of use to go on.</p></body></html>
"""


class Offered(Protocol):
    """What the server has, as a fault may look at it. Paths begin with a slash."""

    def current(self, path: str) -> File | None:
        """What is offered at `path`."""

    def earlier(self, path: str) -> File | None:
        """What was offered there before."""


class FileFault(Fault):
    """Another file than the one that was offered."""

    @abstractmethod
    def change(self, file: File, path: str, offered: Offered) -> File:
        """What is served instead of `file` at `path`. Raises CannotApply."""


@dataclass(frozen=True)
class Truncate(FileFault):
    """The file is cut; length and ranges are those of what is left."""

    place: Place
    name: ClassVar[str] = "truncate"
    syntax: ClassVar[str] = "truncate@N"
    summary: ClassVar[str] = "the file has N bytes, and Content-Length says so (else: disconnect)"

    @classmethod
    def read(cls, spec: Spec) -> Self:
        spec.only(cls)
        return cls(place_in(spec, cls))

    def change(self, file: File, path: str, offered: Offered) -> File:
        size = self.place.of(len(file.data))
        if size >= len(file.data):
            raise CannotApply(f"{path} has {len(file.data)} bytes, so nothing is cut off behind {size}")
        return File.of(file.data[:size], file.content_type)

    def __str__(self) -> str:
        return f"{self.name}@{self.place}"


@dataclass(frozen=True)
class Flip(FileFault):
    """One byte is inverted. The ETag stays, as for damage on the way or on a disk."""

    place: Place
    name: ClassVar[str] = "flip"
    syntax: ClassVar[str] = "flip@OFFSET"
    summary: ClassVar[str] = "the byte at OFFSET of the file has all bits inverted; the ETag stays"

    @classmethod
    def read(cls, spec: Spec) -> Self:
        spec.only(cls)
        return cls(place_in(spec, cls))

    def change(self, file: File, path: str, offered: Offered) -> File:
        at = self.place.of(len(file.data))
        if self.place.percent:
            at = min(at, len(file.data) - 1)
        if not 0 <= at < len(file.data):
            raise CannotApply(f"{path} has {len(file.data)} bytes, so none at {at:#x} can be flipped")
        return replace(file, data=file.data[:at] + bytes([file.data[at] ^ 0xFF]) + file.data[at + 1 :])

    def __str__(self) -> str:
        return f"{self.name}@{self.place}"


@dataclass(frozen=True)
class Html(FileFault):
    """What a captive portal answers."""

    name: ClassVar[str] = "html"
    syntax: ClassVar[str] = "html"
    summary: ClassVar[str] = "a web page with status 200, as captive portals send"

    def change(self, file: File, path: str, offered: Offered) -> File:
        return File.of(_PAGE, HTML)


@dataclass(frozen=True)
class Replay(FileFault):
    """An old image at the new one's URL."""

    name: ClassVar[str] = "replay"
    syntax: ClassVar[str] = "replay"
    summary: ClassVar[str] = "the image that was at that URL before the present one"

    def change(self, file: File, path: str, offered: Offered) -> File:
        old = offered.earlier(path)
        if old is None:
            raise CannotApply(
                f"nothing was offered at {path} before", hint="offer the old image first, then the new one"
            )
        return old


@dataclass(frozen=True)
class Other(FileFault):
    """Any file that is offered under another name."""

    other: str
    name: ClassVar[str] = "file"
    syntax: ClassVar[str] = "file=NAME"
    summary: ClassVar[str] = "what is offered as NAME instead"

    @classmethod
    def read(cls, spec: Spec) -> Self:
        spec.only(cls)
        if spec.mark != "=":
            spec.wrong(cls)
        return cls(spec.value.lstrip("/"))

    def change(self, file: File, path: str, offered: Offered) -> File:
        other = offered.current(f"/{self.other}")
        if other is None:
            raise CannotApply(f"nothing is offered as {self.other}", hint="offer it first")
        return other

    def __str__(self) -> str:
        return f"{self.name}={self.other}"


@dataclass(frozen=True)
class WrongImage(FileFault):
    """A whole app image that is not for this device: the offered one with one field changed and sealed anew."""

    value: str | None = None

    @classmethod
    def read(cls, spec: Spec) -> Self:
        spec.only(cls)
        if spec.mark not in ("", "="):
            spec.wrong(cls)
        return cls(spec.value or None)

    @abstractmethod
    def edit(self, data: bytes) -> bytes:
        """The wrong image. Raises FormatError."""

    def change(self, file: File, path: str, offered: Offered) -> File:
        try:
            return File.of(self.edit(file.data), file.content_type)
        except FormatError as error:
            raise CannotApply(f"{self.name} cannot be made of {path}: {error}") from error

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}={self.value}"


class OtherChip(WrongImage):
    name: ClassVar[str] = "other-chip"
    syntax: ClassVar[str] = "other-chip[=CHIP]"
    summary: ClassVar[str] = "the image with the chip id of another chip, valid in all else"

    def edit(self, data: bytes) -> bytes:
        return wrong_images.for_other_chip(data, self.value)


class OtherProject(WrongImage):
    name: ClassVar[str] = "other-project"
    syntax: ClassVar[str] = "other-project[=NAME]"
    summary: ClassVar[str] = "the image with another project name, valid in all else"

    def edit(self, data: bytes) -> bytes:
        return wrong_images.of_other_project(data, self.value)


class OlderVersion(WrongImage):
    name: ClassVar[str] = "older-version"
    syntax: ClassVar[str] = "older-version[=VERSION]"
    summary: ClassVar[str] = "the image with another version (0.0.1), valid in all else"

    def edit(self, data: bytes) -> bytes:
        return wrong_images.with_version(data, self.value or "0.0.1")


@dataclass(frozen=True)
class LowerSecureVersion(WrongImage):
    name: ClassVar[str] = "lower-secure-version"
    syntax: ClassVar[str] = "lower-secure-version[=N]"
    summary: ClassVar[str] = "the image with a lower secure version (one less), valid in all else"

    @classmethod
    def read(cls, spec: Spec) -> Self:
        fault = super().read(spec)
        if not re.fullmatch(r"\d{1,9}", fault.value or "0"):
            spec.wrong(cls)
        return fault

    def edit(self, data: bytes) -> bytes:
        return wrong_images.with_lower_secure_version(data, None if self.value is None else int(self.value))
