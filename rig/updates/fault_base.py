"""How a fault is written (`truncate@50%`, `status=503,retry-after=5`) and what every fault is."""

from __future__ import annotations

import re
from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NoReturn, Self, TypeVar

from rig.errors import UserError

T = TypeVar("T")
_UNITS = {"": 1, "k": 1024, "m": 1024 * 1024}
_NAME = re.compile(r"([a-z]+(?:-[a-z]+)*)(?:([@=+])(.+)|(-)(?=\d)(.+))?", re.DOTALL)


class CannotApply(UserError):
    """The fault has no meaning for that file; the message says why."""


@dataclass(frozen=True)
class Spec:
    """A fault as written: `name`, `mark` (`@`, `=`, `+`, `-` or empty), `value`, and what follows after commas."""

    text: str
    name: str
    mark: str
    value: str
    options: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Raises UserError for what is not written like a fault at all."""
        first, *rest = text.strip().split(",")
        match = _NAME.fullmatch(first.strip())
        if match is None:
            raise UserError(
                f"{text!r} is not written like a fault", hint="NAME, NAME@WHERE or NAME=VALUE, as stall@50%"
            )
        options = {}
        for item in rest:
            key, equals, value = item.strip().partition("=")
            if not equals or not value or key in options:
                raise UserError(f"fault {text!r}: {item.strip()!r} is not KEY=VALUE, or is there twice")
            options[key] = value
        name, mark, value, minus, number = match.groups()
        return cls(text.strip(), name, mark or minus or "", value or number or "", options)

    def wrong(self, fault: type[Fault]) -> NoReturn:
        """Raises UserError: it is written otherwise."""
        raise UserError(f"fault {self.text!r}: {self.name} is written {fault.syntax}")

    def only(self, fault: type[Fault], *allowed: str) -> None:
        """Raises UserError if there is an option of another name."""
        for key in self.options:
            if key not in allowed:
                raise UserError(f"fault {self.text!r}: {self.name} has no {key!r}", hint=f"written {fault.syntax}")


@dataclass(frozen=True)
class Place:
    """A place in a file or body: so many bytes, or so many hundredths of it."""

    amount: float
    percent: bool = False

    @classmethod
    def parse(cls, text: str) -> Place:
        """`4096`, `0x1000`, `64k`, `1m` (1024s) or `50%`. Raises ValueError."""
        if text.endswith("%"):
            amount = float(text[:-1])
            if not 0 <= amount <= 100:
                raise ValueError(text)
            return cls(amount, percent=True)
        return cls(parse_bytes(text))

    def of(self, size: int) -> int:
        """As bytes, in something of `size` bytes; may lie behind its end."""
        return int(size * self.amount / 100) if self.percent else int(self.amount)

    def __str__(self) -> str:
        return f"{self.amount:g}%" if self.percent else str(int(self.amount))


def parse_bytes(text: str) -> int:
    """`4096`, `0x1000`, `64k`, `1m`. Raises ValueError."""
    if re.fullmatch(r"0x[0-9a-fA-F]{1,12}", text):
        return int(text, 16)
    match = re.fullmatch(r"(\d{1,15})([kKmM]?)", text)
    if match is None:
        raise ValueError(text)
    return int(match[1]) * _UNITS[match[2].lower()]


class Fault(ABC):
    """Something the server does wrong on purpose. Written as `syntax`; `summary` says in one line what it does."""

    name: ClassVar[str]
    syntax: ClassVar[str]
    summary: ClassVar[str]

    @classmethod
    def read(cls, spec: Spec) -> Self:
        """From what was written. Raises UserError when it is written otherwise than `syntax`."""
        spec.only(cls)
        if spec.mark:
            spec.wrong(cls)
        return cls()

    def __str__(self) -> str:
        """As it is written."""
        return self.name


def place_in(spec: Spec, fault: type[Fault]) -> Place:
    """The place after `@`. Raises UserError when there is none."""
    return _read(Place.parse, spec, fault, "@")


def bytes_in(spec: Spec, fault: type[Fault]) -> int:
    """The number of bytes behind the mark. Raises UserError when there is none."""
    return _read(parse_bytes, spec, fault, "@=+-")


def _read(parse: Callable[[str], T], spec: Spec, fault: type[Fault], marks: str) -> T:
    try:
        if spec.mark and spec.mark in marks:
            return parse(spec.value)
    except ValueError:
        pass
    spec.wrong(fault)
