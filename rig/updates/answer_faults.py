"""Faults in the answer and its delivery: status, redirection, length, pace, connections that end."""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from rig.updates import answers
from rig.updates.answers import Answer, Asked, Ending
from rig.updates.fault_base import Fault, Place, Spec, bytes_in, place_in

_REDIRECTIONS = (301, 302, 303, 307, 308)


class AnswerFault(Fault):
    """Another answer than the right one, or another delivery of it. `reach`: the bytes of body it cannot do without."""

    @property
    def reach(self) -> int:
        return 0

    @abstractmethod
    def change(self, answer: Answer, asked: Asked) -> Answer:
        """What goes out instead of `answer`."""


@dataclass(frozen=True)
class Disconnect(AnswerFault):
    place: Place
    name: ClassVar[str] = "disconnect"
    syntax: ClassVar[str] = "disconnect@N"
    summary: ClassVar[str] = "full length said, exactly N body bytes sent, then FIN; no close_notify"
    ending: ClassVar[Ending] = Ending.CUT

    @classmethod
    def read(cls, spec: Spec) -> Self:
        spec.only(cls)
        return cls(place_in(spec, cls))

    @property
    def reach(self) -> int:
        return self.place.of(0)

    def change(self, answer: Answer, asked: Asked) -> Answer:
        return replace(answer, limit=self.place.of(len(answer.body)), ending=self.ending)

    def __str__(self) -> str:
        return f"{self.name}@{self.place}"


class Reset(Disconnect):
    name: ClassVar[str] = "reset"
    syntax: ClassVar[str] = "reset@N"
    summary: ClassVar[str] = "full length said, exactly N body bytes sent, then TCP RST"
    ending: ClassVar[Ending] = Ending.RESET


@dataclass(frozen=True)
class Stall(AnswerFault):
    place: Place
    seconds: float | None = None
    name: ClassVar[str] = "stall"
    syntax: ClassVar[str] = "stall@N[,for=SECONDS]"
    summary: ClassVar[str] = "exactly N body bytes, then silence; after SECONDS the rest"

    @classmethod
    def read(cls, spec: Spec) -> Self:
        spec.only(cls, "for")
        return cls(place_in(spec, cls), _seconds(spec, cls, "for"))

    @property
    def reach(self) -> int:
        return self.place.of(0)

    def change(self, answer: Answer, asked: Asked) -> Answer:
        # A stall that ends leaves the connection as the right answer would.
        ending = Ending.STALL if self.seconds is None else answer.ending
        return replace(answer, limit=self.place.of(len(answer.body)), ending=ending, pause=self.seconds)

    def __str__(self) -> str:
        return f"{self.name}@{self.place}" + ("" if self.seconds is None else f",for={self.seconds:g}")


@dataclass(frozen=True)
class Drip(AnswerFault):
    """`rate` in body bytes per second."""

    rate: int
    name: ClassVar[str] = "drip"
    syntax: ClassVar[str] = "drip@RATE"
    summary: ClassVar[str] = "the body comes at RATE bytes a second"

    @classmethod
    def read(cls, spec: Spec) -> Self:
        spec.only(cls)
        rate = bytes_in(spec, cls)
        if spec.mark != "@" or not rate:
            spec.wrong(cls)
        return cls(rate)

    def change(self, answer: Answer, asked: Asked) -> Answer:
        return replace(answer, rate=float(self.rate))

    def __str__(self) -> str:
        return f"{self.name}@{self.rate}"


@dataclass(frozen=True)
class Length(AnswerFault):
    """`delta` is added to the right Content-Length."""

    delta: int
    name: ClassVar[str] = "length"
    syntax: ClassVar[str] = "length+N, length-N"
    summary: ClassVar[str] = "Content-Length N too large or small; the whole body, then closed"

    @classmethod
    def read(cls, spec: Spec) -> Length | NoLength:  # type: ignore[override]
        spec.only(cls)
        if spec.mark == "=" and spec.value == "none":
            return NoLength()
        amount = bytes_in(spec, cls)
        if spec.mark not in ("+", "-") or not amount:
            spec.wrong(cls)
        return cls(amount if spec.mark == "+" else -amount)

    def change(self, answer: Answer, asked: Asked) -> Answer:
        length = max(0, len(answer.body) + self.delta)
        return replace(answer, length=length, chunk=None, ending=_closed(answer))

    def __str__(self) -> str:
        return f"{self.name}{self.delta:+d}"


@dataclass(frozen=True)
class NoLength(AnswerFault):
    """The body ends where the connection does, as HTTP/1.0 had it."""

    name: ClassVar[str] = "length"
    syntax: ClassVar[str] = "length=none"
    summary: ClassVar[str] = "no Content-Length and no chunks; the whole body, then closed"

    def change(self, answer: Answer, asked: Asked) -> Answer:
        return replace(answer, length=None, chunk=None, ending=_closed(answer))

    def __str__(self) -> str:
        return "length=none"


@dataclass(frozen=True)
class Chunked(AnswerFault):
    """No fault, but a choice of the server that clients must stand. A client of HTTP/1.0 gets the body unframed."""

    size: int = 4096
    name: ClassVar[str] = "chunked"
    syntax: ClassVar[str] = "chunked[=SIZE]"
    summary: ClassVar[str] = "no fault: the body in chunks of SIZE bytes (4096), no Content-Length"

    @classmethod
    def read(cls, spec: Spec) -> Self:
        spec.only(cls)
        if not spec.mark:
            return cls()
        size = bytes_in(spec, cls)
        if spec.mark != "=" or not size:
            spec.wrong(cls)
        return cls(size)

    def change(self, answer: Answer, asked: Asked) -> Answer:
        if asked.http_1_0:
            return replace(answer, length=None, ending=_closed(answer))
        return replace(answer, length=None, chunk=self.size)

    def __str__(self) -> str:
        return f"{self.name}={self.size}"


@dataclass(frozen=True)
class RedirectLoop(AnswerFault):
    status: int = 302
    name: ClassVar[str] = "redirect-loop"
    syntax: ClassVar[str] = "redirect-loop[=STATUS]"
    summary: ClassVar[str] = "301, 302 (default), 303, 307 or 308 to the same URL"

    @classmethod
    def read(cls, spec: Spec) -> Self:
        spec.only(cls)
        if not spec.mark:
            return cls()
        if spec.mark != "=" or spec.value not in map(str, _REDIRECTIONS):
            spec.wrong(cls)
        return cls(int(spec.value))

    def change(self, answer: Answer, asked: Asked) -> Answer:
        url = f"{'https' if asked.secure else 'http'}://{asked.host}{asked.path}"
        return answers.text(self.status, url, asked, (("Location", url),))

    def __str__(self) -> str:
        return self.name if self.status == 302 else f"{self.name}={self.status}"


@dataclass(frozen=True)
class Status(AnswerFault):
    """`retry_after` in seconds."""

    status: int
    retry_after: int | None = None
    name: ClassVar[str] = "status"
    syntax: ClassVar[str] = "status=CODE[,retry-after=S]"
    summary: ClassVar[str] = "an error from 400 to 599 instead of the image; S seconds or none"

    @classmethod
    def read(cls, spec: Spec) -> Self:
        spec.only(cls, "retry-after")
        later = spec.options.get("retry-after")
        if spec.mark != "=" or not re.fullmatch(r"[45]\d\d", spec.value) or not re.fullmatch(r"\d{1,9}", later or "0"):
            spec.wrong(cls)
        return cls(int(spec.value), None if later is None else int(later))

    def change(self, answer: Answer, asked: Asked) -> Answer:
        later = () if self.retry_after is None else (("Retry-After", str(self.retry_after)),)
        return answers.text(self.status, "as told to answer", asked, later)

    def __str__(self) -> str:
        return f"{self.name}={self.status}" + ("" if self.retry_after is None else f",retry-after={self.retry_after}")


@dataclass(frozen=True)
class Together(AnswerFault):
    """`count` requests for one path are answered at the same time."""

    count: int = 2
    name: ClassVar[str] = "together"
    syntax: ClassVar[str] = "together[=N]"
    summary: ClassVar[str] = "two clients at once: no answer before N (2) wait at that URL"

    @classmethod
    def read(cls, spec: Spec) -> Self:
        spec.only(cls)
        if not spec.mark:
            return cls()
        if spec.mark != "=" or not re.fullmatch(r"[1-9]\d{0,2}", spec.value):
            spec.wrong(cls)
        return cls(int(spec.value))

    def change(self, answer: Answer, asked: Asked) -> Answer:
        return replace(answer, together=self.count)

    def __str__(self) -> str:
        return f"{self.name}={self.count}"


def _closed(answer: Answer) -> Ending:
    """The body's end is the connection's, unless another fault ends it in a way of its own."""
    return Ending.CLOSE if answer.ending is Ending.KEEP else answer.ending


def _seconds(spec: Spec, fault: type[Fault], key: str) -> float | None:
    said = spec.options.get(key)
    if said is None:
        return None
    try:
        seconds = float(said.removesuffix("s"))
    except ValueError:
        spec.wrong(fault)
    if not math.isfinite(seconds) or seconds < 0:
        spec.wrong(fault)
    return seconds
