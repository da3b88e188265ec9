"""What a test asks of its trial, in order and as plain data, and where the images that it made came from.

Only what the test itself asks is noted, not what a step asks of other steps.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from rig.evidence.starting import Start
from rig.updates.agent import AgentError

OK = "ESP_OK"
Class = TypeVar("Class")


@dataclass
class Call:
    """One step. `began`: bytes of console log before it; `inside`: the steps in whose course it loses power.

    `answer`: the name of ESP-IDF's error if it said one; None if it broke off in another way.
    """

    name: str
    arguments: Mapping[str, Any]
    began: int
    answer: str | None = None
    inside: list[Call] = field(default_factory=list)


class Origin(NamedTuple):
    """What an image is: an app of that variant and version. `flip`: byte offsets that are inverted."""

    variant: str
    version: str
    flip: tuple[int, ...] = ()
    other_chip: bool = False


class Taken:
    """The steps so far. `position` tells the bytes of console log so far.

    `before`: first words of the app that ran once to be told the outcome of its diagnostics.
    """

    def __init__(self, position: Callable[[], int]) -> None:
        self.calls: list[Call] = []
        self.images: dict[bytes, Origin] = {}
        self.before: Start | None = None
        self.busy = False
        self._position = position

    def made(self, image: bytes, origin: Origin) -> bytes:
        """`image`, and what it is stays known."""
        self.images[image] = origin
        return image

    @contextlib.contextmanager
    def step(self, name: str, arguments: Mapping[str, Any]) -> Iterator[Call]:
        """What is asked within is part of this step."""
        call = Call(name, arguments, self._position())
        self.calls.append(call)
        self.busy = True
        try:
            yield call
        except AgentError as error:
            call.answer = error.error
            raise
        finally:
            self.busy = False

    @contextlib.contextmanager
    def inside(self, call: Call) -> Iterator[None]:
        """What the test asks within happens inside of `call`."""
        outer, self.calls, self.busy = self.calls, call.inside, False
        try:
            yield
        finally:
            self.calls, self.busy = outer, True


def noting(*names: str) -> Callable[[type[Class]], type[Class]]:
    """Decorates a class that has `taken: Taken`: its methods of these names are steps; generators have steps inside."""

    def decorate(cls: type[Class]) -> type[Class]:
        for name in names:
            method = getattr(cls, name)
            is_context = inspect.isgeneratorfunction(inspect.unwrap(method))
            setattr(cls, name, _around(method) if is_context else _step(method))
        return cls

    return decorate


def _arguments(method: Callable[..., Any], *given: Any, **named: Any) -> dict[str, Any]:
    bound = inspect.signature(method).bind(*given, **named)
    bound.apply_defaults()
    return dict(list(bound.arguments.items())[1:])


def _step(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def noted(self: Any, *given: Any, **named: Any) -> Any:
        taken: Taken = self.taken
        if taken.busy:
            return method(self, *given, **named)
        with taken.step(method.__name__, _arguments(method, self, *given, **named)) as call:
            result = method(self, *given, **named)
            call.answer = result if isinstance(result, str) else OK
        return result

    return noted


def _around(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    @contextlib.contextmanager
    def noted(self: Any, *given: Any, **named: Any) -> Iterator[Any]:
        taken: Taken = self.taken
        if taken.busy:
            with method(self, *given, **named) as value:
                yield value
            return
        with (
            taken.step(method.__name__, _arguments(method, self, *given, **named)) as call,
            method(self, *given, **named) as value,
            taken.inside(call),
        ):
            yield value

    return noted
