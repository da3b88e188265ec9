"""Virtual chips that run the test app, and a scripted CPU for the parts of it."""

from __future__ import annotations

import functools
import itertools
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from rig.idf.image import build_image
from rig.idf.memory import FlashImage
from rig.updates.agent import Agent
from rig.virtual.builds import make_build
from rig.virtual.chip import VirtualChip, build_chip
from rig.virtual.cpu import ChipHalted, ResetReason
from rig.virtual.firmware import VirtualFirmware

PATIENCE_S = 30.0
_names = itertools.count(1)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_STAMP = re.compile(r"^([EWIDV]) \(\d+\) ")


@functools.cache
def build(variant: str, chip: str = "esp32c3", version: str = "1.0.0", idf: str = "v5.5") -> dict[int, bytes]:
    """Flash offset to content of a firmware build."""
    with tempfile.TemporaryDirectory() as folder:
        made = make_build(Path(folder), variant=variant, chip=chip, version=version, idf_version=idf)
        files = json.loads((made / "flasher_args.json").read_text())["flash_files"]
        return {int(offset, 16): (made / name).read_bytes() for offset, name in files.items()}


def app(variant: str, version: str, chip: str = "esp32c3", idf: str = "v5.5") -> bytes:
    """The app image of a build."""
    return next(data for offset, data in build(variant, chip, version, idf).items() if offset >= 0x10000)


def small_app(version: str, chip: str = "esp32c3", **build_options: object) -> bytes:
    """An app of about 500 bytes."""
    return build_image(chip=chip, version=version, **build_options)  # type: ignore[arg-type]


class Device:
    """A chip with a console that keeps everything, and the host's agent on it. Implements `LineChannel`."""

    def __init__(self, variant: str, chip: str = "esp32c3", idf: str = "v5.5") -> None:
        self.firmware = VirtualFirmware()
        self.chip: VirtualChip = build_chip(f"device{next(_names)}", chip, self.firmware)
        for offset, data in build(variant, chip, "1.0.0", idf).items():
            self.chip.flash.load(offset, data)
        self.agent = Agent(self)
        self.console = b""
        self._read = 0

    def write(self, data: bytes) -> None:
        self.chip.host_write(data)

    def expect_line(self, accept: Callable[[bytes], bool], timeout: float) -> bytes:
        deadline = time.monotonic() + timeout
        while True:
            while (end := self.console.find(b"\n", self._read)) >= 0:
                line = self.console[self._read : end].rstrip(b"\r")
                self._read = end + 1
                if accept(line):
                    return line
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.console += self.chip.host_read(left)

    def start(self) -> None:
        """Power on and wait until the app takes requests."""
        self.chip.power_on()
        self.agent.wait_ready(PATIENCE_S)

    def cycle(self) -> None:
        """Power off, on, and wait for the app's first words."""
        self.chip.power_off()
        self.chip.power_on()
        self.agent.wait_event("start", PATIENCE_S)

    def wait_text(self, text: str) -> None:
        self.expect_line(lambda line: text.encode() in line, PATIENCE_S)

    def lines(self) -> list[str]:
        """The console without colour and time stamps."""
        text = _COLOUR.sub("", self.console.decode(errors="replace"))
        return [_STAMP.sub(r"\1 ", line.rstrip("\r")) for line in text.split("\n")]

    def states(self) -> list[str]:
        """State names of the two select entries, from flash itself."""
        table = {0: "NEW", 1: "PENDING_VERIFY", 2: "VALID", 3: "INVALID", 4: "ABORTED", 0xFFFFFFFF: "-"}
        raw = [self.chip.flash.read(0xD000 + sector, 32) for sector in (0, 0x1000)]
        return [table[int.from_bytes(entry[24:28], "little")] for entry in raw]

    def close(self) -> None:
        self.chip.power_off()
        assert self.chip.firmware_errors == []


@pytest.fixture
def make_device() -> Iterator[Callable[..., Device]]:
    made: list[Device] = []

    def make(variant: str = "rollback", **options: str) -> Device:
        made.append(Device(variant, **options))
        return made[-1]

    yield make
    for device in made:
        device.close()


class FakeFlash:
    """`FlashPort` that can lose power inside a mutation: `cut` more whole ones, then `torn` bytes of the next."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.image = FlashImage.erased(size)
        self.cut: int | None = None
        self.torn = 0
        self.mutations = 0

    def read(self, offset: int, size: int) -> bytes:
        return self.image.read(offset, size)

    def erase_sector(self, offset: int) -> None:
        self._mutate(offset, b"\xff" * 0x1000, erase=True)

    def program(self, offset: int, data: bytes) -> None:
        self._mutate(offset, data, erase=False)

    def _mutate(self, offset: int, data: bytes, *, erase: bool) -> None:
        self.mutations += 1
        dies = self.cut == 0
        if self.cut is not None:
            self.cut -= 1
        part = data[: self.torn] if dies else data
        if erase:
            self.image.load(offset, part)
        else:
            old = self.image.read(offset, len(part))
            self.image.load(offset, bytes(a & b for a, b in zip(old, part, strict=True)))
        if dies:
            raise ChipHalted


class FakeCpu:
    """`Cpu` whose input is a script: bytes, or seconds of silence. When it is over the chip halts."""

    def __init__(self, script: list[bytes | float], flash: FakeFlash | None = None) -> None:
        self.reset_reason = ResetReason.POWERON
        self.flash = flash or FakeFlash(0x20000)
        self.efuse: object = None
        self.sent = b""
        self.restarted: ResetReason | None = None
        self._script = list(script)
        self._now = 0.0

    def now(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds

    def write(self, data: bytes) -> None:
        self.sent += data

    def read(self, timeout: float | None = None) -> bytes:
        while self._script:
            entry = self._script.pop(0)
            if isinstance(entry, bytes):
                return entry
            if timeout is not None and entry >= timeout:
                self._script.insert(0, entry - timeout)
                self._now += timeout
                return b""
            self._now += entry
            timeout = None if timeout is None else timeout - entry
        raise ChipHalted

    def restart(self, reason: ResetReason) -> NoReturn:
        self.restarted = reason
        raise ChipHalted
