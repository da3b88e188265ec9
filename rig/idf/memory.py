"""A flash image in RAM, and running decisions on it: to the end, or up to a power cut."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from rig.idf.config import BootConfig
from rig.idf.effects import SECTOR_SIZE, BurnSecureVersion, Effect, Erase, Log, Memory, Mutation, Program, Steps
from rig.idf.image import ImageCheck, check_image, segment_lines

T = TypeVar("T")


class _Span:
    """Memory that notes the lowest and the highest offset read through it."""

    def __init__(self, memory: Memory, offset: int) -> None:
        self._memory = memory
        self.low = offset
        self.high = offset

    @property
    def secure_version(self) -> int:
        return self._memory.secure_version

    def read(self, offset: int, size: int) -> bytes:
        self.low = min(self.low, offset)
        self.high = max(self.high, offset + size)
        return self._memory.read(offset, size)


class Verdict(NamedTuple):
    """What verifying an image found, and every line it prints in the bootloader at INFO."""

    check: ImageCheck
    lines: tuple[Log, ...]


class _Remembered(NamedTuple):
    """A verdict, and the flash range [low, high) it rests on."""

    size: int
    config: BootConfig
    low: int
    high: int
    verdict: Verdict


class FlashImage:
    """Flash and the anti-rollback eFuse field; `content` starts at flash offset 0, offsets and sizes are bytes.

    Programming only clears bits. Verdicts on images are remembered until a byte they rest on may have changed.
    """

    def __init__(self, content: bytes | bytearray, secure_version: int = 0) -> None:
        self._data = bytearray(content)
        self._secure_version = secure_version
        self._checks: dict[int, _Remembered] = {}

    @classmethod
    def erased(cls, size: int, secure_version: int = 0) -> FlashImage:
        """Flash of `size` bytes, all 0xFF."""
        return cls(b"\xff" * size, secure_version)

    def copy(self) -> FlashImage:
        """An independent image with the same content."""
        twin = FlashImage(self._data, self._secure_version)
        twin._checks = dict(self._checks)
        return twin

    def __len__(self) -> int:
        return len(self._data)

    @property
    def secure_version(self) -> int:
        return self._secure_version

    @secure_version.setter
    def secure_version(self, value: int) -> None:
        self._secure_version = value
        self._checks.clear()

    def read(self, offset: int, size: int) -> bytes:
        data = bytes(self._data[offset : offset + size])
        return data if len(data) == size else data + b"\xff" * (size - len(data))

    def load(self, offset: int, data: bytes) -> None:
        """Replace the content at `offset`, as a flash programmer would: erase, then write."""
        self._data[offset : offset + len(data)] = data[: max(0, len(self._data) - offset)]
        self._touch(offset, len(data))

    def apply(self, effect: Effect) -> None:
        """Do what `effect` says; a log line changes nothing."""
        kind = type(effect)
        if kind is Log:
            return
        if isinstance(effect, BurnSecureVersion):
            self.secure_version = effect.after
        elif isinstance(effect, Erase):
            self._erase(effect.offset, SECTOR_SIZE)
        elif isinstance(effect, Program):
            self._program(effect.offset, effect.data)

    def tear(self, mutation: Mutation, done: int) -> None:
        """Do the first `done` bytes of `mutation` and no more; an eFuse burn is atomic and then not done at all."""
        if isinstance(mutation, Erase):
            self._erase(mutation.offset, min(done, SECTOR_SIZE))
        elif isinstance(mutation, Program):
            self._program(mutation.offset, mutation.data[:done])

    def verdict(self, offset: int, size: int, config: BootConfig) -> Verdict:
        """`verify` on this flash, from memory as long as nothing it read has changed."""
        known = self._checks.get(offset)
        if known is not None and known.size == size and (known.config is config or known.config == config):
            return known.verdict
        span = _Span(self, offset)
        found = self._fresh_verdict(span, offset, size, config)
        self._checks[offset] = _Remembered(size, config, span.low, span.high, found)
        return found

    def _fresh_verdict(self, memory: Memory, offset: int, size: int, config: BootConfig) -> Verdict:
        return _verify(memory, offset, size, config)

    def _erase(self, offset: int, size: int) -> None:
        size = max(0, min(size, len(self._data) - offset))
        self._data[offset : offset + size] = b"\xff" * size
        self._touch(offset, size)

    def _program(self, offset: int, data: bytes) -> None:
        size = max(0, min(len(data), len(self._data) - offset))
        old = self._data[offset : offset + size]
        if old.count(0xFF) == size:
            self._data[offset : offset + size] = data[:size]
        else:
            both = int.from_bytes(old, "little") & int.from_bytes(data[:size], "little")
            self._data[offset : offset + size] = both.to_bytes(size, "little")
        self._touch(offset, size)

    def _touch(self, offset: int, size: int) -> None:
        if not self._checks:
            return
        end = offset + size
        stale = [key for key, known in self._checks.items() if known.low < end and offset < known.high]
        for key in stale:
            del self._checks[key]


class Cut(NamedTuple):
    """How a run with a power cut ended: `cut` is False, and `result` set, when it ended by itself before."""

    cut: bool
    result: object
    effects: list[Effect]


def _verify(memory: Memory, offset: int, size: int, config: BootConfig) -> Verdict:
    check = check_image(memory, offset, size, config)
    return Verdict(check, segment_lines(check, config) + check.logs)


def verify(memory: Memory, offset: int, size: int, config: BootConfig) -> Verdict:
    """The verdict on the image in `size` bytes at flash `offset`.

    Remembered where the memory can tell that nothing changed.
    """
    image = memory if isinstance(memory, FlashImage) else getattr(memory, "image", None)
    if image is not None:
        found: Verdict = image.verdict(offset, size, config)
        return found
    return _verify(memory, offset, size, config)


def complete(steps: Steps[T], memory: FlashImage) -> tuple[T, list[Effect]]:
    """Run `steps` to the end, applying each effect before asking for the next; the result and all effects."""
    effects: list[Effect] = []
    while True:
        try:
            effect = next(steps)
        except StopIteration as stop:
            return stop.value, effects
        if type(effect) is not Log:
            memory.apply(effect)
        effects.append(effect)


def cut_after(steps: Steps[T], memory: FlashImage, mutations: int, torn: int | None = None) -> Cut:
    """Run `steps` until power is lost right after that many mutations (0: before the first).

    With `torn` the first `mutations` are whole and of the next one only `torn` bytes are done.
    """
    effects: list[Effect] = []
    done = 0
    while True:
        try:
            effect = next(steps)
        except StopIteration as stop:
            return Cut(False, stop.value, effects)
        if isinstance(effect, Log):
            effects.append(effect)
            continue
        if done == mutations:
            if torn is not None:
                memory.tear(effect, torn)
                effects.append(effect)
            steps.close()
            return Cut(True, None, effects)
        memory.apply(effect)
        effects.append(effect)
        done += 1
        if done == mutations and torn is None:
            steps.close()
            return Cut(True, None, effects)
